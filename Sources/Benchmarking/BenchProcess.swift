// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import LinuxKernel
internal import RedirectionModel

/// The processes of a run: this program again, told what to do in an argument.
struct BenchProcess: Sendable {
    /// The running program.
    let executable: String

    /// Starts a server, and returns when its ports are open; it ends with its cgroup.
    func serve(
        _ job: ServeJob, in place: (namespace: NetworkNamespace, cgroup: Cgroup)
    ) throws -> ChildProcess {
        let output = try OwnedDescriptor.pipe()
        let child = try start("bench-serve", job, place, output: output.writer)
        let words = output.takeReader()
        guard try words.waitForInput(.seconds(20)), !(try words.read(upTo: 16)).isEmpty else {
            throw BenchError.processFailed("a server", try child.waitForExit(within: .seconds(1)))
        }
        return child
    }

    /// Runs a load to its end.
    func load(
        _ job: LoadJob, in place: (namespace: NetworkNamespace, cgroup: Cgroup)
    ) throws -> LoadResult {
        let output = try OwnedDescriptor.pipe()
        let child = try start("bench-load", job, place, output: output.writer)
        let text = try Self.readAll(
            output.takeReader(),
            within: .nanoseconds(Int64(job.nanoseconds)) + .seconds(job.patience + 60))
        guard let text else {
            try child.signal(Signal.kill.rawValue)
            _ = try child.waitForExit()
            throw BenchError.processFailed("a client", nil)
        }
        let status = try child.waitForExit()
        guard status == 0 else { throw BenchError.processFailed("a client", status) }
        return try JSONDecoder().decode(LoadResult.self, from: Data(text))
    }

    /// `nil` when the end has not come within so long.
    static func readAll(
        _ reader: consuming OwnedDescriptor, within limit: Duration
    ) throws(KernelError) -> [UInt8]? {
        let deadline = ContinuousClock.now + limit
        var bytes: [UInt8] = []
        while try reader.waitForInput(deadline - .now) {
            let more = try reader.read(upTo: 65536)
            if more.isEmpty { return bytes }
            bytes += more
        }
        return nil
    }

    private func start(
        _ command: String, _ job: some Encodable,
        _ place: (namespace: NetworkNamespace, cgroup: Cgroup),
        output: borrowing OwnedDescriptor
    ) throws -> ChildProcess {
        let nothing = try OwnedDescriptor.open("/dev/null")
        let text = String(decoding: try JSONEncoder().encode(job), as: UTF8.self)
        var birth = ChildProcess.Birth([executable, command, text])
        birth.namespace = place.namespace
        birth.cgroup = place.cgroup
        birth.input = nothing.rawValue
        birth.output = output.rawValue
        // Out of reach of Ctrl-C: the guard ends the run, in its own order.
        birth.startsSession = true
        return try ChildProcess.start(birth)
    }
}

/// Why there is no result.
package enum BenchError: Error, CustomStringConvertible, Equatable {
    case processFailed(String, Int?)
    case nothingToMeasure([SkippedSubject])
    /// Nobody says what the kernel's own memory is used for.
    case noMemoryController
    /// Something of ours is in the kernel where nothing should be.
    case stillAttached
    /// Connections that were not what they should have been, so that numbers mean nothing.
    case wrongConnections(subject: String, scenario: String, String)

    package var description: String {
        switch self {
        case .processFailed(let what, let status?): "\(what) ended with \(status)"
        case .noMemoryController: "the memory controller does not tell of the kernel's own memory"
        case .stillAttached: "BPF maps are open that should have been closed"
        case .processFailed(let what, nil): "\(what) did not come to its end"
        case .nothingToMeasure(let skipped):
            "nothing to measure: \(skipped.map(\.description).joined(separator: "; "))"
        case .wrongConnections(let subject, let scenario, let what):
            "\(subject), \(scenario): \(what)"
        }
    }
}
