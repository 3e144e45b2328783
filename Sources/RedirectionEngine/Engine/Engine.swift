// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
package import RedirectionModel

/// What is done about drift.
package enum DriftResponse: String, Sendable, CaseIterable {
    case repair
    case report
}

/// Keeps every workload of a node as it is to be: applies, switches, removes, recovers, repairs.
///
/// All that another process needs to go on is in the state directory before it is in the kernel,
/// so a process may end at any instant (ADR 0015). One operation at a time is done to a workload,
/// different workloads go in parallel, and only one process of the node changes any.
package actor Engine {
    package nonisolated let store: StateStore
    let mechanisms: any MechanismSource
    let response: DriftResponse
    let hooks: Hooks
    private let lock: NodeLock
    private var turns = Turns<Workload.ID>()
    var neighbors = Neighbors()
    package private(set) var log = EventLog()

    /// Who listens to the engine.
    package struct Hooks: Sendable {
        /// Told of each event.
        package var event: @Sendable (EngineEvent) -> Void
        /// Told of each step that is about to be taken, after it is written down.
        package var step: @Sendable (EngineStep) -> Void

        package init(
            event: @escaping @Sendable (EngineEvent) -> Void = { _ in },
            step: @escaping @Sendable (EngineStep) -> Void = { _ in }
        ) {
            self.event = event
            self.step = step
        }
    }

    package init(
        state path: String, _ mechanisms: any MechanismSource, drift: DriftResponse = .repair,
        patience: Duration = .seconds(30), hooks: Hooks = Hooks()
    ) {
        store = StateStore(path)
        self.mechanisms = mechanisms
        response = drift
        self.hooks = hooks
        lock = NodeLock(store, patience: patience)
    }

    // MARK: What operators ask for

    /// Makes the workload's traffic follow `plan`, by a mechanism that `mode` allows.
    ///
    /// New connections never go without: the new mechanism works before the old one retires. When
    /// this throws, what was there before is there.
    @discardableResult
    package func apply(
        _ plan: RedirectionPlan, _ mode: PolicyMode, to place: WorkloadPlace,
        labels: [String: String]? = nil
    ) async throws(EngineError) -> WorkloadRecord {
        try await exclusively(place.id) { () async throws(EngineError) in
            let workload = try open(place)
            try refuseNode(workload)
            try await settle(place.id)
            let identity = try identify(workload)
            var old = try state { () throws(StateError) in try store.record(of: place.id) }
            if let known = old, !known.identity.isSame(as: identity) {
                // Perhaps the pod came back under its name; or somebody mistook the name.
                guard try reach(known) == nil else {
                    throw .taken(place.id, by: known.place)
                }
                try await forget(known)
                old = nil
            }
            let choice = try await choose(mode, plan, workload)
            // Right before it is written down: nobody else of this process comes in between.
            try refuseOverlap(workload, identity)
            let record = WorkloadRecord(
                place, identity, mode: mode, plan: plan, choice: choice,
                touched: old?.touched ?? [], labels: labels)
            return try await replace(old, with: record, in: workload)
        }
    }

    /// Changes which mechanism carries the workload's plan out, under live traffic.
    @discardableResult
    package func setMode(
        _ mode: PolicyMode, of id: Workload.ID
    ) async throws(EngineError) -> WorkloadRecord {
        try await revise(id) { $0.mode = mode }
    }

    /// Changes plan, mode or labels of a workload that is on record, under live traffic.
    @discardableResult
    package func revise(
        _ id: Workload.ID, _ change: @Sendable (inout WorkloadRecord) -> Void
    ) async throws(EngineError) -> WorkloadRecord {
        try await exclusively(id) { () async throws(EngineError) in
            try await settle(id)
            let old = try known(id)
            let workload = try open(old)
            var record = old
            change(&record)
            record.choose(try await choose(record.mode, record.plan, workload))
            return try await replace(old, with: record, in: workload)
        }
    }

    /// Leaves the workload's traffic as if it had never been redirected, and forgets it.
    package func remove(_ id: Workload.ID) async throws(EngineError) {
        try await exclusively(id) { () async throws(EngineError) in
            try await settle(id)
            let record = try known(id)
            guard let workload = try reach(record) else { return try await forget(record) }
            // Who cannot remove all of it does not begin.
            _ = try await backends(record.touched)
            try await carryOut(.remove(record: record), in: workload)
        }
    }

    /// Every record that can be read, and what is wrong with records and journals that cannot.
    package nonisolated func list() -> (records: [WorkloadRecord], problems: [StateError]) {
        var records: [WorkloadRecord] = []
        var problems: [StateError] = []
        var ids: [Workload.ID] = []
        do throws(StateError) {
            ids = try store.ids()
            problems = try store.strangers().map {
                StateError.corrupt(file: $0, because: "nothing of ours has such a name")
            }
        } catch {
            problems.append(error)
        }
        for id in ids {
            do throws(StateError) {
                if let record = try store.record(of: id) { records.append(record) }
            } catch {
                problems.append(error)
            }
            do throws(StateError) {
                _ = try store.pending(id)
            } catch {
                problems.append(error)
            }
        }
        return (records, problems)
    }

    // MARK: Order

    /// Runs `body` when nobody else, in this process or another, is at the workload.
    func exclusively<Value: Sendable>(
        _ id: Workload.ID, _ body: () async throws(EngineError) -> Value
    ) async throws(EngineError) -> Value {
        try state { () throws(StateError) in try StateStore.check(id) }
        if !turns.take(id) { await withCheckedContinuation { turns.wait(for: id, $0) } }
        defer { turns.pass(on: id) }
        return try await inCharge(body)
    }

    /// Runs `body` while no other process of the node changes anything.
    func inCharge<Value: Sendable>(
        _ body: () async throws(EngineError) -> Value
    ) async throws(EngineError) -> Value {
        try await lock.take()
        let result: Result<Value, EngineError>
        do throws(EngineError) {
            result = .success(try await body())
        } catch {
            result = .failure(error)
        }
        let mechanisms = mechanisms
        await lock.release { await mechanisms.letGo() }
        return try result.get()
    }

    func tell(_ id: Workload.ID, _ kind: EngineEvent.Kind) {
        let event = EngineEvent(id, kind)
        log.add(event)
        hooks.event(event)
    }
}

