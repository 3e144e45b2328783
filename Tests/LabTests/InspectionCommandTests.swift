// SPDX-License-Identifier: Apache-2.0

import Backends
import FoundationEssentials
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import Testing

@testable import Lab

/// `swerve explain`, `plan` and `counters` as an operator uses them.
@Suite(.serialized, .requiresKernel, .timeLimit(.minutes(5)))
struct InspectionCommandTests {
    private static let policy = """
        apiVersion: swerve.dev/v1
        kind: Policy
        preset: istio
        dns:
          capture: all
        outbound:
          exclude:
            cidrs: [10.0.0.0/8]
            ports: [22]
        """

    /// Runs `swerve` with a policy file in place of POLICY.
    private func swerve(
        _ arguments: [String], policy: String = policy
    ) throws -> LabTestSupport.Output {
        let file = TemporaryFile()
        try Data(policy.utf8).write(to: URL(filePath: file.path))
        let given = arguments.map { $0 == "POLICY" ? file.path : $0 }
        return try LabTestSupport.swerve(given, runtime: "/nonexistent")
    }

    private struct Explanation: Decodable {
        struct Backend: Decodable {
            let mechanism: String
            let deciders: [String]?
            let refusal: String?
        }
        let verdict: String
        let reason: String
        let backends: [Backend]

        func decider(_ mechanism: String) -> String? {
            backends.first { $0.mechanism == mechanism }?.deciders?.last
        }
    }

    private func explain(_ flow: [String], policy: String = policy) throws -> Explanation {
        let result = try swerve(
            ["explain", "--json", "-f", "POLICY", "--address", "10.1.1.2"] + flow, policy: policy)
        #expect(result.status == 0, "\(result.error)")
        return try JSONDecoder().decode(Explanation.self, from: Data(result.output.utf8))
    }

    @Test func `explain names the rule and the map entry that decide`() throws {
        let excluded = try explain(["--to", "10.9.9.9:443"])
        #expect(excluded.reason == "cidr-excluded")
        #expect(excluded.decider("ebpf") == "swerve_network_sets[10.0.0.0/8] = out-excluded")
        #expect(excluded.decider("nft")?.contains("ip daddr { 10.0.0.0/8 }") == true)
        #expect(excluded.decider("legacy")?.contains("-d 10.0.0.0/8") == true)

        let lookup = try explain(["--to", "192.0.2.53:53", "--protocol", "udp"])
        #expect(lookup.verdict == "redirect-dns to 15053 (dns)")
        #expect(lookup.decider("nft")?.contains("redirect to :15053") == true)

        let sidecar = try explain(["--to", "192.0.2.7:80", "--uid", "1337"])
        #expect(sidecar.reason == "sidecar")
        #expect(sidecar.decider("ebpf")?.hasPrefix("swerve_pods[sidecar-") == true)

        let inbound = try explain(["--inbound", "--to", "10.1.1.2:15090"])
        #expect(inbound.reason == "sidecar-port")
    }

    @Test func `explain shows who refuses the plan, and why`() throws {
        let policy = Self.policy + "\n    interfaces: [eth1]\n"
        let explanation = try explain(["--to", "192.0.2.7:80"], policy: policy)
        let ebpf = try #require(explanation.backends.first { $0.mechanism == "ebpf" })
        #expect(ebpf.deciders == nil)
        #expect(ebpf.refusal?.contains("interface exclusion") == true)
        #expect(explanation.decider("nft")?.contains("redirect to :15001") == true)
        let plan = try swerve(
            ["plan", "-f", "POLICY", "--address", "10.1.1.2", "--backend", "ebpf"],
            policy: policy)
        #expect(plan.status == 1)
        #expect(plan.output.contains("# refused: ebpf cannot express interface exclusion"))
    }

    @Test func `files are layers, and annotations the nearest`() throws {
        let file = TemporaryFile()
        let nearer = """
            apiVersion: swerve.dev/v1
            kind: Policy
            sidecar:
              outboundPort: 16001
            outbound:
              exclude:
                ports: [23]
            """
        try Data(nearer.utf8).write(to: URL(filePath: file.path))
        let flow = ["-f", file.path, "--annotation", "swerve.dev/exclude-outbound-ports=24"]
        for port in [22, 23, 24] {
            let excluded = try explain(flow + ["--to", "192.0.2.7:\(port)"])
            #expect(excluded.reason == "port-excluded", "\(port)")
        }
        let other = try explain(flow + ["--to", "192.0.2.7:25"])
        #expect(other.verdict == "redirect-outbound to 16001 (outbound)")
    }

    @Test func `what a mechanism does besides is told`() throws {
        let plan = try swerve(["plan", "-f", "POLICY", "--address", "10.1.1.2"])
        #expect(plan.output.contains("# note: MPTCP sockets are refused"))
        #expect(plan.output.contains("# note: whoever answers lookups over UDP on port 15053"))
    }

