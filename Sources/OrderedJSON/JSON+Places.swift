// SPDX-License-Identifier: Apache-2.0

extension JSON {
    /// Where the elements of a list are in a text: the list that is member `name` of the object the
    /// text consists of.
    ///
    /// For those who change others' files and leave every byte that is not theirs as it is. `nil` if
    /// there is no such list.
    package static func elementRanges(
        of name: String, in bytes: [UInt8]
    ) throws(JSONError) -> [Range<Int>]? {
        var reader = JSONReader(bytes)
        var ranges: [Range<Int>]?
        reader.skipBlanks()
        guard reader.current == UInt8(ascii: "{") else { return nil }
        try reader.list(closedBy: UInt8(ascii: "}")) { reader throws(JSONError) in
            let isWanted = try reader.memberName() == name
            reader.skipBlanks()
            guard isWanted, reader.current == UInt8(ascii: "[") else {
                _ = try reader.value(depth: 1)
                if isWanted { ranges = nil }
                return
            }
            ranges = try reader.elementRanges()
        }
        return ranges
    }
}

extension JSONReader {
    fileprivate mutating func elementRanges() throws(JSONError) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        try list(closedBy: UInt8(ascii: "]")) { reader throws(JSONError) in
            reader.skipBlanks()
            let start = reader.index
            _ = try reader.value(depth: 2)
            ranges.append(start..<reader.index)
        }
        return ranges
    }
}
