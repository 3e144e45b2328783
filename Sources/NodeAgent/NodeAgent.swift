// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
package import Logging
package import RedirectionEngine

/// The one agent of a node: recovers, then keeps every workload as it is recorded.
///
/// It holds nothing that redirection needs: when it ends, in whatever way, all workloads stay as
/// they are, and the next one goes on. Requests reach the engine by the state directory today; an
/// API is to call the same engine.
package actor NodeAgent {
    package enum Failure: Error, Hashable {
        case alreadyRunning(lock: String)
    }

    package let engine: Engine
    private let period: Duration
    private let logger: Logger
    /// Workloads to look at; `nil` stands for all.
    private let wakes: AsyncStream<Workload.ID?>
    private let waker: AsyncStream<Workload.ID?>.Continuation
    private var watches: [Workload.ID: NamespaceListener] = [:]

    package init(
        state: String, _ mechanisms: any MechanismSource, drift: DriftResponse,
        period: Duration, logger: Logger
    ) {
        let log: @Sendable (EngineEvent) -> Void = { logger.log(level: $0.level, "\($0)") }
        engine = Engine(
            state: state, mechanisms, drift: drift, hooks: Engine.Hooks(event: log))
        self.period = period
        self.logger = logger
        (wakes, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1024))
    }

    /// Runs until the task is canceled; what is being done to a workload then comes to its end.
    package func run() async throws {
        try engine.store.prepare()
        guard let lock = try FileLock.tryTake(engine.store.agentLock) else {
            throw Failure.alreadyRunning(lock: engine.store.agentLock)
        }
        defer { withExtendedLifetime(lock) {} }
        _ = await engine.recover()
        await listen()
        logger.notice("recovered; looking every \(period)")
        let clock = Task { [waker, period] in
            while !Task.isCancelled {
                try await Task.sleep(for: period)
                waker.yield(nil)
            }
        }
        defer { clock.cancel() }
        await withTaskCancellationHandler {
            for await id in wakes {
                if Task.isCancelled { break }
                await look(at: id)
            }
        } onCancel: { [waker] in
            waker.finish()
        }
        watches = [:]
        logger.notice("ending; every workload stays as it is")
    }

    private func look(at id: Workload.ID?) async {
        guard let id else {
            _ = await engine.reconcile()
            return await listen()
        }
        do throws(EngineError) {
            try await engine.look(at: id)
        } catch {
            logger.error("\(id): \(error)")
        }
    }

    /// Listens to the namespaces of all workloads that are there now.
    private func listen() async {
        let waker = waker
        var listened: [Workload.ID: NamespaceListener] = [:]
        for workload in await engine.workloads() where workload.scope == .namespace {
            let (id, namespace) = (workload.id, workload.namespace)
            if let watch = watches[id], watch.namespace == namespace {
                listened[id] = watch
            } else {
                listened[id] = NamespaceListener(to: namespace) { waker.yield(id) }
            }
        }
        watches = listened
    }
}

extension NodeAgent.Failure: CustomStringConvertible {
    package var description: String {
        switch self {
        case .alreadyRunning(let lock):
            "an agent runs on this node already (it has the lock \(lock)): stop it first"
        }
    }
}

extension EngineEvent {
    var level: Logger.Level {
        switch kind {
        case .failed: .error
        case .drifted, .orphan: .warning
        case .recovering, .forgotten, .repaired: .notice
        case .applied, .removed, .retired, .lingering: .info
        }
    }
}
