// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage

/// What puts a rule set into a namespace's kernel, in one of the two kinds of rules there are.
protocol RuleWriter: Sendable {
    /// Replaces whatever it wrote before.
    func write(_ rules: RuleSet, in namespace: NetworkNamespace) async throws(RedirectionError)

    /// Removes whatever it wrote; there may be nothing.
    func erase(in namespace: NetworkNamespace) async throws(RedirectionError)

    /// The plan whose rules are there, all of them; `nil` for none or a part.
    func installed(
        in namespace: NetworkNamespace
    ) async throws(RedirectionError) -> PlanFingerprint?

    /// The comments of the rules there and how many packets each has matched.
    func counters(
        in namespace: NetworkNamespace
    ) async throws(RedirectionError) -> [(comment: String, packets: UInt64)]
}

extension Mechanism {
    /// Sorts a kernel error by what the caller should do next.
    func error(_ error: KernelError, during step: String) -> RedirectionError {
        if error.saysMissing { return .unsupported(feature: "\(self) rules", because: "\(error)") }
        return switch error.errno {
        case .messageTooLong, .noBufferSpace, .noMemory, .fileTooLarge:
            .limit("the plan is too large for \(self) here: \(error)")
        default: .kernel(error, during: step)
        }
    }
}

extension KernelError {
    /// Conclusive: the kernel has no such table, module, family or expression.
    var saysMissing: Bool {
        let conclusive: [Errno] = [
            .noSuchFileOrDirectory, .protocolNotAvailable, .addressFamilyNotSupported,
            .protocolNotSupported, .notSupportedOnSocket, .noFunction,
        ]
        return conclusive.contains(errno)
    }
}
