// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import CommandOptions
internal import Lab
internal import LinuxKernel
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#endif

/// Runs `body`, and cancels it on SIGINT, SIGTERM or SIGHUP; exits either way.
///
/// The main thread waits for signals and does nothing else: it is the one thread whose end the
/// kernel takes for the process's own (`/proc/PID/fd` goes with it), so it must not be given
/// away. Cancellation handlers run on it, and have done their work when they return.
///
/// Signals in `ignoring` are for processes that outlive their readers. With `finishing`, what has
/// begun comes to its end first; a second signal ends it all the same, and what is left to do is in
/// the journal.
func runInterruptibly(
    ignoring: [Signal] = [], finishing: Bool = false,
    _ body: @escaping @Sendable () async throws -> Void
) throws -> Never {
    let signals = try SignalDescriptor.block([.interrupt, .terminate, .hangUp] + ignoring)
    let isInterrupted = Mutex(false)
    let task = Task.detached {
        let outcome = await outcome(of: body)
        // The lock is never given back: whoever has it first ends the process.
        isInterrupted.withLock { interrupted in
            while interrupted, !finishing { pause() }
            let isDone = outcome == Outcome.success.rawValue
            exit(interrupted && isDone ? Outcome.interrupted.rawValue : outcome)
        }
    }
    var first: ContinuousClock.Instant?
    while true {
        guard let signal = try signals.next(), !ignoring.contains(signal) else { continue }
        isInterrupted.withLock { $0 = true }
        if finishing {
            // Some who pass a signal on send it twice, timeout(1) among them.
            let now = ContinuousClock.now
            if first == nil { Console.complain("swerve: finishing; once more ends it at once") }
            let since = first ?? now
            first = since
            guard now - since > .milliseconds(500) else { continue }
            _exit(Outcome.interrupted.rawValue)
        }
        task.cancel()
        let failures = InterruptFailures.all
        for failure in failures { Console.complain("swerve: \(failure)") }
        _exit((failures.isEmpty ? Outcome.interrupted : .failure).rawValue)
    }
}

private func outcome(of body: @Sendable () async throws -> Void) async -> Int32 {
    do {
        try await body()
        return Outcome.success.rawValue
    } catch let code as ExitCode {
        return code.rawValue
    } catch let error as ValidationError {
        // Some values can be judged only where they are used.
        Console.complain("Error: \(error)")
        return Outcome.usage.rawValue
    } catch {
        Console.complain("swerve: \(error)")
        return Outcome.failure.rawValue
    }
}

/// Ends the process in good order.
func end() -> Never { exit(Outcome.success.rawValue) }

/// Ends the process with the reason on standard error.
func fail(_ error: any Error) -> Never {
    Console.complain("swerve: \(error)")
    exit(Outcome.failure.rawValue)
}
