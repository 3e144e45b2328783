// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// A rule of a legacy table, as iptables(8) and ip6tables(8) speak of it.
package struct XTRule: Hashable, Sendable {
    package var source: CIDR?
    package var destination: CIDR?
    package var inInterface: InterfacePattern?
    package var outInterface: InterfacePattern?
    package var transport: Transport?
    package var segment: Segment?
    /// Bits that are set in the mark of the tracked connection.
    package var connectionMark: UInt32?
    /// Of the transport, which must be given.
    package var sourcePorts: ClosedRange<UInt16>?
    package var destinationPorts: ClosedRange<UInt16>?
    package var owner: Owner?
    package var comment: String?
    package var target: Target

    package init(_ target: Target) { self.target = target }

    /// Which of the segments of a TCP connection.
    package enum Segment: Hashable, Sendable {
        /// SYN without ACK, RST and FIN.
        case first
        /// Without SYN.
        case later
    }

    /// Who created the socket; looked at where packets leave.
    package enum Owner: Hashable, Sendable {
        case uids(ClosedRange<UInt32>)
        case gids(ClosedRange<UInt32>)
    }

    /// A protocol by its number.
    package enum Transport: UInt8, Hashable, Sendable {
        case tcp = 6
        case udp = 17
    }

    package enum Target: Hashable, Sendable {
        case `return`
        case drop
        /// Continue in the chain; its end, or RETURN, comes back here.
        case jump(String)
        /// Continue in the chain; its end, or RETURN, goes back to who called this one.
        case goto(String)
        case redirect(port: UInt16)
        /// TPROXY: to the socket that listens on the port, as the packet is.
        case assign(port: UInt16)
        /// CONNMARK: sets these bits of the mark of the tracked connection, and goes on.
        case remember(UInt32)
        /// CT: tracked in this zone.
        case zone(UInt16)
    }
}

extension XTRule: CustomStringConvertible {
    /// Whether the rule looks into the transport's header.
    package var looksIntoTransport: Bool {
        sourcePorts != nil || destinationPorts != nil || segment != nil
    }

    /// The rule as iptables-save(8) prints it, without the chain.
    package var description: String { description(.ipv4) }

    /// The rule as iptables-save(8) or ip6tables-save(8) prints it, without the chain.
    package func description(_ family: AddressFamily) -> String {
        var words: [String] = []
        if let source { words += ["-s", "\(source)"] }
        if let destination { words += ["-d", "\(destination)"] }
        if let inInterface { words += ["-i", "\(inInterface)"] }
        if let outInterface { words += ["-o", "\(outInterface)"] }
        if let transport {
            words += ["-p", "\(transport)"]
            if looksIntoTransport { words += ["-m", "\(transport)"] }
        }
        // iptables-save leaves out what covers everything.
        if let ports = sourcePorts, ports != 0...UInt16.max {
            words += ["--sport", Self.text(ports, ":")]
        }
        if let ports = destinationPorts, ports != 0...UInt16.max {
            words += ["--dport", Self.text(ports, ":")]
        }
        switch segment {
        case .first: words += ["--tcp-flags", "FIN,SYN,RST,ACK", "SYN"]
        case .later: words += ["--tcp-flags", "SYN", "NONE"]
        case nil: break
        }
        if let mark = connectionMark {
            words += ["-m", "connmark", "--mark", Self.masked(mark)]
        }
        switch owner {
        case .uids(let ids): words += ["-m", "owner", "--uid-owner", Self.text(ids, "-")]
        case .gids(let ids): words += ["-m", "owner", "--gid-owner", Self.text(ids, "-")]
        case nil: break
        }
        if let comment { words += ["-m", "comment", "--comment", Self.quoted(comment)] }
        return (words + target.words(family)).joined(separator: " ")
    }

    private static func text<Number: FixedWidthInteger>(
        _ range: ClosedRange<Number>, _ separator: String
    ) -> String {
        range.lowerBound == range.upperBound
            ? "\(range.lowerBound)" : "\(range.lowerBound)\(separator)\(range.upperBound)"
    }

    /// Bits, and that only they count.
    fileprivate static func masked(_ bits: UInt32) -> String {
        let digits = "0x" + String(bits, radix: 16)
        return "\(digits)/\(digits)"
    }

    /// Quotes as iptables-save does: whatever holds more than letters, digits, `-` and `_`.
    private static func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        return isPlain ? text : "\"\(text)\""
    }
}

extension XTRule.Target {
    fileprivate func words(_ family: AddressFamily) -> [String] {
        switch self {
        case .return: ["-j", "RETURN"]
        case .drop: ["-j", "DROP"]
        case .jump(let chain): ["-j", chain]
        case .goto(let chain): ["-g", chain]
        case .redirect(let port): ["-j", "REDIRECT", "--to-ports", "\(port)"]
        case .remember(let bits): ["-j", "CONNMARK", "--set-xmark", XTRule.masked(bits)]
        case .zone(let zone): ["-j", "CT", "--zone", "\(zone)"]
        case .assign(let port):
            [
                "-j", "TPROXY", "--on-port", "\(port)",
                "--on-ip", family == .ipv4 ? "0.0.0.0" : "::", "--tproxy-mark", "0x0/0x0",
            ]
        }
    }
}
