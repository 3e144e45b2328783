// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import LinuxKernel
import RedirectionModel
import Testing

@testable import Lab

/// What the lab's tests need of the machine and of the build.
enum LabTestSupport {
    /// The `swerve` program of this build, beside the tests.
    static let executable = program("swerve")

    /// A program of this build.
    static func program(_ name: String) -> String {
        let own = LabConfiguration.ownExecutable
        return own.split(separator: "/").dropLast().reduce(into: "") { $0 += "/" + $1 } + "/" + name
    }

    /// Runs `swerve` with these arguments and returns how it ended and what it printed.
    ///
    /// `wrapper` is a command that runs the command that follows it.
    static func swerve(
        _ arguments: [String], runtime: String, behind wrapper: [String] = []
    ) throws -> Output {
        let output = try OwnedDescriptor.pipe()
        let error = try OwnedDescriptor.pipe()
        let process = try start(
            arguments, runtime: runtime, behind: wrapper, output: output.writer.rawValue,
            error: error.writer.rawValue)
        let text = try output.takeReader().readAll()
        let complaint = try error.takeReader().readAll()
        return Output(
            status: try process.waitForExit(), output: String(decoding: text, as: UTF8.self),
            error: String(decoding: complaint, as: UTF8.self))
    }

    /// How a program ended, and what it printed.
    struct Output {
        let status: Int
        let output: String
        let error: String
    }

    static func start(
        _ arguments: [String], runtime: String, behind wrapper: [String] = [], output: CInt,
        error: CInt
    ) throws -> ChildProcess {
        let nothing = try OwnedDescriptor.open("/dev/null")
        var birth = ChildProcess.Birth(wrapper + [executable] + arguments)
        birth.environment.append("XDG_RUNTIME_DIR=\(runtime)")
        birth.input = nothing.rawValue
        birth.output = output
        birth.error = error
        birth.startsSession = true
        return try ChildProcess.start(birth)
    }

    /// Makes a directory of the test's own for `swerve` to keep its files in.
    static func withRuntimeDirectory<Value>(
        _ body: (String) async throws -> Value
    ) async throws -> Value {
        let path = "/tmp/swerve-lab-tests-\(UInt64.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try await body(path)
    }

    /// The names of cgroups of labs that belong to this process.
    static func cgroups(ofOwner pid: Int32) throws -> [String] {
        try Cgroup.root().children().map(\.path).filter { $0.contains("-\(pid)-") }
    }

    /// Processes, guards among them, that were started for labs of this process.
    static func processes(ofOwner pid: Int32) -> [String] {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return all.compactMap { Int32($0) }.filter { candidate in
            guard ProcessIdentity(running: candidate) != nil else { return false }
            let details = ["cmdline", "cgroup"].map {
                (try? readFile("/proc/\(candidate)/\($0)")) ?? ""
            }
            return details.contains { text in
                LabIdentity.Purpose.allNames.contains { text.contains("\($0)-") }
                    && text.contains("-\(pid)-")
            }
        }.map { "\($0): \((try? readFile("/proc/\($0)/cmdline")) ?? "")" }
    }

    /// Everything that keeps one of these network namespaces alive: processes that are in it,
    /// descriptors, and mounts.
    static func holders(ofNamespaces inodes: Set<UInt64>) -> [String] {
        let names = Set(inodes.map { "net:[\($0)]" })
        let files = FileManager.default
        let processes = ((try? files.contentsOfDirectory(atPath: "/proc")) ?? [])
            .compactMap { Int32($0) }
        let links = processes.flatMap { process in
            let base = "/proc/\(process)"
            let descriptors = (try? files.contentsOfDirectory(atPath: base + "/fd")) ?? []
            return [base + "/ns/net"] + descriptors.map { "\(base)/fd/\($0)" }
        }
        let mounts = ((try? readFile("/proc/self/mountinfo")) ?? "").split(separator: "\n")
        return links.filter { link in
            (try? files.destinationOfSymbolicLink(atPath: link)).map(names.contains) ?? false
        } + mounts.map(String.init).filter { line in names.contains { line.contains($0) } }
    }
}

extension LabIdentity.Purpose {
    static let allNames = [Self.up.rawValue, Self.run.rawValue]
}

/// Waits, within reason, for something that happens in another process.
func eventually(
    within limit: Duration = .seconds(10), _ condition: () throws -> Bool
) async throws -> Bool {
    let deadline = ContinuousClock.now + limit
    while try !condition() {
        guard ContinuousClock.now < deadline else { return false }
        try await Task.sleep(for: .milliseconds(10))
    }
    return true
}
