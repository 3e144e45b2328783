// SPDX-License-Identifier: Apache-2.0

/// A chain; with a hook it is a base chain, which the kernel calls by itself.
package struct NFTChain: Hashable, Sendable {
    package var name: String
    package var hook: Hook?

    package init(_ name: String, hook: Hook? = nil) {
        self.name = name
        self.hook = hook
    }

    /// Where, as what and when a base chain is called: `type nat hook output priority -100`.
    package struct Hook: Hashable, Sendable {
        package var type: String
        package var point: Point
        package var priority: Int32

        package init(type: String, _ point: Point, priority: Int32) {
            self.type = type
            self.point = point
            self.priority = priority
        }

        /// `enum nf_inet_hooks`, in its order.
        package enum Point: UInt32, Hashable, Sendable {
            case prerouting
            case input
            case forward
            case output
            case postrouting
        }
    }
}

/// An anonymous set: it belongs to the one rule that looks things up in it, and goes with it.
package struct NFTSet: Hashable, Sendable {
    package var key: Key
    /// What is in the set, ascending.
    package var ranges: [Range]
    /// Whether ranges may be more than single values: the values have an order.
    package var isInterval: Bool

    /// Makes a set; what has ranges is looked up in network byte order.
    package init(_ key: Key, _ ranges: [Range]) {
        self.init(key, ranges, isInterval: Self.needsOrder(key, ranges))
    }

    init(_ key: Key, _ ranges: [Range], isInterval: Bool) {
        self.key = key
        self.ranges = ranges
        self.isInterval = isInterval
    }

    private static func needsOrder(_ key: Key, _ ranges: [Range]) -> Bool {
        key.isNetworkOrder || ranges.contains { $0.first != $0.last }
    }

    /// The values from one to another, both of the key's length; a single value is both.
    package struct Range: Hashable, Sendable {
        package var first: [UInt8]
        package var last: [UInt8]

        package init(_ first: [UInt8], _ last: [UInt8]) {
            self.first = first
            self.last = last
        }
    }

    /// What a set holds, in nft(8)'s numbering of types, by which it prints them.
    package enum Key: UInt32, Hashable, Sendable {
        case ipv4Address = 7
        case ipv6Address = 8
        case port = 13
        case uid = 24
        case gid = 25
        case interfaceName = 41

        package var length: Int {
            switch self {
            case .port: 2
            case .ipv4Address, .uid, .gid: 4
            case .ipv6Address, .interfaceName: 16
            }
        }

        /// Whether packets hold the values in network byte order, in which ranges follow.
        package var isNetworkOrder: Bool {
            self == .ipv4Address || self == .ipv6Address || self == .port
        }
    }
}

/// One step of a rule: the virtual machine's instructions, with register 1 implied.
package enum NFTExpression: Hashable, Sendable {
    /// Loads a fact about the packet.
    case load(Meta)
    /// Loads bytes of a header.
    case loadHeader(Header, offset: UInt32, length: UInt32)
    case mask([UInt8])
    /// Sets these bits of the register, which holds as many bytes.
    case addBits([UInt8])
    /// Loads the connection's mark; ends the rule where there is no connection.
    case loadConnectionMark
    /// Makes the register the connection's mark.
    case storeConnectionMark
    /// Turns four bytes in the host's order into network order.
    case toNetworkOrder
    /// Goes on only if the register holds these bytes, or begins with them.
    case equals([UInt8])
    /// Goes on only if the set holds the register.
    case isIn(NFTSet)
    case counter
    /// NAT to the packet's own host, another port.
    case redirect(port: UInt16)
    /// Hands the packet to the socket that listens on the port; without one the rule ends here.
    ///
    /// `family` is `NFPROTO_IPV4`, `NFPROTO_IPV6`, or 0 in a rule for both.
    case assign(port: UInt16, family: UInt8)
    /// Chooses the connection tracking zone.
    case zone(UInt16)
    case drop
    case `return`
    case jump(String)
    case goto(String)
    /// One that we do not write, read from the kernel: somebody has been here.
    case unknown(String)

    /// `enum nft_meta_keys`, those used.
    package enum Meta: UInt32, Hashable, Sendable {
        case inInterfaceName = 6
        case outInterfaceName = 7
        case socketUID = 10
        case socketGID = 11
        case family = 15
        case transportProtocol = 16
    }

    /// `enum nft_payload_bases`.
    package enum Header: UInt32, Hashable, Sendable {
        case network = 1
        case transport = 2
    }
}

/// A rule: what it does, and what it says to whoever lists it.
package struct NFTRule: Hashable, Sendable {
    package var expressions: [NFTExpression]
    package var comment: String

    package init(_ expressions: [NFTExpression], comment: String) {
        self.expressions = expressions
        self.comment = comment
    }
}
