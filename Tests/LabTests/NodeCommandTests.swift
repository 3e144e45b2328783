// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// `swerve apply`, `mode`, `status`, `remove` and `cleanup` as an operator uses them.
@Suite(.requiresKernel, .timeLimit(.minutes(2)))
struct NodeCommandTests {
    private let directory = TemporaryFile()
    private let pod: TestPod
    private let netns: String

    init() throws {
        pod = try TestPod.create("web")
        netns =
            "/proc/\(try ProcessIdentity.current().pid)/fd/\(pod.namespace.rawDescriptor)"
        try FileManager.default.createDirectory(
            atPath: directory.path, withIntermediateDirectories: false)
        let policy = """
            apiVersion: swerve.dev/v1
            kind: Policy
            preset: fsm
            outbound:
              exclude:
                ports: [22]
            """
        try Data(policy.utf8).write(to: URL(filePath: directory.path + "/policy.yaml"))
    }

    /// Runs `swerve` with the node's options; POLICY and NETNS are filled in.
    private func swerve(_ words: String...) throws -> LabTestSupport.Output {
        let values = ["POLICY": directory.path + "/policy.yaml", "NETNS": netns]
        return try LabTestSupport.swerve(
            words.map { values[$0] ?? $0 } + [
                "--state-dir", directory.path + "/state", "--pins", directory.path + "/pins",
            ], runtime: "/nonexistent")
    }

    /// Cleans up below a cgroup of the test's own, for others' tests have programs on theirs.
    private func cleanUp(_ words: String...) throws -> LabTestSupport.Output {
        let cgroup = try Cgroup.root().child("swerve-cleanup-\(UInt64.random(in: 0 ... .max))")
        try cgroup.create()
        defer { try? cgroup.remove() }
        return try LabTestSupport.swerve(
            ["cleanup"] + words.map { $0 == "NETNS" ? netns : $0 } + [
                "--state-dir", directory.path + "/state", "--pins", directory.path + "/pins",
                "--cgroup-root", cgroup.path,
            ], runtime: "/nonexistent")
    }

    private struct View: Decodable {
        let id: String
        let mechanism: String?
        let mode: String
        let reason: String
        let retiring: [String]
        let isThere: Bool?
    }

    private func status() throws -> [View] {
        let result = try swerve("status", "--json")
        #expect(result.status == 0, "\(result.error)")
        return try JSONDecoder().decode([View].self, from: Data(result.output.utf8))
    }

    private func hasTable() throws -> Bool {
        try StockTool.run("nft", "list", "tables", in: pod.namespace).output
            .contains("inet swerve")
    }

    @Test func `a workload is applied, switched, shown and removed`() throws {
        let before = try StockTool.Snapshot(of: pod.namespace)
        let apply = try swerve(
            "apply", "-f", "POLICY", "--netns", "NETNS", "--name", "web", "--mode", "nft")
        #expect(apply.status == 0, "\(apply.error)")
        #expect(apply.output == "web: redirected by nft (asked for)\n")
        #expect(try hasTable())
        let mode = try swerve("mode", "web", "legacy")
        #expect(mode.output == "web: redirected by legacy (asked for)\n", "\(mode.error)")
        #expect(try !hasTable())
        let views = try status()
        #expect(views.map(\.id) == ["web"])
        #expect(views.map(\.mechanism) == ["legacy"])
        #expect(views.map(\.retiring) == [[]])
        #expect(views.map(\.isThere) == [true])
        let off = try swerve("mode", "web", "none")
        #expect(off.output == "web: not redirected (mode none)\n", "\(off.error)")
        let back = try swerve("mode", "web", "nft")
        #expect(back.status == 0)
        #expect(try hasTable())
        let remove = try swerve("remove", "web")
        #expect(remove.status == 0, "\(remove.error)")
        #expect(try status().isEmpty)
        #expect(try StockTool.Snapshot(of: pod.namespace).nft == before.nft)
    }

