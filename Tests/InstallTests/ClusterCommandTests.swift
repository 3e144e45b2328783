// SPDX-License-Identifier: Apache-2.0

import Foundation
import HelmChart
import KernelTestSupport
import OrderedJSON
import Testing

/// What the commands ask of a cluster, in which order, and that they ask nothing when they cannot.
@Suite(.timeLimit(.minutes(2))) struct ClusterCommandTests {
    private func daemonSet(_ manifest: String) throws -> JSON {
        try #require(
            try manifest.components(separatedBy: "\n---\n")
                .map { try YAMLText.parse($0, named: "manifest") }
                .first { $0["kind"]?.text == "DaemonSet" })
    }

    @Test func `install applies what it renders, and waits when asked`() throws {
        let cluster = try FakeCluster()
        try cluster.put("answer.apply.-f", "daemonset.apps/swerve created\n")
        let result = try cluster.swerve([
            "install", "--set", "trafficInterceptionMode=ebpf,interceptor.debug=true",
            "--set-string", "image.tag=12", "--namespace", "mesh", "--wait", "--context", "east",
        ])
        #expect(result.status == 0 && result.output.contains("created"), "\(result.output)")
        #expect(
            cluster.calls == [
                "--context=east apply -f -",
                "--context=east rollout status daemonset/swerve --namespace mesh --timeout 300s",
            ])
        let manifest = cluster.input(0)
        #expect(manifest.contains("mode: ebpf") && manifest.contains("namespace: mesh"))
        let pod = try daemonSet(manifest)["spec"]?["template"]?["spec"]
        let agent = pod?["containers"]?.elements?.first
        #expect(agent?["image"]?.text == "swerve:12")
        #expect(agent?["args"]?.elements?.contains(.string("--log-level=debug")) == true)
        #expect(agent?["securityContext"]?["privileged"] == nil)
        #expect(pod?["hostNetwork"] == .bool(true))
    }

    @Test func `what cannot be is refused before the cluster is asked`() throws {
        let cluster = try FakeCluster()
        for (words, text) in [
            (["--set", "interceptor.debgu=true"], "did you mean interceptor.debug?"),
            (["--set", "trafficInterceptionMode=ebfp"], "auto, ebpf, iptables"),
            (["--set", "policy.sidecar.outboundPort=99999"], "outboundPort"),
            (["-f", "/nowhere/values.yaml"], "/nowhere/values.yaml"),
            (["-f", "/dev/null", "--set", "nonsense"], "name=value"),
        ] {
            let result = try cluster.swerve(["install"] + words)
            #expect(result.status == 1 && result.output.contains(text), "\(result.output)")
        }
        #expect(try cluster.swerve(["install", "--namespace", "A b"]).status == 2)
        #expect(try cluster.swerve(["namespace", "add", "kube-system"]).status == 2)
        #expect(try cluster.swerve(["namespace", "add", "--all"]).status == 2)
        #expect(try cluster.swerve(["namespace", "add", "a", "--mode", "ebfp"]).status == 2)
        #expect(cluster.calls.isEmpty)
        let without = try cluster.swerve(["install"], finds: false)
        #expect(without.status == 1 && without.output.contains("kubectl is needed"))
        #expect(try cluster.swerve(["install", "--output", "yaml"], finds: false).status == 0)
    }

    @Test func `uninstall takes the plugin out of every node before anything is deleted`() throws {
        let cluster = try FakeCluster()
        let absent = try cluster.swerve(["uninstall"])
        #expect(absent.status == 1 && absent.output.contains("is not installed"))
        #expect(cluster.calls.count == 1)
        try cluster.put(
            "answer.get.configmap", "image: {tag: v7}\ncni: {binDir: /k3s/bin}\n#version 0.0.7")
        let result = try cluster.swerve(["uninstall", "--timeout", "9"])
        #expect(result.status == 0, "\(result.output)")
        #expect(
            cluster.calls.dropFirst(2).map { $0.split(separator: " ")[0] } == [
                "apply", "rollout", "delete",
            ])
        let pod = try daemonSet(cluster.input(2))["spec"]?["template"]?["spec"]
        let steps = (pod?["initContainers"]?.elements ?? []).map { $0["command"] ?? .null }
        #expect(steps.first?.rendered().hasPrefix(#"["swerve","node","uninstall""#) == true)
        #expect(steps.last?.rendered() == #"["swerve","cleanup"]"#)
        #expect(pod?["volumes"]?.rendered().contains("/k3s/bin") == true)
        #expect(pod?["initContainers"]?.rendered().contains("swerve:v7") == true)
        let deleted = cluster.input(4)
        #expect(deleted.contains("kind: DaemonSet") && !deleted.contains("kind: Namespace"))
    }

    @Test func `the nodes remove with the version they have`() throws {
        let cluster = try FakeCluster()
        try cluster.put("answer.get.configmap", "image: {tag: \"\"}\n#version 0.0.7")
        let result = try cluster.swerve(["uninstall"])
        #expect(result.status == 0, "\(result.output)")
        #expect(cluster.input(1).contains("swerve:0.0.7"), "\(cluster.input(1))")
        #expect(cluster.calls.first?.contains("labels") == true, "\(cluster.calls)")
    }

    @Test func `nothing is deleted where a node does not answer`() throws {
        let cluster = try FakeCluster()
        try cluster.put("answer.get.configmap", "image: {tag: \"7\"}\n#version ")
        try cluster.put("fail.rollout", "")
        let result = try cluster.swerve(["uninstall"])
        #expect(result.status == 1 && result.output.contains("kubectl says no"))
        #expect(!cluster.calls.contains { $0.hasPrefix("delete") })
    }

    @Test func `namespaces are annotated, and listed with what the mesh says`() throws {
        let cluster = try FakeCluster()
        #expect(try cluster.swerve(["namespace", "add", "a", "b", "--mode", "nft"]).status == 0)
        #expect(try cluster.swerve(["namespace", "remove", "a"]).status == 0)
        #expect(
            cluster.calls == [
                "annotate --overwrite namespace a b swerve.dev/mode=nft",
                "annotate namespace a swerve.dev/mode-",
            ])
        try cluster.put(
            "answer.get.namespaces",
            #"""
            {"items": [
              {"metadata": {"name": "a", "annotations": {"swerve.dev/mode": "nft"}}},
              {"metadata": {"name": "b", "labels": {"flomesh.io/monitored-by": "fsm"}}},
              {"metadata": {"name": "c"}}]}
            """#)
        let list = try cluster.swerve(["namespace", "list", "--json"])
        let rows = try JSON(parsing: list.output).elements ?? []
        #expect(rows.map { $0["name"]?.text } == ["a", "b"], "\(list.output)")
        #expect(rows.map { $0["mode"]?.text } == ["nft", nil])
        #expect(rows.map { $0["mesh"]?.text } == [nil, "fsm"])
        #expect(try cluster.swerve(["namespace", "list"]).output.contains("nft"))
        try cluster.put("answer.get.namespaces", "no JSON")
        #expect(try cluster.swerve(["namespace", "list"]).status == 1)
    }

    @Test func `versions are told, whatever is missing`() throws {
        let cluster = try FakeCluster()
        let words = ["version", "--state-dir", cluster.directory, "--pins", cluster.directory]
        let text = try cluster.swerve(words)
        #expect(text.status == 0 && text.output.contains("no agent listens"), "\(text.output)")
        let json = try JSON(parsing: try cluster.swerve(words + ["--json"]).output)
        #expect(json["client"]?.text == (try Chart().version))
        #expect(json["agent"] == nil && json["kernel"]?.text?.isEmpty == false)
    }
}
