// SPDX-License-Identifier: Apache-2.0

internal import CLibMNL
package import RedirectionModel
internal import SystemPackage

/// The connections that one namespace's kernel tracks, and translates.
package struct ConnectionTracking: ~Copyable {
    var socket: NetlinkSocket

    package static func open(
        in namespace: NetworkNamespace
    ) throws(KernelError) -> ConnectionTracking {
        ConnectionTracking(socket: try NetlinkSocket.open(.netfilter, in: namespace))
    }

    /// Every tracked connection over TCP and UDP, both families.
    package mutating func connections() throws(KernelError) -> [TrackedConnection] {
        // For a list the kernel looks through the whole machine's, and a new pod has none.
        if count() == 0 { return [] }
        let message = Self.message(IPCTNL_MSG_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, family: 0)
        return try socket.dump(message, "list tracked connections").compactMap { reply in
            TrackedConnection(reply.netlinkAttributes(from: 20))
        }
    }

    /// How many are tracked, of any protocol; `nil` where the kernel does not tell.
    private mutating func count() -> UInt32? {
        let message = Self.message(
            IPCTNL_MSG_CT_GET_STATS, NLM_F_REQUEST | NLM_F_ACK, family: 0)
        let reply = try? socket.request(message, "count tracked connections").first
        return reply?.netlinkAttributes(from: 20)
            .first { $0.type == Int(CTA_STATS_GLOBAL_ENTRIES.rawValue) }?
            .value.loadInteger(at: 0, as: UInt32.self)?.byteSwapped
    }

    /// Forgets the connection; the next packet of it begins a new one.
    ///
    /// Where it is gone already, or another one has taken its place, nothing happens.
    package mutating func forget(_ connection: TrackedConnection) throws(KernelError) {
        var message = Self.message(
            IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST | NLM_F_ACK,
            family: connection.original.source.address.family.domain)
        message.nest(Int(CTA_TUPLE_ORIG.rawValue)) { message in
            connection.original.add(to: &message, connection.transport)
        }
        if connection.zone != 0 {
            message.add(Int(CTA_ZONE.rawValue), connection.zone.bytesOnWire)
        }
        message.add(Int(CTA_ID.rawValue), connection.id)
        do throws(KernelError) {
            try socket.request(message, "forget \(connection)")
        } catch {
            guard error.errno == .noSuchFileOrDirectory else { throw error }
        }
    }

    static func message(
        _ type: cntl_msg_types, _ flags: CInt, family: UInt8
    ) -> NetlinkMessage {
        var message = NetlinkMessage(
            Int(NFNL_SUBSYS_CTNETLINK) << 8 | Int(type.rawValue), flags: flags)
        message.add(header: nfgenmsg(nfgen_family: family, version: 0, res_id: 0))
        return message
    }
}

/// A connection as the kernel keeps it.
package struct TrackedConnection: Hashable, Sendable {
    /// From where to where the packets of one direction go.
    package struct Path: Hashable, Sendable {
        package let source: Endpoint
        package let destination: Endpoint

        init(source: Endpoint, destination: Endpoint) {
            self.source = source
            self.destination = destination
        }
    }

    package let transport: TransportProtocol
    /// As it was asked for.
    package let original: Path
    /// As answers come; where it is translated, not simply the way back.
    package let reply: Path
    package let zone: UInt16
    package let mark: UInt32
    /// Of TCP.
    package let state: State?
    /// Whether its packets' destination is changed.
    package let isRedirected: Bool
    /// The kernel's own number for it, as it lies in the message.
    fileprivate let id: [UInt8]

    /// `enum tcp_conntrack`.
    package enum State: UInt8, Hashable, Sendable {
        case none
        case synSent
        case synReceived
        case established
        case finWait
        case closeWait
        case lastAck
        case timeWait
        case close
        case synSent2
    }

    /// Whether packets are still to come that matter: TCP's until both have finished, or one has
    /// broken off; UDP's as long as the kernel remembers it.
    package var isAlive: Bool { state != .timeWait && state != .close }

    /// Whether the handshake of a TCP connection is over.
    package var isEstablished: Bool {
        switch state {
        case nil, .none?, .synSent, .synReceived, .synSent2: false
        case .established, .finWait, .closeWait, .lastAck, .timeWait, .close: true
        }
    }
}

