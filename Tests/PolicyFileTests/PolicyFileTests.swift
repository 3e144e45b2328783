// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import PolicyFile
import RedirectionModel
import Testing

@Suite struct PolicyFileTests {
    private let page: String

    init() throws {
        let root = #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }
        let bytes = try #require(FileManager.default.contents(atPath: root + "/docs/policy.md"))
        page = String(decoding: bytes, as: UTF8.self)
    }

    private func example() throws -> String {
        let blocks = page.split(separator: "```yaml\n", omittingEmptySubsequences: false)
        try #require(blocks.count == 2)
        return String(try #require(blocks[1].split(separator: "```").first))
    }

    @Test func `the documented example is a policy, and says everything`() throws {
        let policy = try PolicyFile.parse(Array(try example().utf8), named: "policy.md")
        let rendered = PolicyFile.render(policy)
        for (path, _) in PolicyFile.fields {
            let name = try #require(path.split(separator: ".").last)
            #expect(rendered.contains("\(name):"), "\(path)")
        }
        #expect(try PolicyFile.parse(Array(rendered.utf8), named: "rendered") == policy)
        let plan = try policy.resolved(ownAddresses: []).plan
        #expect(plan.sidecar == Preset.istio.sidecar)
        #expect(plan.inboundMode == .transparent(mark: 1337, table: 133))
        #expect(plan.dns?.servers == [IPAddress(ipv4: 0x0a60_000a)])
        #expect(plan.dns?.protocols == [.udp])
        #expect(plan.outbound.excludedPorts.description == "22,53,8000-8100,15020")
        #expect(plan.families == [.ipv4: .managed, .ipv6: .drop])
        // 0.0.0.0/0 is all of the one family that is managed.
        #expect(plan.outbound.includedPorts == nil && plan.outbound.includedNetworks == nil)
    }

    @Test func `every field is documented, with its annotation`() {
        for (path, annotation) in PolicyFile.fields {
            #expect(page.contains("| `\(path)` | `\(annotation)` |"))
        }
    }

    @Test func `the shortest policy says nothing`() throws {
        #expect(try parse("") == Policy())
        let empty = Policy()
        #expect(PolicyFile.render(empty) == "apiVersion: swerve.dev/v1\nkind: Policy\n")
    }

    @Test func `JSON is YAML`() throws {
        let text =
            #"{"apiVersion": "swerve.dev/v1", "kind":"Policy", "mode":"nft","sidecar":{"uids":[7]}}"#
        let policy = try PolicyFile.parse(Array(text.utf8), named: "policy.json")
        #expect(policy.mode == .nft)
        #expect(policy.sidecar.uids == [7])
    }

    @Test func `a missing header is an error of its own`() {
        do throws(PolicyErrors) {
            _ = try PolicyFile.parse(Array("mode: auto\nkind: policy".utf8), named: "p")
            Issue.record("accepted")
        } catch {
            #expect(
                error.description == """
                    p:1:1: apiVersion: is missing; allowed: swerve.dev/v1
                    p:2:7: kind: "policy" is not what this program reads; allowed: Policy
                    """)
        }
    }

