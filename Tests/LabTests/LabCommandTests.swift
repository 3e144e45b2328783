// SPDX-License-Identifier: Apache-2.0

import Backends
import FoundationEssentials
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import Testing

@testable import Lab

/// `swerve lab` as an operator uses it.
@Suite(.serialized, .requiresKernel, .timeLimit(.minutes(5)))
struct LabCommandTests {
    private func inRunningLab(
        _ options: [String] = [], _ body: (_ runtime: String) async throws -> Void
    ) async throws {
        try await LabTestSupport.withRuntimeDirectory { runtime in
            let up = try LabTestSupport.swerve(
                ["lab", "up", "--mechanism", "none"] + options, runtime: runtime)
            #expect(up.status == 0, "\(up.error)")
            try await body(runtime)
            let down = try LabTestSupport.swerve(["lab", "down"], runtime: runtime)
            #expect(down.status == 0, "\(down.error)")
            #expect(try FileManager.default.contentsOfDirectory(atPath: runtime) == [])
        }
    }

    @Test func `a command in a pod has its network, its names and its exit code`() async throws {
        try await inRunningLab { runtime in
            let ask = try LabTestSupport.swerve(
                ["lab", "exec", "curl", "--", "curl", "-sS", "http://ok-v2:8080/"],
                runtime: runtime)
            #expect(ask.output == "Hi, I am ok v2 !\n")
            // 1500 / 100: who it runs as, in the exit code.
            let command = ["sh", "-c", "exit $(($(id -u) / 100))"]
            let fail = try LabTestSupport.swerve(
                ["lab", "exec", "--user", "1500", "ok-v1", "--"] + command, runtime: runtime)
            #expect(fail.status == 15)
            let unknown = try LabTestSupport.swerve(
                ["lab", "exec", "nobody", "--", "true"], runtime: runtime)
            #expect(unknown.status == 1)
            #expect(unknown.error.contains("curl, ok-v1, ok-v2"))
        }
    }

    @Test func `there is one lab at a time, and status tells of it`() async throws {
        try await inRunningLab { runtime in
            let second = try LabTestSupport.swerve(["lab", "up"], runtime: runtime)
            #expect(second.status == 1)
            #expect(second.error.contains("swerve lab down"))

            let status = try LabTestSupport.swerve(["lab", "status", "--json"], runtime: runtime)
            let state = try JSONDecoder().decode(LabState.self, from: Data(status.output.utf8))
            #expect(state.pods.map(\.name) == ["curl", "ok-v1", "ok-v2"])
            #expect(state.pods.allSatisfy { $0.sidecar?.isRunning == true })

            let run = try LabTestSupport.swerve(["lab", "run", "--json"], runtime: runtime)
            #expect(run.status == 0, "\(run.error)")
            let exchanges = try JSONDecoder().decode([Exchange].self, from: Data(run.output.utf8))
            #expect(exchanges.map(\.answer).sorted().first == "Hi, I am ok v1 !")
            #expect(exchanges.count == 4)
        }
    }

