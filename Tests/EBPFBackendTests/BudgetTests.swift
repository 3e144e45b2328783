// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// The verifier's effort, per program, against bpf/budget.txt.
@Suite(.requiresKernel) struct BudgetTests {
    @Test(.timeLimit(.minutes(5)))
    func `every program stays within its budget`() async throws {
        let result = await #expect(
            processExitsWith: .success, observing: [\.standardOutputContent]
        ) {
            try await withTestCgroup { try await Self.weigh(on: $0) }
        }
        print(result?.output ?? "")
    }

    private static func weigh(on cgroup: Cgroup) async throws {
        var walked: [String: Int] = [:]
        for variant in variants {
            for report in try await reports(variant, on: cgroup) {
                let name = report.name + variant.suffix(of: report.name)
                walked[name] = max(walked[name] ?? 0, report.verifiedInstructions)
            }
        }
        let budget = try budget()
        for (name, count) in walked.sorted(by: { $0.key < $1.key }) {
            let limit = budget[name] ?? 0
            print("verifier: \(name) walked \(count) of \(limit)")
            #expect(count <= limit, "\(name) is over its budget")
        }
        #expect(Set(budget.keys) == Set(walked.keys), "budget.txt names other programs")
    }

    /// One way to load them.
    private struct Variant {
        let inbound: InboundMethod
        let owners: OwnerMethod
        var features = FeatureCeiling.none
        /// Whether it is those for a workload that is a cgroup, beside pods.
        var isCgroup = false

        private var isAttached: Bool { features != .none || isCgroup }

        /// What tells a program from others of its name.
        func suffix(of name: String) -> String {
            if owners == .connectingUser, name == "swerve_sock_create" { return "_multipath" }
            // What asks no socket for its pod is the same.
            let isShared = ["swerve_get", "swerve_tc_"].contains { name.hasPrefix($0) }
            let deciders = ["swerve_connect", "swerve_sendmsg", "swerve_recvmsg"]
            let typed = deciders + (isAttached ? [] : ["swerve_getsockopt", "swerve_sockops"])
            let isTyped = owners == .credentials && typed.contains { name.hasPrefix($0) }
            return (isAttached && !isShared ? "_attached" : "") + (isTyped ? "_typed" : "")
        }
    }

    private static let variants = [
        Variant(inbound: .socketLookup, owners: .credentials),
        Variant(inbound: .socketLookup, owners: .credentials, isCgroup: true),
        Variant(inbound: .trafficControl, owners: .realUser),
        Variant(
            inbound: .trafficControl, owners: .realUser,
            features: FeatureCeiling(KernelVersion(5, 9))),
        Variant(
            inbound: .trafficControl, owners: .connectingUser,
            features: FeatureCeiling(KernelVersion(5, 4))),
    ]

    private static func reports(
        _ variant: Variant, on cgroup: Cgroup
    ) async throws -> [ProgramReport] {
        let backend = try await EBPFBackend.load(
            attachingTo: cgroup, inbound: variant.inbound, owners: variant.owners,
            below: variant.features)
        let pod = try TestPod.create()
        guard !variant.isCgroup else { return try await cgroupReports(of: backend, pod) }
        try await backend.apply(pod.plan, to: pod.workload)
        let reports = await backend.programs
        try await backend.remove(from: pod.workload)
        return reports
    }

    private static func cgroupReports(
        of backend: EBPFBackend, _ pod: TestPod
    ) async throws -> [ProgramReport] {
        let workload = Workload(
            id: "cgroup", cgroup: try #require(pod.workload.cgroup), in: pod.workload.namespace)
        var plan = pod.plan
        plan.inbound.includedPorts = []
        try await backend.apply(plan, to: workload)
        let reports = backend.programsOfCgroups
        try await backend.remove(from: workload)
        return reports
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
