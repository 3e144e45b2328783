// SPDX-License-Identifier: Apache-2.0

import LinuxKernel
import Synchronization

/// A program that is spoken to by lines, and ends when nothing more will be said.
final class Piped: Sendable {
    private let child: ChildProcess
    private let input: Mutex<OwnedDescriptor?>
    private let output: OwnedDescriptor

    init(
        _ words: [String], _ variables: [String: String] = [:], in cgroup: Cgroup? = nil
    ) throws(KernelError) {
        let input = try OwnedDescriptor.pipe()
        let output = try OwnedDescriptor.pipe()
        var birth = ChildProcess.Birth(words)
        birth.environment += variables.map { "\($0.key)=\($0.value)" }
        birth.cgroup = cgroup
        birth.input = input.reader.rawValue
        birth.output = output.writer.rawValue
        // Ctrl-C is for the tests, and what they keep ends after them.
        birth.startsSession = true
        child = try ChildProcess.start(birth)
        self.input = Mutex(input.takeWriter())
        self.output = output.takeReader()
    }

    func say(_ line: String) throws(KernelError) {
        try input.withLock { (input) throws(KernelError) in
            try input?.write(line + "\n")
        }
    }

    /// The next line it says; `nil` at its end, or when none comes in time.
    func line() throws(KernelError) -> String? {
        var bytes: [UInt8] = []
        while try output.waitForInput(.seconds(120)) {
            guard let byte = try output.read(upTo: 1).first else { return nil }
            if byte == UInt8(ascii: "\n") { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        return nil
    }

    /// Says that nothing more will be said, and waits for the end.
    func finish() throws(KernelError) -> Int? {
        input.withLock { $0 = nil }
        return try child.waitForExit(within: .seconds(60))
    }
}