    @Test func `what plan prints, the stock tools load`() async throws {
        let namespace = try NetworkNamespace.create()
        let options = ["plan", "-f", "POLICY", "--address", "10.1.1.2", "--backend"]
        let nft = try swerve(options + ["nft"])
        let loaded = try StockTool.run("nft", "-f", "-", input: nft.output, in: namespace)
        #expect(loaded == StockTool.Result(status: 0, output: ""))

        let legacy = try swerve(options + ["legacy"]).output
        let parts = legacy.split(separator: "\n# ipv6 raw\n").map { String($0) }
        try #require(parts.count == 2)
        for (tool, text) in zip(["iptables-legacy-restore", "ip6tables-legacy-restore"], parts) {
            let restored = try StockTool.run(tool, input: text, in: namespace)
            #expect(restored == StockTool.Result(status: 0, output: ""), "\(tool)")
        }
    }

    @Test(arguments: [
        (["plan", "-f", "POLICY", "--diff"], 2, "--diff needs a workload"),
        (["plan", "--netns", "/etc/passwd"], 2, "--netns /etc/passwd: not a network namespace"),
        (["plan", "--netns", "/nonexistent"], 1, "/nonexistent"),
        (["plan", "--backend", "quic"], 2, "'ebpf', 'nft' or 'legacy'"),
        (["plan", "--annotation", "swerve.dev/mod=nft"], 1, "did you mean swerve.dev/mode?"),
        (["plan", "--annotation", "novalue"], 2, "novalue"),
        (["explain", "--to", "192.0.2.7"], 2, "--to"),
        (["explain", "--to", "192.0.2.7:80", "--from", "[::1]:1"], 2, "different families"),
        (["explain", "--to", "192.0.2.7:80", "--interface", "a/b"], 2, "--interface \"a/b\""),
        (["explain", "nobody", "--to", "192.0.2.7:80"], 1, "swerve lab up"),
        (["counters", "nobody"], 1, "swerve lab up"),
    ])
    func `bad input is named, and what to do about it`(
        _ arguments: [String], _ status: Int, _ complaint: String
    ) throws {
        let result = try swerve(arguments)
        #expect(result.status == status)
        #expect(result.error.contains(complaint), "\(result.error)")
        #expect(result.output.isEmpty)
    }

    @Test func `every mistake in a file is reported with its line`() throws {
        let result = try swerve(
            ["plan", "-f", "POLICY"],
            policy: """
                apiVersion: swerve.dev/v1
                kind: Policy
                mod: ebpf
                outbound:
                  exclude:
                    ports: [80a, 70000]
                """)
        #expect(result.status == 1)
        for part in [":3:1: mod", "did you mean mode?", ":6:13:", "\"80a\"", ":6:18:", "\"70000\""]
        {
            #expect(result.error.contains(part), "\(part)")
        }
    }

    @Test(arguments: Backends.built)
    func `a lab with a policy counts and shows what is installed`(
        _ mechanism: Mechanism
    ) async throws {
        let file = TemporaryFile()
        let policy = Self.policy.replacing("10.0.0.0/8", with: "192.0.2.0/24")
        try Data(policy.utf8).write(to: URL(filePath: file.path))
        try await LabTestSupport.withRuntimeDirectory { runtime in
            func run(_ arguments: String...) throws -> String {
                let result = try LabTestSupport.swerve(arguments, runtime: runtime)
                #expect(result.status == 0, "\(arguments) \(result.error)")
                return result.output
            }
            _ = try run("lab", "up", "--mechanism", "\(mechanism)", "--policy", file.path)
            _ = try run("lab", "run")

            let counters = try run("counters", "ok-v1")
            #expect(
                counters.split(separator: "\n").contains { line in
                    line.split(separator: " ") == ["inbound", "inbound", "2"]
                })
            let explained = try run("explain", "curl", "--to", "198.51.100.7:80")
            #expect(explained.contains("\n\(mechanism), which the workload has\n"))
            let same = try run("plan", "curl", "--backend", "\(mechanism)", "--diff")
            #expect(!same.split(separator: "\n").contains { "+-".contains($0.prefix(1)) })
            let other = try run(
                "plan", "curl", "--backend", "\(mechanism)", "--diff", "--annotation",
                "traffic.sidecar.istio.io/excludeOutboundPorts=22,9999")
            #expect(
                other.split(separator: "\n").contains { line in
                    line.hasPrefix("+ ") && line.contains("9999")
                })
            let elsewhere = try LabTestSupport.swerve(
                ["lab", "run", "--policy", "/dev/null"], runtime: runtime)
            #expect(elsewhere.status != 0)
            _ = try run("lab", "down")
        }
    }
}
