// SPDX-License-Identifier: Apache-2.0

internal import EBPFBackend
internal import LinuxKernel
internal import Synchronization

/// A process that outlives the lab's owner by a moment, to remove what the lab leaves.
///
/// It holds the reading end of a pipe that the owner never writes to. However the owner ends,
/// kill -9 included, the kernel closes the other end; that is the signal. It has a session of
/// its own, so that Ctrl-C does not reach it.
///
/// There is one way to take a lab down, and this is it: an orderly end closes the pipe too.
package final class LabGuard: Sendable {
    package let identity: LabIdentity
    private let executable: String
    private let phase = Mutex(Phase.idle)

    private enum Phase {
        case idle
        case guarding(ChildProcess, SharedPipe)
        case finished(LabError?)
    }

    /// The pipe's writing end; noncopyable values do not go into an enumeration's payload here.
    private final class SharedPipe: Sendable {
        let writer: OwnedDescriptor
        init(_ writer: consuming OwnedDescriptor) { self.writer = writer }
    }

    init(_ identity: LabIdentity, executable: String) {
        self.identity = identity
        self.executable = executable
    }

    /// Starts the process; when this returns, the lab's cgroup and directory exist.
    func start() throws {
        try phase.withLock { phase in
            // Interrupted before there was anything to guard.
            guard case .idle = phase else { throw CancellationError() }
            let life = try OwnedDescriptor.pipe()
            let answer = try OwnedDescriptor.pipe()
            var birth = ChildProcess.Birth([executable, "lab", "guard", identity.description])
            birth.environment += LabIdentity.environment
            birth.input = life.reader.rawValue
            birth.output = answer.writer.rawValue
            birth.startsSession = true
            let child = try ChildProcess.start(birth)
            let words = answer.takeReader()
            phase = .guarding(child, SharedPipe(life.takeWriter()))
            guard try words.waitForInput(.seconds(20)), try words.read(upTo: 16) == Self.ready
            else {
                throw LabError.guardFailed("it did not start")
            }
        }
    }

    /// Ends everything in the lab, and returns when nothing of it is left.
    ///
    /// May be called from anywhere, before the start, and more than once.
    package func finish() throws(LabError) {
        let failure = phase.withLock { phase in
            if case .finished(let failure) = phase { return failure }
            var failure: LabError?
            if case .guarding(let child, _) = phase {
                // Assigning drops the pipe's only writer.
                phase = .finished(nil)
                failure = Self.outcome(of: child)
            }
            phase = .finished(failure)
            return failure
        }
        if let failure { throw failure }
    }

    /// As `finish`, when `error` is on its way out already; returns what is to be thrown.
    func finish(after error: any Error) -> any Error {
        do throws(LabError) {
            try finish()
            return error
        } catch let failure {
            let isNews = error as? LabError != failure
            return isNews ? LabError.leftBehind("\(failure)", after: "\(error)") : failure
        }
    }

    private static func outcome(of child: ChildProcess) -> LabError? {
        do throws(KernelError) {
            guard let status = try child.waitForExit(within: .seconds(20)) else {
                return .guardFailed("it is still at work")
            }
            return status == 0 ? nil : .guardFailed("it ended with \(status)")
        } catch {
            return .guardFailed("\(error)")
        }
    }

    private static let ready = Array("ready\n".utf8)

    /// The guard's own life: `swerve lab guard NAME`, standard input the pipe.
    ///
    /// It makes the lab's remains itself, so that nobody else can make them after it has
    /// removed them.
    package static func stand(_ identity: LabIdentity) throws {
        // The last one is what writing to an owner that is gone would end in.
        let ignored = try SignalDescriptor.block([.hangUp, .interrupt, .terminate, .brokenPipe])
        defer { _ = ignored }
        let remains = LabRemains(identity)
        try remains.create()
        // An owner that is gone already is noticed below.
        try? OwnedDescriptor(duplicating: 1).write(ready)
        // Whatever ends the wait ends the lab.
        let end = Result { try OwnedDescriptor(duplicating: 0).readAll() }
        try remains.remove()
        // An owner that was killed may have been at its assessment.
        try Cgroup.sweep(prefix: EBPFBackend.probePrefix)
        _ = try end.get()
    }
}
