// SPDX-License-Identifier: Apache-2.0

internal import EBPFBackend
internal import IPTablesBackend
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel
internal import SeededRandom

/// A piece of the product's work that needs no kernel, for the package in `Benchmarks` to time.
///
/// What it works on is made beforehand. This is all that is public: the modules behind it are each
/// other's alone.
public struct MicroBenchmark: Sendable {
    public let name: String
    private let work: @Sendable () async throws -> Int

    private init(_ name: String, _ work: @escaping @Sendable () async throws -> Int) {
        self.name = name
        self.work = work
    }

    /// Does it once; the number is there so that no compiler leaves the work out.
    public func run() async throws -> Int { try await work() }

    /// What the others are measured by: numbers drawn, sorted, and counted in a dictionary.
    ///
    /// A machine that is twice as fast does this and the others in half the time.
    public static let reference = MicroBenchmark("reference") {
        var random = SplitMix64(seed: 1)
        let numbers = (0..<4096).map { _ in random.next() }.sorted()
        var counts: [UInt64: Int] = [:]
        for number in numbers { counts[number % 257, default: 0] += 1 }
        return counts.count
    }

    /// Everything that has a threshold: verdicts of a thousand flows, a preset's plan, a plan's
    /// fingerprint, its entries for eBPF, its rules, and its way in and out of a kernel in memory.
    public static func all() throws -> [MicroBenchmark] {
        let plan = plan(listLength: 100)
        let flows = flows(count: 1000)
        let backend = InMemoryBackend()
        let workload = Workload(id: "benchmark", namespace: try NetworkNamespace.current())
        return [
            MicroBenchmark("verdict") {
                flows.reduce(0) { $0 + (plan.verdict(for: $1).reason == .outbound ? 1 : 0) }
            },
            MicroBenchmark("resolve") {
                Preset.istio.plan(ownAddresses: plan.ownAddresses).ownAddresses.count
            },
            MicroBenchmark("fingerprint") { plan.fingerprint.hashValue },
            MicroBenchmark("compile-ebpf") { EBPFBackend.compile(plan) },
            MicroBenchmark("compile-rules") { RuleSet(plan).chains.count },
            MicroBenchmark("apply") {
                try await backend.apply(plan, to: workload)
                let isInstalled = try await backend.installed(in: workload) != nil
                try await backend.remove(from: workload)
                return isInstalled ? 1 : 0
            },
        ]
    }

    /// Lists of which no element matches, as in `swerve bench lists`.
    private static func plan(listLength: UInt32) -> RedirectionPlan {
        let own = IPAddress(ipv4: 0x0a4e_0002)
        var plan = Preset.fsm.plan(ownAddresses: [own])
        let numbers = 0..<listLength
        plan.outbound.excludedPorts = PortSet(values: numbers.map { UInt16(2 * $0 + 1025) })
        plan.outbound.excludedNetworks = Set(
            numbers.map { CIDR(IPAddress(ipv4: 0xc612_0000 + $0)) })
        plan.excludedUIDs = IDSet(values: numbers.map { 100_000 + 2 * $0 })
        return plan
    }

    /// Half of them to loopback, half elsewhere; all of the same application.
    private static func flows(count: Int) -> [Flow] {
        var random = SplitMix64(seed: 2)
        let own = Endpoint(IPAddress(ipv4: 0x0a4e_0002), 40_000)
        return (0..<count).map { index in
            let network: UInt32 = index.isMultiple(of: 2) ? 0x7f00_0000 : 0x0a4f_0000
            let host = UInt32.random(in: 0...0xffff, using: &random)
            let port = UInt16.random(in: 1...1024, using: &random)
            return Flow(
                .outbound, from: own, to: Endpoint(IPAddress(ipv4: network | host), port),
                owner: Owner(uid: 10_001, gid: 10_001))
        }
    }
}
