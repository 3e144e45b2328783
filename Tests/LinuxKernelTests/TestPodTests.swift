// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionModel
import SystemPackage
import Testing

@Suite(.requiresKernel) struct TestPodTests {
    @Test(.timeLimit(.minutes(5)), arguments: AddressFamily.allCases)
    func `a connection crosses the veth pair, and both ends agree on its names`(
        _ family: AddressFamily
    ) throws {
        let pod = try TestPod.create()
        let listener = try pod.namespace.listen(family, 8080)
        let client = try pod.peer.connect(to: Endpoint(pod.address(family), 8080))
        let accepted = try listener.accept()
        #expect(try accepted.peerEndpoint() == client.localEndpoint())
        #expect(try accepted.localEndpoint() == client.peerEndpoint())
        #expect(try client.localEndpoint().address == pod.peerAddress(family))
    }

    @Test(.timeLimit(.minutes(5)))
    func `the pod's addresses are those it was given`() throws {
        let pod = try TestPod.create()
        var links = try RouteNetlink.open(in: pod.namespace)
        let addresses = Set(try links.addresses().map(\.address))
        #expect(addresses.isSuperset(of: pod.addresses.values))
    }

    @Test(.timeLimit(.minutes(5)))
    func `a connection to a port nobody listens on is refused`() throws {
        let pod = try TestPod.create()
        let destination = Endpoint(pod.address(.ipv4), 9)
        #expect(throws: KernelError("connect(\(destination))", .connectionRefused)) {
            _ = try pod.peer.connect(to: destination)
        }
    }
}
