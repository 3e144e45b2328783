// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import SystemPackage
import Testing

/// Inbound redirection by rewriting ports: what a connection goes through in its life.
@Suite(.requiresKernel, .timeLimit(.minutes(5)))
struct TrafficControlTests {
    @Test func `a client may finish sending and still get its answer`() async {
        await #expect(processExitsWith: .success) {
            try await withTrafficControl { pod, backend in
                for family in AddressFamily.allCases {
                    let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
                    let connection = try Connection.open(pod, family, accepting: sidecar)
                    try connection.exchange("both ways")
                    try connection.client.send("question")
                    try connection.client.finishSending()
                    #expect(try connection.server.receiveAll() == "question")
                    try connection.server.send("answer")
                    try connection.server.finishSending()
                    #expect(try connection.client.receiveAll() == "answer")
                }
                #expect(try await backend.becomesEmpty(within: .seconds(8)))
            }
        }
    }

    @Test func `a sidecar may finish sending and still be sent to`() async {
        await #expect(processExitsWith: .success) {
            try await withTrafficControl { pod, backend in
                let bare = try PacketFilter(in: pod.peer, counting: ["bare": "tcp sport 15003"])
                for family in AddressFamily.allCases {
                    let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
                    let connection = try Connection.open(pod, family, accepting: sidecar)
                    try connection.server.send("greeting")
                    try connection.server.finishSending()
                    #expect(try connection.client.receiveAll() == "greeting")
                    try connection.client.send("afterwards")
                    try connection.client.finishSending()
                    #expect(try connection.server.receiveAll() == "afterwards")
                }
                #expect(try bare.count("bare") == 0, "nothing shows the sidecar's port")
                // A TIME_WAIT of each family still answers.
                try await backend.sweep()
                #expect(try await backend.flowEntries() == 4)

                let sidecar = try pod.namespace.listen(.ipv4, 15003, as: .sidecar)
                let direct = try Connection.open(pod, .ipv4, port: 15003, accepting: sidecar)
                try direct.exchange("direct")
                #expect(try bare.count("bare") > 0, "the counter can see it")
            }
        }
    }

    @Test func `a FIN sent again is answered from the application's port`() async {
        await #expect(processExitsWith: .success) {
            try await withTrafficControl { pod, _ in
                let filter = try PacketFilter(
                    in: pod.peer,
                    counting: [
                        "bare": "tcp sport 15003", "answers": "tcp sport 8080",
                        "resets": "tcp sport 8080 tcp flags & rst == rst",
                    ])
                let sidecar = try pod.namespace.listen(.ipv4, 15003, as: .sidecar)
                let connection = try Connection.open(pod, .ipv4, accepting: sidecar)
                try connection.server.finishSending()
                #expect(try connection.client.receiveAll() == "")
                try filter.drop("tcp sport 8080")
                try connection.client.finishSending()
                #expect(try connection.server.receiveAll() == "")
                connection.close()
                // LAST_ACK is 09 in /proc/net/tcp.
                #expect(try pod.peer.tcpStates().contains("09"))
                let answers = try filter.count("answers")
                try filter.stopDropping()
                let end = ContinuousClock.now + .seconds(5)
                while try pod.peer.tcpStates().contains("09"), ContinuousClock.now < end {
                    try await Task.sleep(for: .milliseconds(20))
                }
                #expect(try !pod.peer.tcpStates().contains("09"), "the FIN was never answered")
                #expect(try filter.count("answers") > answers)
                #expect(try filter.count("resets") == 0)
                #expect(try filter.count("bare") == 0)
            }
        }
    }

    @Test func `a reset by the sidecar reaches the client`() async {
        await #expect(processExitsWith: .success) {
            try await withTrafficControl { pod, backend in
                let bare = try PacketFilter(in: pod.peer, counting: ["bare": "tcp sport 15003"])
                for family in AddressFamily.allCases {
                    let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
                    let first = try Connection.open(pod, family, accepting: sidecar)
                    #expect(try first.resetByServer() == .connectionReset)
                    // Closing with bytes unread resets as well.
                    let second = try Connection.open(pod, family, accepting: sidecar)
                    #expect(try second.closeUnread() == .connectionReset)
                }
                #expect(try bare.count("bare") == 0)
                #expect(try await backend.becomesEmpty(within: .seconds(8)))
            }
        }
    }

    @Test func `a reset by the client reaches the sidecar, and its port can be used again`() async {
        await #expect(processExitsWith: .success) {
            try await withTrafficControl { pod, backend in
                for family in AddressFamily.allCases {
                    let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
                    for port: UInt16 in [8080, 8080, 9090] {
                        let connection = try Connection.open(
                            pod, family, port: port, from: 45_000, accepting: sidecar)
                        let origin = Endpoint(pod.address(family), port)
                        #expect(try connection.origin(family) == origin)
                        try connection.exchange("again")
                        #expect(try connection.resetByClient() == .connectionReset)
                    }
                }
                #expect(try await backend.becomesEmpty(within: .seconds(8)))
            }
        }
    }

    @Test func `a port without a listener refuses, and serves as soon as there is one`() async {
        await #expect(processExitsWith: .success) {
            try await withTrafficControl { pod, _ in
                let source = Endpoint(pod.peerAddress(.ipv4), 45_001)
                let error = #expect(throws: KernelError.self) {
                    let origin = Endpoint(pod.address(.ipv4), 8080)
                    _ = try pod.peer.connect(to: origin, as: .root, from: source)
                }
                #expect(error?.errno == .connectionRefused)
                let sidecar = try pod.namespace.listen(.ipv4, 15003, as: .sidecar)
                let connection = try Connection.open(
                    pod, .ipv4, from: source.port, accepting: sidecar)
                try connection.exchange("now")
            }
        }
    }

    @Test func `a new connection replaces what an old one with its ports left`() async {
        await #expect(processExitsWith: .success) {
            try await withTrafficControl { pod, backend in
                for family in AddressFamily.allCases {
                    let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
                    // Each leaves a TIME_WAIT in the pod; the third is for another port.
                    for port: UInt16 in [8080, 8080, 9090, 8080] {
                        let connection = try Connection.open(
                            pod, family, port: port, from: 45_002, accepting: sidecar)
                        let origin = Endpoint(pod.address(family), port)
                        #expect(try connection.origin(family) == origin)
                        try connection.exchange("round")
                        try connection.closeServerFirst()
                    }
                }
                #expect(try await backend.flowEntries() == 8)
                // Nor does it lead a connection astray that is no longer redirected.
                var plan = pod.plan
                plan.inbound.excludedPorts = [8080]
                try await backend.apply(plan, to: pod.workload)
                for family in AddressFamily.allCases {
                    let application = try pod.namespace.listen(family, 8080)
                    let direct = try Connection.open(
                        pod, family, from: 45_002, accepting: application)
                    try direct.exchange("directly")
                }
                #expect(try await backend.flowEntries() == 4)
            }
        }
    }

    @Test(arguments: [[8080, 9090, 15003], [15003, 9090, 8080]] as [[UInt16]])
    func `one port of the peer can lead to many ports of the pod`(_ ports: [UInt16]) async {
        await #expect(processExitsWith: .success) { [ports] in
            try await withTrafficControl { pod, backend in
                for family in AddressFamily.allCases {
                    let sidecar = try pod.namespace.listen(family, 15003, as: .sidecar)
                    let one = try Connection.open(
                        pod, family, port: ports[0], from: 45_003, accepting: sidecar)
                    let two = try Connection.open(
                        pod, family, port: ports[1], from: 45_003, accepting: sidecar)
                    let three = try Connection.open(
                        pod, family, port: ports[2], from: 45_003, accepting: sidecar)
                    #expect(try one.origin(family).port == ports[0])
                    #expect(try two.origin(family).port == ports[1])
                    #expect(try three.origin(family).port == ports[2])
                    try one.exchange("one")
                    try two.exchange("two")
                    try three.exchange("three")
                    try two.closeClientFirst()
                    try one.exchange("one still")
                    try one.closeClientFirst()
                    try three.exchange("three still")
                    try three.closeClientFirst()
                }
                #expect(try await backend.becomesEmpty(within: .seconds(8)))
            }
        }
    }
}
