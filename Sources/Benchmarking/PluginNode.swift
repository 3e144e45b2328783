// SPDX-License-Identifier: Apache-2.0

internal import IPTablesBackend
internal import Lab
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel

/// A node of one subject: its pods, and who adds and deletes them as a runtime has it.
struct PluginNode {
    let subject: PluginBench.Subject
    private let programs: PluginBench.Programs
    private let directory: String
    private let number: Int
    private let outside: NetworkNamespace
    private var agent: ChildProcess?
    /// Those that stay, and how many there ever were.
    private var pods: [NetworkNamespace] = []
    private var made = 0
    /// The one that was measured last.
    private var measured: Pod?

    init(
        _ subject: PluginBench.Subject, _ number: Int, _ identity: LabIdentity, _ pins: Directory,
        _ programs: PluginBench.Programs
    ) throws {
        self.subject = subject
        self.programs = programs
        self.number = number
        directory = "\(identity.directory)/\(number)"
        try Directory(path: directory).create()
        outside = try NetworkNamespace.create()
        if case .plugin = subject {
            agent = try startAgent(
                try identity.cgroup().child("\(number)"), pins.child("\(number)"))
        }
    }

    private var socket: String { directory + "/agent.sock" }

    private func startAgent(_ cgroup: Cgroup, _ pins: Directory) throws -> ChildProcess {
        for made in [cgroup, cgroup.child("node"), cgroup.child("agent")] { try made.create() }
        let nothing = try OwnedDescriptor.open("/dev/null")
        let log = try OwnedDescriptor.open(directory + "/log", .replace)
        var birth = ChildProcess.Birth([
            programs.agent, "--state-dir", directory, "--pins", pins.path, "--cgroup-root",
            cgroup.child("node").path,
        ])
        birth.cgroup = cgroup.child("agent")
        birth.input = nothing.rawValue
        birth.output = log.rawValue
        birth.error = log.rawValue
        // Out of reach of Ctrl-C: the guard ends the run, in its own order.
        birth.startsSession = true
        let agent = try ChildProcess.start(birth)
        let deadline = ContinuousClock.now + .seconds(60)
        while (try? run("STATUS", nil)) == nil {
            guard try agent.exitStatus() == nil, ContinuousClock.now < deadline else {
                throw PluginBench.Failure(what: "the agent", said: try readFile(directory + "/log"))
            }
            pause(.milliseconds(20))
        }
        return agent
    }

    /// The agent's memory, in KiB.
    func residentKibibytes() throws -> Int? {
        guard let agent else { return nil }
        let line = try readFile("/proc/\(agent.pid)/status").split(separator: "\n")
            .first { $0.hasPrefix("VmRSS:") }
        return line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }
    }

    /// Adds pods until there are so many.
    mutating func grow(to count: Int) throws {
        while pods.count < count {
            let pod = try makePod()
            _ = try change("ADD", pod)
            pods.append(pod.namespace)
        }
    }

    /// Adds a pod and deletes it, and returns how long each took, in nanoseconds.
    ///
    /// Its namespace stays until ``release()``.
    mutating func measure() throws -> (add: UInt64, delete: UInt64) {
        let pod = try makePod()
        measured = pod
        return (try change("ADD", pod), try change("DEL", pod))
    }

    /// Lets go of the pod that was measured, and waits until the kernel has taken it apart.
    mutating func release() throws {
        guard let name = measured.map({ "pod\($0.number)" }) else { return }
        measured = nil
        var links = try RouteNetlink.open(in: outside)
        let deadline = ContinuousClock.now + .seconds(60)
        while (try? links.index(of: name)) != nil {
            guard ContinuousClock.now < deadline else {
                throw PluginBench.Failure(what: name, said: "somebody still holds its namespace")
            }
            pause(.milliseconds(5))
        }
    }

    private struct Pod {
        let number: Int
        let namespace: NetworkNamespace
        let address: IPAddress
    }

    private mutating func makePod() throws -> Pod {
        made += 1
        let namespace = try NetworkNamespace.create()
        let address = IPAddress(ipv4: 0x0a50_0000 + UInt32(made))
        var links = try RouteNetlink.open(in: namespace)
        try links.createVethPair("eth0", peer: "pod\(made)", in: outside)
        try links.addAddress(address, prefixLength: 16, to: "eth0")
        try links.setUp("eth0")
        return Pod(number: made, namespace: namespace, address: address)
    }

    /// Returns how long the programs ran, in nanoseconds.
    private func change(_ command: String, _ pod: Pod) throws -> UInt64 {
        switch subject {
        case .plugin: return try run(command, pod)
        case .restore(let tool):
            let texts = try RestoreText(Preset.fsm.plan(ownAddresses: [pod.address]))
                .files(command == "DEL")
            let files = try texts.map { family, text in
                let path = "\(directory)/\(family)"
                try OwnedDescriptor.open(path, .replace).write(text)
                return (tool.program(family), path)
            }
            return try files.reduce(0) { sum, file in
                let input = try OwnedDescriptor.open(file.1)
                return sum
                    + (try run([file.0, "--noflush"], input.rawValue, in: pod.namespace))
            }
        }
    }
}

