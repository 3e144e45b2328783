// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// A rule of a legacy table, as iptables(8) and ip6tables(8) speak of it.
package struct XTRule: Hashable, Sendable {
    package var source: CIDR?
    package var destination: CIDR?
    package var inInterface: String?
    package var outInterface: String?
    package var isTCP = false
    /// SYN without ACK, RST and FIN.
    package var isNew = false
    package var destinationPorts: ClosedRange<UInt16>?
    package var owner: Owner?
    package var comment: String?
    package var target: Target

    package init(_ target: Target) { self.target = target }

    /// Who created the socket; looked at where packets leave.
    package enum Owner: Hashable, Sendable {
        case uid(UInt32)
        case gid(UInt32)
    }

    package enum Target: Hashable, Sendable {
        case `return`
        case drop
        /// Continue in the chain; its end, or RETURN, comes back here.
        case jump(String)
        /// Continue in the chain; its end, or RETURN, goes back to who called this one.
        case goto(String)
        case redirect(port: UInt16)
    }
}

extension XTRule: CustomStringConvertible {
    /// The rule as iptables-save(8) prints it, without the chain.
    package var description: String {
        var words: [String] = []
        if let source { words += ["-s", "\(source)"] }
        if let destination { words += ["-d", "\(destination)"] }
        if let inInterface { words += ["-i", inInterface] }
        if let outInterface { words += ["-o", outInterface] }
        if isTCP { words += ["-p", "tcp"] }
        if destinationPorts != nil || isNew { words += ["-m", "tcp"] }
        // iptables-save leaves out what covers everything.
        if let ports = destinationPorts, ports != 0...UInt16.max {
            words += ["--dport", Self.text(ports)]
        }
        if isNew { words += ["--tcp-flags", "FIN,SYN,RST,ACK", "SYN"] }
        switch owner {
        case .uid(let id): words += ["-m", "owner", "--uid-owner", "\(id)"]
        case .gid(let id): words += ["-m", "owner", "--gid-owner", "\(id)"]
        case nil: break
        }
        if let comment { words += ["-m", "comment", "--comment", Self.quoted(comment)] }
        return (words + target.words).joined(separator: " ")
    }

    private static func text(_ range: ClosedRange<UInt16>) -> String {
        range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound):\(range.upperBound)"
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
    fileprivate var words: [String] {
        switch self {
        case .return: ["-j", "RETURN"]
        case .drop: ["-j", "DROP"]
        case .jump(let chain): ["-j", chain]
        case .goto(let chain): ["-g", chain]
        case .redirect(let port): ["-j", "REDIRECT", "--to-ports", "\(port)"]
        }
    }
}
