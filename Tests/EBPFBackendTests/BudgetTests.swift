// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionModel
import Testing

/// The verifier's effort, per program, against bpf/budget.txt.
@Suite(.requiresKernel) struct BudgetTests {
    @Test(.timeLimit(.minutes(5)))
    func `every program stays within its budget`() async throws {
        let cgroup = try Cgroup.createUnique(prefix: "swerve-test")
        defer { try? cgroup.remove() }
        var reports: [ProgramReport] = []
        for inbound in InboundMethod.allCases {
            let backend = try await EBPFBackend.load(attachingTo: cgroup, inbound: inbound)
            let pod = try TestPod.create()
            try await backend.apply(pod.plan, to: pod.workload)
            reports += await backend.programs
            try await backend.remove(from: pod.workload)
        }
        let budget = try Self.budget()
        for report in Set(reports).sorted(by: { $0.name < $1.name }) {
            let limit = budget[report.name] ?? 0
            print("verifier: \(report.name) walked \(report.verifiedInstructions) of \(limit)")
            #expect(report.verifiedInstructions <= limit, "\(report.name) is over its budget")
        }
        #expect(Set(budget.keys) == Set(reports.map(\.name)), "budget.txt names other programs")
    }

    /// Lines of a program's name and its limit; `#` begins a comment.
    private static func budget() throws -> [String: Int] {
        let root = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let text = try String(contentsOf: root.appending(path: "bpf/budget.txt"), encoding: .utf8)
        var budget: [String: Int] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            let fields = line.split(separator: " ")
            budget[String(try #require(fields.first))] = Int(try #require(fields.last))
        }
        return budget
    }
}
