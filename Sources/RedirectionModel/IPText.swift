// SPDX-License-Identifier: Apache-2.0

/// Dotted-quad text.
///
/// Stricter than inet_aton(3) on purpose: four decimal parts, no octal, no short forms. A policy
/// that says `010.0.0.1` meant something its author should spell out.
enum IPv4Text {
    static func render(_ address: UInt32) -> String {
        stride(from: 24, through: 0, by: -8).map { String(address >> $0 & 0xff) }
            .joined(separator: ".")
    }

    static func parse(_ text: some StringProtocol) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var address: UInt32 = 0
        for part in parts {
            guard let octet = parseDecimal(part, upTo: 255) else { return nil }
            address = address << 8 | octet
        }
        return address
    }

    /// Reads digits only (`UInt32("+5")` would be accepted by the library), no leading zero.
    private static func parseDecimal(_ text: some StringProtocol, upTo limit: UInt32) -> UInt32? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }),
            text.count == 1 || text.first != "0",
            let value = UInt32(text), value <= limit
        else { return nil }
        return value
    }
}

/// IPv6 text: read as RFC 4291 §2.2 allows, written as RFC 5952 asks.
enum IPv6Text {
    static func render(_ bits: UInt128) -> String {
        let groups = (0..<8).map { UInt16(truncatingIfNeeded: bits >> (112 - 16 * $0)) }
        guard let zeros = longestZeroRun(groups) else { return join(groups[...]) }
        return join(groups[..<zeros.lowerBound]) + "::" + join(groups[zeros.upperBound...])
    }

    private static func join(_ groups: ArraySlice<UInt16>) -> String {
        groups.map { String($0, radix: 16) }.joined(separator: ":")
    }

    /// The first longest run of two or more zero groups, which `::` replaces.
    private static func longestZeroRun(_ groups: [UInt16]) -> Range<Int>? {
        var longest: Range<Int>?
        var start = 0
        for (index, group) in groups.enumerated() {
            guard group == 0 else {
                start = index + 1
                continue
            }
            let run = start..<(index + 1)
            if run.count > max(1, longest?.count ?? 1) { longest = run }
        }
        return longest
    }

    static func parse(_ text: String) -> UInt128? {
        let halves = splitAtDoubleColon(text)
        guard halves.count <= 2, let head = groups(halves[0], mayEndInQuad: halves.count == 1)
        else { return nil }
        guard halves.count == 2 else { return head.count == 8 ? number(head) : nil }
        guard let tail = groups(halves[1], mayEndInQuad: true), head.count + tail.count < 8 else {
            return nil
        }
        let gap = [UInt16](repeating: 0, count: 8 - head.count - tail.count)
        return number(head + gap + tail)
    }

    private static func number(_ groups: [UInt16]) -> UInt128 {
        groups.reduce(0) { $0 << 16 | UInt128($1) }
    }

    /// The parts around each `::`; more than two means the text is wrong.
    private static func splitAtDoubleColon(_ text: String) -> [Substring] {
        var parts: [Substring] = []
        var rest = text[...]
        while let colon = zip(rest.indices, rest.indices.dropFirst())
            .first(where: { rest[$0] == ":" && rest[$1] == ":" })
        {
            parts.append(rest[..<colon.0])
            rest = rest[rest.index(after: colon.1)...]
        }
        return parts + [rest]
    }

    /// Reads colon-separated groups; the address's last may be a dotted quad, worth two.
    private static func groups(_ text: Substring, mayEndInQuad: Bool) -> [UInt16]? {
        guard !text.isEmpty else { return [] }
        var result: [UInt16] = []
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            if mayEndInQuad, index == parts.count - 1, let quad = IPv4Text.parse(part) {
                result += [UInt16(quad >> 16), UInt16(truncatingIfNeeded: quad)]
            } else if (1...4).contains(part.count), part.allSatisfy(\.isHexDigit),
                let group = UInt16(part, radix: 16)
            {
                result.append(group)
            } else {
                return nil
            }
        }
        return result.count <= 8 ? result : nil
    }
}