    @Test func `all errors of a file are reported, where they are`() throws {
        let text = """
            mode: fast
            sidecar:
              outboundPort: 080
              uids: [1, x, 3-2]
            outbound:
              exclude:
                ports: [80-90, 85, 123/udp]
                interface: [eth0]
            inbound: 7
            """
        #expect(
            errors(text) == [
                #"p:3:7: mode: "fast" is not one of the choices; allowed: auto, ebpf, iptables, nft, legacy, none"#,
                #"p:5:17: sidecar.outboundPort: "080" is not a port; allowed: 1 to 65535, in decimal"#,
                #"p:6:13: sidecar.uids[1]: "x" is not a user or group id or a range of them; allowed: 0 to 4294967294, or a range such as 1000-2000"#,
                #"p:6:16: sidecar.uids[2]: "3-2" is a range that ends before it begins; allowed: 0 to 4294967294, or a range such as 1000-2000"#,
                #"p:9:20: outbound.exclude.ports[1]: "85" overlaps with 80-90 in the same list"#,
                #"p:9:24: outbound.exclude.ports[2]: "123/udp" is not redirected anyway: only DNS over UDP is redirected; allowed: 53/udp"#,
                "p:10:5: outbound.exclude.interface: is not a field of a policy; did you mean interfaces?; allowed: ports, cidrs, uids, gids, interfaces, portsByUser",
                #"p:11:10: inbound: "7" is a single value; allowed: a mapping of mode, mark, table, exclude, include"#,
            ])
    }

    /// Each is one error, and says this.
    @Test(arguments: [
        ("sidecar: {outboundPort: 0x50}", "is not a port"),
        ("sidecar: {outboundPort: 1e3}", "is not a port"),
        ("sidecar: {outboundPort: 0o17}", "is not a port"),
        ("sidecar: {outboundPort: 1_000}", "is not a port"),
        ("sidecar: {outboundPort: 8_0}", "is not a port"),
        ("sidecar: {outboundPort: 0}", "is not a port"),
        ("sidecar: {outboundPort: 65536}", "is not a port"),
        ("sidecar: {outboundPort: -1}", "is not a port"),
        ("sidecar: {outboundPort: +1}", "is not a port"),
        ("sidecar: {outboundPort: ~}", "is nothing"),
        ("sidecar: {outboundPort: }", "is nothing"),
        ("sidecar: {outboundPort: [1]}", "is a list"),
        ("sidecar: {uids: 1}", "is a single value; allowed: a list"),
        ("sidecar: {uids: [4294967295]}", "is out of range"),
        ("sidecar: {uids: [~]}", "is nothing"),
        ("sidecar: {uids: [[1]]}", "is a list"),
        ("sidecar: {redirectSelfCalls: yes}", "is neither true nor false"),
        ("sidecar: {passthroughSources: [127.0.0.300]}", "is not an address"),
        ("families: {ipv6: off}", "is not one of the choices"),
        ("families: {ipv7: pass}", "did you mean ipv4?"),
        ("dns: {capture: some}", "is neither off nor all"),
        ("dns: {capture: []}", "is an empty list"),
        ("dns: {protocols: [udp, icmp]}", "is not one of the choices"),
        ("outbound: {exclude: {cidrs: [10.0.0.1/8]}}", "allowed: 10.0.0.0/8 or 10.0.0.1"),
        ("outbound: {exclude: {cidrs: [10.0.0.0/33]}}", "is not a network"),
        ("outbound: {exclude: {cidrs: [10.0.0.0/08]}}", "is not a network"),
        ("outbound: {exclude: {cidrs: [10.0.0.0/8, 10.0.0.0/8]}}", "is in the list already"),
        ("outbound: {exclude: {interfaces: [a/b]}}", "is not an interface's name"),
        ("outbound: {exclude: {interfaces: [eth*]}}", "is not an interface's name"),
        ("outbound: {exclude: {interfaces: [\"eth0,eth1\"]}}", "is not an interface's name"),
        ("outbound: {exclude: {interfaces: [\"\"]}}", "is not an interface's name"),
        ("outbound: {exclude: {ports: [80/sctp]}}", "names an unknown protocol"),
        ("outbound: {exclude: {ports: [50-60/udp]}}", "only DNS over UDP"),
        ("outbound: {exclude: {portsByUser: [{ports: [80]}]}}", "uids: is missing"),
        ("outbound: {exclude: {portsByUser: [{uids: [1:80], ports: [tcp]}]}}", "a , or a :"),
        ("outbound: {exclude: {portsByUser: [{uids: [], ports: [1]}]}}", "at least one item"),
        (
            "outbound: {exclude: {portsByUser: [{uids: [1], ports: [1], protocols: [udp]}]}}",
            "only DNS over UDP"
        ),
        ("virtualInterfaces: [{name: br0}, {name: br0}]", "already"),
        ("virtualInterfaces: [{nam: br0}]", "did you mean name?"),
        ("virtualInterfaces: [br0]", "a mapping of name, localNetworks"),
        ("inbound: {mark: 0}", "is not a number that can be used here"),
        ("inbound: {mark: 4294967296}", "is not a number that can be used here"),
        ("outbuond: {}", "did you mean outbound?"),
        ("ports: [80]", "did you mean sidecar.ports?"),
        ("mode: nft\nmode: nft", "more than once in one mapping: mode"),
        ("mode: nft\n--- \nmode: nft", "found another document"),
        ("mode: &a nft", "is an anchor"),
        ("mode: *a", "is an alias"),
        ("mode: !!str nft", "is a tag"),
        ("mode: |\n  nft", "is a block of text"),
        ("? mode\n: nft", "is a complex key"),
        ("mode: \"nft\n  \"", "does not end on its line"),
        ("sidecar: {uids: [1,\n 2 3\n 4]}", "text over several lines"),
        ("sidecar:\n\tuids: [1]", "cannot start any token"),
        ("mode: nft\u{0}", "not YAML"),
        ("mode: \"n\\u001b[31mft\"", #""n\u{1b}[31mft""#),
    ])
    func `what cannot be meant is an error that says why`(_ text: String, _ problem: String) {
        let found = errors(text)
        let said = found.joined(separator: "\n")
        #expect(said.contains(problem), "\(said)")
        #expect(!found.isEmpty && found.count <= 2)
    }

    @Test func `what cannot be a file at all is an error`() {
        func error(_ bytes: [UInt8]) -> String {
            do throws(PolicyErrors) {
                _ = try PolicyFile.parse(bytes, named: "p")
                return "accepted"
            } catch {
                return error.description
            }
        }
        #expect(error([]) == "p: the file is empty")
        #expect(error(Array("# nothing\n".utf8)) == "p: the file is empty")
        #expect(error([0xff, 0xfe]) == "p: the file is not UTF-8 text")
        #expect(error(Array("- a".utf8)).hasPrefix("p:1:1: is a list; allowed: a mapping"))
        let huge = [UInt8](repeating: 35, count: 5 << 20)
        #expect(error(huge).contains("4194304 are allowed"))
    }

    @Test func `bombs do not go off`() {
        let nested = String(repeating: "[", count: 100_000)
        #expect(errors("mode: " + nested).joined().contains("nested more than 16 deep"))
        let dashes = "mode:\n" + String(repeating: "- ", count: 50_000) + "x"
        #expect(errors(dashes).joined().contains("is indented by more than 64"))
        var laughs = "a: &a [x]\n"
        for level in 1...40 { laughs += "b\(level): &b\(level) [*a, *a]\n" }
        #expect(errors(laughs).joined().contains("is an anchor"))
        // What a careless look takes for a comment or a quoted text.
        for hidden in ["[\" #\", &a [1]]", "{\"k\":&a [1]}", "[x, 'it''s', &a 1]", "[a\"b, &a 1]"] {
            #expect(errors("mode: \(hidden)").joined().contains("is an anchor"), "\(hidden)")
        }
    }

    /// As large as may be, and wrong everywhere or repetitive: the work must stay linear.
    @Test func `the largest files are read soon`() {
        let count = 20_000
        let start = ContinuousClock.now
        let unknown = (0..<count).map { "unknown\($0): 1\n" }.joined()
        #expect(errors(unknown).count == 100)
        let names = (0..<count).map { "  - {uids: [\($0)], ports: [1]}\n" }.joined()
        #expect(errors("outbound:\n exclude:\n  portsByUser:\n" + names) == [])
        let wrong = String(repeating: "udpp,", count: 2 * count)
        #expect(errors("dns: {protocols: [\(wrong)]}").count == 100)
        let many = String(repeating: "1,", count: 300_000)
        #expect(errors("dns: {protocols: [\(many)]}").joined().contains("250000 are allowed"))
        #expect(ContinuousClock.now - start < .seconds(60))
    }

    @Test func `fifty thousand networks are read`() throws {
        let networks = (0..<50_000).map { "10.\($0 >> 8 & 255).\($0 & 255).\($0 >> 16)/32" }
        let text =
            "outbound:\n  exclude:\n    cidrs:\n"
            + networks.map { "    - \($0)\n" }.joined()
        #expect(try parse(text).outbound.excludedNetworks.count == 50_000)
    }

    private func parse(_ text: String) throws(PolicyErrors) -> Policy {
        try PolicyFile.parse(
            Array("apiVersion: swerve.dev/v1\nkind: Policy\n\(text)".utf8), named: "p")
    }

    private func errors(_ text: String) -> [String] {
        do throws(PolicyErrors) {
            _ = try parse(text)
            return []
        } catch {
            return error.errors.map(\.description)
        }
    }
}
