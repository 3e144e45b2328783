// SPDX-License-Identifier: Apache-2.0

internal import EBPFBackend
internal import IPTablesBackend
internal import KernelTestSupport
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

/// Connections that no list matches, so that each must be looked through to its end.
///
/// Every cell, a mechanism with lists of one length, has a pod of its own that stays for the whole
/// run. Rounds go through all cells in turn: what drifts on the machine drifts for all of them.
struct ListBench {
    let lengths: [Int]
    let rounds: Int
    let connections: Int

    enum Kind: String, CaseIterable {
        case ebpf, nft, legacy
    }

    struct Cell {
        let kind: Kind
        let length: Int
        let pod: TestPod
        var compile = Sample()
        var apply = Sample()
        /// Medians of rounds, in microseconds.
        var connect = Sample()
    }

    func run() async throws -> ListResults {
        var results = ListResults(lengths: lengths, cells: [])
        try await withTestCgroup { cgroup in
            let backends: [Kind: any RedirectionBackend] = [
                .ebpf: try await EBPFBackend.load(attachingTo: cgroup),
                .nft: IPTablesBackend(.nft),
                .legacy: IPTablesBackend(.legacy),
            ]
            var cells: [Cell] = []
            for (number, length) in lengths.enumerated() {
                for (index, kind) in Kind.allCases.enumerated() {
                    let pod = try TestPod.create(
                        "\(kind) \(length)", number: UInt32(number * Kind.allCases.count + index))
                    cells.append(Cell(kind: kind, length: length, pod: pod))
                }
            }
            let pods = cells.map { ($0.kind, $0.pod) }
            do {
                for index in cells.indices {
                    try await install(&cells[index], by: backends)
                }
                try measure(&cells)
            } catch {
                try? await remove(pods, from: backends)
                throw error
            }
            try await remove(pods, from: backends)
            results.cells = cells
        }
        return results
    }

    /// Removes all that can be removed, and throws what went wrong first.
    private func remove(
        _ pods: [(Kind, TestPod)], from backends: [Kind: any RedirectionBackend]
    ) async throws {
        var failure: (any Error)?
        for (kind, pod) in pods {
            do { try await backends[kind]?.remove(from: pod.workload) } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    /// Applies the cell's plan a few times; the last stays.
    private func install(
        _ cell: inout Cell, by backends: [Kind: any RedirectionBackend]
    ) async throws {
        guard let backend = backends[cell.kind] else { return }
        let clock = ContinuousClock()
        let plan = Self.plan(length: cell.length, for: cell.pod)
        for _ in 0..<3 {
            try await backend.remove(from: cell.pod.workload)
            cell.compile.add(
                clock.measure {
                    switch cell.kind {
                    case .ebpf: _ = EBPFBackend.compile(plan)
                    case .nft, .legacy: _ = RuleSet(plan)
                    }
                }.milliseconds)
            let start = clock.now
            try await backend.apply(plan, to: cell.pod.workload)
            cell.apply.add(start.duration(to: clock.now).milliseconds)
        }
    }

    /// Ports, networks (half of them of each family) and users that are excluded, none of them ours.
    static func plan(length: Int, for pod: TestPod) -> RedirectionPlan {
        var plan = pod.plan
        let numbers = 0..<UInt32(length)
        plan.outbound.excludedPorts = PortSet(
            values: numbers.map { UInt16(truncatingIfNeeded: 2 * $0 + 1025) })
        plan.outbound.excludedNetworks = Set(
            numbers.map { number in
                // 198.18.0.0/15 and 2001:2::/48: those for benchmarks (RFC 2544, RFC 5180).
                CIDR(
                    number.isMultiple(of: 2)
                        ? IPAddress(ipv4: 0xc612_0000 + number)
                        : IPAddress(bits: 0x2001_0002 << 96 | UInt128(number)))
            })
        plan.excludedUIDs = IDSet(values: numbers.map { 100_000 + 2 * $0 })
        return plan
    }

    private func measure(_ cells: inout [Cell]) throws(KernelError) {
        let sidecars = try cells.map { cell throws(KernelError) in try Sidecar(in: cell.pod) }
        // The first round warms what there is to warm, and is not counted.
        for round in 0...rounds {
            for index in cells.indices {
                let median = try connectTimes(in: cells[index].pod, sidecars[index]).median
                if round > 0 { cells[index].connect.add(median) }
            }
        }
    }

    /// How long connect(2) takes, in microseconds.
    private func connectTimes(
        in pod: TestPod, _ sidecar: Sidecar
    ) throws(KernelError) -> Sample {
        let destination = Endpoint(pod.peerAddress(.ipv4), 443)
        return try pod.namespace.run { () throws(KernelError) in
            try asOwner(.application) { () throws(KernelError) in
                var times = Sample()
                for _ in 0..<connections {
                    let client = try Socket.open(.tcp, .ipv4)
                    let start = ContinuousClock.now
                    try client.connect(to: destination)
                    times.add(start.duration(to: .now).milliseconds * 1000)
                    let server = try sidecar.listener.accept()
                    // Closed by the client first: it is its port that waits.
                    withExtendedLifetime(consume client) {}
                    withExtendedLifetime(consume server) {}
                }
                return times
            }
        }
    }
}

/// The one who is redirected to.
private final class Sidecar {
    let listener: Socket

    init(in pod: TestPod) throws(KernelError) {
        listener = try pod.namespace.listen(.ipv4, pod.plan.sidecar.outboundPort, as: .sidecar)
    }
}

extension Duration {
    var milliseconds: Double { self / .milliseconds(1) }
}

/// The cells of a run, as a page shows them.
struct ListResults {
    let lengths: [Int]
    var cells: [ListBench.Cell]

    /// A table in Markdown, and the ratio of each connect time to that of the shortest lists.
    var markdown: String {
        var lines = [
            "| mechanism | elements a list | compile, ms | apply, ms | connect, µs | to the shortest |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for kind in ListBench.Kind.allCases {
            let own = cells.filter { $0.kind == kind }.sorted { $0.length < $1.length }
            for cell in own {
                let ratios = zip(cell.connect.values, own.first?.connect.values ?? []).map(/)
                lines.append(
                    "| \(kind) | \(cell.length) | \(cell.compile.median.short) "
                        + "| \(cell.apply.median.short) | \(cell.connect.text) "
                        + "| \(Sample(ratios).text) |")
            }
        }
        return lines.joined(separator: "\n")
    }
}
