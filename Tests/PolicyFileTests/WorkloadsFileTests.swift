// SPDX-License-Identifier: Apache-2.0

import PolicyFile
import RedirectionModel
import Testing

@Suite struct WorkloadsFileTests {
    private static func parse(_ text: String) throws(PolicyErrors) -> [WorkloadsFile.Entry] {
        try WorkloadsFile.parse(Array(text.utf8), named: "w.yaml")
    }

    private static let header = "apiVersion: swerve.dev/v1\nkind: Workloads\n"

    @Test func `workloads have the file's policy, and their own over it`() throws {
        let entries = try Self.parse(
            Self.header + """
                policy:
                  preset: istio
                  outbound: {exclude: {ports: [22]}}
                workloads:
                  - name: web
                    netns: /run/netns/web
                    policy: {mode: nft, outbound: {exclude: {ports: [25]}}}
                  - name: batch
                    cgroup: /sys/fs/cgroup/batch.service
                """)
        #expect(entries.map(\.name) == ["web", "batch"])
        #expect(entries.map(\.netns) == ["/run/netns/web", nil])
        #expect(entries.map(\.cgroup) == [nil, "/sys/fs/cgroup/batch.service"])
        #expect(entries.map(\.policy.preset) == [.istio, .istio])
        #expect(entries.map(\.policy.mode) == [.nft, nil])
        #expect(entries.map(\.policy.outbound.excludedPorts) == [[22, 25], [22]])
    }

    @Test func `a policy is none, and neither is nonsense`() throws {
        let policy = Array("apiVersion: swerve.dev/v1\nkind: Policy\n".utf8)
        #expect(try !WorkloadsFile.isOne(policy, named: "p.yaml"))
        #expect(try !WorkloadsFile.isOne(Array("[1]".utf8), named: "p.yaml"))
        #expect(try WorkloadsFile.isOne(Array(Self.header.utf8), named: "w.yaml"))
    }

    @Test(arguments: [
        (
            "workloads:\n  - nmae: web\n    netns: /a",
            "w.yaml:4:5: workloads[0].nmae: is not a field"
        ),
        ("workloads:\n  - netns: /a", "w.yaml:4:5: workloads[0].name: is missing"),
        ("workloads:\n  - name: web", "w.yaml:4:5: workloads[0].netns: is missing"),
        ("workloads:\n  - name: web\n    netns: web", "w.yaml:5:12: workloads[0].netns: \"web\""),
        ("workloads:\n  - web", "w.yaml:4:5: workloads[0]: \"web\" is a single value"),
        ("workloads: {}", "w.yaml:1:1: workloads: is missing"),
        ("pods: []", "w.yaml:3:1: pods: is not a field of a file of workloads"),
        (
            "workloads:\n  - name: a\n    netns: /a\n  - name: a\n    netns: /b",
            "w.yaml:6:5: workloads[1].name: \"a\" is another's name already"
        ),
        (
            "workloads:\n  - name: a\n    netns: /a\n    policy: {mode: ebfp}",
            "w.yaml:6:20: mode: \"ebfp\""
        ),
    ])
    func `what is wrong is named with its place`(text: String, says: String) {
        let errors = #expect(throws: PolicyErrors.self) { try Self.parse(Self.header + text) }
        #expect(errors.map { "\($0)".contains(says) } == true, "\(errors.map { "\($0)" } ?? "")")
    }
}
