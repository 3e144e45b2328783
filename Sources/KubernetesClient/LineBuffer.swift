// SPDX-License-Identifier: Apache-2.0

/// Lines out of pieces that end anywhere; a line that is too long is refused before it is all here.
struct LineBuffer {
    let limit: Int
    private var rest: [UInt8] = []
    /// How far `rest` is known to have no end of a line.
    private var searched = 0

    init(limit: Int) { self.limit = limit }

    mutating func append(_ bytes: some Sequence<UInt8>) { rest += bytes }

    /// The next line that is whole.
    mutating func next() throws(KubernetesError) -> [UInt8]? {
        guard let end = rest[searched...].firstIndex(of: UInt8(ascii: "\n")) else {
            searched = rest.count
            guard rest.count <= limit else { throw .tooLarge("an event", limit: limit) }
            return nil
        }
        guard end <= limit else { throw .tooLarge("an event", limit: limit) }
        let line = Array(rest[..<end])
        rest.removeSubrange(...end)
        searched = 0
        return line
    }

    /// Whether a line has begun and not ended.
    var hasRest: Bool { !rest.isEmpty }
}
