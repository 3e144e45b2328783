// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import CNIPlugin
import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import SeededRandom
import Testing

@Suite struct FailureTests {
    /// What an agent may do instead of answering; each is worth another try.
    private static let troubles: [String: FakeAgent.Behavior] = [
        "silence": .silence,
        "the end": .bytes(""),
        "half a head": .bytes("HTTP/1.1 200 O"),
        "half an answer, and silence": .bytes(
            "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", staysOpen: true),
        "half an answer": .bytes("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"),
        "another protocol": .bytes("220 mail.example.org ESMTP\r\n\r\n"),
        "no JSON": .bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        "no such path": .bytes("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        "an error without a reason": .bytes("HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}"),
        "an answer to something else": .answer(200, JSON(members: ["hello": .bool(true)])),
        "another try": .refusal(
            AgentError("the namespace is being made", remedy: "wait", retryable: true)),
    ]

    @Test(arguments: troubles.keys.sorted())
    func `a pod that cannot be redirected does not start, and is tried again`(
        trouble: String
    ) throws {
        let network = try TestNetwork()
        let behavior = try #require(Self.troubles[trouble])
        let input = network.input(.v1_0_0, ["timeoutSeconds": JSON(1)])
        try FakeAgent.with(network.socket, { _ in behavior }) { agent in
            let error = try PluginProcess("ADD").run(input).error()
            #expect(error.code == 11)
            #expect(agent.requests.map(\.call) == [.add], "it has been asked")
            #expect(!error.details.isEmpty)
        }
    }

    @Test func `without an agent every command says so in its own way`() throws {
        let network = try TestNetwork()
        let collect = network.input(.v1_1_0, ["cni.dev/valid-attachments": .array([])])
        for (command, code) in [("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)] {
            let error = try PluginProcess(command).run(collect).error()
            #expect(error.code == code, "\(command)")
            #expect(error.message.contains(network.socket))
            #expect(error.details.contains("start swerved"))
        }
        let gone = try PluginProcess("DEL").run(network.input())
        #expect(gone.status == 0 && gone.output == "" && gone.log.count == 1)
    }

    @Test func `a refusal for good names field, value and remedy`() throws {
        let network = try TestNetwork()
        let refusal = AgentError(
            "is no mode", field: "swerve.dev/mode", value: "ebfp", remedy: "use auto or ebpf",
            retryable: false)
        try FakeAgent.with(network.socket, { _ in .refusal(refusal) }) { _ in
            for command in ["ADD", "CHECK"] {
                let error = try PluginProcess(command).run(network.input()).error()
                #expect(error.code == 100)
                #expect(error.message == "swerve-cni: swerve.dev/mode (ebfp): is no mode")
                #expect(error.details == "use auto or ebpf")
            }
            // What will never work does not hold a pod that wants to go.
            #expect(try PluginProcess("DEL").run(network.input()).status == 0)
        }
        let later = AgentError("busy", retryable: true)
        try FakeAgent.with(network.socket + "2", { _ in .refusal(later, status: 503) }) { _ in
            let input = network.input(.v1_0_0, ["agentSocket": .string(network.socket + "2")])
            let error = try PluginProcess("DEL").run(input).error()
            #expect(error.code == 11)
        }
    }

    @Test(arguments: [(false, 50), (true, 51)])
    func `STATUS tells what the agent lacks`(limited: Bool, code: Int) throws {
        let network = try TestNetwork()
        let answer = StatusAnswer(ready: false, limited: limited, reason: "no bpffs")
        try FakeAgent.with(network.socket, { _ in .answer(200, answer.json) }) { _ in
            let error = try PluginProcess("STATUS").run(network.input(.v1_1_0)).error()
            #expect(error.code == code)
            #expect(error.message.contains("no bpffs"))
            let open = network.input(.v1_1_0, ["failurePolicy": .string("open")])
            #expect(try PluginProcess("STATUS").run(open).status == (limited ? 1 : 0))
        }
    }

    @Test(arguments: ["nobody", "silence", "refusal"])
    func `with failurePolicy open the pod starts, and word is left for the agent`(
        trouble: String
    ) throws {
        let network = try TestNetwork()
        let input = network.input(
            .v1_0_0, ["failurePolicy": .string("open"), "timeoutSeconds": JSON(1)])
        let refusal = AgentError("no", retryable: false)
        let path = trouble == "nobody" ? network.socket + "2" : network.socket
        try FakeAgent.with(path, { _ in trouble == "silence" ? .silence : .refusal(refusal) }) {
            _ in
            let answer = try PluginProcess("ADD").run(input)
            #expect(answer.status == 0)
            #expect(try answer.json() == TestNetwork.result(.v1_0_0))
            #expect(answer.log.count == 1 && answer.log[0].contains("WITHOUT redirection"))
        }
        let file =
            FailedOpen.directory(besides: network.socket) + "/" + PluginProcess.container + "@eth0"
        let left = try FailedOpen(JSON(parsing: try readFile(file)))
        #expect(left.request.pod.name == "web-0")
        #expect(left.request.addresses == ["10.244.1.7/24", "fd00::7/64"])
        #expect(try PluginProcess("DEL").run(input).status == 0)
        #expect(!FileManager.default.fileExists(atPath: file))
        // The agent still has to count it.
        #expect(FileManager.default.fileExists(atPath: file + FailedOpen.deleted))
    }

    @Test func `failurePolicy open forgives no nonsense in the configuration`() throws {
        let network = try TestNetwork()
        let open: JSON = .string("open")
        for (field, value, code) in [
            ("timeoutSeconds", JSON(0), 7), ("agentSocket", .string("agent.sock"), 7),
            ("tiemoutSeconds", JSON(9), 2), ("runtimeConfig", .string("x"), 7),
            ("prevResult", .null, 7),
        ] {
            let input = network.input(.v1_0_0, ["failurePolicy": open, field: value])
            #expect(try PluginProcess("ADD").run(input).error().code == code, "\(field)")
        }
    }

    @Test func `an unknown field is named with its value`() throws {
        let network = try TestNetwork()
        let input = network.input(.v1_0_0, ["failurPolicy": .string("open")])
        let error = try PluginProcess("ADD").run(input).error()
        #expect(error.code == 2)
        #expect(error.message.contains("failurPolicy (\"open\")"))
        #expect(error.message.contains("failurePolicy"))
    }

    @Test func `what is wrong in the environment is named`() throws {
        let network = try TestNetwork()
        for (command, name, value, word) in [
            ("ADD", "CNI_NETNS", nil, "CNI_NETNS"),
            ("ADD", "CNI_CONTAINERID", nil, "CNI_CONTAINERID"),
            ("CHECK", "CNI_IFNAME", nil, "CNI_IFNAME"), ("DEL", "CNI_IFNAME", nil, "CNI_IFNAME"),
            ("ADD", "CNI_CONTAINERID", "../../etc/passwd", "CNI_CONTAINERID"),
            ("DEL", "CNI_CONTAINERID", ".hidden", "CNI_CONTAINERID"),
            ("ADD", "CNI_IFNAME", "sixteen-letters-", "CNI_IFNAME"),
            ("ADD", "CNI_IFNAME", "a/b", "CNI_IFNAME"),
            ("ADD", "CNI_ARGS", "K8S_POD_NAME", "CNI_ARGS"),
            ("ADD", "CNI_COMMAND", "add", "CNI_COMMAND"),
            ("ADD", "CNI_COMMAND", nil, "CNI_COMMAND"),
        ] as [(String, String, String?, String)] {
            let answer = try PluginProcess(command).with(name, value).run(network.input())
            let error = try answer.error()
            #expect(error.code == 4, "\(command) \(name)")
            #expect(error.message.contains(word))
        }
    }

    @Test func `versions that we do not speak, and commands that a version does not have`() throws {
        let network = try TestNetwork()
        let unknown: [JSON?] = [
            .string("0.2.0"), .string("1.2.0"), .string("1.0"), .string(""), JSON(1), nil,
        ]
        for version in unknown {
            let input = network.input(.v1_0_0, ["cniVersion": version])
            for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
                #expect(try PluginProcess(command).run(input).error().code == 1)
            }
        }
        for (command, version) in [
            ("CHECK", CNIVersion.v0_3_1), ("GC", .v1_0_0), ("STATUS", .v1_0_0),
        ] {
            #expect(try PluginProcess(command).run(network.input(version)).error().code == 1)
        }
        let foreign = network.input(
            .v1_0_0, ["prevResult": JSON(members: ["cniVersion": .string("0.2.0")])])
        #expect(try PluginProcess("ADD").run(foreign).error().code == 7)
    }

