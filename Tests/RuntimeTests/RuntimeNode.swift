// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import Testing

/// A node for real runtimes, whose plugins are a chain that ends with ours.
///
/// Its namespaces, files and cgroup are its own, and gone with the test, however that ends.
///
/// For an exit test: the process lives in the node's cgroup meanwhile, where programs are attached.
struct RuntimeNode {
    let directory: String
    let cgroup: Cgroup
    /// The node's network, in which pods' addresses can be reached.
    let namespace: NetworkNamespace
    /// The shell that holds the node's namespaces, and its number.
    private let shell: Piped
    private let holder: String

    var socket: String { directory + "/state/agent.sock" }

    /// The node's own address on the pods' bridge.
    static let gateway = "10.88.7.1"
    static let image = "localhost/swerve-test:1"

    /// Makes a node, runs `body`, and removes it all.
    static func with(_ body: (RuntimeNode) async throws -> Void) async throws {
        let home = try Cgroup.current()
        let cgroup = try Cgroup.createUnique(prefix: "swerve-test")
        let directory = "/tmp/swerve-runtime-\(UInt32.random(in: 0 ... .max))"
        let keeper = try Piped([rig("keeper"), directory, cgroup.path])
        do {
            for place in ["bin", "net.d", "logs"] {
                try FileManager.default.createDirectory(
                    atPath: "\(directory)/\(place)", withIntermediateDirectories: true)
            }
            for place in ["test", "node"] { try cgroup.child(place).create() }
            try cgroup.child("test").add(0)
            let node = try RuntimeNode(directory, cgroup)
            try await body(node)
        } catch {
            // Thrown on, it would be told without its words.
            Issue.record("\(error)\n\(lastWords(in: directory))")
        }
        try home.add(0)
        #expect(try keeper.finish() == 0)
        #expect(!FileManager.default.fileExists(atPath: cgroup.path))
        #expect(!FileManager.default.fileExists(atPath: directory))
    }

    /// What those who run there have said last, which goes with the node.
    private static func lastWords(in directory: String) -> String {
        ["containerd.log", "agent.log", "calls"].map { name in
            let lines = ((try? readFile("\(directory)/\(name)")) ?? "").split(separator: "\n")
            return "--- \(name)\n" + lines.suffix(50).joined(separator: "\n")
        }.joined(separator: "\n")
    }

    private init(_ directory: String, _ cgroup: Cgroup) throws {
        self.directory = directory
        self.cgroup = cgroup
        let unshare = ["unshare", "--mount", "--net", "--propagation", "private"]
        shell = try Piped(unshare + [Self.rig("node"), directory], in: cgroup.child("node"))
        holder = try #require(try shell.line(), "the node's namespaces cannot be made")
        namespace = try NetworkNamespace.open("/proc/\(holder)/ns/net")
        try linkPlugins()
        try writeChain()
    }

    /// A file of the tests' own tools.
    static func rig(_ name: String) -> String {
        Bundle.module.path(forResource: "Rig/" + name, ofType: nil) ?? "Rig/\(name) is missing"
    }

    private func linkPlugins() throws {
        let files = FileManager.default
        for name in ["bridge", "host-local", "loopback", "portmap"] {
            try files.createSymbolicLink(
                atPath: "\(directory)/bin/\(name)", withDestinationPath: "/usr/lib/cni/\(name)")
        }
        // What a runtime starts writes down what it was told, and becomes the plugin.
        try files.copyItem(atPath: Self.rig("plugin"), toPath: directory + "/bin/swerve-cni")
        try files.createSymbolicLink(
            atPath: directory + "/swerve-cni", withDestinationPath: PluginProcess.ours)
    }

    /// What the node's operator wrote, with our entry at its end; or what the cluster's network writes,
    /// which knows nothing of us.
    func writeChain(withEntry: Bool = true) throws {
        let entry = """
            , {"type": "swerve-cni", "agentSocket": "\(socket)", "capabilities":
              {"io.kubernetes.cri.pod-annotations": true}}
            """
        try write(
            Self.chain,
            """
            {"cniVersion": "1.0.0", "name": "pods", "plugins": [
              {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": {
                "type": "host-local", "ranges": [[{"subnet": "10.88.7.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}]}},
              {"type": "portmap", "capabilities": {"portMappings": true}}\(withEntry ? entry : "")]}
            """)
    }

