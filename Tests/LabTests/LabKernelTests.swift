// SPDX-License-Identifier: Apache-2.0

import Backends
import FoundationEssentials
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SidecarProxy
import Testing

@testable import Lab

#if canImport(Glibc)
import Glibc
#endif

/// Labs on the kernel in front of us, one at a time: each is a dozen processes.
@Suite(.serialized, .requiresKernel, .timeLimit(.minutes(5)))
struct LabKernelTests {
    private let executable = LabTestSupport.executable

    @Test(arguments: Backends.built)
    func `every answer crosses both sidecars, which are told the true origin`(
        _ mechanism: Mechanism
    ) async throws {
        let configuration = LabConfiguration(.exactly(mechanism), executable: executable)
        try await Lab.with(configuration) { lab in
            let scene = try Scene(in: lab.state)
            let exchanges = try scene.play()
            #expect(exchanges.count == 4)
            for exchange in exchanges { #expect(exchange.problems == []) }
            #expect(try scene.sidecarRecords().count == 8)
        }
        #expect(try Leftovers.ofThisProcess().isEmpty)
    }

    @Test func `without redirection no sidecar is touched`() async throws {
        try await Lab.with(LabConfiguration(nil, executable: executable)) { lab in
            let scene = try Scene(in: lab.state)
            for exchange in try scene.play() {
                #expect(exchange.problems == [])
                #expect(exchange.path.hops.map(\.peer) == [exchange.path.client])
            }
            #expect(try scene.sidecarRecords() == [])
        }
        #expect(try Leftovers.ofThisProcess().isEmpty)
    }

    @Test func `sidecars run as the preset's user, applications as root`() async throws {
        try await Lab.with(LabConfiguration(nil, executable: executable)) { lab throws in
            for pod in lab.state.pods {
                #expect(try uid(pod.sidecar) == "1500")
                if pod.greeting != nil { #expect(try uid(pod.application) == "0") }
            }
        }
    }

    private func uid(_ process: ProcessIdentity?) throws -> String {
        let status = try readFile("/proc/\(try #require(process).pid)/status")
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("Uid:") })
        return String(try #require(line.split(separator: "\t").last))
    }

    @Test func `a lab that fails half way leaves nothing`() async throws {
        var configuration = LabConfiguration(nil, executable: executable)
        configuration.sidecarCommand = "echo no such luck >&2; exit 3"
        await #expect(
            throws: LabError.died(
                what: "the sidecar of curl", status: 3, log: "no such luck")
        ) {
            try await Lab.with(configuration) { _ in }
        }
        #expect(try Leftovers.ofThisProcess().isEmpty)
    }