extension TrackedConnection: CustomStringConvertible {
    package var description: String {
        "\(transport) \(original.source) to \(original.destination)"
    }
}

extension TrackedConnection {
    /// `IPS_DST_NAT`.
    private static let redirected: UInt32 = 1 << 5

    /// Reads an entry; `nil` for one of other protocols.
    fileprivate init?(_ attributes: [(type: Int, value: [UInt8])]) {
        func value(_ type: ctattr_type) -> [UInt8]? {
            attributes.first { $0.type == Int(type.rawValue) }?.value
        }
        guard let original = value(CTA_TUPLE_ORIG), let reply = value(CTA_TUPLE_REPLY),
            let transport = Path.transport(original), let path = Path(original),
            let back = Path(reply)
        else { return nil }
        self.transport = transport
        self.original = path
        self.reply = back
        zone = UInt16(truncatingIfNeeded: value(CTA_ZONE)?.number ?? 0)
        mark = value(CTA_MARK)?.number ?? 0
        isRedirected = (value(CTA_STATUS)?.number ?? 0) & Self.redirected != 0
        id = value(CTA_ID) ?? []
        let tcp = value(CTA_PROTOINFO)?.part(CTA_PROTOINFO_TCP.rawValue)
        state = tcp?.part(CTA_PROTOINFO_TCP_STATE.rawValue)?.first.flatMap(State.init)
    }
}

extension TrackedConnection.Path {
    /// Reads a tuple: addresses, protocol, ports.
    fileprivate init?(_ tuple: [UInt8]) {
        guard let addresses = tuple.part(CTA_TUPLE_IP.rawValue),
            let ports = tuple.part(CTA_TUPLE_PROTO.rawValue),
            let source = addresses.part(CTA_IP_V4_SRC.rawValue)
                ?? addresses.part(CTA_IP_V6_SRC.rawValue),
            let destination = addresses.part(CTA_IP_V4_DST.rawValue)
                ?? addresses.part(CTA_IP_V6_DST.rawValue),
            let from = IPAddress(wireBytes: source), let to = IPAddress(wireBytes: destination),
            let sourcePort = ports.part(CTA_PROTO_SRC_PORT.rawValue)?.number,
            let destinationPort = ports.part(CTA_PROTO_DST_PORT.rawValue)?.number
        else { return nil }
        self.init(
            source: Endpoint(from, UInt16(truncatingIfNeeded: sourcePort)),
            destination: Endpoint(to, UInt16(truncatingIfNeeded: destinationPort)))
    }

    fileprivate static func transport(_ tuple: [UInt8]) -> TransportProtocol? {
        let number = tuple.part(CTA_TUPLE_PROTO.rawValue)?.part(CTA_PROTO_NUM.rawValue)?.first
        return TransportProtocol.allCases.first { $0.number == number }
    }

    func add(to message: inout NetlinkMessage, _ transport: TransportProtocol) {
        let isIPv4 = source.address.family == .ipv4
        message.nest(Int(CTA_TUPLE_IP.rawValue)) { addresses in
            addresses.add(
                Int((isIPv4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC).rawValue), source.address.wireBytes)
            addresses.add(
                Int((isIPv4 ? CTA_IP_V4_DST : CTA_IP_V6_DST).rawValue),
                destination.address.wireBytes)
        }
        message.nest(Int(CTA_TUPLE_PROTO.rawValue)) { ports in
            ports.add(Int(CTA_PROTO_NUM.rawValue), [transport.number])
            ports.add(Int(CTA_PROTO_SRC_PORT.rawValue), source.port.bytesOnWire)
            ports.add(Int(CTA_PROTO_DST_PORT.rawValue), destination.port.bytesOnWire)
        }
    }
}

extension TransportProtocol {
    /// `IPPROTO_TCP`, `IPPROTO_UDP`.
    fileprivate var number: UInt8 { self == .tcp ? 6 : 17 }
}

extension UInt16 {
    fileprivate var bytesOnWire: [UInt8] { [UInt8(self >> 8), UInt8(truncatingIfNeeded: self)] }
}

extension [UInt8] {
    /// An attribute within this one.
    fileprivate func part(_ type: UInt32) -> [UInt8]? {
        netlinkAttributes(from: 0).first { $0.type == Int(type) }?.value
    }

    /// Up to four bytes in network order.
    fileprivate var number: UInt32 { prefix(4).reduce(0) { $0 << 8 | UInt32($1) } }
}
