// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LibBPF
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// A node of the test's own: a cgroup, a state directory, a bpffs, and a pod; and what a process
/// that works on it is told.
struct EngineNode: Sendable {
    let pod: TestPod
    let cgroup: Cgroup
    let directory: String
    /// The newest kernel whose features are used.
    let ceiling: KernelVersion?

    var state: String { directory + "/state" }
    var pins: String { directory + "/bpf/swerve" }
    var lockFile: String { directory + "/xtables.lock" }
    var namespace: String {
        get throws {
            "/proc/\(try ProcessIdentity.current().pid)/fd/\(pod.namespace.rawDescriptor)"
        }
    }

    /// Another plan than the pod's own, whose inbound is transparent where that is asked for.
    func plan(_ name: PlanName) -> RedirectionPlan {
        var plan = pod.plan
        switch name {
        case .own: break
        case .other: plan.outbound.excludedPorts = [7]
        case .transparent: plan.inboundMode = .transparent(mark: 0x539, table: 133)
        }
        return plan
    }

    enum PlanName: String, CaseIterable, Codable, Sendable { case own, other, transparent }

    func planFile(_ name: PlanName) -> String { "\(directory)/\(name.rawValue).json" }

    /// Makes a node, runs `body`, and removes it all.
    ///
    /// For an exit test: the process lives in the node's cgroup meanwhile.
    static func with(
        below ceiling: KernelVersion? = nil, _ body: (EngineNode) async throws -> Void
    ) async throws {
        do {
            try await inTestCgroup(ceiling, body)
        } catch {
            // Thrown on, it would be told without its words.
            Issue.record("\(error)")
        }
    }

    private static func inTestCgroup(
        _ ceiling: KernelVersion?, _ body: (EngineNode) async throws -> Void
    ) async throws {
        try await withTestCgroup { cgroup in
            let directory = "/tmp/swerve-node-\(UInt64.random(in: 0 ... .max))"
            let files = FileManager.default
            try files.createDirectory(
                atPath: directory + "/bpf", withIntermediateDirectories: true)
            defer { try? files.removeItem(atPath: directory) }
            let mount = try StockTool.run(
                "mount", "-t", "bpf", "bpf", directory + "/bpf", in: .current())
            #expect(mount.status == 0, "\(mount.output)")
            let pod = try TestPod.create("web")
            let node = EngineNode(
                pod: pod, cgroup: cgroup, directory: directory, ceiling: ceiling)
            for name in PlanName.allCases {
                try JSONEncoder().encode(node.plan(name))
                    .write(to: URL(filePath: node.planFile(name)))
            }
            try node.makeLegacyTables()
            try node.loadPrograms()
            let result: Result<Void, any Error>
            do {
                try await body(node)
                result = .success(())
            } catch {
                result = .failure(error)
            }
            let unmount = try StockTool.run("umount", directory + "/bpf", in: .current())
            #expect(unmount.status == 0, "\(unmount.output)")
            try result.get()
        }
    }

    /// The kernel makes a legacy table at the first look at it, and never removes it.
    private func makeLegacyTables() throws {
        for tool in ["iptables-legacy", "ip6tables-legacy"] {
            for table in ["raw", "mangle", "nat", "filter"] {
                let look = try StockTool.run(tool, "-t", table, "-S", in: pod.namespace)
                #expect(look.status == 0, "\(look.output)")
            }
        }
    }

    /// Programs and maps are the node's, and stay until the node is cleaned up.
    private func loadPrograms() throws {
        let host = try host(["apply", "ebpf", planFile(.own), "remove"])
        #expect(host.status == 0, "\(host.output)")
    }

    /// The command line of a process that does `words`; see `EngineHost`.
    func arguments(_ words: [String]) throws -> [String] {
        let features = ceiling.map { "\($0)" } ?? "all"
        let own = try #require(pod.workload.cgroup).path
        return try [state, pins, cgroup.path, lockFile, features, namespace, own] + words
    }

