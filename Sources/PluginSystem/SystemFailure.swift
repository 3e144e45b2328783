// SPDX-License-Identifier: Apache-2.0

#if canImport(Glibc)
internal import Glibc
#endif

/// A call to the system that failed.
///
/// LinuxKernel has a richer one, and more with it than a plugin should carry.
package struct SystemFailure: Error, Hashable, CustomStringConvertible {
    /// What was asked: `connect(/run/swerve/agent.sock)`.
    package let call: String
    /// An errno.
    package let number: CInt

    /// What the call answered, in the C library's words.
    package var reason: String { unsafe String(cString: strerror(number)) }

    package var description: String { "\(call): \(reason)" }

    /// Whether the call only ran out of time.
    package var isTimeout: Bool { number == EAGAIN || number == ETIMEDOUT }

    static func timedOut(_ call: String) -> SystemFailure {
        SystemFailure(call: call, number: ETIMEDOUT)
    }
}

/// Turns a negative errno into a throw, and makes a call that a signal interrupted once more.
@discardableResult
func system<Value: SignedInteger>(
    _ call: @autoclosure () -> String, _ body: () -> Value
) throws(SystemFailure) -> Value {
    while true {
        let result = body()
        if result >= 0 { return result }
        guard result == -EINTR else {
            throw SystemFailure(call: call(), number: CInt(-result))
        }
    }
}
