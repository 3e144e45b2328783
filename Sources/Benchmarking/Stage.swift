// SPDX-License-Identifier: Apache-2.0

internal import Backends
internal import EBPFBackend
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

/// One subject, set up to be measured whenever its turn comes: a pod, its sidecar, servers, and
/// what redirects.
struct Stage: Sendable {
    let subject: Subject
    let topology: Topology
    let pod: BenchPod
    let others: [BenchPod]
    /// The cgroup that a mechanism is attached to, for the pods in it.
    let node: Cgroup
    private(set) var backend: (any RedirectionBackend)?
    /// How long `apply` took, for each pod in turn, in milliseconds.
    private(set) var applyTimes: [Double] = []
    /// The memory of the BPF maps that `apply` made, in bytes.
    private(set) var mapBytes: Int?
    /// The kernel's memory for what is loaded once, and for each pod, in bytes: with an account.
    private(set) var kernelBytes: (once: Int, pod: Int)?
    private let site: Site

    /// What the stages of a run have in common.
    struct Site: Sendable {
        let cgroup: Cgroup
        let processes: BenchProcess
        let cpus: CPUChoice
        let patience: UInt32
        let lockFile: String
    }

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

    /// Sets the subject up; pods of one run have different numbers, this one's from `firstPod` on.
    static func build(
        _ subject: Subject, _ topology: Topology = .same, firstPod: Int, at site: Site,
        charging account: MemoryAccount? = nil
    ) async throws -> Stage {
        var stage = try Stage(subject, topology, firstPod: firstPod, at: site)
        switch subject.way {
        case .direct, .manual: break
        case .redirected(let mechanism, let inbound):
            if let account {
                try await stage.redirect(by: mechanism, inbound, charging: account)
            } else {
                try await stage.redirect(by: mechanism, inbound)
            }
        case .published(let rules, let mechanism):
            try rules.install(in: stage.pod, mechanism, lockFile: site.lockFile)
        }
        try stage.startServers()
        return stage
    }

    private init(
        _ subject: Subject, _ topology: Topology, firstPod: Int, at site: Site
    ) throws {
        // No two stages of a run begin with the same pod.
        let top = site.cgroup.child("stage-\(firstPod)")
        let outside = top.child("outside")
        node = top.child("node")
        for made in [top, node, outside] { try made.create() }
        self.subject = subject
        self.topology = topology
        self.site = site
        pod = try BenchPod.create(firstPod, topology, on: node, outside: outside)
        others = try (1..<max(1, subject.podCount)).map { number in
            try BenchPod.createIdle(firstPod + number, on: top.child("node"), outside: outside)
        }
    }

    private mutating func redirect(
        by mechanism: Mechanism, _ inbound: InboundMethod, charging account: MemoryAccount
    ) async throws {
        try account.enter()
        let before = try account.kernelBytes()
        var made = before
        do {
            try await redirect(by: mechanism, inbound) { made = try account.kernelBytes() }
        } catch {
            try account.leave()
            throw error
        }
        let after = try account.kernelBytes()
        try account.leave()
        kernelBytes = (once: made - before, pod: (after - made) / max(1, applyTimes.count))
    }

    private mutating func redirect(
        by mechanism: Mechanism, _ inbound: InboundMethod, whenMade: () throws -> Void = {}
    ) async throws {
        let made = try await Backends.make(
            mechanism, on: node, inbound: inbound, lockFile: site.lockFile)
        backend = made
        try whenMade()
        let before = try BPFMemory.lockedBytes()
        // The measured pod is the last: what there is to be slowed down by is there before.
        for pod in others + (subject.isManaged ? [pod] : []) {
            let start = ContinuousClock.now
            try await made.apply(pod.plan(for: subject), to: pod.workload)
            applyTimes.append(start.duration(to: .now).milliseconds)
        }
        if mechanism == .ebpf { mapBytes = try BPFMemory.lockedBytes() - before }
    }

    private func startServers() throws {
        let (cpus, patience) = (site.cpus, site.patience)
        let origins = ServeJob.Origins(outbound: pod.farAddresses, inbound: pod.addresses)
        let sidecar = Preset(named: subject.preset).sidecar
        let role: ServeJob.Role? =
            if subject.way == .manual {
                .dialedSidecar(origins: origins)
            } else if subject.isRedirected {
                .sidecar(
                    origins: origins,
                    ports: ServeJob.Ports(
                        outbound: sidecar.outboundPort, inbound: sidecar.inboundPort),
                    isTransparent: subject.isTransparent)
            } else {
                nil
            }
        if let role {
            let job = ServeJob(
                role: role, cpu: cpus[.sidecar], patience: patience, uid: sidecar.uids.first)
            _ = try site.processes.serve(job, in: pod.place(.sidecar, .outbound))
        }
        for direction in Direction.allCases {
            let servers = ServeJob(
                role: .servers, cpu: cpus[.server], patience: patience, uid: nil)
            _ = try site.processes.serve(servers, in: pod.place(.server, direction))
        }
    }

    /// Runs a scenario once.
    func measure(
        _ scenario: Scenario, for duration: Duration, warmsUp: Bool = true
    ) throws -> LoadResult {
        let (address, port, acceptor) = target(of: scenario)
        let job = LoadJob(
            scenario: scenario, address: address, port: port, acceptor: acceptor,
            nanoseconds: UInt64(duration / .nanoseconds(1)), cpu: site.cpus[.client],
            patience: site.patience, uid: Self.applicationID,
            warmsUp: warmsUp,
            cgroups: BenchPod.Part.allCases.map { pod.place($0, scenario.direction).cgroup.path })
        return try site.processes.load(job, in: pod.place(.client, scenario.direction))
    }

    private func target(of scenario: Scenario) -> (IPAddress, UInt16, Acceptor) {
        let port = scenario.kind.servicePort
        let (address, dialed) = destination(of: port, scenario.direction, scenario.family)
        guard subject.way == .manual else {
            return (address, port, subject.isRedirected ? .sidecar : .server)
        }
        return (address, scenario.kind == .dns ? Resolver.port : dialed, .dialedSidecar)
    }

    /// What a client of the service dials.
    func destination(
        of port: UInt16, _ direction: Direction, _ family: AddressFamily
    ) -> (address: IPAddress, port: UInt16) {
        let isOutbound = direction == .outbound
        guard subject.way == .manual else {
            return (isOutbound ? pod.farAddress(family) : pod.address(family), port)
        }
        // What redirection makes of it: loopback on the way out, the pod's address on the way in.
        let address = isOutbound ? IPAddress.loopback(family) : pod.address(family)
        return (address, ServeJob.dialedPort(direction, port))
    }

    /// Ends what redirects; the rest goes with its cgroup.
    ///
    /// Returns how long that took for each pod.
    func remove() async throws -> [Double] {
        guard let backend else { return [] }
        var times: [Double] = []
        for pod in others + [pod] {
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
