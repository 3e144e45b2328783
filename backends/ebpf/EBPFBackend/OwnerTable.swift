// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// What a plan says about users and groups, as a trie of ids needs it.
///
/// The ids are cut into stretches that the plan treats alike, and a stretch into prefixes, so no
/// entry covers another and a range costs a few entries, however long it is.
struct OwnerTable {
    /// Everything the programs have to know about an id.
    struct Facts: Hashable {
        var isSidecar = false
        var isExcluded = false
        /// Name lookups over UDP are left alone.
        var isExcludedFromDNS = false
        /// TCP ports that are left alone.
        var excludedPorts: PortSet = []
    }

    struct Entry: Hashable {
        let isGroup: Bool
        let prefix: IDPrefix
        let facts: Facts
    }

    let entries: [Entry]

    /// `sidecar` is left out as far as the pod's own entry names its first ids.
    init(_ lists: PolicyLists) {
        let sidecar = lists.sidecar
        let sidecarUIDs = sidecar.uids.subtracting(first(of: sidecar.uids))
        let sidecarGIDs = sidecar.gids.subtracting(first(of: sidecar.gids))
        let exclusions = lists.ownerPortExclusions
        let users = Self.stretches(
            of: [sidecarUIDs, lists.excludedUIDs] + exclusions.map(\.uids)
        ) { uid in
            let theirs = exclusions.filter { $0.uids.contains(uid) }
            return Facts(
                isSidecar: sidecarUIDs.contains(uid),
                isExcluded: lists.excludedUIDs.contains(uid),
                isExcludedFromDNS: theirs.contains {
                    $0.protocols.contains(.udp) && $0.ports.contains(DNSCapture.domainPort)
                },
                excludedPorts: PortSet(
                    theirs.filter { $0.protocols.contains(.tcp) }.flatMap(\.ports.ranges)))
        }
        let groups = Self.stretches(of: [sidecarGIDs, lists.excludedGIDs]) { gid in
            Facts(
                isSidecar: sidecarGIDs.contains(gid), isExcluded: lists.excludedGIDs.contains(gid))
        }
        entries = Self.entries(users, isGroup: false) + Self.entries(groups, isGroup: true)
    }

    /// Cuts all ids where one of the `sets` begins or ends, and asks for the facts of each part.
    private static func stretches(
        of sets: [IDSet], facts: (UInt32) -> Facts
    ) -> [(range: ClosedRange<UInt32>, facts: Facts)] {
        var starts: Set<UInt64> = [0]
        for range in sets.lazy.flatMap(\.ranges) {
            starts.insert(UInt64(range.lowerBound))
            starts.insert(UInt64(range.upperBound) + 1)
        }
        let ordered = starts.filter { $0 <= UInt32.max }.sorted()
        let ends = ordered.dropFirst().map { $0 - 1 } + [UInt64(UInt32.max)]
        return zip(ordered, ends).map { start, end in
            (UInt32(start)...UInt32(end), facts(UInt32(start)))
        }
    }

    private static func entries(
        _ stretches: [(range: ClosedRange<UInt32>, facts: Facts)], isGroup: Bool
    ) -> [Entry] {
        stretches.filter { $0.facts != Facts() }.flatMap { range, facts in
            IDPrefix.covering(range).map { Entry(isGroup: isGroup, prefix: $0, facts: facts) }
        }
    }
}

/// The set of the lowest id; empty of an empty set.
private func first(of ids: IDSet) -> IDSet { IDSet(values: [ids.first].compactMap(\.self)) }

/// The ids that begin with the same bits.
struct IDPrefix: Hashable {
    let first: UInt32
    /// How many bits are the same: 0...32.
    let length: Int

    var last: UInt32 { length == 0 ? .max : first | (.max >> UInt32(length)) }

    /// The fewest prefixes that are exactly `range`.
    static func covering(_ range: ClosedRange<UInt32>) -> [IDPrefix] {
        var prefixes: [IDPrefix] = []
        var start = UInt64(range.lowerBound)
        let end = UInt64(range.upperBound)
        while start <= end {
            // The largest block that begins here, is aligned, and does not go too far.
            var bits = min(start.trailingZeroBitCount, 32)
            while start + (1 << UInt64(bits)) - 1 > end { bits -= 1 }
            prefixes.append(IDPrefix(first: UInt32(start), length: 32 - bits))
            start += 1 << UInt64(bits)
        }
        return prefixes
    }
}

extension IDPrefix: CustomStringConvertible {
    /// `1500`, `1500-1503`.
    var description: String { first == last ? "\(first)" : "\(first)-\(last)" }
}