// MARK: - Programs

extension PluginNode {
    private func run(_ command: String, _ pod: Pod?) throws -> UInt64 {
        let path = directory + "/input"
        try OwnedDescriptor.open(path, .replace).write(input(command, pod))
        let own = try ProcessIdentity.current().pid
        var variables = ["CNI_COMMAND=" + command, "CNI_PATH=/opt/cni/bin"]
        if let pod {
            variables += [
                "CNI_CONTAINERID=pod\(pod.number)", "CNI_IFNAME=eth0",
                "CNI_NETNS=/proc/\(own)/fd/\(pod.namespace.rawDescriptor)",
                "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME=pod\(pod.number)",
            ]
        }
        let input = try OwnedDescriptor.open(path)
        return try run([programs.plugin], input.rawValue, variables)
    }

    private func input(_ command: String, _ pod: Pod?) -> String {
        guard case .plugin(let mechanism) = subject else { return "" }
        let result = pod.map { pod in
            #", "prevResult": {"cniVersion": "1.1.0", "ips": [{"address": "\#(pod.address)/16"}]}"#
        }
        return """
            {"cniVersion": "1.1.0", "name": "bench", "type": "swerve-cni",
            "agentSocket": "\(socket)", "timeoutSeconds": 60, "runtimeConfig":
            {"io.kubernetes.cri.pod-annotations": {"swerve.dev/mode": "\(mechanism)"}}\(result ?? "")}
            """
    }

    /// Runs a program to its end, which must be a good one; returns how long it took, in nanoseconds.
    private func run(
        _ words: [String], _ input: CInt, _ variables: [String] = [],
        in namespace: NetworkNamespace? = nil
    ) throws -> UInt64 {
        let path = directory + "/output"
        let output = try OwnedDescriptor.open(path, .replace)
        var birth = ChildProcess.Birth(words)
        birth.environment += variables
        birth.namespace = namespace
        birth.input = input
        birth.output = output.rawValue
        birth.error = output.rawValue
        let start = monotonicNanoseconds()
        let status = try ChildProcess.start(birth).waitForExit()
        let duration = monotonicNanoseconds() - start
        guard status == 0 else {
            throw PluginBench.Failure(
                what: words.joined(separator: " "), said: try readFile(path))
        }
        return duration
    }
}

/// A plan's rules as iptables-restore(8) takes them, by our own compiler, and what removes them.
private struct RestoreText {
    private let sections: [RenderedPlan.Section]

    init(_ plan: RedirectionPlan) throws(RedirectionError) {
        sections = try IPTablesInspector(.legacy).render(plan).sections
    }

    func files(_ removing: Bool) -> [(AddressFamily, String)] {
        AddressFamily.allCases.map { family in
            let mine = sections.filter { $0.title.hasPrefix("\(family) ") }
            let lines = mine.flatMap { removing ? Self.reversed($0.lines) : Self.added($0.lines) }
            return (family, lines.joined(separator: "\n") + "\n")
        }
    }

    /// Chains of the kernel's are there, with others' rules.
    private static func added(_ lines: [String]) -> [String] {
        lines.filter { !$0.hasPrefix(":") || $0.contains(" - ") }
    }

    private static func reversed(_ lines: [String]) -> [String] {
        let chains = lines.filter { $0.hasPrefix(":") && $0.contains(" - ") }
            .compactMap { $0.dropFirst().split(separator: " ").first.map { String($0) } }
        let jumps = lines.filter { line in
            line.hasPrefix("-A ") && !chains.contains { line.hasPrefix("-A \($0) ") }
        }
        return lines.prefix(1) + jumps.map { "-D" + $0.dropFirst(2) }
            + chains.map { "-F \($0)" } + chains.map { "-X \($0)" } + ["COMMIT"]
    }
}

extension PluginBench.Tool {
    fileprivate func program(_ family: AddressFamily) -> String {
        (family == .ipv4 ? "iptables-" : "ip6tables-") + rawValue + "-restore"
    }
}
