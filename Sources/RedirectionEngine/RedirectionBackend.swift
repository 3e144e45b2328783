// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// One way of moving a workload's traffic to its sidecar.
///
/// The engine decides *what* is redirected; a backend only makes the kernel do it. Every
/// backend passes the contract suite (`BackendContract`), which spells this out:
///
/// - `apply` is idempotent, and replaces what an earlier call installed.
/// - `apply` is atomic as traffic sees it: the old plan or the new one, never a gap.
/// - `apply` of a plan the backend cannot express exactly throws `.inexpressible` and changes
///   nothing.
/// - `apply` to a workload in our own network namespace throws `.ownNamespace`.
/// - `apply` of a plan that is off leaves nothing installed, as `remove` does.
/// - `remove` succeeds for a workload the backend does not know.
/// - `retire` ends no connection; `remove` may.
/// - `settle` changes nothing that traffic meets, and resets no counter.
/// - `drift` is empty right after `apply`, and whatever `apply` would repair is in it.
/// - `installed` reads the kernel, not memory, so that a restarted agent can take over.
package protocol RedirectionBackend: Sendable {
    var mechanism: Mechanism { get }

    /// Makes the workload's traffic follow `plan`.
    func apply(_ plan: RedirectionPlan, to workload: Workload) async throws(RedirectionError)

    /// Leaves the workload's traffic as if this backend had never touched it.
    func remove(from workload: Workload) async throws(RedirectionError)

    /// Redirects no new connection any more, and lets established ones live to their end.
    ///
    /// Asked again, it looks again, and clears away what is no longer used: `.complete` means that
    /// nothing is left, as after `remove`. `apply` may come in between.
    func retire(from workload: Workload) async throws(RedirectionError) -> Retirement

    /// Gives up what the plan in the kernel needed while connections of another mechanism lived, if
    /// they have ended.
    ///
    /// Asked when others have been asked to retire, and again every now and then.
    func settle(in workload: Workload) async throws(RedirectionError)

    /// How the kernel differs from what `apply` of the plan leaves, order of rules included.
    func drift(
        from plan: RedirectionPlan, in workload: Workload
    ) async throws(RedirectionError) -> [Drift]

    /// The plan this backend has in the kernel for the workload, `nil` for none.
    func installed(in workload: Workload) async throws(RedirectionError) -> PlanFingerprint?

    /// How often each row of the verdict table has decided since the plan was applied.
    func counters(in workload: Workload) async throws(RedirectionError) -> ReasonCounters
}

/// What becomes of a mechanism that has been taken out of service.
package enum Retirement: Hashable, Sendable {
    case complete
    /// Something stays in the kernel for the sake of that many connections.
    case lingering(connections: Int)
}

extension RedirectionBackend {
    /// A backend whose connections need nothing of it just goes.
    package func retire(
        from workload: Workload
    ) async throws(RedirectionError) -> Retirement {
        try await remove(from: workload)
        return .complete
    }

    /// A backend that minds no connections of others has nothing to give up.
    package func settle(in workload: Workload) async throws(RedirectionError) {}

    /// A backend that cannot compare parts compares the whole.
    package func drift(
        from plan: RedirectionPlan, in workload: Workload
    ) async throws(RedirectionError) -> [Drift] {
        let wanted = plan.isEnabled ? plan.fingerprint : nil
        guard try await installed(in: workload) != wanted else { return [] }
        return [Drift(.missing, .entries, "the plan is not in the kernel as it was applied")]
    }

    /// A backend that counts nothing says so.
    package func counters(
        in workload: Workload
    ) async throws(RedirectionError) -> ReasonCounters {
        throw .unsupported(feature: "counters of \(mechanism)", because: "it does not count yet")
    }
}
