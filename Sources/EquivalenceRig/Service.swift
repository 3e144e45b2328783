// SPDX-License-Identifier: Apache-2.0

internal import Equivalence
internal import KernelTestSupport
internal import LinuxKernel
internal import RedirectionModel

/// A socket that waits for connections or datagrams on every address of its site.
final class Service {
    let site: Site
    let port: UInt16
    let `protocol`: TransportProtocol
    let socket: Socket

    private init(
        _ site: Site, _ port: UInt16, _ transport: TransportProtocol, _ socket: consuming Socket
    ) {
        self.site = site
        self.port = port
        self.protocol = transport
        self.socket = socket
    }

    /// Opens a dual-stack socket in the calling thread's namespace.
    ///
    /// A transparent one takes what is for addresses that no interface has, and answers from them.
    static func open(
        _ site: Site, _ port: UInt16, _ transport: TransportProtocol, as owner: Owner,
        isTransparent: Bool
    ) throws(KernelError) -> Service {
        let socket = try asOwner(owner) { () throws(KernelError) in
            try Socket.open(transport == .tcp ? .tcp.nonBlocking : .udp.nonBlocking, .ipv6)
        }
        try socket.set(.ipv6Only, to: 0)
        try socket.set(.reuseAddress, to: 1)
        if isTransparent { try socket.set(.transparent6, to: 1) }
        if transport == .udp { try socket.set(.receivePacketInfo, to: 1) }
        try socket.bind(Endpoint(IPAddress(bits: 0), port))
        if transport == .tcp { try socket.listen(backlog: 64) }
        return Service(site, port, transport, socket)
    }
}

/// The services of a namespace, by protocol and port.
struct Services {
    private var services: [TransportProtocol: [UInt16: Service]] = [:]

    subscript(transport: TransportProtocol, port: UInt16) -> Service? {
        services[transport]?[port]
    }

    /// All of a protocol.
    func all(_ transport: TransportProtocol) -> [Service] {
        services[transport].map { Array($0.values) } ?? []
    }

    /// Opens what is not open yet.
    mutating func open(
        _ ports: some Sequence<UInt16>, _ transport: TransportProtocol, at site: Site,
        in namespace: NetworkNamespace, as owner: Owner = .root, isTransparent: Bool = false
    ) throws(KernelError) {
        let missing = Set(ports).filter { services[transport]?[$0] == nil }
        guard !missing.isEmpty else { return }
        let opened = try namespace.run { () throws(KernelError) in
            var opened: [UInt16: Service] = [:]
            for port in missing {
                opened[port] = try .open(
                    site, port, transport, as: owner, isTransparent: isTransparent)
            }
            return opened
        }
        services[transport, default: [:]].merge(opened) { old, _ in old }
    }
}
