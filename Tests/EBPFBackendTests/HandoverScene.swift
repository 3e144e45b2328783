// SPDX-License-Identifier: Apache-2.0

import CSwerveABI
import EBPFBackend
import KernelTestSupport
import LibBPF
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// A redirected pod and its sidecar, where connections have places.
struct HandoverScene {
    let family: AddressFamily
    let pod: TestPod
    let files: TestBPFFileSystem
    let held: PinnedWorld.Held
    let backend: EBPFBackend

    /// Where a connection of the pod's may come from.
    var source: Endpoint { Endpoint(pod.address(family), 40001) }

    func destination(_ port: UInt16) -> Endpoint { Endpoint(pod.peerAddress(family), port) }

    func connect(_ port: UInt16, from source: Endpoint? = nil) throws(KernelError) -> Socket {
        try pod.namespace.connect(to: destination(port), from: source)
    }

    func beginConnection(_ port: UInt16, from source: Endpoint) throws -> Socket {
        try pod.beginConnection(to: destination(port), from: source)
    }

    /// How many connections have a place, and how many handshakes there are.
    func occupied() async throws -> [Int?] {
        let counts = try await backend.occupancy()
        return [counts["swerve_handovers"], counts["swerve_handshakes"]]
    }

    func map(_ name: String) throws -> BPFMap {
        let path = "\(files.path)/swerve/v\(SWERVE_ABI_VERSION)/maps/\(name)"
        return try #require(try BPFMap.open(pinned: path, name: name))
    }

    /// The pod's, in the maps.
    func key() throws -> UInt64 { try pod.namespace.cookie() }

    // MARK: Places

    /// The one place that somebody has.
    func place() throws -> (index: UInt32, value: swerve_handover) {
        let places = try map("swerve_handovers").elements(as: swerve_handover.self).enumerated()
            .filter { $0.element.owner != 0 }
        #expect(places.count == 1)
        let place = try #require(places.first)
        return (UInt32(place.offset), place.element)
    }

    func put(_ value: swerve_handover, at index: UInt32) throws {
        try map("swerve_handovers").update(index, value)
    }

    /// What the only connection of `source` has as its place, as it is right after its SYN.
    func placeOfBegun(_ port: UInt16) throws -> (index: UInt32, value: swerve_handover) {
        try pod.lose(true)
        let client = try beginConnection(port, from: source)
        let found = try place()
        withExtendedLifetime(client) {}
        return found
    }

    enum Holder: UInt64, CaseIterable, Codable {
        case offered = 0
        case accepted = 0x8000_0000_0000_0000
        case claimed = 0x4000_0000_0000_0000
    }

    /// Has somebody hold all places; returns how many.
    func fill(_ holder: Holder, of pod: UInt64) throws -> Int {
        var taken = swerve_handover()
        taken.owner = 1 | holder.rawValue
        taken.pod = pod
        let map = try map("swerve_handovers")
        try map.update(
            keys: (0..<map.maxEntries).map(UInt32.init),
            values: [swerve_handover](repeating: taken, count: map.maxEntries))
        return map.maxEntries
    }
}

func withHandoverScene(
    _ family: AddressFamily, _ body: (HandoverScene) async throws -> Void
) async throws {
    try await withTestCgroup { cgroup in
        let pod = try TestPod.create()
        let files = try TestBPFFileSystem()
        let backend = try await EBPFBackend.load(
            attachingTo: cgroup, owners: .credentials, pins: BPFPins(in: files.path + "/swerve"))
        try await backend.apply(pod.plan, to: pod.workload)
        let sidecar = PinnedWorld.Held(try pod.namespace.listen(family, 15001, as: .sidecar))
        let scene = HandoverScene(
            family: family, pod: pod, files: files, held: sidecar, backend: backend)
        try await body(scene)
    }
}

extension TestPod {
    /// Whether what comes to the sidecar's outbound port is lost.
    func lose(_ isLost: Bool) throws {
        let add =
            "add table inet loss; add chain inet loss c { type filter hook input priority 0; };"
            + "add rule inet loss c tcp dport 15001 drop"
        let result = try StockTool.run(
            "nft", isLost ? add : "delete table inet loss", in: namespace)
        #expect(result.status == 0, "\(result.output)")
    }

    /// A connection whose SYN is lost: `lose` has been called.
    func beginConnection(to destination: Endpoint, from source: Endpoint? = nil) throws -> Socket {
        let socket = try namespace.run { () throws(KernelError) in
            let socket = try Socket.open(.tcp.nonBlocking, destination.address.family)
            if let source {
                try socket.set(.reuseAddress, to: 1)
                try socket.bind(source)
            }
            return socket
        }
        let error = #expect(throws: KernelError.self) { try socket.connect(to: destination) }
        #expect(error?.errno == .nowInProgress)
        return socket
    }
}