/// A step of the engine's, as tests want to interrupt it.
package enum EngineStep: Hashable, Sendable {
    case kernel(KernelChange)
    /// A file of the state directory changes.
    case state(String)
}

// MARK: Finding workloads

extension Engine {
    /// The record of a workload one was told of.
    func known(_ id: Workload.ID) throws(EngineError) -> WorkloadRecord {
        let record = try state { () throws(StateError) in try store.record(of: id) }
        guard let record else {
            let others = ((try? store.ids()) ?? []).filter { $0 != id }
            throw .unknown(id, known: others)
        }
        return record
    }

    private func open(_ place: WorkloadPlace) throws(EngineError) -> Workload {
        do throws(KernelError) {
            return try place.open()
        } catch {
            throw .unreachable(place.id, error)
        }
    }

    private func open(_ record: WorkloadRecord) throws(EngineError) -> Workload {
        if let workload = try reach(record) { return workload }
        throw .failed(
            "\(record.id) is gone: nothing is at \(record.place.cgroup ?? record.place.namespace) "
                + "that is the workload of the record; `swerve remove \(record.id)` forgets it")
    }

    private func identify(_ workload: Workload) throws(EngineError) -> WorkloadIdentity {
        do throws(KernelError) {
            return try WorkloadIdentity(of: workload)
        } catch {
            throw .unreachable(workload.id, error)
        }
    }

    /// True while the workload of the record can be reached.
    package func isThere(_ record: WorkloadRecord) throws(EngineError) -> Bool {
        try reach(record) != nil
    }

    /// The workload of the record, wherever it is now; `nil` when it is gone.
    ///
    /// Throws where that cannot be known: nothing may be forgotten then.
    func reach(_ record: WorkloadRecord) throws(EngineError) -> Workload? {
        try reach(Neighbors.Neighbor(record))
    }

    func reach(_ neighbor: Neighbors.Neighbor) throws(EngineError) -> Workload? {
        do throws(KernelError) {
            if let found = try neighbor.whoeverIsThere(neighbor.place.open) { return found }
            // The file may be gone while processes are still in there.
            return try neighbor.whoeverIsThere { () throws(KernelError) in
                try ReachableNamespaces.find(inode: neighbor.identity.namespaceInode)
                    .map { neighbor.place.workload(in: $0.namespace) }
            }
        } catch {
            throw .unreachable(neighbor.place.id, error)
        }
    }

    /// Refuses what would be the machine and no workload, before anything is written anywhere.
    private func refuseNode(_ workload: Workload) throws(EngineError) {
        do throws(RedirectionError) {
            try workload.refuseOwnNamespace()
            try workload.refuseOwnCgroup()
        } catch {
            throw .redirection(error)
        }
    }

    private func choose(
        _ mode: PolicyMode, _ plan: RedirectionPlan, _ workload: Workload
    ) async throws(EngineError) -> Choice? {
        guard let wish = mode.wish, plan.isEnabled else { return nil }
        return try await mechanisms.choose(wish, for: plan, in: workload)
    }
}

extension Neighbors.Neighbor {
    /// Who is found, if it is the workload of the record.
    fileprivate func whoeverIsThere(
        _ find: () throws(KernelError) -> Workload?
    ) throws(KernelError) -> Workload? {
        do throws(KernelError) {
            // In another namespace there is nothing to ask for more.
            guard let found = try find(), found.namespace.inode == identity.namespaceInode,
                try WorkloadIdentity(of: found).isSame(as: identity)
            else { return nil }
            return found
        } catch  where error.saysGone {
            return nil
        }
    }
}
