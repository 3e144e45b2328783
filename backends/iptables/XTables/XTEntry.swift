// SPDX-License-Identifier: Apache-2.0

internal import CLibIPTC
package import RedirectionModel

/// A rule in the kernel's own bytes: `ipt_entry` or `ip6t_entry`, its matches and its target.
@safe
struct XTEntry: ~Copyable {
    private var entry: clibiptc_entry

    /// Encodes `rule`; addresses in it must be of `family`.
    init(_ rule: XTRule, _ family: AddressFamily) {
        let size = Int(CLIBIPTC_ENTRY_MAX)
        // SAFETY: every rule fits: header, four matches (the comment is the largest, 288
        // bytes) and a target are below 700. The kernel requires entries aligned to 8.
        let bytes = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 8)
        unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0, count: size)
        unsafe entry = clibiptc_entry(
            is_ipv6: family == .ipv6, size: 0,
            bytes: bytes.bindMemory(to: UInt8.self, capacity: size))
        unsafe clibiptc_start(&entry)
        addHeader(rule)
        addMatches(rule)
        addTarget(rule.target)
    }

    deinit { unsafe entry.bytes.deallocate() }

    private mutating func addHeader(_ rule: XTRule) {
        if let source = rule.source {
            unsafe clibiptc_match_source(&entry, source.wireBytes, CInt(source.prefixLength))
        }
        if let destination = rule.destination {
            unsafe clibiptc_match_destination(
                &entry, destination.wireBytes, CInt(destination.prefixLength))
        }
        if let pattern = rule.inInterface {
            unsafe clibiptc_match_in(&entry, pattern.name, pattern.isPrefix)
        }
        if let pattern = rule.outInterface {
            unsafe clibiptc_match_out(&entry, pattern.name, pattern.isPrefix)
        }
        if let transport = rule.transport {
            unsafe clibiptc_match_protocol(&entry, transport.rawValue)
        }
    }

    private mutating func addMatches(_ rule: XTRule) {
        if rule.looksIntoTransport {
            let sources = rule.sourcePorts ?? 0...UInt16.max
            let destinations = rule.destinationPorts ?? 0...UInt16.max
            if rule.transport == .udp {
                unsafe clibiptc_match_udp(
                    &entry, sources.lowerBound, sources.upperBound, destinations.lowerBound,
                    destinations.upperBound)
            } else {
                unsafe clibiptc_match_tcp(
                    &entry, sources.lowerBound, sources.upperBound, destinations.lowerBound,
                    destinations.upperBound,
                    rule.segment.map { $0 == .first ? CLIBIPTC_FIRST : CLIBIPTC_LATER }
                        ?? CLIBIPTC_ANY)
            }
        }
        switch rule.owner {
        case .uids(let ids):
            unsafe clibiptc_match_owner(
                &entry, UInt8(XT_OWNER_UID), ids.lowerBound, ids.upperBound)
        case .gids(let ids):
            unsafe clibiptc_match_owner(
                &entry, UInt8(XT_OWNER_GID), ids.lowerBound, ids.upperBound)
        case nil: break
        }
        if let mark = rule.connectionMark { unsafe clibiptc_match_connmark(&entry, mark) }
        if let comment = rule.comment { unsafe clibiptc_match_comment(&entry, comment) }
    }

    private mutating func addTarget(_ target: XTRule.Target) {
        switch target {
        case .return: unsafe clibiptc_target_label(&entry, "RETURN", false)
        case .drop: unsafe clibiptc_target_label(&entry, "DROP", false)
        case .jump(let chain): unsafe clibiptc_target_label(&entry, chain, false)
        case .goto(let chain): unsafe clibiptc_target_label(&entry, chain, true)
        case .redirect(let port): unsafe clibiptc_target_redirect(&entry, port)
        case .assign(let port): unsafe clibiptc_target_tproxy(&entry, port)
        case .remember(let bits): unsafe clibiptc_target_connmark(&entry, bits)
        case .zone(let zone): unsafe clibiptc_target_zone(&entry, zone)
        }
    }

    /// Lends the entry to a call that copies it.
    func withPointer<Value>(_ body: (UnsafeRawPointer) -> Value) -> Value {
        unsafe body(UnsafeRawPointer(entry.bytes))
    }

    /// The entry's bytes, for whoever compares them.
    var bytes: [UInt8] {
        unsafe Array(UnsafeRawBufferPointer(start: entry.bytes, count: entry.size))
    }
}

extension XTRule {
    /// The rule in the kernel's bytes.
    package func encoded(_ family: AddressFamily) -> [UInt8] { XTEntry(self, family).bytes }
}

extension CIDR {
    /// The address in network order, 4 or 16 bytes.
    fileprivate var wireBytes: [UInt8] {
        Array(network.bytes.suffix(family == .ipv4 ? 4 : 16))
    }
}
