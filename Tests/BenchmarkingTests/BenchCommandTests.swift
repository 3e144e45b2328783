// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import KernelTestSupport
import Lab
import LinuxKernel
import RedirectionModel
import Testing

@testable import Benchmarking

/// `swerve bench` as an operator uses it.
@Suite(.serialized, .requiresKernel, .timeLimit(.minutes(5)))
struct BenchCommandTests {
    @Test(arguments: [
        (["--rounds", "0"], "--rounds 0: give a number from 1 to 1000"),
        (["--duration", "0.01"], "--duration 0.01: give seconds from 0.05 to 600"),
        (["--subjects", "direct,xdp"], "The value 'direct,xdp' is invalid for '--subjects"),
        (["--subjects", "nft,nft"], "The value 'nft,nft' is invalid for '--subjects"),
        (["--scenarios", "connect,"], "The value 'connect,' is invalid for '--scenarios"),
        (["--sizes", "0"], "--sizes 0: give a number from 1 to 1048576"),
        (["--patience", "0"], "--patience 0: give a number from 1 to 600"),
        (["--connections", "257"], "--connections 257: give a number from 1 to 256"),
        (["lists", "--sizes", "30001"], "--sizes 30001: give a number from 1 to 30000"),
        (["pods", "--mechanisms", "auto"], "The value 'auto' is invalid for '--mechanisms"),
        (["cni", "--subjects", "iptables"], "The value 'iptables' is invalid for '--subjects"),
        (["--json", "/nonexistent/file"], "/nonexistent/file"),
    ])
    func `wrong options are told of`(arguments: [String], message: String) throws {
        let result = try BuiltProgram.run("swerve", ["bench"] + arguments)
        #expect(result.status != 0)
        #expect(result.output.contains(message), "\(result.output)")
    }

    @Test func `a run redirects every connection, and lets none escape`() throws {
        let (json, html) = (TemporaryFile(), TemporaryFile())
        let result = try BuiltProgram.run(
            "swerve",
            [
                "bench", "--rounds", "1", "--duration", "0.1", "--subjects", "nft,ebpf",
                "--scenarios", "connect,request,bulk,churn,dns", "--sizes", "1024",
                "--connections", "3", "--patience", "60", "--json", json.path, "--html", html.path,
            ])
        try #require(result.status == 0, "\(result.output)")
        let report = try JSONDecoder().decode(
            BenchReport.self, from: Data(try readFile(json.path).utf8))
        // Two subjects in four scenarios each way, and lookups one way.
        #expect(report.rows.count == 18)
        for row in report.rows {
            let what = "\(row.subject), \(row.name): \(row.counts)"
            #expect(row.counts.operations > 0, "\(what)")
            #expect(row.counts.escaped == 0 && row.counts.strayed == 0, "\(what)")
            #expect(row.counts.failed == 0, "\(what)")
            #expect(row.rate > 0, "\(what)")
        }
        // Whoever connects is met by the program at connect(2), once.
        let programs = report.programs.filter { $0.direction == .outbound }
        let connect = programs.first { $0.program.contains("connect4") }
        #expect(connect.map { (0.9...1.1).contains($0.runsPerConnection) } == true, "\(programs)")
        #expect(try readFile(html.path).hasSuffix("</html>\n"))
    }

    @Test func `subjects without a sidecar, and with a transparent one, are as they should be`()
        throws
    {
        let result = try BuiltProgram.run(
            "swerve",
            [
                "bench", "--rounds", "1", "--duration", "0.05", "--subjects",
                "direct,manual,tproxy,ebpf-tc,unmanaged",
                "--directions", "inbound", "--scenarios", "connect", "--patience", "60",
            ])
        try #require(result.status == 0, "\(result.output)")
        #expect(result.output.contains("| tproxy "))
    }

    @Test func `more pods than a process may usually have files`() throws {
        let output = try OwnedDescriptor.pipe()
        // Two namespaces a pod, and a limit below that, which may be raised.
        var birth = ChildProcess.Birth([
            "sh", "-c", "ulimit -S -n 48 && exec \"$@\"", "sh", BuiltProgram.path("swerve"),
            "bench", "pods", "--counts", "30", "--mechanisms", "nft", "--rounds", "1",
            "--duration", "0.05",
        ])
        birth.output = output.writer.rawValue
        birth.error = output.writer.rawValue
        let child = try ChildProcess.start(birth)
        let text = String(decoding: try output.takeReader().readAll(), as: UTF8.self)
        #expect(try child.waitForExit() == 0, "\(text)")
        #expect(text.contains("| nft | 30 |"), "\(text)")
    }

    @Test func `a plugin's ADD and DEL are measured beside iptables-restore's`() throws {
        let file = TemporaryFile()
        let result = try BuiltProgram.run(
            "swerve",
            [
                "bench", "cni", "--subjects", "iptables-nft-restore,nft", "--rounds", "2",
                "--counts", "1,3", "--pins", file.path,
            ])
        try #require(result.status == 0, "\(result.output)")
        for row in ["| iptables-nft-restore | 3 | ", "| nft | 1 | ", "nft: "] {
            #expect(result.output.contains("\n" + row), "\(result.output)")
        }
        #expect(!FileManager.default.fileExists(atPath: file.path))
    }

    @Test func `an interrupted run leaves nothing`() async throws {
        // By which this run is told from those of others, which come and go meanwhile.
        let seed = "\(UInt64.random(in: 0...(.max)))"
        let program = try RunningProgram(
            "swerve", ["bench", "--duration", "60", "--subjects", "manual,ebpf", "--seed", seed],
            joiningErrors: true)
        let line = try program.line(containing: "bench: connect outbound")
        try #require(line != nil)
        let mine = try LabRemains.all().map(\.identity).filter { identity in
            (try? readFile("/proc/\(identity.owner.pid)/cmdline"))?.contains(seed) == true
        }
        #expect(mine.count == 1)
        try program.terminate()
        #expect(try program.finish() == 130)
        let left = try LabRemains.all().map(\.identity).filter(mine.contains)
        #expect(left.isEmpty, "\(left)")
    }
}