    @Test func `input that is no JSON, too large, or never ends`() throws {
        for text in ["", "null", "[]", "{", "{}x", "\u{0}", "{\"a\":\"\u{1}\"}"] {
            #expect(try PluginProcess("ADD").run(Array(text.utf8)).error().code == 6, "\(text)")
        }
        let deep = String(repeating: "[", count: 100_000)
        #expect(try PluginProcess("ADD").run(Array(deep.utf8)).error().code == 6)
        let large = [UInt8](repeating: UInt8(ascii: " "), count: 5 << 20)
        let error = try PluginProcess("ADD").run(large).error()
        #expect(error.code == 6 && error.message.contains("larger"))
        let endless = try OwnedDescriptor.open("/dev/zero")
        #expect(try PluginProcess("ADD").run(reading: endless).error().code == 6)
    }

    @Test func `garbage is answered with an error, whatever it is`() throws {
        let network = try TestNetwork()
        let sound = Array(network.input().rendered().utf8)
        var random = SplitMix64(seed: 2026)
        for round in 0..<150 {
            var bytes = sound
            for _ in 0...Int.random(in: 0..<4, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[place] = .random(in: 0 ... .max, using: &random)
                case 1: bytes.removeSubrange(place..<min(bytes.count - 1, place + 20))
                default: bytes.insert(contentsOf: bytes[place...].prefix(20), at: place)
                }
            }
            // Nobody listens, so nothing but an error can come of it.
            let error = try PluginProcess("ADD").run(bytes).error()
            #expect([1, 2, 6, 7, 11].contains(error.code), "round \(round)")
        }
    }
}