    @Test func `of two labs started at once, one comes up`() async throws {
        try await LabTestSupport.withRuntimeDirectory { runtime in
            let arguments = ["lab", "up", "--mechanism", "none"]
            let statuses = try await withThrowingTaskGroup { group in
                for _ in 0..<2 {
                    group.addTask {
                        try LabTestSupport.swerve(arguments, runtime: runtime).status
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.sorted() == [0, 1])
            let down = try LabTestSupport.swerve(["lab", "down"], runtime: runtime)
            #expect(down.status == 0, "\(down.error)")
            #expect(try FileManager.default.contentsOfDirectory(atPath: runtime) == [])
        }
    }

    @Test func `a run with options takes the lab that is up only if it has them`() async throws {
        try await inRunningLab { runtime in
            let other = try LabTestSupport.swerve(
                ["lab", "run", "--mechanism", "legacy"], runtime: runtime)
            #expect(other.status == 1)
            #expect(other.error.contains("--mechanism legacy"))
            let same = try LabTestSupport.swerve(
                ["lab", "run", "--mechanism", "none"], runtime: runtime)
            #expect(same.status == 0, "\(same.error)")
            #expect(same.output.contains("mechanism  none (redirection is off)"))
        }
    }

    @Test func `a killed probe's cgroup is swept, and a living one's is not`() throws {
        let namespace = try ProcessIdentity.currentPidNamespace()
        let own = try ProcessIdentity.current()
        let root = try Cgroup.root()
        let prefix = "swerve-sweep-test"
        let alive = try Cgroup.createUnique(prefix: prefix)
        // The same number, but an earlier process's.
        let dead = root.child("\(prefix)-\(namespace).\(own.pid).\(own.startTime - 1).1")
        try dead.create()
        try Cgroup.sweep(prefix: prefix)
        #expect(!FileManager.default.fileExists(atPath: dead.path))
        #expect(FileManager.default.fileExists(atPath: alive.path))
        try alive.remove()
    }

    @Test func `any command can be the sidecar, as the preset's user`() async throws {
        let fake = """
            python3 -c 'import os, socket, time
            for port in ({outbound}, int(os.environ["SWERVE_INBOUND_PORT"])):
                s = socket.socket(socket.AF_INET6); s.bind(("::", port)); s.listen(); s.detach()
            time.sleep(60)'
            """
        try await inRunningLab(["--sidecar", fake]) { runtime in
            let status = try LabTestSupport.swerve(["lab", "status", "--json"], runtime: runtime)
            let state = try JSONDecoder().decode(LabState.self, from: Data(status.output.utf8))
            let pid = try #require(state.pods.first?.sidecar).pid
            #expect(try readFile("/proc/\(pid)/status").contains("Uid:\t1500\t1500\t1500\t1500"))
            let run = try LabTestSupport.swerve(["lab", "run"], runtime: runtime)
            #expect(run.status == 0, "\(run.error)")
            #expect(run.output.contains("keeps no record"))
        }
    }

    @Test func `probe answers for every mechanism, and names the one auto takes`() async throws {
        struct Report: Decodable {
            struct Feature: Decodable { let mechanism: String; let answer: String }
            let kernel: String
            let features: [Feature]
            let choice: String?
        }
        let probe = try LabTestSupport.swerve(["probe", "--json"], runtime: "/nonexistent")
        let report = try JSONDecoder().decode(Report.self, from: Data(probe.output.utf8))
        #expect(Set(report.features.map(\.mechanism)) == Set(Backends.built.map(\.rawValue)))
        #expect(report.features.allSatisfy { ["yes", "no", "unknown"].contains($0.answer) })
        #expect(report.choice == Backends.built.first?.rawValue)
        #expect(report.kernel == (try kernelRelease()))
    }

    @Test func `without a lab, the commands say how to start one`() async throws {
        try await LabTestSupport.withRuntimeDirectory { runtime in
            for arguments in [["lab", "status"], ["lab", "exec", "curl", "--", "true"]] {
                let result = try LabTestSupport.swerve(arguments, runtime: runtime)
                #expect(result.status == 1)
                #expect(result.error.contains("swerve lab up"))
            }
            #expect(try LabTestSupport.swerve(["lab", "exec"], runtime: runtime).status == 2)
            #expect(try LabTestSupport.swerve(["lab", "down"], runtime: runtime).status == 0)
        }
    }

    @Test func `a lab that cannot come up says why, and is gone`() async throws {
        try await LabTestSupport.withRuntimeDirectory { runtime in
            let up = try LabTestSupport.swerve(
                ["lab", "up", "--mechanism", "none", "--sidecar", "echo broken >&2; exit 4"],
                runtime: runtime)
            #expect(up.status == 1)
            #expect(up.error.contains("ended with status 4"))
            #expect(up.error.contains("broken"))
            #expect(
                try await eventually {
                    try FileManager.default.contentsOfDirectory(atPath: runtime).isEmpty
                })
        }
    }
}