    @Test func `what an owner and its guard left when both were killed is swept up`() async throws {
        try await LabTestSupport.withRuntimeDirectory { runtime in
            let up = try LabTestSupport.swerve(
                ["lab", "up", "--mechanism", "none"], runtime: runtime)
            #expect(up.status == 0, "\(up.error)")
            let status = try LabTestSupport.swerve(["lab", "status", "--json"], runtime: runtime)
            let state = try JSONDecoder().decode(
                LabState.self, from: Data(status.output.utf8))
            let guardian = try #require(
                LabTestSupport.processes(ofOwner: state.owner.pid)
                    .first { $0.contains("guard") }?.split(separator: ":").first)
            try #require(ProcessIdentity(running: Int32(guardian) ?? 0)).signal(.kill)
            try state.owner.signal(.kill)
            #expect(try state.owner.waitForEnd(within: .seconds(5)))
            #expect(try !LabTestSupport.cgroups(ofOwner: state.owner.pid).isEmpty)

            let down = try LabTestSupport.swerve(["lab", "down"], runtime: runtime)
            #expect(down.status == 0, "\(down.error)")
            #expect(try LabTestSupport.cgroups(ofOwner: state.owner.pid) == [])
            #expect(LabTestSupport.processes(ofOwner: state.owner.pid) == [])
            #expect(try FileManager.default.contentsOfDirectory(atPath: runtime) == [])
        }
    }

    @Test func `kill -9 of a lab's keeper frees its namespaces`() async throws {
        try await LabTestSupport.withRuntimeDirectory { runtime throws in
            let up = try LabTestSupport.swerve(
                ["lab", "up", "--mechanism", "none"], runtime: runtime)
            #expect(up.status == 0, "\(up.error)")
            let status = try LabTestSupport.swerve(["lab", "status", "--json"], runtime: runtime)
            let state = try JSONDecoder().decode(LabState.self, from: Data(status.output.utf8))
            let namespaces = Set(
                try state.pods.map { try NetworkNamespace.open($0.namespace).inode })
            #expect(namespaces.count == 3)
            #expect(!LabTestSupport.holders(ofNamespaces: namespaces).isEmpty)

            try state.owner.signal(.kill)
            #expect(
                try await eventually {
                    try LabTestSupport.holders(ofNamespaces: namespaces).isEmpty
                        && LabTestSupport.cgroups(ofOwner: state.owner.pid).isEmpty
                        && FileManager.default.contentsOfDirectory(atPath: runtime).isEmpty
                })
        }
    }

    @Test(arguments: [0, 15, 40, 80, 130, 200, 300, 450])
    func `Ctrl-C leaves nothing, whenever it comes`(_ milliseconds: Int) async throws {
        let delay = Duration.milliseconds(milliseconds)
        try await interrupt(.interrupt, after: delay) { pid, status, runtime throws in
            // 130 is also 128 + SIGINT: what a process that has not begun yet ends with.
            #expect(status == 130)
            #expect(try LabTestSupport.cgroups(ofOwner: pid) == [])
            #expect(LabTestSupport.processes(ofOwner: pid) == [])
            #expect(try FileManager.default.contentsOfDirectory(atPath: runtime) == [])
        }
    }

    @Test(arguments: [0, 15, 40, 80, 130, 200, 300, 450])
    func `kill -9 leaves nothing, a moment later`(_ milliseconds: Int) async throws {
        let delay = Duration.milliseconds(milliseconds)
        try await interrupt(.kill, after: delay) { pid, status, runtime throws in
            #expect(status == 128 + 9)
            _ = try await eventually {
                try LabTestSupport.cgroups(ofOwner: pid).isEmpty
                    && LabTestSupport.processes(ofOwner: pid).isEmpty
                    && FileManager.default.contentsOfDirectory(atPath: runtime).isEmpty
            }
            #expect(try LabTestSupport.cgroups(ofOwner: pid) == [])
            #expect(LabTestSupport.processes(ofOwner: pid) == [])
            #expect(try FileManager.default.contentsOfDirectory(atPath: runtime) == [])
        }
    }

    /// Starts a demo, ends it by a signal, and hands over what is to be looked at.
    private func interrupt(
        _ signal: Signal, after delay: Duration,
        _ check: (_ pid: Int32, _ status: Int, _ runtime: String) async throws -> Void
    ) async throws {
        try await LabTestSupport.withRuntimeDirectory { runtime in
            let nowhere = try OwnedDescriptor.open("/dev/null", .write)
            let mechanism = Backends.built.first?.rawValue ?? "none"
            let process = try LabTestSupport.start(
                ["demo", "--mechanism", mechanism, "--mechanism", "none"], runtime: runtime,
                output: nowhere.rawValue, error: nowhere.rawValue)
            // Not a task's sleep: beside other tests that can end after the demo itself.
            usleep(UInt32(delay / .microseconds(1)))
            try process.signal(signal.rawValue)
            let status = try #require(try process.waitForExit(within: .seconds(30)))
            try await check(process.pid, status, runtime)
        }
    }
}

extension Leftovers {
    /// Without child processes: the test runner has some of its own.
    static func ofThisProcess() throws -> [LabIdentity] {
        let own = try ProcessIdentity.current()
        return try LabRemains.all().map(\.identity).filter { $0.owner == own }
    }
}
