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
        (["--family", "5"], "The value '5' is invalid for '--family"),
        (["--topology", "ring"], "The value 'ring' is invalid for '--topology"),
        (["--churn-duration", "0"], "--churn-duration 0.0: give seconds from 0.05 to 600"),
        (["full", "--pods", "2001"], "--pods 2001: give a number from 1 to 2000"),
        (["published", "/nonexistent"], "/nonexistent/fsm.v4"),
        (["compare", "/nonexistent/a", "/nonexistent/b"], "/nonexistent/a"),
        (["compare", "--slack", "2", "a", "b"], "--slack 2.0: give a fraction from 0 to 1"),
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

    @Test func `every mechanism redirects over IPv6, and across nodes`() throws {
        let json = TemporaryFile()
        let result = try BuiltProgram.run(
            "swerve",
            [
                "bench", "--rounds", "1", "--duration", "0.05", "--subjects",
                "manual,legacy,nft,tproxy,ebpf,ebpf-tc", "--scenarios", "connect,request,dns",
                "--family", "4,6", "--topology", "same,across", "--sizes", "1", "--connections",
                "1", "--patience", "60", "--json", json.path,
            ])
        try #require(result.status == 0, "\(result.output)")
        let report = try JSONDecoder().decode(
            BenchReport.self, from: Data(try readFile(json.path).utf8))
        // Outbound four subjects in three scenarios, inbound six in two, in four places.
        #expect(report.rows.count == 4 * (4 * 3 + 6 * 2))
        for row in report.rows {
            let isRight =
                row.counts.operations > 0 && row.counts.escaped == 0 && row.counts.strayed == 0
                && row.counts.failed == 0
            #expect(isRight, "\(row.subject), \(row.name): \(row.counts)")
        }
        let names = Set(report.rows.map(\.name))
        #expect(names.contains("connect inbound, IPv6, across nodes"), "\(names)")
    }

    @Test func `the same pod is measured with nothing of ours, and beside each mechanism`() throws {
        let result = try BuiltProgram.run(
            "swerve", ["bench", "neighbors", "--rounds", "2", "--duration", "0.05"])
        try #require(result.status == 0, "\(result.output)")
        for subject in ["nothing", "beside ebpf", "beside nft", "beside legacy"] {
            #expect(result.output.contains("| \(subject) "), "\(result.output)")
        }
    }

    @Test func `rules that meshes publish redirect as ours do`() throws {
        let folder = #filePath.split(separator: "/").dropLast(2).joined(separator: "/")
        let result = try BuiltProgram.run(
            "swerve",
            [
                "bench", "published", "/\(folder)/PolicyFileTests/Published", "--presets",
                "osm,istio", "--rounds", "1", "--duration", "0.05",
            ])
        try #require(result.status == 0, "\(result.output)")
        for subject in ["osm legacy", "osm nft", "istio legacy", "istio nft"] {
            #expect(result.output.contains("| \(subject) "), "\(result.output)")
        }
    }

    @Test func `kernel memory is told of for pods and for connections`() throws {
        let result = try BuiltProgram.run(
            "swerve", ["bench", "memory", "--pods", "4", "--mechanisms", "ebpf,nft", "--json"])
        try #require(result.status == 0, "\(result.output)")
        let table = try JSONDecoder().decode(
            ReportTable.self, from: Data(result.output.drop { $0 != "{" }.utf8))
        let rows = Dictionary(uniqueKeysWithValues: table.rows.map { ($0[0], $0) })
        let (ebpf, nft) = (try #require(rows["ebpf"]), try #require(rows["nft"]))
        // Programs and maps are made once, rules for each pod; NAT tracks connections.
        #expect(Int(ebpf[1]).map { $0 > 100_000 } == true, "\(table.rows)")
        #expect(Int(nft[2]).map { $0 > 1000 } == true, "\(table.rows)")
        #expect(Double(nft[4]).map { $0 >= 1 } == true, "\(table.rows)")
    }

    @Test func `others' loads run where they are installed, and else it is said what is missing`()
        throws
    {
        let result = try BuiltProgram.run(
            "swerve",
            [
                "bench", "tools", "--subjects", "manual,ebpf", "--rounds", "1", "--duration", "1",
            ])
        if ToolBench.missing.isEmpty {
            #expect(result.status == 0, "\(result.output)")
            for load in ["wrk, requests over one connection", "iperf3, one stream"] {
                #expect(result.output.contains("| \(load) "), "\(result.output)")
            }
        } else {
            #expect(result.status != 0)
            let missing = ToolBench.missing.joined(separator: ", ")
            #expect(result.output.contains("not installed: \(missing)"), "\(result.output)")
        }
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
        #expect(text.contains("| nft       | 30   |"), "\(text)")
    }

    @Test func `a plugin's ADD and DEL are measured beside iptables-restore's`() throws {
        let file = TemporaryFile()
        let another = file.path + "/another's"
        try Directory(path: another).create()
        defer { try? Directory(path: file.path).removeTree() }
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
        // What is there already is not the bench's.
        #expect(Directory(path: file.path).names() == ["another's"])
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
