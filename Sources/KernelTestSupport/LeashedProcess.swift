// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// A program that does not outlive the test, however the test ends.
///
/// A shell holds it on a pipe that only the test can write to: when the test is gone, crashed or
/// not, the pipe ends, and the shell ends the program.
package final class LeashedProcess: Sendable {
    private let shell: ChildProcess
    private let leash: Leash

    private final class Leash: Sendable {
        let end: OwnedDescriptor
        init(_ end: consuming OwnedDescriptor) { self.end = end }
    }

    private static let script = """
        "$@" </dev/null &
        child=$!
        read -r _
        kill -9 "$child"
        wait
        """

    /// Starts what `birth` says; its input is ours.
    package init(_ birth: ChildProcess.Birth) throws(KernelError) {
        let pipe = try OwnedDescriptor.pipe()
        var birth = birth
        birth.arguments = ["/bin/sh", "-c", Self.script, "leash"] + birth.arguments
        birth.input = pipe.reader.rawValue
        shell = try ChildProcess.start(birth)
        leash = Leash(pipe.takeWriter())
    }

    /// The program's number; `nil` when it has ended, or not begun.
    package var program: Int32? {
        get throws(KernelError) {
            try readFile("/proc/\(shell.pid)/task/\(shell.pid)/children")
                .split(separator: " ").first.flatMap { Int32($0) }
        }
    }

    /// Ends the program, and waits for it.
    package func stop() throws(KernelError) {
        try leash.end.write("\n")
        _ = try shell.waitForExit(within: .seconds(10))
    }
}
