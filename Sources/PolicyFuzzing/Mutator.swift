// SPDX-License-Identifier: Apache-2.0

/// Makes texts that are almost right.
package struct Mutator {
    package var generator: SeededGenerator

    package init(_ generator: SeededGenerator) { self.generator = generator }

    /// What trips readers: other ways to write numbers, YAML's own words, marks of structure.
    static let tokens = [
        "080", "0x50", "0o17", "1e3", "+80", "-80", "8_0", "65536", "4294967295", "4294967296",
        "99999999999999999999", "0", "80-", "-90", "90-80", "80--90", "53/udp", "53/tcp", "80/udp",
        "~", "null", "yes", "off", "NaN", ".inf", "2001-12-14", "*", "&a", "*a", "!!int", "<<",
        "\"", "'", "[", "]", "{", "}", ": ", "- ", ",", "#", "|", ">", "?", "%YAML 1.2", "---",
        "...", "\n", "\t", "\r", "\u{0}", "\u{feff}", "\u{2028}", "\u{e9}", "\u{1f4a9}", "\\u0038",
        "10.0.0.1/8", "10.0.0.0/33", "::ffff:10.0.0.1", "::/0", "0.0.0.0/0", "1.2.3",
        "fe80::1%eth0",
        "br+", "a/b", "mode: none", "uids: [0]", "apiVersion: swerve.dev/v2", "all", "any",
    ]

    package mutating func mutate(_ text: String) -> [UInt8] {
        var bytes = Array(text.utf8)
        for _ in 0..<Int.random(in: 1...3, using: &generator) {
            if generator.once(in: 2) { mutateLines(&bytes) } else { mutateBytes(&bytes) }
        }
        return bytes
    }

    private mutating func mutateBytes(_ bytes: inout [UInt8]) {
        let position = Int.random(in: 0...bytes.count, using: &generator)
        let end = min(bytes.count, position + Int.random(in: 0...8, using: &generator))
        switch Int.random(in: 0...5, using: &generator) {
        case 0: bytes.removeSubrange(position..<end)
        case 1: bytes.insert(contentsOf: bytes[position..<end], at: position)
        case 2: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: position)
        case 3 where position < bytes.count:
            bytes[position] ^= 1 << UInt8.random(in: 0...7, using: &generator)
        case 4: bytes.removeSubrange(position...)
        default:
            bytes.replaceSubrange(position..<end, with: Array(generator.pick(Self.tokens).utf8))
        }
    }

    /// Works on what a person would: lines, indentation, values.
    private mutating func mutateLines(_ bytes: inout [UInt8]) {
        var lines = bytes.split(separator: 10, omittingEmptySubsequences: false).map(Array.init)
        let index = Int.random(in: lines.indices, using: &generator)
        switch Int.random(in: 0...5, using: &generator) {
        case 0: lines.remove(at: index)
        case 1: lines.insert(lines[index], at: Int.random(in: lines.indices, using: &generator))
        case 2: lines.swapAt(index, Int.random(in: lines.indices, using: &generator))
        case 3: lines[index] = [32, 32] + lines[index]
        case 4: lines[index] = Array(lines[index].drop { $0 == 32 })
        default:
            let colon = lines[index].firstIndex(of: 58).map { $0 + 1 } ?? 0
            lines[index].removeSubrange(colon...)
            lines[index] += Array(" \(generator.pick(Self.tokens))".utf8)
        }
        bytes = Array(lines.joined(separator: [10]))
    }
}
