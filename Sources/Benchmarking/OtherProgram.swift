// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel

/// A program that is none of ours: what a mesh writes its rules with, or a load that others wrote.
///
/// The benchmark alone runs any, for to compare ourselves with others is what it is for.
struct OtherProgram: Sendable {
    let arguments: [String]
    var environment: [String] = []
    var input = ""

    init(_ arguments: [String]) { self.arguments = arguments }

    private static let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"]

    /// Whether it can be found where `run` looks for it.
    static func isInstalled(_ name: String) -> Bool {
        folders.contains { folder in
            (try? OwnedDescriptor.open("\(folder)/\(name)")) != nil
        }
    }

    /// Starts it, for somebody else to end; its cgroup's end is its end.
    func start(in place: (namespace: NetworkNamespace, cgroup: Cgroup)) throws {
        let nothing = try OwnedDescriptor.open("/dev/null", .write)
        _ = try start(place, output: nothing.rawValue)
    }

    /// Runs it to its end, and returns what it has printed.
    func run(
        in place: (namespace: NetworkNamespace, cgroup: Cgroup), within limit: Duration
    ) throws -> String {
        let output = try OwnedDescriptor.pipe()
        let child = try start(place, output: output.writer.rawValue)
        let text = try BenchProcess.readAll(output.takeReader(), within: limit)
        guard let text else {
            try child.signal(Signal.kill.rawValue)
            _ = try child.waitForExit()
            throw BenchError.processFailed(arguments[0], nil)
        }
        let words = String(decoding: text, as: UTF8.self)
        let status = try child.waitForExit()
        guard status == 0 else {
            throw BenchError.processFailed("\(arguments[0]) (\(words))", status)
        }
        return words
    }

    private func start(
        _ place: (namespace: NetworkNamespace, cgroup: Cgroup), output: CInt
    ) throws -> ChildProcess {
        // What it is given fits into a pipe: rules of a mesh are a few kilobytes.
        let given = try OwnedDescriptor.pipe()
        var birth = ChildProcess.Birth(arguments)
        birth.environment += environment
        birth.namespace = place.namespace
        birth.cgroup = place.cgroup
        birth.input = given.reader.rawValue
        birth.output = output
        birth.error = output
        birth.startsSession = true
        try given.writer.write(input)
        return try ChildProcess.start(birth)
    }
}
