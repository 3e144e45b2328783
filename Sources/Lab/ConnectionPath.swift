// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel
package import SidecarProxy

/// The way one connection really took, put together from what each end saw.
package struct ConnectionPath: Hashable, Sendable, Codable {
    /// The client's own socket.
    package let client: Endpoint
    /// Who took the connection, in order; the application last if it got there.
    package let hops: [ConnectionRecord]

    package init(client: Endpoint, hops: [ConnectionRecord]) {
        self.client = client
        self.hops = hops
    }

    /// Follows the connection of `client` through the records.
    ///
    /// Two records belong together when one says that it connected from the very address and
    /// port that the other saw as its peer, and to the destination that the other was told.
    package static func trace(
        from client: Endpoint, in records: [ConnectionRecord]
    ) -> ConnectionPath {
        var hops: [ConnectionRecord] = []
        var rest = records
        while let next = rest.firstIndex(where: { follows($0, hops.last, client) }) {
            hops.append(rest.remove(at: next))
            if hops.last?.role == .app { break }
        }
        return ConnectionPath(client: client, hops: hops)
    }

    private static func follows(
        _ record: ConnectionRecord, _ last: ConnectionRecord?, _ client: Endpoint
    ) -> Bool {
        guard let last else { return record.peer == client }
        guard let source = last.connectedFrom, record.peer == source else { return false }
        return switch record.role {
        // Loopback addresses are the same in every pod.
        case .app: record.pod == last.pod || last.role == .outbound
        case .inbound: record.origin == last.connectedTo
        case .outbound: false
        }
    }

    package var reachedApplication: Bool { hops.last?.role == .app }
}
