// SPDX-License-Identifier: Apache-2.0

/// Reads JSON as RFC 8259 has it, and nothing else: no comments, no trailing commas.
struct JSONReader {
    /// What nests deeper is an attack on our stack, not a configuration.
    static let deepest = 128

    let bytes: [UInt8]
    var index = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var current: UInt8? { index < bytes.count ? bytes[index] : nil }

    func failure(_ problem: String, at place: Int? = nil) -> JSONError {
        JSONError(problem, at: place ?? index, in: bytes)
    }

    mutating func skipBlanks() {
        while let byte = current, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 {
            index += 1
        }
    }

    /// Goes past `byte`, if that is what comes next.
    mutating func take(_ byte: UInt8) -> Bool {
        guard current == byte else { return false }
        index += 1
        return true
    }

    /// Reads one value and requires that nothing follows it.
    mutating func document() throws(JSONError) -> JSON {
        let value = try self.value(depth: 0)
        skipBlanks()
        guard index == bytes.count else { throw failure("something follows the value") }
        return value
    }

    mutating func value(depth: Int) throws(JSONError) -> JSON {
        guard depth < Self.deepest else { throw failure("nested too deeply") }
        skipBlanks()
        guard let first = current else { throw failure("the text ends where a value should be") }
        switch first {
        case UInt8(ascii: "{"): return .object(try object(depth: depth))
        case UInt8(ascii: "["): return .array(try array(depth: depth))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
        default: throw failure("no value begins like this")
        }
    }

    private mutating func object(depth: Int) throws(JSONError) -> [JSON.Member] {
        var members: [JSON.Member] = []
        try list(closedBy: UInt8(ascii: "}")) { reader throws(JSONError) in
            let name = try reader.memberName()
            members.append(JSON.Member(name, try reader.value(depth: depth + 1)))
        }
        return members
    }

    private mutating func array(depth: Int) throws(JSONError) -> [JSON] {
        var elements: [JSON] = []
        try list(closedBy: UInt8(ascii: "]")) { reader throws(JSONError) in
            elements.append(try reader.value(depth: depth + 1))
        }
        return elements
    }

    /// A member's name and the colon after it.
    mutating func memberName() throws(JSONError) -> String {
        skipBlanks()
        guard current == UInt8(ascii: "\"") else { throw failure("a member's name should be here") }
        let name = try string()
        skipBlanks()
        guard take(UInt8(ascii: ":")) else { throw failure("a colon should be here") }
        return name
    }

    /// Goes through what is between a bracket and its partner, item by item.
    mutating func list(
        closedBy end: UInt8, _ item: (inout JSONReader) throws(JSONError) -> Void
    ) throws(JSONError) {
        index += 1
        skipBlanks()
        if take(end) { return }
        while true {
            try item(&self)
            skipBlanks()
            if take(end) { return }
            guard take(UInt8(ascii: ",")) else {
                throw failure("a comma or the closing bracket should be here")
            }
        }
    }

    private mutating func word(_ word: StaticString, _ value: JSON) throws(JSONError) -> JSON {
        let spelled = Array(word.description.utf8)
        guard bytes[index...].starts(with: spelled) else { throw failure("not a JSON word") }
        index += spelled.count
        return value
    }

    /// The number as spelled: an optional minus, no leading zeros, a fraction, an exponent.
    private mutating func number() throws(JSONError) -> String {
        let start = index
        _ = take(UInt8(ascii: "-"))
        let leading = index
        try digits()
        if bytes[leading] == UInt8(ascii: "0"), index > leading + 1 {
            throw failure("a number has a leading zero", at: leading)
        }
        if take(UInt8(ascii: ".")) { try digits() }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            _ = take(UInt8(ascii: "+")) || take(UInt8(ascii: "-"))
            try digits()
        }
        return String(decoding: bytes[start..<index], as: UTF8.self)
    }

    private mutating func digits() throws(JSONError) {
        let start = index
        while let byte = current, UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte { index += 1 }
        if index == start { throw failure("a digit should be here") }
    }
}
