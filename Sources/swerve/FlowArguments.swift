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

    var question: FlowQuestion {
        var question = FlowQuestion(inbound ? .inbound : .outbound, to: to)
        question.protocol = `protocol`
        question.from = from
        question.uid = uid
        question.gid = gid
        question.interface = interface
        return question
    }
}