    static let chain = "net.d/10-pods.conflist"

    func write(_ name: String, _ text: String) throws {
        try OwnedDescriptor.open("\(directory)/\(name)", .replace).write(text)
    }

    func read(_ name: String) -> String { (try? readFile("\(directory)/\(name)")) ?? "" }
}

// MARK: - What runs there

extension RuntimeNode {
    /// How to run a program on the node, for `ChildProcess`; in its network, or in the tests'.
    func birth(
        _ words: [String], _ variables: [String: String] = [:], inNetwork: Bool = true
    ) -> ChildProcess.Birth {
        let enter = ["nsenter", "--target", holder, "--mount"] + (inNetwork ? ["--net"] : [])
        var birth = ChildProcess.Birth(enter + ["--"] + words)
        birth.environment += variables.map { "\($0.key)=\($0.value)" }
        birth.cgroup = cgroup.child("node")
        return birth
    }

    /// Starts a program that goes with the test; what it says is in `log`, a file of the node's.
    func start(
        _ words: [String], log: String, inNetwork: Bool = true
    ) throws -> LeashedProcess {
        let output = try OwnedDescriptor.open("\(directory)/\(log)", .append)
        var birth = birth(words, inNetwork: inNetwork)
        birth.output = output.rawValue
        birth.error = output.rawValue
        return try LeashedProcess(birth)
    }

    /// Runs a program to its end.
    func run(
        _ words: [String], _ variables: [String: String] = [:]
    ) throws -> StockTool.Result {
        let output = try OwnedDescriptor.pipe()
        let nothing = try OwnedDescriptor.open("/dev/null")
        var birth = birth(["timeout", "60"] + words, variables)
        birth.input = nothing.rawValue
        birth.output = output.writer.rawValue
        birth.error = output.writer.rawValue
        let child = try ChildProcess.start(birth)
        let text = String(decoding: try output.takeReader().readAll(), as: UTF8.self)
        return StockTool.Result(status: try child.waitForExit(), output: text)
    }

    /// Runs `body` beside an agent, which is killed then: what it leaves is redirection.
    ///
    /// `inNetwork`: in the node's network, out of which no server of the tests can be reached.
    func withAgent(
        _ options: [String] = [], inNetwork: Bool = true, _ body: () async throws -> Void
    ) async throws {
        let recoveries = read("agent.log").components(separatedBy: "recovered").count
        let agent = try start(
            [
                BuiltProgram.path("swerved"), "--state-dir", directory + "/state", "--pins",
                directory + "/bpf/swerve", "--cgroup-root", cgroup.path, "--period", "0.5",
            ] + options, log: "agent.log", inNetwork: inNetwork)
        try await waitUntil {
            read("agent.log").components(separatedBy: "recovered").count > recoveries
        }
        try await body()
        try agent.stop()
    }

    /// Waits until the agent has had a pod follow what `change` has the cluster say.
    func follow(_ change: () -> Void) async throws {
        func count() -> Int {
            read("agent.log").components(separatedBy: "follows what is said of it").count
        }
        let before = count()
        change()
        try await waitUntil { count() > before }
    }

    func ask(_ method: String, _ target: String, _ body: String = "") throws -> HTTPReply {
        try TestRequest(method, target, body).ask(socket)
    }

    /// The pods that the agent knows.
    func workloads() throws -> [JSON] {
        try JSON(parsing: ask("GET", "/v1/pods").text)["workloads"]?.elements ?? []
    }

    /// What runtimes have said to our plugin, a line each.
    var calls: [String] { read("calls").split(separator: "\n").map(String.init) }

    /// Opens a namespace by a path of the node's.
    func open(_ path: String) throws -> NetworkNamespace {
        // A path in /proc means the same everywhere, and goes through no other root.
        try NetworkNamespace.open(path.hasPrefix("/proc/") ? path : "/proc/\(holder)/root" + path)
    }

    /// What is left of pods on the node: interfaces of the bridge, namespaces, addresses.
    func remains() throws -> String {
        try run([
            "sh", "-c",
            """
            ip -o link show type veth | sed 's/@.*//'
            ls /run/netns
            ls /var/lib/cni/networks/pods 2>/dev/null | grep -v -e last_reserved -e lock
            true
            """,
        ]).output
    }
}
