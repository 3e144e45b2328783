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
        do {
            try store.prepare()
            return try await FileLock.take(store.lock, within: patience)
        } catch let error as StateError {
            throw .state(error)
        } catch let error as KernelError where error.errno == .wouldBlock {
            throw .busy(lock: store.lock)
        } catch let error as KernelError {
            throw .state(.kernel(error))
        } catch {
            throw .failed("\(error)")
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
