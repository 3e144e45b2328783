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

    /// Redirects no new connection any more; answers how many still need what stays for them. With
    /// none, nothing is left.
    func retire(
        in namespace: NetworkNamespace, for successor: Successor
    ) async throws(RedirectionError) -> Int

    /// The families that the kernel tracks and translates for the sake of what it wrote.
    func translates(in namespace: NetworkNamespace) throws(RedirectionError)
        -> Set<AddressFamily>

    /// How what is there differs from what it would write, and what of others comes before it.
    func drift(
        from rules: RuleSet, _ isOn: Bool, in namespace: NetworkNamespace
    ) async throws(RedirectionError) -> [Drift]

    /// Whatever it wrote, in words, whole or not.
    func remains(in namespace: NetworkNamespace) async throws(RedirectionError) -> [String]

    /// The plan whose rules are there, all of them; `nil` for none or a part.
    func installed(
        in namespace: NetworkNamespace
    ) async throws(RedirectionError) -> InstalledPlan?

    /// The rules there, in the operator's words.
    func listing(in namespace: NetworkNamespace) async throws(RedirectionError) -> RuleListing

    /// The chains and comments of the rules there and how many packets each has matched.
    func counters(in namespace: NetworkNamespace) async throws(RedirectionError) -> [RuleCount]
}

/// What rules in the kernel say of the plan they belong to: `RuleSet.planComment`.
struct InstalledPlan {
    let fingerprint: PlanFingerprint
    var routing: RuleSet.Routing?
    /// In how many tables the plan is, where that is said.
    var tables: Int?

    /// Reads `plan 0123456789abcdef routing 1 by 2 in 3`; all but the plan may be absent.
    init?(comment: String) {
        var words = comment.split(separator: " ")[...]
        guard words.popFirst() == "plan",
            let fingerprint = words.popFirst().flatMap({ PlanFingerprint(String($0)) })
        else { return nil }
        self.fingerprint = fingerprint
        if words.first == "routing" {
            guard words.count >= 4, let mark = UInt32(words.dropFirst(1).first ?? ""),
                let table = UInt32(words.dropFirst(3).first ?? "")
            else { return nil }
            routing = RuleSet.Routing(mark: mark, table: table)
            words = words.dropFirst(4)
        }
        if words.popFirst() == "in" { tables = words.first.flatMap { Int($0) } }
    }
}

/// How many packets a rule has matched.
struct RuleCount {
    let chain: Chain.Name
    let comment: String
    let packets: UInt64
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
