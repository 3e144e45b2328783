// SPDX-License-Identifier: Apache-2.0

internal import CNIPlugin
internal import LinuxKernel
internal import LocalHTTP
package import Logging
package import RedirectionEngine

/// The one agent of a node: recovers, then keeps every workload as it is recorded.
///
/// It holds nothing that redirection needs: when it ends, in whatever way, all workloads stay as
/// they are, and the next one goes on. Requests reach the engine by the API at a socket, or by another
/// process and the state directory.
package actor NodeAgent {
    package enum Failure: Error, Hashable {
        case alreadyRunning(lock: String)
    }

    package let engine: Engine
    nonisolated let requests = RequestsAtWork()
    /// What we do of ourselves, beside the main loop.
    private let chores = RequestsAtWork()
    private let api: AgentAPI
    private let door: Door
    private let failedOpen: FailedOpenPods
    private let missed: MissedPods?
    private let period: Duration
    private let logger: Logger
    private let cluster: Cluster?
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
        let identity: WorkloadIdentity
        let namespace: NetworkNamespace
        let listener: Listener
    }

    package init(
        state: String, _ mechanisms: any MechanismSource, drift: DriftResponse,
        period: Duration, door: Door, logger: Logger
    ) {
        let feed = EventFeed()
        let tell: @Sendable (EngineEvent) -> Void = { event in
            logger.log(level: event.level, "\(event)", metadata: event.metadata)
            feed.publish(event)
        }
        engine = Engine(
            state: state, mechanisms, drift: drift, hooks: Engine.Hooks(event: tell))
        cluster = door.cluster.map { Cluster($0, logger) }
        let keeper = PodKeeper(
            engine: engine, policy: door.policy, metrics: AgentMetrics(), cluster: cluster,
            cgroups: door.cgroups)
        api = AgentAPI(
            keeper: keeper, feed: feed, readiness: Readiness(door.probe),
            inspectors: door.inspectors, logger: logger)
        failedOpen = FailedOpenPods(besides: door.socket, logger)
        let messengers = [PluginConfiguration.type] + (door.flomeshSocket == nil ? [] : ["fsm-cni"])
        missed = door.attachments.flatMap {
            MissedPods($0, toldOfBy: Set(messengers), keeper, logger)
        }
        self.door = door
        self.period = period
        self.logger = logger
        (wakes, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1024))
    }

    /// Runs until the task is canceled; what is being done to a workload then comes to its end.
    package func run() async throws {
        let result: Result<Void, any Error>
        do { result = .success(try await serve()) } catch { result = .failure(error) }
        await cluster?.shutDown()
        try result.get()
    }

    private func serve() async throws {
        try engine.store.prepare()
        guard let lock = try FileLock.tryTake(engine.store.agentLock) else {
            throw Failure.alreadyRunning(lock: engine.store.agentLock)
        }
        defer { withExtendedLifetime(lock) {} }
        api.metrics.begin(with: (try? engine.store.ids()) ?? [])
        // Pods that come now need not wait for those that are there.
        let servers = try await open()
        let following = Task { [cluster, api, chores] in
            await chores.work { await cluster?.run(api.keeper) }
        }
        await api.metrics.lookAround(engine)
        await lookAtAll()
        await listen(anew: true)
        let clock = Task { [waker, period] in
            while !Task.isCancelled {
                try await Task.sleep(for: period)
                waker.yield(.period)
            }
        }
        defer { clock.cancel() }
        let takingIn = [
            Task { await atEachPeriod { await self.failedOpen.takeIn(self.api.keeper) } },
            Task { await atEachPeriod { await self.missed?.takeIn() } },
        ]
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
        // Neither begins anything more; what they are at is waited for like requests.
        following.cancel()
        for task in takingIn { task.cancel() }
        api.feed.finish()
        await withTaskGroup { [grace = door.grace] group in
            for server in servers { group.addTask { await server.stop(grace: grace) } }
        }
        // Whose connection is gone by now may still be in the middle of something.
        let end = ContinuousClock.now + door.settling
        let hasAnswered = await requests.finish(within: door.settling)
        if await chores.finish(within: end - .now), hasAnswered {
            logger.notice("ending; every workload stays as it is")
        } else {
            logger.error(
                "ending in the middle of \(requests.count + chores.count) things; recovery finishes them"
            )
        }
    }

    /// Looks at every workload: the first time, until that has been possible, as after a crash.
    private func lookAtAll() async {
        let isFirst = await !api.readiness.hasRecovered
        let failures = isFirst ? await engine.recover() : await engine.reconcile()
        let canList = (try? engine.store.ids()) != nil
        await api.readiness.note(failures, canList: canList)
        guard isFirst else { return }
        if failures.isEmpty {
            logger.notice("recovered; looking every \(period)")
        } else {
            let ids = failures.keys.sorted().joined(separator: ", ")
            logger.error("recovered but for \(ids); trying again every \(period)")
        }
    }

    /// Listens to requests.
    private func open() async throws -> [LocalServer] {
        let service = LocalServer.Service(
            answer: { [api, requests] request in
                await requests.work { await api.answer(request) }
            }, refuse: { [api] in api.refuse($0) })
        var servers: [LocalServer] = []
        for path in [door.socket, door.flomeshSocket].compactMap(\.self) {
            servers.append(try await LocalServer.start(at: path, limits: door.limits, service))
            logger.notice("listening", metadata: ["socket": "\(path)"])
        }
        return servers
    }

    /// Takes in pods that were started without us, beside everything else: some of them may have to be
    /// asked about, and whoever is asked may be long in answering.
    private nonisolated func atEachPeriod(_ takeIn: @Sendable () async -> Void) async {
        while !Task.isCancelled {
            await chores.work { await takeIn() }
            try? await Task.sleep(for: period)
        }
    }

    private func answer(_ wake: Wake) async {
        switch wake {
        case .period:
            await lookAtAll()
            await listen(anew: true)
        case .change(let id): await look(at: id)
        case .records: await listen(anew: false)
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
    ///
    /// Unless `anew`, a workload that has the record it had is taken to be where it was: to look takes
    /// entering its namespace, and whoever adds a pod would wait while that is done to all others.
    private func listen(anew: Bool) async {
        let (waker, logger) = (waker, logger)
        if records.map(\.hasEnded) ?? true {
            records = Listener(to: engine.store.records) {
                logger.warning("new workloads are heard of only every period: \($0)")
            } _: {
                waker.yield(.records)
            }
        }
        var listened: [Workload.ID: Watch] = [:]
        for (id, identity) in await engine.identities() where identity.cgroupInode == nil {
            let last = watches[id].flatMap { $0.listener.hasEnded ? nil : $0 }
            if !anew, let last, last.identity == identity {
                listened[id] = last
                continue
            }
            guard let namespace = await engine.workload(id)?.namespace else { continue }
            let listener = last.flatMap { $0.namespace == namespace ? $0.listener : nil }
            listened[id] = Watch(
                identity: identity, namespace: namespace,
                listener: listener ?? listenTo(namespace, of: id))
        }
        watches = listened
    }

    private func listenTo(_ namespace: NetworkNamespace, of id: Workload.ID) -> Listener {
        Listener(to: namespace) { [logger] in
            logger.warning("\(id): what changes is heard of only every period: \($0)")
        } _: { [waker] in
            waker.yield(.change(id))
        }
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

extension EngineEvent {
    fileprivate var metadata: Logger.Metadata {
        var metadata: Logger.Metadata = ["workload": "\(workload)", "event": "\(name)"]
        if let mechanism { metadata["mechanism"] = "\(mechanism)" }
        return metadata
    }
}
