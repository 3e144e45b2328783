// SPDX-License-Identifier: Apache-2.0

package import KernelTestSupport
package import LinuxKernel
internal import RedirectionEngine
package import RedirectionModel
package import Testing

extension TestPod {
    /// A pod that somebody else has made, and a namespace from which it can be reached.
    package init(
        _ id: String, _ namespace: NetworkNamespace, _ address: IPAddress,
        beside peer: NetworkNamespace, _ peerAddress: IPAddress
    ) {
        self.init(
            workload: Workload(id: id, namespace: namespace), namespace: namespace, peer: peer,
            addresses: [address.family: address],
            peerAddresses: [peerAddress.family: peerAddress])
    }

    /// Checks that connections both ways land on the sidecar, with their origins; or that none does.
    package func expect(
        redirected: Bool, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let outbound = try isRedirected(
            15001, from: namespace, to: Endpoint(peerAddress(.ipv4), 8080), peer)
        let inbound = try isRedirected(
            15003, from: peer, to: Endpoint(address(.ipv4), 8080), namespace)
        #expect(outbound == redirected, "\(workload.id)", sourceLocation: sourceLocation)
        #expect(inbound == redirected, "\(workload.id)", sourceLocation: sourceLocation)
    }

    private func isRedirected(
        _ port: UInt16, from client: NetworkNamespace, to origin: Endpoint,
        _ server: NetworkNamespace
    ) throws -> Bool {
        let sidecar = try namespace.listen(.ipv4, port, as: .sidecar)
        let direct = try server.listen(.ipv4, origin.port)
        let connection = try client.connect(to: origin)
        // Connected on one side is not yet accepted on the other.
        while try !sidecar.descriptor.waitForInput(.milliseconds(20)) {
            if try direct.descriptor.waitForInput(.zero) { return false }
        }
        let accepted = try sidecar.accept()
        #expect(try accepted.originalDestination(.ipv4) == origin)
        withExtendedLifetime(connection.rawDescriptor) {}
        return true
    }
}
