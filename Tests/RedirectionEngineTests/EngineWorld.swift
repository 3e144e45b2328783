// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Synchronization

/// A node without a kernel: state on disk, mechanisms in memory, and namespaces that are real.
final class EngineWorld: Sendable {
    let state: String
    let kernel: InMemoryKernel
    private let refusing: Set<Mechanism>
    /// Workloads on nobody's record that are there.
    private let strays: Set<Workload.ID>
    private let events = Mutex<[EngineEvent]>([])

    init(
        state: String? = nil, kernel: InMemoryKernel = InMemoryKernel(),
        refusing: Set<Mechanism> = [], strays: Set<Workload.ID> = []
    ) {
        self.strays = strays
        self.state = state ?? "/tmp/swerve-engine-\(UInt64.random(in: 0 ... .max))"
        self.kernel = kernel
        self.refusing = refusing
    }

    deinit { try? FileManager.default.removeItem(atPath: state) }

    /// A process that works on this node; any number may, one after the other or at once.
    func engine(
        drift: DriftResponse = .repair, patience: Duration = .seconds(30),
        _ step: @escaping @Sendable (EngineStep) -> Void = { _ in }
    ) -> Engine {
        Engine(
            state: state, InMemoryMechanisms(kernel, refusing: refusing, strays: strays),
            drift: drift,
            patience: patience,
            hooks: Engine.Hooks(
                event: { event in self.events.withLock { $0.append(event) } }, step: step))
    }

    /// The world as it would be found if every process of it ended now.
    func copy() throws -> EngineWorld {
        let world = EngineWorld(kernel: kernel.copy(), refusing: refusing, strays: strays)
        try FileManager.default.copyItem(atPath: state, toPath: world.state)
        return world
    }

    var story: [EngineEvent.Kind] { events.withLock { $0.map(\.kind) } }

    func installed(_ mechanism: Mechanism, _ workload: TestWorkload) async throws
        -> PlanFingerprint?
    {
        try await InMemoryBackend(as: mechanism, in: kernel).installed(in: workload.workload)
    }

    /// Whether any mechanism redirects new connections of the workload.
    func isRedirected(_ workload: TestWorkload) async throws -> Bool {
        for mechanism in Mechanism.allCases {
            if try await installed(mechanism, workload) != nil { return true }
        }
        return false
    }

    /// What is on disk, but for locks.
    var files: [String] {
        ["workloads", "journal"].flatMap { part in
            Directory(path: state + "/" + part).names().map { "\(part)/\($0)" }
        }
    }
}

/// A namespace of the test's own, and the path that opens it.
struct TestWorkload {
    let workload: Workload
    let place: WorkloadPlace
    let plan: RedirectionPlan

    init(_ id: String = "web") throws {
        let namespace = try NetworkNamespace.create()
        workload = Workload(id: id, namespace: namespace)
        let own = try ProcessIdentity.current().pid
        place = WorkloadPlace(id: id, namespace: "/proc/\(own)/fd/\(namespace.rawDescriptor)")
        plan = Preset.fsm.plan(ownAddresses: [IPAddress(ipv4: 0x0a00_0002)])
    }

    /// Another plan for the same workload.
    var otherPlan: RedirectionPlan {
        var plan = plan
        plan.outbound.excludedPorts = [7]
        return plan
    }
}
