// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import RedirectionModel

extension Endpoint: ExpressibleByArgument {
    package init?(argument: String) { self.init(argument) }
}

extension TransportProtocol: ExpressibleByArgument {}

/// A flow, in options.
struct FlowArguments: ParsableArguments {
    @Flag(help: "The flow arrives at the workload; without this, it leaves it.")
    var inbound = false

    @Option(
        help: ArgumentHelp(
            "Where it goes: 192.0.2.7:80, [2001:db8::7]:80.", valueName: "addr:port"))
    var to: Endpoint

    @Option(
        help: ArgumentHelp(
            "Where it comes from (default: one of the workload's addresses, or 192.0.2.1 inbound).",
            valueName: "addr:port"))
    var from: Endpoint?

    @Option(help: "tcp or udp.")
    var `protocol` = TransportProtocol.tcp

    @Option(help: "Who created the sending socket.")
    var uid: UInt32 = 1000

    @Option(help: "The group who created it (default: the uid's number).")
    var gid: UInt32?

    @Option(help: "The interface it would leave by, or arrives on.")
    var interface = "eth0"

    func validate() throws {
        if let from, from.address.family != to.address.family {
            throw ValidationError(
                "--from \(from) and --to \(to) are of different families; give two of one")
        }
        guard InterfacePattern(interface).map({ !$0.isPrefix }) ?? false else {
            throw ValidationError(
                "--interface \"\(interface)\" is no name of an interface (1 to 15 bytes)")
        }
    }

    /// The flow, of a workload with these addresses.
    func flow(ownAddresses: Set<IPAddress>) -> Flow {
        let family = to.address.family
        let own =
            to.address.isLoopback || to.address.isUnspecified
            ? .loopback(family) : ownAddresses.sorted().first { $0.family == family }
        let stranger = IPAddress(family == .ipv4 ? "192.0.2.1" : "2001:db8::1")
        let source = (inbound ? stranger : own) ?? .loopback(family)
        return Flow(
            inbound ? .inbound : .outbound, `protocol`, from: from ?? Endpoint(source, 40_000),
            to: to, owner: inbound ? nil : Owner(uid: uid, gid: gid ?? uid),
            interface: interface)
    }
}

extension Flow {
    /// `outbound tcp 10.0.0.2:40000 -> 192.0.2.7:80 by eth0, uid 1000, gid 1000`.
    var sentence: String {
        let way = direction == .outbound ? "by" : "on"
        let who = owner.map { ", uid \($0.uid), gid \($0.gid)" } ?? ""
        return "\(direction.rawValue) \(`protocol`.rawValue) \(source) -> \(destination) "
            + "\(way) \(interface)\(who)"
    }
}
