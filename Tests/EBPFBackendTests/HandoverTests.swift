// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LinuxKernel
import RedirectionModel
import SystemPackage
import Testing

/// Where an outbound connection's origin is while the sidecar's socket lives: in a table of places.
@Suite(.requiresKernel, .needsKernelTypes) struct HandoverTests {
    @Test(.timeLimit(.minutes(2)), arguments: AddressFamily.allCases)
    func `a connection has its place until the sidecar's socket closes`(
        _ family: AddressFamily
    ) async {
        await #expect(processExitsWith: .success) { [family] in
            try await withHandoverScene(family) { scene in
                do {
                    let server: Socket
                    do {
                        let client = try scene.connect(8080)
                        server = try scene.held.socket.accept()
                        #expect(try client.peerEndpoint() == scene.destination(8080))
                        #expect(try await scene.occupied() == [1, 0])
                        try client.finishSending()
                        #expect(try server.receiveAll() == "")
                    }
                    #expect(try server.originalDestination(family) == scene.destination(8080))
                    #expect(try await scene.occupied() == [1, 0])
                }
                try await waitUntil { try await scene.occupied() == [0, 0] }
            }
        }
    }

    /// Its ports are free then, and so is the place.
    @Test(.timeLimit(.minutes(2)), arguments: AddressFamily.allCases, [false, true])
    func `a connection that was reset still tells where it was going`(
        _ family: AddressFamily, _ isAccepted: Bool
    ) async {
        await #expect(processExitsWith: .success) { [family, isAccepted] in
            try await withHandoverScene(family) { scene in
                var servers: [PinnedWorld.Held] = []
                do {
                    let client = try scene.connect(8080)
                    if isAccepted {
                        servers.append(PinnedWorld.Held(try scene.held.socket.accept()))
                    }
                    try client.resetOnClose()
                }
                try await waitUntil { try await scene.occupied() == [0, 0] }
                if !isAccepted { servers.append(PinnedWorld.Held(try scene.held.socket.accept())) }
                let server = try #require(servers.first)
                #expect(server.socket.failureOfReading() == .connectionReset)
                let origin = try server.socket.originalDestination(family)
                #expect(origin == scene.destination(8080))
            }
        }
    }

    @Test(.timeLimit(.minutes(2)))
    func `who finds no place is known by a handshake`() async {
        await #expect(processExitsWith: .success) {
            try await withHandoverScene(.ipv4) { scene in
                let count = try scene.fill(.accepted, of: try scene.key())
                for port in UInt16(8080)...8082 {
                    let client = try scene.connect(port)
                    let server = try scene.held.socket.accept()
                    #expect(try server.originalDestination(.ipv4) == scene.destination(port))
                    #expect(try client.peerEndpoint() == scene.destination(port))
                    #expect(try await scene.occupied() == [count, 0])
                }
                let failures = try await scene.backend.failures()
                #expect(failures["handshakes full"] == 0 && failures["handovers full"] == 3)
            }
        }
    }

    /// The application's end is gone, unknown to the sidecar's, and its port is used again.
    @Test(.timeLimit(.minutes(2)), arguments: AddressFamily.allCases)
    func `a connection from the same port is not taken for the one before`(
        _ family: AddressFamily
    ) async {
        await #expect(processExitsWith: .success) { [family] in
            try await withHandoverScene(family) { scene in
                let source = Endpoint(scene.pod.address(family), 40001)
                let first: Socket
                do {
                    let client = try scene.connect(8080, from: source)
                    first = try scene.held.socket.accept()
                    try scene.pod.lose(true)
                    try client.resetOnClose()
                }
                let second = try scene.beginConnection(8081, from: source)
                // Both have one now, of the same ports.
                #expect(try await scene.occupied() == [2, 0])
                #expect(try first.originalDestination(family) == scene.destination(8080))
                try scene.pod.lose(false)
                let server = try scene.held.socket.accept()
                #expect(try server.peerEndpoint() == source)
                #expect(try server.originalDestination(family) == scene.destination(8081))
                #expect(try first.originalDestination(family) == scene.destination(8080))
                #expect(try second.peerEndpoint() == scene.destination(8081))
            }
        }
    }

    /// It goes to the pod's own address, from where a redirected connection comes.
    @Test(.timeLimit(.minutes(2)))
    func `a connection that is not redirected is not taken for one with its port`() async {
        await #expect(processExitsWith: .success) {
            try await withHandoverScene(.ipv4) { scene in
                let source = Endpoint(scene.pod.address(.ipv4), 40001)
                try scene.pod.lose(true)
                let redirected = try scene.beginConnection(8080, from: source)
                try scene.pod.lose(false)
                let own = Endpoint(scene.pod.address(.ipv4), 15001)
                let direct = try scene.pod.namespace.connect(to: own, from: source)
                var origins: [UInt16: Endpoint] = [:]
                for _ in 0..<2 {
                    let server = try scene.held.socket.accept()
                    let local = try server.localEndpoint()
                    origins[local.address.isLoopback ? 1 : 0] =
                        try? server.originalDestination(.ipv4)
                }
                #expect(origins == [1: scene.destination(8080)])
                #expect(try direct.peerEndpoint() == own)
                #expect(try redirected.peerEndpoint() == scene.destination(8080))
            }
        }
    }
}
