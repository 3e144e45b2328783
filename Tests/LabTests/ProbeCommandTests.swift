// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import Testing

@testable import Lab

#if canImport(Glibc)
import Glibc
#endif

/// `swerve probe` on kernels that are not what they seem.
@Suite(.requiresKernel, .timeLimit(.minutes(2))) struct ProbeCommandTests {
    private struct Report: Decodable {
        struct Feature: Decodable {
            let mechanism: Mechanism
            let feature: String
            let answer: String
            let because: String?
        }
        let kernel: String
        let features: [Feature]
        let choice: Mechanism?
        let reason: String
        let passedOver: [PassedOver]

        func answer(_ feature: String) -> String? {
            features.first { $0.feature == feature }?.answer
        }
    }

    /// Runs `swerve probe --json` behind another program, which makes the kernel look different.
    private func probe(
        _ arguments: [String] = [], behind wrapper: [String] = []
    ) throws -> (status: Int, report: Report, error: String) {
        let result = try LabTestSupport.swerve(
            ["probe", "--json"] + arguments, runtime: "/nonexistent", behind: wrapper)
        let report = try JSONDecoder().decode(Report.self, from: Data(result.output.utf8))
        return (result.status, report, result.error)
    }

    private func withoutBPF(_ errno: Int) -> [String] {
        [LabTestSupport.program("without-bpf"), "\(errno)"]
    }

    @Test func `below 5_4 eBPF is never taken, though all of it is there`() throws {
        let wrapper = ["setarch", "--uname-2.6"]
        let (status, report, _) = try probe(behind: wrapper)
        #expect(status == 0)
        #expect(report.kernel.hasPrefix("2.6."))
        #expect(report.answer("cgroup/connect4") == "yes")
        #expect(report.choice == .nft)
        let version = try #require(KernelVersion(release: report.kernel))
        #expect(
            report.passedOver == [
                PassedOver(.ebpf, .version, "kernel \(version) is older than 5.4")
            ])
        // Who asks for it by name is told so, too.
        let named = try probe(["--mechanism", "ebpf"], behind: wrapper)
        #expect(named.status == 1)
        #expect(named.report.choice == nil)
        #expect(named.error.contains("kernel \(version) is older than 5.4"))
    }

    @Test(arguments: [(1, PassedOver.Cause.unknown), (38, .kernel)])
    func `where bpf(2) is denied, auto goes on to rules and says why`(
        _ errno: Int, _ cause: PassedOver.Cause
    ) throws {
        let (status, report, _) = try probe(behind: withoutBPF(errno))
        #expect(status == 0)
        #expect(report.choice == .nft)
        let ebpf = try #require(report.passedOver.first)
        #expect(report.passedOver.count == 1)
        #expect((ebpf.mechanism, ebpf.cause) == (.ebpf, cause))
        #expect(ebpf.detail.contains("bpf(2)"))
        // What cannot be asked is not said to be missing, nor repeated.
        #expect(!ebpf.detail.contains("connect4"))
        #expect(report.answer("cgroup/connect4") == "unknown")
    }

    @Test func `where bpf(2) is denied, ebpf by name fails and says what is missing`() throws {
        let (status, report, error) = try probe(["--mechanism", "ebpf"], behind: withoutBPF(1))
        #expect(status == 1)
        #expect(report.choice == nil)
        #expect(error.contains("ebpf was asked for and cannot run here"))
        #expect(error.contains("bpf(2)"))
    }

    @Test func `a ceiling hides what is newer`() throws {
        let (_, report, _) = try probe(["--max-features", "5.2"])
        #expect(report.answer("sk_lookup") == "no")
        #expect(report.answer("cgroup/connect4") == "yes")
        // 5.3 has the hook that answers SO_ORIGINAL_DST.
        #expect(report.answer("cgroup/getsockopt") == "no")
        #expect(report.choice == .nft)
        #expect(report.passedOver.map(\.cause) == [.version])
        let named = try probe(["--max-features", "5.2", "--mechanism", "ebpf"])
        #expect(named.status == 1)
        #expect(named.error.contains("nothing newer than Linux 5.2 is used here"))
    }

    @Test func `what the workload does not allow is not chosen`() throws {
        let cgroup = try Cgroup.createUnique(prefix: "swerve-test")
        defer { try? cgroup.remove() }
        let workload = ["--cgroup", cgroup.path]
        #expect(try probe(workload).report.choice == .ebpf)
        let rules = try probe(workload + ["--mechanism", "iptables"])
        #expect(rules.status == 1)
        #expect(rules.report.passedOver.map(\.mechanism) == [.nft, .legacy])
        #expect(rules.error.contains("it goes by network namespaces, not cgroups"))
        let pod = try TestPod.create()
        let netns = "/proc/\(getpid())/fd/\(pod.namespace.rawDescriptor)"
        let old = try probe(["--netns", netns, "--max-features", "5.4", "--mechanism", "ebpf"])
        #expect(old.status == 1)
        #expect(old.error.contains("the workload's cgroup must be known"))
    }

    @Test(arguments: ["magic", "none"])
    func `a mode for which nothing is chosen is wrong usage`(_ mode: String) throws {
        let result = try LabTestSupport.swerve(
            ["probe", "--mechanism", mode], runtime: "/nonexistent")
        #expect(result.status == 2)
        #expect(result.error.contains(mode))
    }
}
