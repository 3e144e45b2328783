// SPDX-License-Identifier: Apache-2.0

extension JSONReader {
    /// Reads a string, from its opening quote to past its closing one.
    mutating func string() throws(JSONError) -> String {
        let start = index
        index += 1
        var collected: [UInt8] = []
        while true {
            let plain = index
            while let byte = current, byte >= 0x20, byte != UInt8(ascii: "\""),
                byte != UInt8(ascii: "\\")
            {
                index += 1
            }
            collected += bytes[plain..<index]
            guard let byte = current else { throw failure("a string has no end", at: start) }
            if take(UInt8(ascii: "\"")) { break }
            guard take(UInt8(ascii: "\\")) else {
                throw failure("a string has the control character \(byte) in it")
            }
            collected += try escape()
        }
        guard let text = String(validating: collected, as: UTF8.self) else {
            throw failure("a string is not UTF-8", at: start)
        }
        return text
    }

    /// What comes after a backslash, as UTF-8.
    private mutating func escape() throws(JSONError) -> [UInt8] {
        guard let letter = current else { throw failure("a string has no end") }
        index += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [letter]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0c]
        case UInt8(ascii: "n"): return [0x0a]
        case UInt8(ascii: "r"): return [0x0d]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "u"): return Array(String(Character(try scalar())).utf8)
        default: throw failure("no such escape", at: index - 1)
        }
    }

    /// The character of `\uXXXX`, or of the two that make a surrogate pair.
    private mutating func scalar() throws(JSONError) -> Unicode.Scalar {
        let start = index
        let first = try fourDigits()
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard first < 0xdc00, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
            throw failure("half of a surrogate pair", at: start)
        }
        let second = try fourDigits()
        guard 0xdc00...0xdfff ~= second,
            let scalar = Unicode.Scalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
        else { throw failure("half of a surrogate pair", at: start) }
        return scalar
    }

    private mutating func fourDigits() throws(JSONError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = current, let digit = Character(Unicode.Scalar(byte)).hexDigitValue
            else { throw failure("a hexadecimal digit should be here") }
            value = value << 4 | UInt32(digit)
            index += 1
        }
        return value
    }
}

extension JSON {
    /// Reads a whole text.
    package init(parsing bytes: [UInt8]) throws(JSONError) {
        var reader = JSONReader(bytes)
        self = try reader.document()
    }

    package init(parsing text: String) throws(JSONError) {
        try self.init(parsing: Array(text.utf8))
    }
}