    @Test func `other commands know a workload by its id`() throws {
        let apply = try swerve(
            "apply", "-f", "POLICY", "--netns", "NETNS", "--name", "web", "--mode", "nft")
        #expect(apply.status == 0, "\(apply.error)")
        let explain = try swerve("explain", "web", "--to", "192.0.2.7:22")
        #expect(explain.output.contains("port-excluded"), "\(explain.error)")
        #expect(explain.output.contains("nft, which the workload has"))
        let plan = try swerve("plan", "web", "--backend", "nft", "--diff")
        #expect(plan.status == 0, "\(plan.error)")
        #expect(!plan.output.contains("\n+ ") && !plan.output.contains("\n- "))
        let sidecar = try pod.namespace.listen(.ipv4, 15001, as: .sidecar)
        _ = try pod.namespace.connect(to: Endpoint(pod.peerAddress(.ipv4), 80))
        _ = try sidecar.accept()
        let counters = try swerve("counters", "web")
        #expect(counters.output.contains("outbound   outbound  1"), "\(counters)")
        #expect(try swerve("remove", "web").status == 0)
    }

    @Test func `what cannot be done says why, and what to do`() throws {
        let cases: [([String], status: Int, says: String)] = [
            (["apply", "--netns", "NETNS"], 2, "-f POLICY"),
            (["apply", "-f", "POLICY"], 2, "--netns PATH, or --cgroup PATH"),
            (["apply", "-f", "POLICY", "--netns", "NETNS"], 2, "say --name"),
            (["apply", "-f", "POLICY", "--netns", "web"], 2, "--netns web"),
            (["apply", "-f", "POLICY", "--netns", "NETNS", "--name", "a/b"], 2, "\"a/b\""),
            (["apply", "-f", "POLICY", "--netns", "/dev/null"], 2, "--netns /dev/null"),
            (
                ["apply", "-f", "POLICY", "--netns", "/proc/self/ns/net", "--name", "host"], 1,
                "shares the network namespace of the machine"
            ),
            (["mode", "web", "fast"], 2, "'fast'"), (["mode", "web", "nft"], 1, "\"web\""),
            (["remove", "web"], 1, "\"web\""), (["status", "web"], 1, "\"web\""),
            (["status", "--state-dir", "run"], 2, "--state-dir run"),
        ]
        for (words, status, says) in cases {
            let values = ["POLICY": directory.path + "/policy.yaml", "NETNS": netns]
            let options = words.contains("run") ? [] : ["--state-dir", directory.path + "/state"]
            let result = try LabTestSupport.swerve(
                words.map { values[$0] ?? $0 } + options, runtime: "/nonexistent")
            #expect(result.status == status, "\(words): \(result)")
            #expect(result.error.contains(says), "\(words): \(result.error)")
        }
        #expect(try swerve("status").output == "no workload is on record\n")
    }

    @Test func `what a cgroup cannot have is said before anything is made`() throws {
        let cgroup = try Cgroup.createUnique(prefix: "swerve-test")
        defer { try? cgroup.remove() }
        let auto = try swerve("apply", "-f", "POLICY", "--cgroup", cgroup.path)
        #expect(auto.status == 1)
        #expect(auto.error.contains("inbound redirection of a workload that is a cgroup"))
        #expect(auto.error.contains("it goes by network namespaces, not cgroups"))
        #expect(!FileManager.default.fileExists(atPath: directory.path + "/pins"))
        #expect(try status().isEmpty)
    }

    @Test func `a cleanup lists, removes, and looks again`() throws {
        let foreign = try StockTool.run("nft", "add", "table", "inet", "others", in: pod.namespace)
        #expect(foreign.status == 0)
        let before = try StockTool.Snapshot(of: pod.namespace)
        let apply = try swerve(
            "apply", "-f", "POLICY", "--netns", "NETNS", "--name", "web", "--mode", "nft")
        #expect(apply.status == 0, "\(apply.error)")
        // Nobody remembers having made the table.
        let record = directory.path + "/state/workloads/web.json"
        try FileManager.default.removeItem(atPath: record)
        let look = try cleanUp("--dry-run", "--netns", "NETNS")
        #expect(look.status == 0, "\(look.error)")
        #expect(look.output.contains("would remove"), "\(look.output)")
        #expect(try hasTable())
        let cleanup = try cleanUp("--netns", "NETNS")
        #expect(cleanup.status == 0, "\(cleanup.error)")
        #expect(try StockTool.Snapshot(of: pod.namespace) == before)
        let again = try cleanUp("--netns", "NETNS")
        #expect(again.output == "nothing of ours is on this node\n", "\(again)")
    }

