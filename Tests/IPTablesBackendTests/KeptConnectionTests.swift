// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// What an earlier plan redirected lives on under the next one, and after that one's retirement.
@Suite(.requiresKernel, .timeLimit(.minutes(2))) struct KeptConnectionTests {
    /// How the next plan no longer redirects to where the connection went.
    enum Change: CaseIterable {
        case inboundIsTransparent
        case anotherPort
        case familyPasses
        case everythingPasses

        fileprivate func make(in plan: inout RedirectionPlan) {
            switch self {
            case .inboundIsTransparent: plan.inboundMode = .transparent(mark: 1337, table: 133)
            case .anotherPort: plan.sidecar.inboundPort = 16003
            case .familyPasses: plan.families[.ipv6] = .pass
            case .everythingPasses: plan.families = [.ipv4: .pass, .ipv6: .pass]
            }
        }
    }

    @Test(arguments: BackendUnderTest.all, Change.allCases)
    func `a connection outlives two plans`(
        _ subject: BackendUnderTest, _ change: Change
    ) async throws {
        let pod = try TestPod.create()
        try await subject.run(in: pod.workload) { backend, workload in
            var plan = pod.plan
            try await backend.apply(plan, to: workload)
            do {
                let sidecar = try pod.namespace.listen(.ipv6, 15003, as: .sidecar)
                let client = try pod.peer.connect(to: Endpoint(pod.address(.ipv6), 80))
                let accepted = try sidecar.accept()
                try converse(client, accepted)

                change.make(in: &plan)
                try await backend.apply(plan, to: workload)
                #expect(try await backend.installed(in: workload) == plan.fingerprint)
                #expect(try await backend.drift(from: plan, in: workload) == [])
                try converse(client, accepted)
                // What has been kept is kept again.
                try await backend.apply(plan, to: workload)
                try converse(client, accepted)

                for _ in 0..<2 {
                    let state = try await backend.retire(from: workload)
                    #expect(state == .lingering(connections: 1))
                    try converse(client, accepted)
                }
            }
            let limit = ContinuousClock.now + .seconds(60)
            while try await backend.retire(from: workload) != .complete,
                ContinuousClock.now < limit
            {
                try await Task.sleep(for: .milliseconds(50))
            }
            #expect(try await backend.retire(from: workload) == .complete)
            #expect(try await backend.listing(in: workload).sections.isEmpty)
        }
    }

    /// The route was made for nf_tables, and the legacy rules need it.
    @Test func `a route that another kind of rules needs is no drift`() async throws {
        let pod = try TestPod.create()
        let lock = TemporaryFile()
        let nft = IPTablesBackend(.nft, lockFile: lock.path)
        let legacy = IPTablesBackend(.legacy, lockFile: lock.path)
        var transparent = pod.plan
        transparent.inboundMode = .transparent(mark: 1337, table: 133)
        try await nft.apply(transparent, to: pod.workload)
        try await legacy.apply(transparent, to: pod.workload)
        try await nft.apply(pod.plan, to: pod.workload)
        #expect(try await nft.drift(from: pod.plan, in: pod.workload) == [])
        #expect(try await legacy.drift(from: transparent, in: pod.workload) == [])
        try await legacy.remove(from: pod.workload)
        for owner in TransparentRouting.Owner.allCases {
            #expect(try TransparentRouting.remains(in: pod.namespace, of: owner) == [])
        }
    }
}
