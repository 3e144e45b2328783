// SPDX-License-Identifier: Apache-2.0

internal import CNIPlugin
internal import OrderedJSON

/// The text of a configuration with and without our entry; every other byte stays as it is.
struct ChainText {
    let bytes: [UInt8]
    private let ranges: [Range<Int>]
    private let plugins: [JSON]

    /// Reads the text of a list; `nil` if it is not one.
    init?(_ bytes: [UInt8]) {
        guard let ranges = try? JSON.elementRanges(of: "plugins", in: bytes) else { return nil }
        self.bytes = bytes
        self.ranges = ranges
        plugins = ranges.map { (try? JSON(parsing: Array(bytes[$0]))) ?? .null }
    }

    private var ourPlace: Int? {
        plugins.firstIndex { $0["type"]?.text == PluginConfiguration.type }
    }

    /// Our entry, as it is in the text.
    var entry: JSON? { ourPlace.map { plugins[$0] } }

    /// The text with `entry` at the end of the chain, or in the place of the entry we have there.
    func with(_ entry: JSON) -> [UInt8] {
        let text = Array(entry.rendered().utf8)
        if let place = ourPlace {
            guard self.entry != entry else { return bytes }
            let ours = ranges[place]
            return Array(bytes[..<ours.lowerBound]) + text + bytes[ours.upperBound...]
        }
        guard let last = ranges.last else { return bytes }
        let comma = [UInt8(ascii: ",")] + blanks(before: last.lowerBound)
        return Array(bytes[..<last.upperBound]) + comma + text + bytes[last.upperBound...]
    }

    /// The text without any entry of ours, as it was before ``with(_:)``.
    func withoutOurs() -> [UInt8] {
        guard let place = ourPlace else { return bytes }
        let gap: Range<Int>
        if place > 0 {
            gap = ranges[place - 1].upperBound..<ranges[place].upperBound
        } else if ranges.count > 1 {
            gap = ranges[0].lowerBound..<ranges[1].lowerBound
        } else {
            gap = ranges[0]
        }
        let rest = Array(bytes[..<gap.lowerBound] + bytes[gap.upperBound...])
        return ChainText(rest)?.withoutOurs() ?? rest
    }

    /// How elements are set apart in this text: what is between a bracket or comma and the element.
    private func blanks(before index: Int) -> [UInt8] {
        var start = index
        while start > 0, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[start - 1]) { start -= 1 }
        return Array(bytes[start..<index])
    }

    /// A list made of a plugin that was alone, whose text is in it as it is, and ours.
    ///
    /// `name` is that of its file, for a plugin whose network has none.
    static func list(of plugin: [UInt8], called name: String, _ entry: JSON) -> [UInt8] {
        let json = (try? JSON(parsing: plugin)) ?? .null
        let stem = String(name[..<(name.lastIndex(of: ".") ?? name.endIndex)])
        let head = """
            {
              "cniVersion": \((json["cniVersion"] ?? .null).rendered()),
              "name": \((json["name"] ?? .string(stem)).rendered()),
              "plugins": [

            """
        let tail = ",\n\(entry.rendered())\n  ]\n}\n"
        return Array(head.utf8) + plugin + Array(tail.utf8)
    }
}
