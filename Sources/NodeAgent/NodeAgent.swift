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
    private let wakes: AsyncStream<Wake>
    private let waker: AsyncStream<Wake>.Continuation
    private var watches: [Workload.ID: Watch] = [:]
    private var records: Listener?

    private enum Wake: Sendable {
        case period
        case change(Workload.ID)
        /// A command has applied or removed a workload, or we have.
        case records
    }

    private struct Watch {
        let namespace: NetworkNamespace
        let listener: Listener
    }

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
        let failures = await engine.recover()
        await listen()
        if failures.isEmpty {
            logger.notice("recovered; looking every \(period)")
        } else {
            let ids = failures.keys.sorted().joined(separator: ", ")
            logger.error("recovered but for \(ids); trying again every \(period)")
        }
        let clock = Task { [waker, period] in
            while !Task.isCancelled {
                try await Task.sleep(for: period)
                waker.yield(.period)
            }
        }
        defer { clock.cancel() }
        await withTaskCancellationHandler {
            for await wake in wakes {
                if Task.isCancelled { break }
                await answer(wake)
            }
        } onCancel: { [waker] in
            waker.finish()
        }
        watches = [:]
        records = nil
        logger.notice("ending; every workload stays as it is")
    }

    private func answer(_ wake: Wake) async {
        switch wake {
        case .period:
            _ = await engine.reconcile()
            await listen()
        case .change(let id): await look(at: id)
        case .records: await listen()
        }
    }

    private func look(at id: Workload.ID) async {
        do throws(EngineError) {
            try await engine.look(at: id)
        } catch {
            logger.error("\(id): \(error)")
        }
    }

    /// Listens to the namespaces of all workloads that are there now, and for more of them.
    private func listen() async {
        let (waker, logger) = (waker, logger)
        if records.map(\.hasEnded) ?? true {
            records = Listener(to: engine.store.records) {
                logger.warning("new workloads are heard of only every period: \($0)")
            } _: {
                waker.yield(.records)
            }
        }
        var listened: [Workload.ID: Watch] = [:]
        for workload in await engine.workloads() where workload.scope == .namespace {
            let (id, namespace) = (workload.id, workload.namespace)
            if let watch = watches[id], watch.namespace == namespace, !watch.listener.hasEnded {
                listened[id] = watch
                continue
            }
            let listener = Listener(to: namespace) {
                logger.warning("\(id): what changes is heard of only every period: \($0)")
            } _: {
                waker.yield(.change(id))
            }
            listened[id] = Watch(namespace: namespace, listener: listener)
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
