// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import SystemPackage

/// That one process at a time changes workloads; within it, any number of workloads at once.
actor NodeLock {
    private let store: StateStore
    private let patience: Duration
    private var lock: FileLock?
    private var holders = 0
    private var turn = Turns<Bool>()

    init(_ store: StateStore, patience: Duration) {
        self.store = store
        self.patience = patience
    }

    func take() async throws(EngineError) {
        if !turn.take(true) { await withCheckedContinuation { turn.wait(for: true, $0) } }
        defer { turn.pass(on: true) }
        if holders == 0 { lock = try await wait() }
        holders += 1
    }

    private func wait() async throws(EngineError) -> FileLock {
        try state { () throws(StateError) in try store.prepare() }
        do throws(KernelError) {
            return try await FileLock.take(store.lock, within: patience)
        } catch {
            throw error.errno == .wouldBlock ? .busy(lock: store.lock) : .state(.kernel(error))
        }
    }

    /// Gives the lock back; who is the last to do so runs `farewell` before others may have it.
    func release(_ farewell: @Sendable () async -> Void) async {
        if !turn.take(true) { await withCheckedContinuation { turn.wait(for: true, $0) } }
        defer { turn.pass(on: true) }
        holders -= 1
        guard holders == 0 else { return }
        await farewell()
        lock = nil
    }
}
