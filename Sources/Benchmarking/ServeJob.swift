// SPDX-License-Identifier: Apache-2.0

internal import CTrafficLoad
package import LinuxKernel
internal import RedirectionModel
internal import SystemPackage

/// What a process of its own serves until it is ended.
package struct ServeJob: Codable, Sendable {
    enum Role: Codable, Sendable {
        /// The servers that connections are really for, a resolver among them.
        case servers
        /// The sidecar that connections are redirected to.
        case sidecar(origins: Origins, ports: Ports, isTransparent: Bool)
        /// The sidecar that clients dial, each service on a port of its own.
        case dialedSidecar(origins: Origins)
    }

    /// Where connections of each direction are going, in each family: the far end, the pod.
    struct Origins: Codable, Sendable {
        let outbound: [IPAddress]
        let inbound: [IPAddress]
    }

    /// Where connections are redirected to.
    struct Ports: Codable, Sendable {
        let outbound: UInt16
        let inbound: UInt16
    }

    let role: Role
    let cpu: UInt32
    /// How many seconds those that are dialed on to may take before that is a failure.
    let patience: UInt32
    /// Who opens the sockets; listeners that need privileges are opened before.
    let uid: UInt32?

    private static let services = [
        TLOAD_GREET, TLOAD_ECHO, TLOAD_SINK, TLOAD_WAIT, TLOAD_HTTP,
    ]

    /// The port of a sidecar that is dialed for a service.
    static func dialedPort(_ direction: Direction, _ service: UInt16) -> UInt16 {
        service + (direction == .outbound ? 10_000 : 20_000)
    }

    /// Serves; `ready` is called once all ports are open.
    package func run(ready: () throws(KernelError) -> Void) throws(KernelError) -> Never {
        try kernel("sched_setaffinity(\(cpu))") { tload_pin(cpu) }
        tload_be_patient(patience)
        let needsPrivileges = if case .sidecar(_, _, true) = role { true } else { false }
        if !needsPrivileges { try giveUpPrivileges() }
        try open()
        if needsPrivileges { try giveUpPrivileges() }
        try ready()
        throw KernelError("serve", Errno(rawValue: -tload_serve()))
    }

    private func giveUpPrivileges() throws(KernelError) {
        if let uid { try become(Owner(uid: uid, gid: uid)) }
    }

    private func open() throws(KernelError) {
        switch role {
        case .servers:
            for service in Self.services {
                try kernel("listen(\(service.rawValue))") { tload_add_server(service) }
            }
            // Any address of either family.
            let any = [IPAddress(ipv4: 0), IPAddress(bits: 0)]
            try answerLookups(at: any, DNSCapture.domainPort, TLOAD_BY_SERVER)
        case .sidecar(let origins, let ports, let isTransparent):
            for direction in Direction.allCases {
                try listen(
                    on: direction == .outbound ? ports.outbound : ports.inbound, direction,
                    origins, TLOAD_GREET, isTransparent: isTransparent && direction == .inbound)
            }
            try answerLookups(at: Resolver.addresses, Resolver.port, TLOAD_BY_SIDECAR)
        case .dialedSidecar(let origins):
            for direction in Direction.allCases {
                for service in Self.services + [TLOAD_OTHERS] {
                    let port = Self.dialedPort(direction, UInt16(service.rawValue))
                    try listen(on: port, direction, origins, service, isTransparent: false)
                }
            }
            try answerLookups(at: Resolver.addresses, Resolver.port, TLOAD_BY_SIDECAR_DIALED)
        }
    }

    private func answerLookups(
        at addresses: [IPAddress], _ port: UInt16, _ answer: tload_accepted
    ) throws(KernelError) {
        for address in addresses {
            try kernel("bind(\(address), \(port))") {
                tload_add_resolver(address.number, port, answer)
            }
        }
    }

    private func listen(
        on port: UInt16, _ direction: Direction, _ origins: Origins, _ service: tload_service,
        isTransparent: Bool
    ) throws(KernelError) {
        for origin in direction == .outbound ? origins.outbound : origins.inbound {
            let sidecar = tload_sidecar(
                port: port, origin: origin.number, service: UInt16(service.rawValue),
                inbound: direction == .inbound, transparent: isTransparent)
            try kernel("listen(\(port))") { tload_add_sidecar(sidecar) }
        }
    }
}

/// Where the sidecar answers lookups: the preset has no place for that.
enum Resolver {
    static let port: UInt16 = 15053
    static let addresses = AddressFamily.allCases.map(IPAddress.loopback)
}
