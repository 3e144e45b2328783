// SPDX-License-Identifier: Apache-2.0

package import SystemPackage

/// A refusal by the kernel: what was asked, and the errno it answered with.
package struct KernelError: Error, Hashable {
    /// The call that failed, spelled so that a reader can look it up: `setns(CLONE_NEWNET)`.
    package let call: String
    package let errno: Errno
    /// What the kernel said beyond the number: a netlink extended ack, a verifier's last words.
    package let detail: String?

    package init(_ call: String, _ errno: Errno, detail: String? = nil) {
        self.call = call
        self.errno = errno
        self.detail = detail
    }
}

extension KernelError: CustomStringConvertible {
    package var description: String {
        "\(call): \(errno)" + (detail.map { " (\($0))" } ?? "")
    }
}

extension KernelError {
    /// Conclusive: the kernel has nothing of the kind; nfnetlink says it with `EINVAL`.
    package var saysNoSubsystem: Bool { saysMissing || errno == .invalidArgument }

    /// Conclusive: the kernel has no such table, module, family or expression.
    package var saysMissing: Bool {
        let conclusive: [Errno] = [
            .noSuchFileOrDirectory, .protocolNotAvailable, .addressFamilyNotSupported,
            .protocolNotSupported, .notSupportedOnSocket, .noFunction,
        ]
        return conclusive.contains(errno)
    }
}

/// Turns a negative errno, the way every C function below us reports failure, into a throw.
///
/// libbpf 1.x and all our shims follow this convention, so no other code in the project
/// interprets a C return value.
@discardableResult
package func kernel<Value: SignedInteger>(
    _ call: @autoclosure () -> String, _ body: () -> Value
) throws(KernelError) -> Value {
    let result = body()
    guard result >= 0 else { throw KernelError(call(), Errno(rawValue: CInt(-result))) }
    return result
}
