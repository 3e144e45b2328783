// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import LinuxKernel
package import RedirectionModel
internal import Synchronization
internal import SystemPackage

/// Traffic through a pod's sidecar, both ways and both families, while something is changed.
///
/// - *Busy* connections carry random blocks from end to end, through the sidecar, and compare what
///   comes back; half of them are closed and opened anew all the time, so that some are always from
///   before whatever has just changed.
/// - *Idle* ones exchange a block at the beginning, and one at the end.
/// - *Probes* are new connections, one after the other; each is told who accepted it and which
///   origin that sees.
///
/// Nothing is tried twice, and every wait has a limit: what takes longer is stalled.
package final class TrafficLoad: Sendable {
    package struct Settings: Sendable {
        /// Busy connections, both directions together.
        package var busy = 64
        package var idle = 16
        /// How long a busy connection rests between two blocks.
        package var pause: Duration = .milliseconds(20)
        /// How long a prober rests between two connections.
        package var probePause: Duration = .milliseconds(5)
        /// What takes longer is stalled.
        package var patience: Duration = .seconds(20)
        /// Set when inbound is transparent: the mark of the sidecar's own connections, which come
        /// from its clients' addresses.
        package var transparentMark: UInt32?
        /// Whether nobody redirects at times: then a connection may also come through directly.
        package var mayPassDirectly = false

        package init() {}
    }

    struct State {
        var running = 0
        var opened = 0
        var isStopping = false
        var isOver = false
        var outcome = Outcome()
    }

    let pod: TestPod
    let settings: Settings
    let state = Mutex(State())

    package init(_ pod: TestPod, _ settings: Settings = Settings()) {
        self.pod = pod
        self.settings = settings
    }

    /// Runs the traffic while `body` changes things, and says what became of it.
    package func run(_ body: () async throws -> Void) async throws -> Outcome {
        try start()
        do {
            try await waitUntilOpen()
            try await body()
        } catch {
            _ = await finish()
            throw error
        }
        return await finish()
    }

    /// Starts servers, sidecar and clients; redirection must be there, or be nobody's wish.
    package func start() throws {
        try startServers()
        try startSidecar()
        for direction in Direction.allCases {
            for number in 0..<settings.busy / 2 {
                client(direction) { () throws(KernelError) in try self.keepBusy(direction, number) }
            }
            for number in 0..<settings.idle / 2 {
                client(direction) { () throws(KernelError) in try self.stayIdle(direction, number) }
            }
            for family in AddressFamily.allCases {
                client(direction) { self.probe(direction, family) }
            }
        }
    }

    /// Waits until every lasting connection is there, or has failed.
    package func waitUntilOpen() async throws {
        let wanted = settings.busy / 2 * 2 + settings.idle / 2 * 2
        let limit = ContinuousClock.now + settings.patience * 2
        while state.withLock({ $0.opened < wanted && $0.outcome.faults.isEmpty }),
            ContinuousClock.now < limit
        {
            try await Task.sleep(for: .milliseconds(10))
        }
        let (opened, failed) = state.withLock { ($0.opened, !$0.outcome.faults.isEmpty) }
        guard opened >= wanted || failed else {
            throw KernelError("open \(wanted) connections", .timedOut, detail: "\(opened) are open")
        }
    }

    /// Lets every connection come to its end, and stops.
    package func finish() async -> Outcome {
        state.withLock { $0.isStopping = true }
        let limit = ContinuousClock.now + settings.patience * 3
        await wait(until: limit) { $0.running <= Self.serverThreads }
        state.withLock { $0.isOver = true }
        await wait(until: limit + settings.patience) { $0.running == 0 }
        return state.withLock { state in
            let stuck = state.running
            if stuck > 0 { state.outcome.note(.stalled, .outbound, "\(stuck) threads are stuck") }
            return state.outcome
        }
    }

    private func wait(
        until limit: ContinuousClock.Instant, _ condition: (borrowing State) -> Bool
    ) async {
        while state.withLock({ !condition($0) }), ContinuousClock.now < limit {
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    /// What has become of the connections until now.
    package var outcomeSoFar: Outcome { state.withLock { $0.outcome } }

    var isStopping: Bool { state.withLock { $0.isStopping } }
    var isOver: Bool { state.withLock { $0.isOver } }

    /// Runs a client in its namespace, as its user; a thread changes to them once.
    private func client(
        _ direction: Direction, _ body: @escaping @Sendable () throws(KernelError) -> Void
    ) {
        let place = direction == .outbound ? pod.namespace : pod.peer
        thread(direction) { () throws(KernelError) in
            try place.run { () throws(KernelError) in
                try asOwner(.application) { () throws(KernelError) in try body() }
            }
        }
    }

    func thread(
        _ direction: Direction, _ body: @escaping @Sendable () throws(KernelError) -> Void
    ) {
        state.withLock { $0.running += 1 }
        let thread = Thread { [self] in
            do throws(KernelError) {
                try body()
            } catch {
                note(Fault(error), direction, "\(error)")
            }
            state.withLock { $0.running -= 1 }
        }
        thread.stackSize = 512 << 10
        thread.start()
    }

    func note(_ fault: Fault, _ direction: Direction, _ text: String) {
        state.withLock { $0.outcome.note(fault, direction, text) }
    }
}

extension TrafficLoad {
    /// What can become of a connection that should not.
    package enum Fault: String, Hashable, Sendable, CaseIterable {
        case failed
        case reset
        case unredirected
        /// The sidecar has it, and does not know where it was going.
        case strayed
        case corrupted
        case stalled

        init(_ error: KernelError) {
            switch error.errno {
            case .connectionReset, .brokenPipe: self = .reset
            case .resourceTemporarilyUnavailable, .timedOut, .wouldBlock, .nowInProgress:
                self = .stalled
            default: self = .failed
            }
        }
    }

    /// What became of the connections.
    package struct Outcome: Sendable {
        /// Blocks that went there and came back as they were.
        package var blocks: [Direction: Int] = [:]
        /// Lasting connections that were opened.
        package var connections: [Direction: Int] = [:]
        /// New connections that the sidecar accepted, origin right.
        package var probes: [Direction: Int] = [:]
        /// New connections that came through directly, where they may.
        package var direct: [Direction: Int] = [:]
        package var counts: [Direction: [Fault: Int]] = [:]
        /// What happened, the first 50.
        package var faults: [String] = []

        package func count(_ fault: Fault) -> Int {
            counts.values.reduce(0) { $0 + ($1[fault] ?? 0) }
        }

        /// One line of numbers.
        package var summary: String {
            Direction.allCases.map { direction in
                let faults = Fault.allCases.map { "\(counts[direction]?[$0] ?? 0) \($0.rawValue)" }
                return "\(direction): \(connections[direction] ?? 0) lasting connections, "
                    + "\(blocks[direction] ?? 0) blocks, \(probes[direction] ?? 0) new ones, "
                    + "\(direct[direction] ?? 0) direct; " + faults.joined(separator: ", ")
            }.joined(separator: "\n")
        }

        mutating func note(_ fault: Fault, _ direction: Direction, _ text: String) {
            counts[direction, default: [:]][fault, default: 0] += 1
            if faults.count < 50 { faults.append("\(direction) \(fault.rawValue): \(text)") }
        }
    }
}
