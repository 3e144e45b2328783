// SPDX-License-Identifier: Apache-2.0

/// How the engine finds its way back: after a crash, and when others change the kernel.
extension Engine {
    /// Finishes what an earlier process began, and puts back what the kernel lost meanwhile.
    ///
    /// Returns what could not be: by workload, or for the node, why.
    package func recover() async -> [Workload.ID: EngineError] {
        var failures = await each { (id) async throws(EngineError) in
            try await self.settle(id)
            try await self.check(id, after: .start)
        }
        do throws(EngineError) {
            try await inCharge { () async throws(EngineError) in
                try state { () throws(StateError) in try store.removeUnfinished() }
                await self.forgetOthers()
            }
        } catch {
            failures[Self.node] = error
            tell(Self.node, .failed("what is kept for workloads that are gone stays: \(error)"))
        }
        return failures
    }

    /// Looks after every workload: goes on with retirements, compares, repairs or reports.
    package func reconcile() async -> [Workload.ID: EngineError] {
        await each { (id) async throws(EngineError) in
            try await self.settle(id)
            try await self.check(id, after: .time)
        }
    }

    /// Compares one workload, of which the kernel has told that something changed.
    package func look(at id: Workload.ID) async throws(EngineError) {
        try await exclusively(id) { () async throws(EngineError) in
            try await settle(id)
            try await check(id, after: .change)
        }
    }

    /// Which workloads there are by their records, or are about to be: each asked for by `workload`.
    package func identities() -> [Workload.ID: WorkloadIdentity] {
        let all = (try? neighbors.all(in: store)) ?? []
        return Dictionary(uniqueKeysWithValues: all.map { ($0.id, $0.neighbor.identity) })
    }

    /// A workload on record, if it is there.
    package func workload(_ id: Workload.ID) -> Workload? {
        neighbors.neighbor(id, in: store).flatMap { (try? reach($0)) ?? nil }
    }

    /// Stands in for a workload's id where all are concerned; no workload can be called that.
    static let node = "the node"

    private func each(
        _ body: @escaping @Sendable (Workload.ID) async throws(EngineError) -> Void
    ) async -> [Workload.ID: EngineError] {
        var failures: [Workload.ID: EngineError] = [:]
        var ids = [Self.node]
        do throws(EngineError) {
            ids = try state { () throws(StateError) in try store.ids() }
            guard !ids.isEmpty else { return [:] }
            // In charge all the while: backends are made once for all workloads.
            failures = try await inCharge { () async throws(EngineError) in
                await self.oneByOne(ids, body)
            }
        } catch {
            for id in ids { failures[id] = error }
        }
        for (id, error) in failures { tell(id, .failed("\(error)")) }
        return failures
    }

    private func oneByOne(
        _ ids: [Workload.ID],
        _ body: @escaping @Sendable (Workload.ID) async throws(EngineError) -> Void
    ) async -> [Workload.ID: EngineError] {
        var failures: [Workload.ID: EngineError] = [:]
        for id in ids {
            do throws(EngineError) {
                try await exclusively(id) { () async throws(EngineError) in try await body(id) }
            } catch {
                failures[id] = error
            }
        }
        return failures
    }

    /// Finishes what a journal says was begun; its process is gone, for we have the lock.
    func settle(_ id: Workload.ID) async throws(EngineError) {
        let pending = try state { () throws(StateError) in try store.pending(id) }
        guard let pending else {
            return try state { () throws(StateError) in try store.endJournal(id) }
        }
        tell(id, .recovering)
        guard let workload = try reach(pending.record) else {
            return try await forget(pending.record)
        }
        do throws(EngineError) {
            try await carryOut(pending, in: workload, checking: true)
        } catch {
            // The old plan, if the new one cannot be had; and what cannot be removed stays begun.
            guard case .apply(let record) = pending else { throw error }
            let old = try state { () throws(StateError) in try store.record(of: id) }
            try await carryOut(
                await fallBack(from: record, to: old), in: workload, checking: true)
        }
    }

    enum Occasion { case start, time, change }

    /// Compares a workload with its record.
    private func check(_ id: Workload.ID, after occasion: Occasion) async throws(EngineError) {
        let found = try state { () throws(StateError) in try store.record(of: id) }
        guard var record = found else { return }
        guard let workload = try reach(record) else { return try await forget(record) }
        // A retirement may change something each time it is asked for: not whenever that is told.
        if occasion != .change, !record.retiring.isEmpty {
            record = try await retireOthers(record, in: workload)
        }
        guard let mechanism = record.mechanism else { return }
        if occasion != .change { await settle(mechanism, in: workload) }
        let drift = try await drift(of: record, by: mechanism, in: workload)
        let before = record
        let news = record.note(drift, of: mechanism)
        for difference in news { tell(id, .drifted(mechanism, difference)) }
        // Whoever has lost everything since an earlier process did so at its end.
        guard !drift.isEmpty, response == .repair || occasion == .start else {
            if record != before { try state { () throws(StateError) in try store.write(record) } }
            return
        }
        // What others put before ours may be out of our reach, so that is tried only once.
        guard drift.contains(where: { $0.kind != .preempted }) || !news.isEmpty else { return }
        try await carryOut(.apply(record: record), in: workload)
        // What retired meanwhile is not to be written back; what differed is not known there.
        record.touched = try known(id).touched
        let left = try await self.drift(of: record, by: mechanism, in: workload)
        if left.isEmpty { tell(id, .repaired(mechanism)) }
        _ = record.note(left, of: mechanism)
        try state { () throws(StateError) in try store.write(record) }
    }

    /// Has a mechanism give up what it needed for connections of those that have retired.
    ///
    /// What cannot be given up now is tried again at the next look; redirection does not hang on it.
    private func settle(_ mechanism: Mechanism, in workload: Workload) async {
        do throws(RedirectionError) {
            try await mechanisms.backend(mechanism).settle(in: workload)
        } catch {
            tell(workload.id, .failed("\(mechanism) could not settle: \(error)"))
        }
    }

    private func drift(
        of record: WorkloadRecord, by mechanism: Mechanism, in workload: Workload
    ) async throws(EngineError) -> [Drift] {
        try await backend { () async throws(RedirectionError) in
            try await mechanisms.backend(mechanism).drift(from: record.plan, in: workload)
        }
    }
}