    @Test func `a cleanup removes nothing where a newer version was, unless it is told to`() throws
    {
        let apply = try swerve(
            "apply", "-f", "POLICY", "--netns", "NETNS", "--name", "web", "--mode", "nft")
        #expect(apply.status == 0, "\(apply.error)")
        let pins = directory.path + "/pins/v99"
        try FileManager.default.createDirectory(atPath: pins, withIntermediateDirectories: true)
        let refused = try cleanUp("--netns", "NETNS")
        #expect(refused.status == 1)
        #expect(refused.error.contains("\(pins) is of version 99"), "\(refused)")
        #expect(try hasTable())
        // The rules go, and what is in no bpffs is nobody's pin.
        let forced = try cleanUp("--netns", "NETNS", "--force")
        #expect(forced.status == 1)
        #expect(forced.error.contains("it is no bpf filesystem"), "\(forced)")
        #expect(try !hasTable())
        #expect(FileManager.default.fileExists(atPath: pins))
    }

    private func blocksInterrupt(_ process: Int32) throws -> Bool {
        let lines = try readFile("/proc/\(process)/status").split(separator: "\n")
        let mask = lines.first { $0.hasPrefix("SigBlk:") }?.split(separator: "\t").last ?? ""
        return (UInt64(mask, radix: 16) ?? 0) & 2 != 0
    }

    @Test func `a signal waits for the end of what has begun`() async throws {
        let store = StateStore(directory.path + "/state")
        try store.prepare()
        let output = try OwnedDescriptor.pipe()
        var held = try FileLock.tryTake(store.lock)
        #expect(held != nil)
        let apply = try LabTestSupport.start(
            [
                "apply", "-f", directory.path + "/policy.yaml", "--netns", netns, "--name", "web",
                "--mode", "nft", "--state-dir", directory.path + "/state", "--pins",
                directory.path + "/pins",
            ], runtime: "/nonexistent", output: output.writer.rawValue,
            error: output.writer.rawValue)
        let reader = output.takeReader()
        // It has blocked the signal when it listens; bounded by the time limit.
        while try !blocksInterrupt(apply.pid) { try await Task.sleep(for: .milliseconds(10)) }
        try apply.signal(Signal.interrupt.rawValue)
        #expect(try reader.waitForInput(.seconds(60)))
        held = nil
        #expect(try apply.waitForExit(within: .seconds(60)) == 130)
        let text = String(decoding: try reader.readAll(), as: UTF8.self)
        #expect(text.contains("finishing") && text.contains("redirected by nft"), "\(text)")
        #expect(try hasTable())
        #expect(try swerve("remove", "web").status == 0)
    }

    @Test func `what was begun and has no record is shown`() throws {
        let store = StateStore(directory.path + "/state")
        try store.prepare()
        let apply = try swerve(
            "apply", "-f", "POLICY", "--netns", "NETNS", "--name", "web", "--mode", "nft")
        #expect(apply.status == 0, "\(apply.error)")
        let record = try #require(try store.record(of: "web"))
        _ = try store.begin(.apply(record: record), "web")
        try store.forget("web")
        let shown = try swerve("status")
        #expect(shown.output.contains("web") && shown.output.contains("unfinished"), "\(shown)")
        try Data("nonsense\n".utf8).write(
            to: URL(filePath: directory.path + "/state/journal/odd.journal"))
        let damaged = try swerve("status")
        #expect(damaged.status == 1)
        #expect(damaged.error.contains("odd.journal"), "\(damaged)")
        #expect(try swerve("remove", "web").status == 0)
        #expect(try !hasTable())
    }

    @Test func `a record that cannot be read is named, and the others are shown`() throws {
        let apply = try swerve(
            "apply", "-f", "POLICY", "--netns", "NETNS", "--name", "web", "--mode", "nft")
        #expect(apply.status == 0, "\(apply.error)")
        let odd = directory.path + "/state/workloads/odd.json"
        try Data(#"{"version": 2}"#.utf8).write(to: URL(filePath: odd))
        let status = try swerve("status")
        #expect(status.status == 1)
        #expect(status.output.contains("web"))
        #expect(status.error.contains("\(odd) has version 2"))
        #expect(try swerve("remove", "web").status == 0)
    }
}
