// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// How a workload gets from what it has to what it is to have.
extension Engine {
    /// Carries out `record`; when that fails, what `old` says is there again.
    func replace(
        _ old: WorkloadRecord?, with record: WorkloadRecord, in workload: Workload
    ) async throws(EngineError) -> WorkloadRecord {
        do throws(EngineError) {
            try await carryOut(.apply(record: record), in: workload)
        } catch {
            // A lesser intention takes its place; where that fails as well, recovery has it.
            do throws(EngineError) {
                let lesser = await fallBack(from: record, to: old)
                try await carryOut(lesser, in: workload, checking: true)
            } catch let second {
                tell(
                    record.id,
                    .failed(
                        "what was there before is not whole (\(second)); the next change, or an "
                            + "agent, goes on with it"))
            }
            throw error
        }
        tell(record.id, .applied(record.mechanism, reason: record.reason))
        return try known(record.id)
    }

    /// What to do when `record` could not be carried out.
    func fallBack(
        from record: WorkloadRecord, to old: WorkloadRecord?
    ) async -> Journal.Intent {
        var record = record
        // A mechanism that cannot even be made has touched nothing, and could not remove it.
        if let mechanism = record.mechanism, old?.touched.contains(mechanism) != true,
            (try? await backends([mechanism])) == nil
        {
            record.touched.remove(mechanism)
        }
        guard var old else { return .remove(record: record) }
        old.touched.formUnion(record.touched)
        return .apply(record: old)
    }

    /// Writes the intention down, does it, and writes down that it is done.
    ///
    /// With `checking`, what is in the kernel already is left as it is.
    func carryOut(
        _ intent: Journal.Intent, in workload: Workload, checking: Bool = false
    ) async throws(EngineError) {
        let id = workload.id
        hooks.step(.state("begin the journal of \(id)"))
        let journal = try state { () throws(StateError) in try store.begin(intent, id) }
        let hooks = hooks
        let changes = ChangeLog { change in
            journal.note(change)
            hooks.step(.kernel(change))
        }
        try await changes.listening { () async throws(EngineError) in
            switch intent {
            case .apply(let record):
                try await install(record, in: workload, checking: checking)
                try write(record)
                _ = try await retireOthers(record, in: workload)
            case .remove(let record):
                try await removeAll(record, from: workload)
            }
        }
        hooks.step(.state("end the journal of \(id)"))
        try state { () throws(StateError) in
            try journal.commit()
            try store.endJournal(id)
        }
        if case .remove = intent { tell(id, .removed) }
    }

    private func write(_ record: WorkloadRecord) throws(EngineError) {
        hooks.step(.state("write the record of \(record.id)"))
        try state { () throws(StateError) in try store.write(record) }
    }

    private func install(
        _ record: WorkloadRecord, in workload: Workload, checking: Bool
    ) async throws(EngineError) {
        guard let mechanism = record.mechanism else { return }
        try await backend { () async throws(RedirectionError) in
            let backend = try await mechanisms.backend(mechanism)
            let plan = record.plan
            if checking, try await backend.installed(in: workload) == plan.fingerprint,
                try await backend.drift(from: plan, in: workload).isEmpty
            {
                return
            }
            try await backend.apply(plan, to: workload)
        }
    }

    /// Takes every mechanism but the record's out of service, as far as its connections let it.
    ///
    /// One that cannot retire now is tried again at the next look; redirection does not hang on it.
    func retireOthers(
        _ record: WorkloadRecord, in workload: Workload
    ) async throws(EngineError) -> WorkloadRecord {
        var record = record
        for mechanism in record.retiring {
            do throws(RedirectionError) {
                let old = try await mechanisms.backend(mechanism)
                switch try await old.retire(from: workload) {
                case .complete:
                    record.touched.remove(mechanism)
                    tell(record.id, .retired(mechanism))
                case .lingering(let connections):
                    tell(record.id, .lingering(mechanism, connections: connections))
                }
            } catch {
                tell(record.id, .failed("\(mechanism) could not retire: \(error)"))
            }
        }
        let known = try state { () throws(StateError) in try store.record(of: record.id) }
        if known != record { try write(record) }
        return record
    }

    private func removeAll(
        _ record: WorkloadRecord, from workload: Workload
    ) async throws(EngineError) {
        let backends = try await backends(record.touched)
        try await backend { () async throws(RedirectionError) in
            for backend in backends { try await backend.remove(from: workload) }
        }
        hooks.step(.state("forget the record of \(record.id)"))
        try state { () throws(StateError) in try store.forget(record.id) }
    }

    func backends(
        _ wanted: Set<Mechanism>
    ) async throws(EngineError) -> [any RedirectionBackend] {
        var made: [any RedirectionBackend] = []
        for mechanism in wanted.sorted(by: { $0.rawValue < $1.rawValue }) {
            made.append(
                try await backend { () async throws(RedirectionError) in
                    try await mechanisms.backend(mechanism)
                })
        }
        return made
    }

    /// Forgets a workload whose namespace or cgroup is gone, with everything in them.
    func forget(_ record: WorkloadRecord) async throws(EngineError) {
        hooks.step(.state("forget the record of \(record.id)"))
        try state { () throws(StateError) in
            try store.forget(record.id)
            try store.endJournal(record.id)
        }
        tell(record.id, .forgotten)
        await forgetOthers()
    }

    /// Has mechanisms give up what they keep, outside of namespaces, for workloads that are gone.
    ///
    /// What cannot be given up now is told of, and can be at any time; nothing hangs on it.
    func forgetOthers() async {
        do throws(EngineError) {
            let living = try livingWorkloads()
            let left = try await backend { () async throws(RedirectionError) in
                try await mechanisms.forget(allBut: living)
            }
            for orphan in left { tell(Self.node, .orphan(orphan)) }
        } catch {
            tell(Self.node, .failed("what is kept for workloads that are gone stays: \(error)"))
        }
    }

    /// Throws where one cannot be read or looked for: nobody knows what it needs.
    private func livingWorkloads() throws(EngineError) -> [Workload] {
        var living: [Workload] = []
        let ids = try state { () throws(StateError) in try store.ids() }
        for id in ids {
            let record = try state { () throws(StateError) in
                if let intent = try store.pending(id) { return WorkloadRecord?(intent.record) }
                return try store.record(of: id)
            }
            if let record, let workload = try reach(record) { living.append(workload) }
        }
        return living
    }
}
