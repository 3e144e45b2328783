// SPDX-License-Identifier: Apache-2.0

internal import Backends
internal import EBPFBackend
internal import LinuxKernel
package import RedirectionEngine
internal import RedirectionModel

/// What kernel memory a mechanism takes: once, for each pod, for each connection.
package struct MemoryBench: Sendable {
    private let mechanisms: [Mechanism]
    private let podCount: Int

    package init(_ mechanisms: [Mechanism], pods: Int) {
        self.mechanisms = mechanisms
        podCount = pods
    }

    private static let connections = 256

    /// Runs it; what it makes is gone when it returns, throws or is canceled.
    package func run(
        progress: @escaping @Sendable (BenchProgress) -> Void
    ) async throws -> ReportTable {
        let bench = Bench(
            subjects: [], scenarios: [], rounds: 1, duration: .seconds(1), seed: 1)
        return try await bench.onStage(progress: progress) { setting in
            let assessments = Backends.assess()
            var table = emptyTable
            for mechanism in mechanisms {
                let missing = assessments.first { $0.mechanism == mechanism }?.missing ?? []
                guard missing.isEmpty else { continue }
                progress(BenchProgress("memory", "\(mechanism)"))
                guard let account = MemoryAccount() else {
                    table.add(["\(mechanism)"] + Array(repeating: "unknown", count: 5))
                    continue
                }
                defer { account.remove() }
                table.add(try await measure(mechanism, account, &setting))
            }
            return table
        }
    }

    private var emptyTable: ReportTable {
        ReportTable(
            "Kernel memory",
            """
            Bytes that the memory controller charges for what a mechanism makes: once a node, for each \
            of \(podCount) pods, and for each of \(Self.connections) connections through a sidecar that are \
            open at once. Connection tracking is charged to nobody: its entries are counted, and \
            their size is that of the kernel's cache; what NAT and others hang on to an entry is not in \
            it. The sockets themselves, which everybody has, are not in any of it.
            """,
            columns: [
                "mechanism", "once", "a pod", "a connection", "tracked entries a connection",
                "bytes of these",
            ])
    }

    private func measure(
        _ mechanism: Mechanism, _ account: MemoryAccount, _ setting: inout Bench.Setting
    ) async throws -> [String] {
        var subject = Subject("\(mechanism)", .redirected(mechanism, .preferred))
        subject.podCount = podCount
        let stage = try await Stage.build(
            subject, firstPod: setting.nextPod, at: setting.site, charging: account)
        setting.nextPod += podCount
        guard let kernelBytes = stage.kernelBytes else { throw BenchError.noMemoryController }
        let before = try account.kernelBytes()
        let (most, entries) = try await whileConnected(stage, account)
        _ = try await stage.remove()
        let count = Double(Self.connections)
        let entriesEach = Double(entries) / count
        return [
            "\(mechanism)", "\(kernelBytes.once)", "\(kernelBytes.pod)",
            (Double(most - before) / count).short, entriesEach.short,
            Self.entrySize.map { (entriesEach * Double($0)).short } ?? "-",
        ]
    }

    /// The most that was charged, and tracked, while connections were open.
    private func whileConnected(
        _ stage: Stage, _ account: MemoryAccount
    ) async throws -> (bytes: Int, entries: Int) {
        let scenario = Scenario(.request, .outbound, size: 1, connections: Self.connections)
        // What has been closed is tracked for a while, and would be counted.
        let load = Task.detached {
            try stage.measure(scenario, for: .seconds(2), warmsUp: false)
        }
        var most = (bytes: 0, entries: 0)
        // The load opens all of its connections, and then keeps them for its two seconds.
        for _ in 0..<40 {
            most.bytes = max(most.bytes, try account.kernelBytes())
            most.entries = max(most.entries, try Self.tracked(in: stage.pod.namespace))
            try await Task.sleep(for: .milliseconds(50))
        }
        var measurement = Measurement(stage.subject, scenario)
        measurement.add(try await load.value)
        try measurement.check()
        return most
    }

    private static func tracked(in namespace: NetworkNamespace) throws(KernelError) -> Int {
        let text = try namespace.run { () throws(KernelError) in
            // A kernel without connection tracking has no such file.
            (try? readFile("/proc/sys/net/netfilter/nf_conntrack_count")) ?? "0"
        }
        return Int(text.filter(\.isNumber)) ?? 0
    }

    /// `nf_conntrack ACTIVE ALL SIZE ...` (slabinfo(5)); `nil` where the kernel does not tell.
    private static var entrySize: Int? {
        let lines = (try? readFile("/proc/slabinfo"))?.split(separator: "\n") ?? []
        let fields = lines.first { $0.hasPrefix("nf_conntrack ") }?.split(separator: " ") ?? []
        return fields.count > 3 ? Int(fields[3]) : nil
    }
}
