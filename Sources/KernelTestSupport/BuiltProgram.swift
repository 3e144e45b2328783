// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
package import LinuxKernel
internal import Synchronization

/// The programs of this build, which lie beside the tests.
package enum BuiltProgram {
    package static func path(_ name: String) -> String {
        let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        return (own ?? "").split(separator: "/").dropLast().reduce(into: "") { $0 += "/" + $1 }
            + "/" + name
    }

    /// How a program ended, and what it printed, errors included.
    package struct Result: Sendable {
        package let status: Int
        package let output: String
    }

    /// Runs a program to its end.
    package static func run(_ name: String, _ arguments: [String]) throws(KernelError) -> Result {
        let output = try OwnedDescriptor.pipe()
        let nothing = try OwnedDescriptor.open("/dev/null")
        var birth = ChildProcess.Birth([path(name)] + arguments)
        birth.input = nothing.rawValue
        birth.output = output.writer.rawValue
        birth.error = output.writer.rawValue
        let child = try ChildProcess.start(birth)
        let text = try output.takeReader().readAll()
        return Result(
            status: try child.waitForExit(), output: String(decoding: text, as: UTF8.self))
    }
}

/// A program of this build that runs beside the test, and ends some time after it at the latest.
package final class RunningProgram: Sendable {
    /// The time limit's process; the program is its child.
    private let limit: ChildProcess
    private let input: Mutex<OwnedDescriptor?>
    private let output: OwnedDescriptor
    /// Once it has ended, its number may be another's.
    private let hasEnded = Mutex(false)

    /// Starts it; with `joiningErrors`, what it complains about is among its lines.
    ///
    /// What it is started through becomes it, as setpriv(1) does.
    package init(
        _ name: String, _ arguments: [String], joiningErrors: Bool = false,
        through wrapper: [String] = []
    ) throws(KernelError) {
        let input = try OwnedDescriptor.pipe()
        let output = try OwnedDescriptor.pipe()
        var birth = ChildProcess.Birth(
            ["timeout", "--kill-after=5", "180"] + wrapper + [BuiltProgram.path(name)] + arguments)
        birth.input = input.reader.rawValue
        birth.output = output.writer.rawValue
        if joiningErrors { birth.error = output.writer.rawValue }
        limit = try ChildProcess.start(birth)
        self.input = Mutex(input.takeWriter())
        self.output = output.takeReader()
    }

    /// Whether there is something to read of it, or it has ended.
    package var hasOutput: Bool {
        get throws(KernelError) { try output.waitForInput(.zero) }
    }

    /// The next line of its output; `nil` at the end, or when none comes in time.
    package func line(within patience: Duration = .seconds(60)) throws(KernelError) -> String? {
        var bytes: [UInt8] = []
        while try output.waitForInput(patience) {
            let byte = try output.read(upTo: 1)
            guard let byte = byte.first else { return nil }
            if byte == UInt8(ascii: "\n") { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        return nil
    }

    /// The next line that contains `text`.
    package func line(
        containing text: String, within patience: Duration = .seconds(60)
    ) throws(KernelError) -> String? {
        while let line = try line(within: patience) {
            if line.contains(text) { return line }
        }
        return nil
    }

    /// Ends the program's input, and waits for its end.
    package func finish(within patience: Duration = .seconds(60)) throws(KernelError) -> Int? {
        input.withLock { $0 = nil }
        return try wait(patience)
    }

    /// Passed on to the program.
    package func terminate() throws(KernelError) { try limit.signal(Signal.terminate.rawValue) }

    /// Ends the program as a crash does.
    package func kill() throws(KernelError) {
        // timeout(1) may not have started it yet.
        for _ in 0..<1000 {
            let children = (try? readFile("/proc/\(limit.pid)/task/\(limit.pid)/children")) ?? ""
            let numbers = children.split(separator: " ").compactMap { Int32($0) }
            for child in numbers { try ProcessIdentity(running: child)?.signal(.kill) }
            if !numbers.isEmpty { break }
            if try wait(.milliseconds(5)) != nil { return }
        }
        _ = try wait(.seconds(60))
    }

    private func wait(_ patience: Duration) throws(KernelError) -> Int? {
        let status = try limit.waitForExit(within: patience)
        if status != nil { hasEnded.withLock { $0 = true } }
        return status
    }

    deinit {
        if !hasEnded.withLock({ $0 }) { try? kill() }
    }
}
