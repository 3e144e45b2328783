// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import SystemPackage

/// That one process at a time changes workloads; within it, any number of workloads at once.
actor NodeLock {
    private let store: StateStore
    private let patience: Duration
    /// Names this holder, unlike any other there has been.
    private let name: String
    private var lock: FileLock?
    private var holders = 0
    private var turn = Turns<Bool>()

    private static let lastWriter = "last-writer"

    init(_ store: StateStore, patience: Duration) {
        self.store = store
        self.patience = patience
        name = "\(UInt64.random(in: 0 ... .max))"
    }

    /// Takes the lock; true when another has changed workloads since we last had it.
    func take() async throws(EngineError) -> Bool {
        if !turn.take(true) { await withCheckedContinuation { turn.wait(for: true, $0) } }
        defer { turn.pass(on: true) }
        guard holders == 0 else {
            holders += 1
            return false
        }
        let (taken, isNews) = try await wait()
        lock = taken
        holders = 1
        return isNews
    }

    private func wait() async throws(EngineError) -> (FileLock, Bool) {
        do {
            try store.prepare()
            let taken = try await FileLock.take(store.lock, within: patience)
            let last = try store.directory.read(Self.lastWriter)
            guard last != name else { return (taken, false) }
            try store.directory.replace(Self.lastWriter, with: name)
            return (taken, last != nil)
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

    func release() {
        holders -= 1
        if holders == 0 { lock = nil }
    }
}
