// SPDX-License-Identifier: Apache-2.0

/// A look at YAML text before the parser sees it: what a policy has no use for is refused.
///
/// Anchors and aliases make a short text a long document, nesting costs stack, and text over
/// several lines hides structure from the reader's eye. Without them the parser's work is
/// proportional to the text. The parser stays the authority on everything else: whatever passes
/// here may still be wrong.
struct YAMLScreen {
    struct Finding: Error, Hashable {
        let line: Int
        let column: Int
        let problem: String
    }

    static let depthLimit = 16
    static let indentationLimit = 64

    private var line = 1
    private var flowDepth = 0
    /// Within brackets, a line ended in the middle of a plain text.
    private var isUnfinished = false

    /// Returns the first thing in `text` that is refused.
    static func finding(in text: some Collection<UInt8>) -> Finding? {
        var screen = YAMLScreen()
        for line in text.split(separator: 10, omittingEmptySubsequences: false) {
            if let problem = screen.problem(in: Array(line)) {
                return Finding(line: screen.line, column: problem.column + 1, problem: problem.text)
            }
            screen.line += 1
        }
        return nil
    }

    private typealias Problem = (column: Int, text: String)

    private mutating func problem(in line: [UInt8]) -> Problem? {
        var position = 0
        var startsToken = true
        var endsPlain = false
        let first = line.firstIndex { $0 != 32 } ?? line.count
        if isUnfinished, first < line.count, !Array(",]}#\r".utf8).contains(line[first]) {
            return (first, "is text over several lines; put it into quotes, on one line")
        }
        while position < line.count {
            let byte = line[position]
            if byte == 35, position == 0 || line[position - 1] == 32 || line[position - 1] == 9 {
                break
            }
            if startsToken, let problem = refusal(of: line, at: position) { return problem }
            if startsToken, byte == 34 || byte == 39 {
                guard let end = Self.endOfQuote(line, from: position) else {
                    return (position, "is a quoted text that does not end on its line")
                }
                position = end + 1
                (startsToken, endsPlain) = (position < line.count && line[position] == 58, false)
                if startsToken { position += 1 }
                continue
            }
            (startsToken, endsPlain) = step(line, position, startsToken, endsPlain)
            position += 1
        }
        isUnfinished = flowDepth > 0 && endsPlain
        return nil
    }

    /// Whether a token may start after this byte, and whether plain text would go on there.
    private mutating func step(
        _ line: [UInt8], _ position: Int, _ startsToken: Bool, _ endsPlain: Bool
    ) -> (Bool, Bool) {
        let next = position + 1 < line.count ? line[position + 1] : 32
        let isBeforeBlank = next == 32 || next == 9 || next == 13
        switch line[position] {
        case 32, 9, 13: return (startsToken, endsPlain)
        case UInt8(ascii: "["), UInt8(ascii: "{"):
            guard startsToken || flowDepth > 0 else { return (false, true) }
            flowDepth += 1
            return (true, false)
        case UInt8(ascii: "]"), UInt8(ascii: "}"):
            guard flowDepth > 0 else { return (false, true) }
            flowDepth -= 1
            return (true, false)
        case UInt8(ascii: ","): return (flowDepth > 0 || startsToken, flowDepth == 0)
        case UInt8(ascii: "-") where startsToken && isBeforeBlank: return (true, false)
        case UInt8(ascii: ":") where isBeforeBlank || flowDepth > 0 && isFlowMark(next):
            return (true, false)
        default: return (false, true)
        }
    }

    private func isFlowMark(_ byte: UInt8) -> Bool { Array(",[]{}".utf8).contains(byte) }

    /// Why a token that starts here is refused.
    private func refusal(of line: [UInt8], at position: Int) -> Problem? {
        let next = position + 1 < line.count ? line[position + 1] : 32
        if flowDepth == 0, position > Self.indentationLimit, line[position] != 32,
            line[..<position].allSatisfy({ $0 == 32 || $0 == 45 })
        {
            return (position, "is indented by more than \(Self.indentationLimit) columns")
        }
        switch line[position] {
        case UInt8(ascii: "["), UInt8(ascii: "{"):
            return flowDepth < Self.depthLimit
                ? nil : (position, "is nested more than \(Self.depthLimit) deep")
        case UInt8(ascii: "&"): return (position, "is an anchor, which a policy may not have")
        case UInt8(ascii: "*"):
            return (position, "is an alias, which a policy may not have; put * into quotes")
        case UInt8(ascii: "!"): return (position, "is a tag, which a policy may not have")
        case UInt8(ascii: "|"), UInt8(ascii: ">"):
            return (position, "is a block of text, which a policy may not have")
        case UInt8(ascii: "?") where next == 32 || next == 9:
            return (position, "is a complex key, which a policy may not have")
        case UInt8(ascii: "%") where position == 0:
            return (position, "is a directive, which a policy may not have")
        default: return nil
        }
    }

    private static func endOfQuote(_ line: [UInt8], from start: Int) -> Int? {
        let quote = line[start]
        var position = start + 1
        while position < line.count {
            if quote == 34, line[position] == 92 {
                position += 2
            } else if line[position] == quote {
                let isDoubled = quote == 39 && position + 1 < line.count && line[position + 1] == 39
                guard isDoubled else { return position }
                position += 2
            } else {
                position += 1
            }
        }
        return nil
    }
}
