// SPDX-License-Identifier: Apache-2.0

import AgentTestSupport
import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import Testing

@testable import HelmChart

/// The chart as Helm has it and as we do: one file of values, one meaning.
@Suite(.timeLimit(.minutes(4))) struct ChartTests {
    /// Values that reach every branch of the templates.
    private static let accepted = [
        "", "trafficInterceptionMode=ebpf,interceptor.debug=true",
        "trafficInterceptionMode=iptables",
        "trafficInterceptionMode=none,preset=istio",
        "policy.sidecar.uids={1500,1501},policy.inbound.mode=transparent",
        "image.repository=registry:5000/a/swerve,image.tag=v1\\,2,image.pullPolicy=Never",
        "interceptor.flomeshSocket=/var/run/fsm-cni.sock,interceptor.logFormat=text",
        "interceptor.nodeSelector.kubernetes\\.io/arch=amd64,interceptor.podLabels.a=true-ish",
        "interceptor.tolerations=null,interceptor.resources=null",
        "interceptor.maxUnavailable=10%,cni.failurePolicy=open,cni.timeoutSeconds=5",
        "uninstalling=true,interceptor.drift=report", "kubernetes.server=https://10.0.0.1:6443",
        "interceptor.podAnnotations.note=a: b # \"c\"", "cgroupRoot=/sys/fs/cgroup/unified",
        "cgroupRoot=", "uninstalling=true,cgroupRoot=", "cni.cacheDir=",
        "cni.cacheDir=/var/lib/cni/cache",
    ]

    /// Values that cannot be, each with the name that must be in what is said of it.
    private static let refused = [
        ("interceptor.debgu=true", "debgu"),
        ("trafficInterceptionMode=ebfp", "trafficInterceptionMode"),
        ("fsm.trafficInterceptionMode=ebpf", "fsm"), ("interceptor.debug=maybe", "debug"),
        ("cni.timeoutSeconds=0", "timeoutSeconds"), ("cni.timeoutSeconds=soon", "timeoutSeconds"),
        ("cni.binDir=relative", "binDir"), ("cni.cacheDir=relative", "cacheDir"),
        ("image.tag=12", "tag"), ("policy.mode=ebpf", "mode"),
        ("interceptor.podLabels.a=true", "podLabels"), ("kubernetes.server=http://x", "server"),
        ("interceptor.maxUnavailable=0", "maxUnavailable"), ("image.repository=", "repository"),
    ]

    private struct Answer {
        let values: JSON
        let manifests: [JSON]?
        let invalid: JSON?
        let refusal: String?
    }

    private static var folder: String {
        URL(filePath: #filePath).deletingLastPathComponent().path
    }

    static var repository: String { folder + "/../.." }

    private func askHelm(_ expressions: [String]) throws -> [Answer] {
        let cases = JSON.array(
            expressions.map { JSON(members: ["set": .string($0)]) })
        let result = try tool(
            [
                "env", "PYTHONPATH=\(Self.repository)/.build-tools/helm", "python3",
                Self.folder + "/helm.py", Self.repository + "/deploy/helm/swerve",
            ], input: cases.rendered())
        try #require(result.status == 0, "\(result.output); scripts/deps test installs Helm")
        let json = try JSON(parsing: result.output)
        #expect(json["lint"] == .array([]))
        return try (json["answers"]?.elements ?? []).map { answer in
            Answer(
                values: answer["values"] ?? .null,
                manifests: try answer["manifests"]?.members?.filter { $0.name.hasSuffix(".yaml") }
                    .flatMap { try documents($0.value.text ?? "") },
                invalid: answer["invalid"], refusal: answer["refused"]?.text)
        }
    }

    private func documents(_ text: String) throws -> [JSON] {
        try text.components(separatedBy: "\n---\n").map {
            try YAMLText.parse($0, named: "manifest").unmanaged
        }
    }

    /// Documents as texts that can be compared, whatever order they and their members are in.
    private func texts(_ documents: [JSON]) -> [String] {
        documents.map { $0.unordered.rendered() }.sorted()
    }

    @Test func `what we render is what Helm renders, to the last value`() throws {
        let chart = try Chart()
        let answers = try askHelm(Self.accepted)
        try #require(answers.count == Self.accepted.count)
        for (expression, answer) in zip(Self.accepted, answers) {
            var values = ChartValues()
            if !expression.isEmpty { try values.set(expression) }
            #expect(values.overrides.unordered == answer.values.unordered, "\(expression)")
            let ours = try texts(chart.manifests(values).flatMap(documents))
            #expect(answer.invalid == .array([]), "Kubernetes would not have it")
            let helms = texts(try #require(answer.manifests, "\(answer.refusal ?? "")"))
            #expect(ours == helms, "\(expression)")
            #expect(ours.count == 5)
        }
    }

    @Test func `what cannot be is refused by name, by Helm and by us`() throws {
        let chart = try Chart()
        for ((expression, name), answer) in zip(
            Self.refused, try askHelm(Self.refused.map(\.0)))
        {
            #expect(
                answer.refusal?.contains(name) == true, "\(expression): \(answer.refusal ?? "")")
            var values = ChartValues()
            try values.set(expression)
            #expect(values.overrides.unordered == answer.values.unordered, "\(expression)")
            let error = #expect(throws: ValuesError.self, "\(expression)") {
                try chart.manifests(values)
            }
            #expect(error?.description.contains(name) == true, "\(String(describing: error))")
        }
    }

    @Test func `the seeds' names lead to ours, and a policy that cannot be read is refused`() throws
    {
        let chart = try Chart()
        func problem(_ expression: String) throws -> String {
            var values = ChartValues()
            try values.set(expression)
            do {
                try chart.check(values)
                return ""
            } catch { return "\(error)" }
        }
        #expect(
            try problem("osm.trafficInterceptionMode=ebpf").contains("trafficInterceptionMode?"))
        #expect(try problem("fsm.fsmInterceptor.debug=true").contains("did you mean interceptor"))
        #expect(try problem("interceptor.debgu=true").contains("did you mean interceptor.debug?"))
        #expect(try problem("policy.sidecar.outboundPort=0").contains("outboundPort"))
        #expect(try problem("policy.outbound.exlude.ports={80}").contains("exlude"))
        #expect(try problem("policy.outbound.exclude.ports={80}") == "")
        for garbage in ["a", "=1", "a..b=1", "a[0]=1", "a={1", ".a=1"] {
            var values = ChartValues()
            #expect(throws: ValuesError.self, "\(garbage)") { try values.set(garbage) }
        }
    }

    @Test func `the manifests in the tree are those of the chart`() throws {
        let file = URL(filePath: Self.repository + "/deploy/manifests/swerve.yaml")
        let printed = try BuiltProgram.run("swerve", ["install", "--output", "yaml"])
        #expect(printed.status == 0)
        if ProcessInfo.processInfo.environment["SWERVE_UPDATE_GOLDEN"] != nil {
            try Data(printed.output.utf8).write(to: file)
        }
        #expect(
            try String(contentsOf: file, encoding: .utf8) == printed.output,
            "run this test with SWERVE_UPDATE_GOLDEN=1")
        let mentioned = try documents(printed.output).compactMap { $0["kind"]?.text }
        #expect(
            Set(mentioned) == [
                "Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap",
                "DaemonSet",
            ])
    }

    @Test func `whoever looks for pods is under no profile that hides them`() throws {
        for (removing, container) in [("false", "agent"), ("true", "cleanup")] {
            var values = ChartValues()
            try values.set("uninstalling=\(removing)")
            let template = try documents(#require(Chart().manifests(values).last))
                .first?["spec"]?["template"]
            let key = "container.apparmor.security.beta.kubernetes.io/" + container
            #expect(template?["metadata"]?["annotations"]?[key]?.text == "unconfined")
            let spec = template?["spec"]
            let containers = ["containers", "initContainers"].flatMap {
                spec?[$0]?.elements ?? []
            }
            #expect(containers.contains { $0["name"]?.text == container })
        }
    }

    @Test func `every option in the chart is one of the program it is given to`() throws {
        var values = ChartValues()
        try values.set("interceptor.debug=true,interceptor.flomeshSocket=/run/x.sock")
        try values.set("kubernetes.server=https://10.0.0.1")
        var count = 0
        for removing in [false, true] {
            try values.set("uninstalling=\(removing)")
            let sets = try Chart().manifests(values).flatMap(documents)
            let pod = try #require(
                sets.first { $0["kind"]?.text == "DaemonSet" }?["spec"]?["template"])
            let containers = ["initContainers", "containers"].flatMap {
                pod["spec"]?[$0]?.elements ?? []
            }
            for container in containers {
                let words = ["command", "args"].flatMap {
                    (container[$0]?.elements ?? []).compactMap(\.text)
                }
                let program = words.prefix { !$0.hasPrefix("-") }
                let help = try BuiltProgram.run(program[0], program.dropFirst() + ["--help"]).output
                for option in words.dropFirst(program.count) {
                    let name = String(option.prefix { $0 != "=" })
                    #expect(help.contains(name), "\(program.joined(separator: " ")) \(name)")
                    count += 1
                }
            }
        }
        #expect(count > 10)
    }
}

extension JSON {
    /// Without the label that says who applies it, in which Helm and we differ.
    fileprivate var unmanaged: JSON {
        switch self {
        case .object(let members):
            .object(
                members.compactMap { member in
                    member.name == "app.kubernetes.io/managed-by"
                        ? nil : Member(member.name, member.value.unmanaged)
                })
        case .array(let elements): .array(elements.map(\.unmanaged))
        // Texts in which values are quoted: read again, for their members' order is nobody's.
        case .string(let text)
        where text.contains("trafficInterceptionMode:") || text.contains("kind: Policy"):
            ((try? YAMLText.parse(text, named: "values")) ?? .null).unordered
        default: self
        }
    }
}
