// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import Synchronization

/// The keeper's process, seen from the one who starts it and may be interrupted at any moment.
final class Keeper: Sendable {
    private let phase = Mutex(Phase.idle)

    private enum Phase {
        case idle
        case running(ChildProcess)
        case stopped
    }

    /// Starts it, unless it has been stopped already.
    func start(_ birth: ChildProcess.Birth) throws {
        try phase.withLock { phase in
            guard case .idle = phase else { throw CancellationError() }
            phase = .running(try ChildProcess.start(birth))
        }
    }

    /// Ends it, and returns when its lab is gone.
    ///
    /// May be called from anywhere, before the start, and more than once.
    /// Returns its exit code, or `nil` when it had not been started or was stopped before.
    @discardableResult
    func stop() throws(LabError) -> Int? {
        let outcome = phase.withLock { phase in
            defer { phase = .stopped }
            guard case .running(let child) = phase else {
                return Result<Int?, LabError>.success(nil)
            }
            return Self.end(child).map(Optional.some)
        }
        return try outcome.get()
    }

    /// As `stop`, and an error if the keeper does not say that nothing is left.
    func interrupt() throws(LabError) {
        guard let status = try stop() else { return }
        // It had not got so far as to wait for signals, or it has cleaned up after one.
        guard status == 128 + Int(Signal.terminate.rawValue) || status == 130 else {
            throw .keeperFailed(
                "the lab's keeper ended with \(status): `swerve lab down` removes what is left")
        }
    }

    private static func end(_ child: ChildProcess) -> Result<Int, LabError> {
        let name = "the lab's keeper (pid \(child.pid))"
        do throws(KernelError) {
            try child.signal(Signal.terminate.rawValue)
            // Its guard has 20 seconds.
            guard let status = try child.waitForExit(within: .seconds(25)) else {
                return .failure(.keeperFailed("\(name) does not end"))
            }
            return .success(status)
        } catch {
            return .failure(.keeperFailed("\(name) was not stopped: \(error)"))
        }
    }
}
