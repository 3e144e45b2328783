// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import CNIPlugin
import LinuxKernel
import OrderedJSON
import Testing

@Suite struct CommandTests {
    private func agent<Value>(
        _ network: TestNetwork, _ behavior: FakeAgent.Behavior = .redirected,
        _ body: (FakeAgent) throws -> Value
    ) rethrows -> Value {
        try FakeAgent.with(network.socket, { _ in behavior }, body)
    }

    @Test(arguments: CNIVersion.allCases)
    func `ADD answers what the plugins before have answered, and nothing else`(
        version: CNIVersion
    ) throws {
        let network = try TestNetwork()
        try agent(network) { agent in
            let answer = try PluginProcess("ADD").run(network.input(version))
            #expect(answer.status == 0)
            #expect(answer.log == [])
            #expect(try answer.json() == TestNetwork.result(version))
            #expect(agent.requests.map(\.call) == [.add])
        }
    }

    @Test(arguments: CNIVersion.allCases, CNIVersion.allCases)
    func `a result of one version becomes one of another`(
        from: CNIVersion, to: CNIVersion
    ) throws {
        let network = try TestNetwork()
        try agent(network) { _ in
            let input = network.input(to, ["prevResult": TestNetwork.result(from)])
            let answer = try PluginProcess("ADD").run(input)
            // What the older one cannot say is gone, and no newer word appears.
            let expected = try CNIResult(
                TestNetwork.result(min(from, to)), otherwise: from
            ).converted(to: to)
            #expect(try answer.json().unordered == expected.unordered)
            let ips = try #require(try answer.json()["ips"]?.elements)
            #expect(
                ips.map { $0["version"]?.text }
                    == (to < .v1_0_0 ? ["4", "6", "4"] : [nil, nil, nil]))
            let hasMTU = try answer.json()["interfaces"]?.elements?.contains { $0["mtu"] != nil }
            #expect(hasMTU == (from >= .v1_1_0 && to >= .v1_1_0))
        }
    }

    @Test func `the agent is told everything the runtime has told`() throws {
        let network = try TestNetwork()
        let annotations = JSON(members: [
            "swerve.dev/mode": .string("auto"), "note": .string("a \"b\"\n☃"),
        ])
        let given = JSON(members: [PluginConfiguration.annotationsCapability: annotations])
        let request = try agent(network) { agent in
            _ = try PluginProcess("ADD").run(network.input(.v1_0_0, ["runtimeConfig": given]))
            return try PodRequest(try #require(agent.requests.first).body)
        }
        #expect(
            request.attachment == Attachment(container: PluginProcess.container, interface: "eth0"))
        #expect(request.network == "shop-network")
        #expect(request.namespacePath == "/var/run/netns/cni-0c51")
        #expect(request.pod == PodIdentity(namespace: "shop", name: "web-0", uid: "0c21-7"))
        #expect(request.annotations == ["swerve.dev/mode": "auto", "note": "a \"b\"\n☃"])
        // The bridge's own address is not the pod's.
        #expect(request.addresses == ["10.244.1.7/24", "fd00::7/64"])
    }

    @Test func `ctr says nothing about the pod, podman only a name`() throws {
        let network = try TestNetwork()
        let requests = try agent(network) { agent in
            _ = try PluginProcess("ADD").with("CNI_ARGS", "").run(network.input())
            _ = try PluginProcess("ADD").with("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=one")
                .run(network.input())
            return try agent.requests.map { try PodRequest($0.body) }
        }
        #expect(requests.map(\.pod) == [PodIdentity(), PodIdentity(name: "one")])
        #expect(requests.map(\.annotations) == [nil, nil])
    }

    @Test(arguments: CNIVersion.allCases)
    func `DEL succeeds twice, the second time without a namespace`(version: CNIVersion) throws {
        let network = try TestNetwork()
        try agent(network, .answer(200, .object([]))) { agent in
            let first = try PluginProcess("DEL").run(network.input(version))
            let second = try PluginProcess("DEL").with("CNI_NETNS", "")
                .run(network.input(version, ["prevResult": nil]))
            for answer in [first, second] {
                #expect(answer.status == 0 && answer.output == "" && answer.log == [])
            }
            let requests = try agent.requests.map { try PodRequest($0.body) }
            #expect(requests.map(\.namespacePath) == ["/var/run/netns/cni-0c51", nil])
            #expect(agent.requests.map(\.call) == [.delete, .delete])
        }
    }

    @Test func `a DEL does with what an ADD has failed over`() throws {
        let network = try TestNetwork()
        try agent(network, .answer(200, .object([]))) { agent in
            let input = network.input(.v1_0_0, ["failurPolicy": .string("open")])
            #expect(try PluginProcess("ADD").run(input).error().code == 2)
            let answer = try PluginProcess("DEL").with("CNI_ARGS", "nonsense").run(input)
            #expect(answer.status == 0)
            #expect(answer.log.count == 1 && answer.log[0].contains("failurPolicy"))
            #expect(agent.requests.map(\.call) == [.delete])
        }
    }

    @Test func `CHECK is silent when all is well`() throws {
        let network = try TestNetwork()
        try agent(network) { agent in
            let answer = try PluginProcess("CHECK").run(network.input(.v0_4_0))
            #expect(answer.status == 0 && answer.output == "" && answer.log == [])
            #expect(agent.requests.map(\.call) == [.check])
            let missing = try PluginProcess("CHECK").run(
                network.input(.v1_0_0, ["prevResult": nil]))
            #expect(try missing.error().code == 7)
        }
    }

    @Test func `GC names what stays, and never takes silence for nothing`() throws {
        let network = try TestNetwork()
        let entry = JSON(members: ["containerID": .string("c1"), "ifname": .string("eth0")])
        let collect = PluginProcess("GC").with("CNI_CONTAINERID", nil).with("CNI_NETNS", nil)
            .with("CNI_IFNAME", nil).with("CNI_ARGS", nil)
        try agent(network, .answer(200, .object([]))) { agent in
            for name in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
                let answer = try collect.run(network.input(.v1_1_0, [name: .array([entry])]))
                #expect(answer.status == 0 && answer.output == "" && answer.log == [])
            }
            let none = try collect.run(network.input(.v1_1_0))
            #expect(try none.error().code == 7)
            let expected = CollectRequest(
                network: "shop-network",
                valid: [Attachment(container: "c1", interface: "eth0")])
            #expect(agent.requests.map(\.body) == [expected.json, expected.json])
        }
    }

    @Test func `STATUS needs no variable but the command`() throws {
        let network = try TestNetwork()
        var status = PluginProcess("STATUS")
        status.variables = ["CNI_COMMAND": "STATUS"]
        try agent(network, .answer(200, StatusAnswer(ready: true).json)) { agent in
            let answer = try status.run(network.input(.v1_1_0, ["prevResult": nil]))
            #expect(answer.status == 0 && answer.output == "" && answer.log == [])
            #expect(agent.requests.map(\.call) == [.status])
        }
    }

    @Test func `VERSION asks nobody, whatever else is in the environment`() throws {
        var version = PluginProcess("VERSION")
        for name in ["CNI_NETNS", "CNI_IFNAME", "CNI_PATH"] { version.variables[name] = "dummy" }
        version.variables["CNI_CONTAINERID"] = ""
        let all = CNIVersion.allCases.map { JSON.string($0.rawValue) }
        for (input, echoed) in [
            (#"{"cniVersion":"0.4.0"}"#, "0.4.0"), (#"{"cniVersion":"9.9.9"}"#, "9.9.9"),
            ("", "1.1.0"), ("{", "1.1.0"),
        ] {
            let answer = try version.run(Array(input.utf8))
            #expect(answer.status == 0 && answer.log == [])
            #expect(try answer.json()["supportedVersions"] == .array(all))
            #expect(try answer.json()["cniVersion"] == .string(echoed))
        }
    }
}