    /// The options of this build's programs.
    var options: [String] {
        [
            "--state-dir", state, "--pins", pins, "--cgroup-root", cgroup.path,
        ] + (ceiling.map { ["--max-features", "\($0)"] } ?? [])
    }

    /// Runs a process to its end; the status is 128 + 9 where it killed itself.
    func host(_ words: [String]) throws -> BuiltProgram.Result {
        try BuiltProgram.run("EngineHost", arguments(words))
    }
}

/// What is in the pod's namespace, and beside it, that redirection could leave.
struct Leavings: Equatable {
    let rules: StockTool.Snapshot
    let routing: [String]
    let qdiscs: String
    let programs: String
    let pins: [String]
    let state: [String]
    /// What is in the maps of plans, connections and counts.
    let entries: String
    /// The sysctl of transparent inbound.
    let acceptsMarks: String

    init(of node: EngineNode) throws {
        let namespace = node.pod.namespace
        acceptsMarks = try namespace.run { () throws(KernelError) in
            try readFile("/proc/sys/net/ipv4/tcp_fwmark_accept")
        }
        rules = try StockTool.Snapshot(of: namespace)
        routing = try ["-4", "-6"].flatMap { family in
            try [["rule", "show"], ["route", "show", "table", "all"]].flatMap { words in
                try StockTool.run(["ip", family] + words, in: namespace).output
                    .split(separator: "\n").map(String.init)
                    // The kernel's own come and go with its link-local addresses.
                    .filter { !$0.contains(" proto kernel ") }
            }
        }
        qdiscs = try StockTool.run("tc", "qdisc", "show", in: namespace).output
        programs = try [node.cgroup, node.pod.workload.cgroup].compactMap(\.self).map { cgroup in
            try StockTool.run("bpftool", "cgroup", "show", cgroup.path, in: .current()).output
        }.joined()
        pins = try StockTool.run(
            "find", node.directory + "/bpf", "-mindepth", "1", "-type", "f", in: .current()
        ).output.split(separator: "\n").map(String.init).sorted()
        entries = try Self.entries(of: node)
        state = ["workloads", "journal"].flatMap { part in
            Directory(path: node.state + "/" + part).names().map { "\(part)/\($0)" }
        }
    }
}

extension Leavings {
    /// As bpftool shows them, a map after the other.
    private static func entries(of node: EngineNode) throws -> String {
        let maps = try StockTool.run(
            "find", node.pins, "-path", "*/maps/*", in: .current()
        ).output.split(separator: "\n").map(String.init).sorted()
        // Failures are counted for the node; the others hold sockets, and go with them. Of places
        // it counts how many somebody has.
        let lasting = ["stats", "sockets", "listening", "handovers"]
        let dumps = maps.filter { map in !lasting.contains { map.contains($0) } }
            .map { "map dump pinned \($0)\n" }.joined()
        let places = try maps.filter { $0.hasSuffix("/swerve_handovers") }.map { path in
            let taken = try BPFMap.open(pinned: path, name: "swerve_handovers")?.count(.taken)
            return "\(path): \(taken ?? 0) taken\n"
        }
        return try StockTool.run("bpftool", "batch", "file", "-", input: dumps, in: .current())
            .output + places.joined()
    }

    /// What one has and the other has not, for people.
    func difference(from other: Leavings) -> String {
        func lines(_ leavings: Leavings) -> [String] {
            "\(leavings)".replacing("\\n", with: "\n").split(separator: "\n").map(String.init)
        }
        return lines(self).difference(from: lines(other)).map { change in
            switch change {
            case .insert(_, let line, _): "+ " + line
            case .remove(_, let line, _): "- " + line
            }
        }.joined(separator: "\n")
    }
}

/// What `EngineHost report` tells of a workload.
struct HostReport: Decodable, Equatable {
    let mechanism: String?
    let plan: String?
    let touched: [String]
}
