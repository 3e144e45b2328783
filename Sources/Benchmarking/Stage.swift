// SPDX-License-Identifier: Apache-2.0

internal import Backends
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

/// One subject, set up to be measured whenever its turn comes: a pod, its sidecar, servers, and
/// what redirects.
struct Stage: Sendable {
    let subject: Subject
    let pod: BenchPod
    let others: [BenchPod]
    let backend: (any RedirectionBackend)?
    /// How long `apply` took, for each pod in turn, in milliseconds.
    let applyTimes: [Double]
    /// The memory of the BPF maps that `apply` made, in bytes.
    let mapBytes: Int?
    private let processes: BenchProcess
    private let cpus: CPUChoice
    private let patience: UInt32

    /// Which processors the parts of a connection run on.
    struct CPUChoice: Hashable, Sendable, CustomStringConvertible {
        let numbers: [UInt32]

        /// With fewer processors than parts, those at the end share one: whoever accepts a
        /// connection is then never where the client is, or always, whatever the subject.
        subscript(part: BenchPod.Part) -> UInt32 {
            let index = BenchPod.Part.allCases.firstIndex(of: part) ?? 0
            return numbers[min(index, numbers.count - 1)]
        }

        var description: String {
            let places = BenchPod.Part.allCases.map { "\($0.rawValue) on CPU \(self[$0])" }
            return places.joined(separator: ", ")
        }
    }

    /// Who the application is: nobody the preset knows.
    private static let applicationID: UInt32 = 10_001

    static func build(
        _ subject: Subject, in base: Cgroup, firstPod: Int, processes: BenchProcess,
        cpus: CPUChoice, patience: UInt32, lockFile: String
    ) async throws -> Stage {
        let top = base.child(subject.name.replacing(" ", with: "-").replacing("/", with: "-"))
        let (node, outside) = (top.child("node"), top.child("outside"))
        for made in [top, node, outside] { try made.create() }
        var pods: [BenchPod] = []
        for number in 0..<max(1, subject.podCount) {
            pods.append(
                try BenchPod.create(
                    firstPod + number, on: node, outside: outside, isIdle: number > 0))
        }
        var backend: (any RedirectionBackend)?
        var times: [Double] = []
        var bytes: Int?
        if case .redirected(let mechanism, let inbound) = subject.way {
            let made = try await Backends.make(
                mechanism, on: node, inbound: inbound, lockFile: lockFile)
            backend = made
            let before = try BPFMemory.lockedBytes()
            // The measured pod is the last: what there is to be slowed down by is there before.
            for pod in pods.dropFirst() + (subject.isManaged ? [pods[0]] : []) {
                let start = ContinuousClock.now
                try await made.apply(pod.plan(for: subject), to: pod.workload)
                times.append(start.duration(to: .now).milliseconds)
            }
            if mechanism == .ebpf { bytes = try BPFMemory.lockedBytes() - before }
        }
        let stage = Stage(
            subject: subject, pod: pods[0], others: Array(pods.dropFirst()), backend: backend,
            applyTimes: times, mapBytes: bytes, processes: processes, cpus: cpus,
            patience: patience)
        try stage.startServers()
        return stage
    }

    private func startServers() throws {
        let origins = ServeJob.Origins(outbound: pod.farAddress, inbound: pod.address)
        let role: ServeJob.Role? =
            switch subject.way {
            case .direct: nil
            case .manual: .dialedSidecar(origins: origins)
            case .redirected where !subject.isManaged: nil
            case .redirected: .sidecar(origins: origins, isTransparent: subject.isTransparent)
            }
        if let role {
            let sidecar = ServeJob(
                role: role, cpu: cpus[.sidecar], patience: patience,
                uid: Preset.fsm.sidecar.uids.first)
            _ = try processes.serve(sidecar, in: pod.place(.sidecar, .outbound))
        }
        for direction in Direction.allCases {
            let servers = ServeJob(
                role: .servers, cpu: cpus[.server], patience: patience, uid: nil)
            _ = try processes.serve(servers, in: pod.place(.server, direction))
        }
    }

    /// Runs a scenario once.
    func measure(_ scenario: Scenario, for duration: Duration) throws -> LoadResult {
        let (address, port, acceptor) = target(of: scenario)
        let job = LoadJob(
            scenario: scenario, address: address, port: port, acceptor: acceptor,
            nanoseconds: UInt64(duration / .nanoseconds(1) * scenario.stretch),
            cpu: cpus[.client], patience: patience, uid: Self.applicationID,
            cgroups: BenchPod.Part.allCases.map { pod.place($0, scenario.direction).cgroup.path })
        return try processes.load(job, in: pod.place(.client, scenario.direction))
    }

    private func target(of scenario: Scenario) -> (IPAddress, UInt16, Acceptor) {
        let isOutbound = scenario.direction == .outbound
        let origin = isOutbound ? pod.farAddress : pod.address
        let port = scenario.kind.servicePort
        guard subject.way == .manual else {
            return (origin, port, subject.isRedirected ? .sidecar : .server)
        }
        // What redirection makes of it: loopback on the way out, the pod's address on the way in.
        let sidecar = isOutbound ? IPAddress.loopback(.ipv4) : pod.address
        let isLookup = scenario.kind == .dns
        let dialed = isLookup ? Resolver.port : ServeJob.dialedPort(scenario.direction, port)
        return (sidecar, dialed, .dialedSidecar)
    }

    /// Ends what redirects; the rest goes with its cgroup.
    ///
    /// Returns how long that took for each pod.
    func remove() async throws -> [Double] {
        guard let backend else { return [] }
        var times: [Double] = []
        for pod in [pod] + others {
            let start = ContinuousClock.now
            try await backend.remove(from: pod.workload)
            times.append(start.duration(to: .now).milliseconds)
        }
        return times
    }
}

extension Duration {
    package var milliseconds: Double { self / .milliseconds(1) }
}
