// SPDX-License-Identifier: Apache-2.0

import LinuxKernel
import RedirectionModel

/// Packets byte by byte, for what no socket would send.
enum SyntheticPacket {
    static let tcp: UInt8 = 6
    static let udp: UInt8 = 17
    static let linkHeader = 14

    struct Flags {
        let value: UInt8
        static let syn = Flags(value: 0x02)
        static let synAck = Flags(value: 0x12)
        static let ack = Flags(value: 0x10)
    }

    /// A TCP segment (RFC 9293) with a right checksum.
    static func segment(
        from source: Endpoint, to destination: Endpoint, _ flags: Flags, payload: [UInt8] = []
    ) -> [UInt8] {
        var bytes = big(source.port) + big(destination.port) + [UInt8](repeating: 7, count: 8)
        bytes += [0x50, flags.value, 0xff, 0xff, 0, 0, 0, 0] + payload
        let sum = checksum(bytes, tcp, from: source.address, to: destination.address)
        bytes.replaceSubrange(16..<18, with: big(sum))
        return bytes
    }

    /// The checksum over a segment and its pseudo header: 0 over one that has it right.
    static func checksum(
        _ bytes: [UInt8], _ proto: UInt8, from source: IPAddress, to destination: IPAddress
    ) -> UInt16 {
        let addresses = source.wireBytes + destination.wireBytes
        return checksum(addresses + big(UInt16(bytes.count)) + [0, proto] + bytes)
    }

    /// The Internet checksum, RFC 1071.
    static func checksum(_ bytes: [UInt8]) -> UInt16 {
        let padded = bytes.count.isMultiple(of: 2) ? bytes : bytes + [0]
        var sum: UInt32 = 0
        for index in stride(from: 0, to: padded.count, by: 2) {
            sum += UInt32(padded[index]) << 8 | UInt32(padded[index + 1])
        }
        while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
        return ~UInt16(sum)
    }

    /// Which part of a packet a fragment is; `offset` in bytes.
    struct Fragment {
        var offset = 0
        var hasMore: Bool
    }

    /// An Ethernet frame; IPv6 with `extensions` headers of padding before the payload.
    static func frame(
        from source: IPAddress, to destination: IPAddress, _ payload: [UInt8],
        fragment: Fragment? = nil, extensions: Int = 0, protocol proto: UInt8 = tcp
    ) -> [UInt8] {
        let packet =
            source.family == .ipv4
            ? ipv4(source, destination, proto, payload, fragment)
            : ipv6(source, destination, proto, payload, fragment, extensions)
        let type: UInt16 = source.family == .ipv4 ? 0x0800 : 0x86dd
        return [UInt8](repeating: 2, count: 12) + big(type) + packet
    }

    static func ipv4(
        _ source: IPAddress, _ destination: IPAddress, _ proto: UInt8, _ payload: [UInt8],
        _ fragment: Fragment? = nil
    ) -> [UInt8] {
        var place: UInt16 = 0
        if let fragment { place = UInt16(fragment.offset / 8) | (fragment.hasMore ? 0x2000 : 0) }
        var header: [UInt8] = [0x45, 0] + big(UInt16(20 + payload.count)) + [0x12, 0x34]
        header += big(place) + [64, proto, 0, 0] + source.wireBytes + destination.wireBytes
        header.replaceSubrange(10..<12, with: big(checksum(header)))
        return header + payload
    }

    static func ipv6(
        _ source: IPAddress, _ destination: IPAddress, _ proto: UInt8, _ payload: [UInt8],
        _ fragment: Fragment? = nil, _ extensions: Int = 0
    ) -> [UInt8] {
        var (first, body) = (proto, payload)
        if let fragment {
            let place = UInt16(fragment.offset) | (fragment.hasMore ? 1 : 0)
            body = [first, 0] + big(place) + [0, 0, 0x12, 0x34] + body
            first = 44
        }
        for _ in 0..<extensions {
            body = [first, 0, 1, 4, 0, 0, 0, 0] + body
            first = 60
        }
        var header: [UInt8] = [0x60, 0, 0, 0] + big(UInt16(body.count)) + [first, 64]
        header += source.wireBytes + destination.wireBytes
        return header + body
    }

    /// "Packet too big" about a packet, of which the first bytes are quoted.
    static func tooBig(
        from router: IPAddress, to destination: IPAddress, about quoted: [UInt8]
    ) -> [UInt8] {
        let isIPv4 = router.family == .ipv4
        var message: [UInt8] = [isIPv4 ? 3 : 2, isIPv4 ? 4 : 0, 0, 0, 0, 0, 5, 0] + quoted
        let sum =
            isIPv4
            ? checksum(message) : checksum(message, 58, from: router, to: destination)
        message.replaceSubrange(2..<4, with: big(sum))
        return frame(from: router, to: destination, message, protocol: isIPv4 ? 1 : 58)
    }

    static func big(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 0xff)] }
}
