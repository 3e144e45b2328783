// SPDX-License-Identifier: Apache-2.0

/// An answer as HTTP/1.1 has it, read from what has come so far.
package struct HTTPReply: Hashable, Sendable {
    package let status: Int
    package let body: [UInt8]

    /// What is not an answer, in words.
    package struct Malformed: Error, Hashable {
        package let problem: String
    }

    /// More than this is no answer of ours.
    package static let largest = 1 << 20

    /// Reads an answer; `nil` if it is not whole yet and more may come.
    package init?(_ bytes: [UInt8], ended: Bool) throws(Malformed) {
        guard bytes.count <= Self.largest else {
            throw Malformed(problem: "the answer is larger than \(Self.largest) bytes")
        }
        guard let head = Self.head(bytes) else {
            guard ended || bytes.count > 65536 else { return nil }
            throw Malformed(
                problem: bytes.isEmpty
                    ? "the connection was closed without an answer"
                    : "the answer has no end of head")
        }
        let lines = head.text.split(separator: "\r\n", omittingEmptySubsequences: false)
        status = try Self.status(lines[0])
        let rest = bytes[head.length...]
        guard let body = try Self.body(rest, Self.fields(lines.dropFirst()), ended: ended) else {
            guard ended else { return nil }
            throw Malformed(problem: "the answer ends early")
        }
        self.body = body
    }

    /// The text before the empty line, and where what follows begins.
    private static func head(_ bytes: [UInt8]) -> (text: String, length: Int)? {
        let end: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a]
        guard bytes.count >= end.count else { return nil }
        for index in 0...(bytes.count - end.count)
        where bytes[index] == 0x0d && bytes[index..<(index + end.count)].elementsEqual(end) {
            return (String(decoding: bytes[..<index], as: UTF8.self), index + end.count)
        }
        return nil
    }

    private static func status(_ line: Substring) throws(Malformed) -> Int {
        let words = line.split(separator: " ", maxSplits: 2)
        guard words.count >= 2, words[0] == "HTTP/1.1" || words[0] == "HTTP/1.0",
            words[1].utf8.count == 3, let status = Int(words[1]), 100...599 ~= status
        else { throw Malformed(problem: "the answer is not HTTP") }
        return status
    }

    private static func fields(_ lines: ArraySlice<Substring>) -> [String: String] {
        var fields: [String: String] = [:]
        for line in lines {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let value = line[line.index(after: colon)...]
                .drop { $0 == " " || $0 == "\t" }
            fields[line[..<colon].lowercased()] = String(value)
        }
        return fields
    }

    /// What the head's fields say the body is; `nil` while some of it is missing.
    private static func body(
        _ rest: ArraySlice<UInt8>, _ fields: [String: String], ended: Bool
    ) throws(Malformed) -> [UInt8]? {
        if fields["transfer-encoding"]?.lowercased() == "chunked" { return try chunks(rest) }
        guard let length = fields["content-length"] else { return ended ? Array(rest) : nil }
        guard let length = Int(length), 0...largest ~= length else {
            throw Malformed(problem: "the answer has an impossible length")
        }
        return rest.count >= length ? Array(rest.prefix(length)) : nil
    }

    private static func chunks(_ bytes: ArraySlice<UInt8>) throws(Malformed) -> [UInt8]? {
        var rest = bytes
        var body: [UInt8] = []
        while let lineEnd = rest.firstIndex(of: 0x0a) {
            let line = String(decoding: rest[..<lineEnd], as: UTF8.self)
            let digits = line.prefix { $0.isHexDigit }
            guard let size = Int(digits, radix: 16), 0...largest ~= size else {
                throw Malformed(problem: "the answer has an impossible chunk")
            }
            if size == 0 { return body }
            let chunk = rest[(lineEnd + 1)...]
            guard chunk.count >= size + 2 else { return nil }
            body += chunk.prefix(size)
            rest = chunk.dropFirst(size + 2)
        }
        return nil
    }
}
