// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser
internal import LinuxKernel

#if canImport(Glibc)
internal import Glibc
#endif

/// What `$?` says after one of our programs.
package enum Outcome: Int32 {
    case success = 0
    case failure = 1
    case usage = 2
    case interrupted = 130
}

extension Outcome {
    /// Ends the process in good order.
    package func end() -> Never { exit(rawValue) }

    /// Says what went wrong and exits with the code `--help` promises.
    package static func leave(_ program: any ParsableCommand.Type, with error: any Error) -> Never {
        let code = program.exitCode(for: error)
        switch code {
        case .validationFailure:
            complain(program.fullMessage(for: error))
            exit(usage.rawValue)
        case .success: program.exit(withError: error)
        default:
            let name = program.configuration.commandName ?? "swerve"
            if !(error is ExitCode) { complain("\(name): \(error)") }
            exit(code.rawValue)
        }
    }

    private static func complain(_ text: String) {
        try? OwnedDescriptor(duplicating: 2).write(text + "\n")
    }
}
