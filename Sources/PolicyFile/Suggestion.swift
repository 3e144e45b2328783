// SPDX-License-Identifier: Apache-2.0

/// The name that was probably meant, if any is near enough: a third of its letters may be wrong.
package func nearest(_ name: String, among names: [String]) -> String? {
    // Longer names are not slips of a known one, and would take long to compare.
    guard name.utf8.count <= 100 else { return nil }
    let candidates = names.map { ($0, distance(name.lowercased(), $0.lowercased())) }
    guard let best = candidates.min(by: { $0.1 < $1.1 }), best.1 <= max(1, best.0.count / 3)
    else { return nil }
    return best.0
}

/// True when few letters differ.
func isWithin(_ limit: Int, _ one: String, _ other: String) -> Bool {
    abs(one.utf8.count - other.utf8.count) <= limit && distance(one, other) <= limit
}

/// How many letters must be put in, taken out, replaced or swapped with the next.
private func distance(_ one: String, _ other: String) -> Int {
    let (one, other) = (Array(one.utf8), Array(other.utf8))
    var before: [Int] = []
    var last = Array(0...other.count)
    for row in one.indices {
        var current = [row + 1]
        for column in other.indices {
            let change = last[column] + (one[row] == other[column] ? 0 : 1)
            var best = min(change, last[column + 1] + 1, current[column] + 1)
            if row > 0, column > 0, one[row] == other[column - 1], one[row - 1] == other[column] {
                best = min(best, before[column - 1] + 1)
            }
            current.append(best)
        }
        (before, last) = (last, current)
    }
    return last.last ?? one.count
}
