// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel

/// How long programs take that only have to start, print a line and end.
package struct StartBench {
    package let programs: [String]
    package let rounds: Int

    package init(programs: [String], rounds: Int) {
        self.programs = programs
        self.rounds = rounds
    }

    /// The first ones fill the page cache, and do not count.
    private static let warmUp = 3

    package func run() throws -> String {
        var samples = programs.map { _ in Sample() }
        for round in 0..<(rounds + Self.warmUp) {
            for (index, program) in programs.enumerated() {
                let milliseconds = try time(program)
                if round >= Self.warmUp { samples[index].add(milliseconds) }
            }
        }
        let head = "| program | bytes | exec to exit, ms |\n|---|--:|--:|\n"
        return try zip(programs, samples).reduce(head) { table, row in
            let bytes = try FileContent.read(row.0).bytes.count
            return table + "| \(row.0) | \(bytes) | \(row.1.text) |\n"
        }
    }

    private func time(_ program: String) throws -> Double {
        let nothing = try OwnedDescriptor.open("/dev/null")
        let nowhere = try OwnedDescriptor.open("/dev/null", .write)
        var birth = ChildProcess.Birth([program])
        birth.environment.append("CNI_COMMAND=VERSION")
        birth.input = nothing.rawValue
        birth.output = nowhere.rawValue
        birth.error = nowhere.rawValue
        let start = monotonicNanoseconds()
        let status = try ChildProcess.start(birth).waitForExit()
        let end = monotonicNanoseconds()
        guard status == 0 else { throw Failure(program: program, status: status) }
        return Double(end - start) / 1e6
    }

    /// A program that is no CNI plugin.
    struct Failure: Error, CustomStringConvertible {
        let program: String
        let status: Int

        var description: String { "\(program): VERSION ended with \(status)" }
    }
}
