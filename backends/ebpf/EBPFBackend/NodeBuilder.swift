// SPDX-License-Identifier: Apache-2.0

internal import CBPFObjects
internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
internal import RedirectionEngine
internal import SystemPackage

/// Brings programs, maps and pins together, whatever an earlier process has left of them.
struct NodeBuilder {
    let cgroup: Cgroup
    private let build: UInt64
    /// Where what is made is pinned; `nil` when nothing is to outlive the process.
    private(set) var pins: PinDirectory?
    private(set) var loader: ProgramLoader
    private(set) var links: [String: BPFLink] = [:]
    private(set) var places: [ProgramPart.Place] = []
    private(set) var reports: [ProgramReport] = []
    /// The programs that take the place of an older version's, once the pods are there.
    private(set) var waiting: [Waiting]?
    /// Whether there are programs that keep connections in a table of places, or such connections.
    private var hasPlaces = false

    struct Waiting: Sendable {
        let program: BPFProgram
        let place: ProgramPart.Place
    }

    /// Without pins, and for pins that are made anew.
    init(_ cgroup: Cgroup, pins: PinDirectory? = nil, build: UInt64 = 0) {
        self.cgroup = cgroup
        self.build = build
        self.pins = pins
        loader = ProgramLoader()
    }

    /// Goes on with what is pinned.
    init(
        _ cgroup: Cgroup, adopting pins: PinDirectory, build: UInt64
    ) throws(KernelError) {
        self.init(cgroup, pins: pins, build: build)
        var maps = try pins.openMaps()
        try Self.recover(&maps, of: cgroup)
        loader = ProgramLoader(sharing: maps)
        try openLinks(in: pins)
        try lookForPlaces(maps)
        let isOwn = try maps[Self.tag]?.lookup(UInt32(0), as: UInt64.self) == build
        guard isOwn, Self.mapNames.subtracting(Self.typed).allSatisfy({ maps[$0] != nil }) else {
            return
        }
        loader = ProgramLoader(adopting: maps)
    }

    /// Makes pins aside, in the place of an older version's, whose programs do as before until
    /// `takeOver`.
    ///
    /// What is known of sockets, and of connections that begin, is carried over as it is: a map
    /// whose entries change their meaning gets another name, or its entries another size.
    init(
        _ cgroup: Cgroup, replacing older: PinDirectory, with pins: PinDirectory, build: UInt64
    ) throws(KernelError) {
        self.init(cgroup, pins: pins, build: build)
        var maps = try older.openMaps()
        // Who was killed in the middle of this has left programs of a map that is pinned nowhere.
        try Self.recover(&maps, of: cgroup)
        loader = ProgramLoader(sharing: maps.filter { Self.carriedOver.contains($0.key) })
        try openLinks(in: older)
        try lookForPlaces(maps)
        waiting = []
    }

    /// The maps that programs write, about connections and the sidecars' listeners.
    private static let carriedOver: Set = [
        "swerve_sockets", "swerve_handshakes", "swerve_listening", "swerve_listeners",
        "swerve_flows", "swerve_handovers",
    ]

    /// Those that are there where the kernel's own types are known.
    private static let typed: Set = ["swerve_handovers"]

    static let mapNames =
        carriedOver.union([
            "swerve_pods", "swerve_port_sets", "swerve_network_sets", "swerve_owners",
            "swerve_counts", "swerve_stats",
        ])

    /// Says which build's programs are in their places: all of them, or it says 0.
    static let tag = "swerve_build"

    // MARK: What is there

    /// Finds maps whose pins somebody has removed by the programs that use them.
    private static func recover(
        _ maps: inout [String: BPFMap], of cgroup: Cgroup
    ) throws(KernelError) {
        for type in [BPFAttachType.connect4, .sockOps] {
            let missing = mapNames.filter { maps[$0] == nil }
            guard !missing.isEmpty else { return }
            for program in try BPFMap.maps(ofProgramsOn: cgroup, type)
            where program.contains(where: { map in maps.values.contains { $0.id == map.id } }) {
                for name in missing {
                    // The kernel keeps 15 bytes of a name.
                    guard let map = program.first(where: { $0.name == name.prefix(15) }) else {
                        continue
                    }
                    maps[name] = try BPFMap.open(id: map.id, name: name)
                }
            }
        }
    }

    private mutating func openLinks(in pins: PinDirectory) throws(KernelError) {
        for place in ProgramPart.allPlaces {
            guard let link = try pins.openLink(of: place, on: cgroup),
                try link.isAttached(to: cgroup, place.type)
            else { continue }
            links[place.program] = link
        }
    }

    private mutating func lookForPlaces(_ maps: [String: BPFMap]) throws(KernelError) {
        let taken = try maps["swerve_handovers"]?.count(.taken) ?? 0
        hasPlaces = links["swerve_sock_owner"] != nil || taken > 0
    }

    // MARK: Making it whole

    /// Sees to it that all programs are loaded, attached and pinned; says how owners are found out.
    mutating func complete(_ wanted: OwnerMethod?) throws(KernelError) -> OwnerMethod {
        if let method = try adoptAll(wanted) { return method }
        let method = try attachAll(wanted)
        guard waiting == nil else { return method }
        try renewPods()
        try removeStrangers()
        try setTag(build)
        return method
    }

    /// Those that know the kernel's types, if they can be had.
    ///
    /// They are not replaced by others: what connections have places for, nobody else finds.
    private mutating func attachAll(_ wanted: OwnerMethod?) throws(KernelError) -> OwnerMethod {
        if wanted != .realUser {
            let before = self
            do throws(KernelError) {
                try attach(ProgramPart.typedAll)
                return .credentials
            } catch {
                // Some of them may act already; they go with their links and pins.
                self = before
                guard !hasPlaces else { throw Self.refusal("\(error)") }
                guard wanted == nil, error.saysNoTypes else { throw error }
            }
        }
        guard !hasPlaces else { throw Self.refusal("others were asked for") }
        try attach(ProgramPart.untypedAll)
        return .realUser
    }

    private static func refusal(_ reason: String) -> KernelError {
        KernelError(
            "replace programs that go by the kernel's types", .notSupported,
            detail: """
                \(reason); those that are there go on, for others do not know their connections: use \
                the build they are of, or `swerve cleanup`
                """)
    }

    /// The same where nothing is attached to the node's cgroup, but to each workload's own.
    mutating func completeAttached(
        _ wanted: OwnerMethod?, below features: FeatureCeiling
    ) throws(KernelError) -> AttachedPrograms {
        let programs = try AttachedPrograms(&loader, owners: wanted, below: features)
        try pinMaps()
        guard waiting == nil else { return programs }
        try removeStrangers()
        try setTag(build)
        return programs
    }

    /// Takes everything as it is, if it is whole and this build's own.
    private mutating func adoptAll(_ wanted: OwnerMethod?) throws(KernelError) -> OwnerMethod? {
        guard loader.isAdopting else { return nil }
        let method = links["swerve_sock_owner"] == nil ? OwnerMethod.realUser : .credentials
        guard wanted == nil || wanted == method else { return nil }
        let parts = method == .credentials ? ProgramPart.typedAll : ProgramPart.untypedAll
        let wantedPlaces = parts.flatMap(\.places)
        guard wantedPlaces.allSatisfy({ links[$0.program] != nil }) else { return nil }
        places = wantedPlaces
        for place in places {
            guard let link = links[place.program] else { continue }
            reports.append(ProgramReport(try link.program(named: place.program)))
        }
        try pinMaps()
        return method
    }

    /// Loads all of them before any acts.
    private mutating func attach(_ parts: [ProgramPart]) throws(KernelError) {
        var programs: [Waiting] = []
        for part in parts {
            let loaded = try loader.load(part)
            for place in part.places {
                programs.append(
                    Waiting(program: try loaded.program(place.program), place: place))
            }
        }
        try pinMaps()
        // From here on they are of two builds.
        try setTag(0)
        for item in programs {
            try put(item)
            places.append(item.place)
            reports.append(ProgramReport(item.program))
        }
    }

    private func pinMaps() throws(KernelError) {
        guard let pins else { return }
        // What is beside attachments is of use to their own programs alone.
        let shared = loader.maps.filter { !$0.key.hasPrefix("swerve_at_") }
        for (name, map) in shared.sorted(by: { $0.key < $1.key })
        where try pins.openMap(name)?.id != map.id {
            try pins.pin(map, name)
        }
    }

    private mutating func put(_ item: Waiting) throws(KernelError) {
        guard waiting == nil else {
            waiting?.append(item)
            return
        }
        try place(item.program, item.place)
    }

    private mutating func place(
        _ program: BPFProgram, _ place: ProgramPart.Place
    ) throws(KernelError) {
        if let link = links[place.program] {
            ChangeLog.about(to: .program, "replace \(place.program) on \(cgroup.path)")
            try link.update(program)
        } else {
            try attach(program, place, pins)
        }
    }

    mutating func attach(
        _ program: BPFProgram, _ place: ProgramPart.Place, _ pins: PinDirectory?
    ) throws(KernelError) {
        ChangeLog.about(to: .program, "attach \(place.program) to \(cgroup.path)")
        let link = try BPFLink.attach(program, to: cgroup, place.type)
        links[place.program] = link
        try pins?.pin(link, place.program)
    }

    /// Removes the links of programs that are no longer among ours.
    private mutating func removeStrangers() throws(KernelError) {
        let known = Set(places.map(\.program))
        links = links.filter { known.contains($0.key) }
        guard let pins else { return }
        for name in pins.linkNames where !known.contains(name) { try pins.removeLink(name) }
    }

    /// Puts this build's program into the place of each pod's.
    private func renewPods() throws(KernelError) {
        guard let pins else { return }
        for key in pins.podKeys {
            guard let link = try pins.pod(key).openLink() else { continue }
            let program = try loader.socketLookup(of: key)
            ChangeLog.about(to: .program, "replace the inbound program of \(key)")
            do throws(KernelError) {
                try link.update(program)
            } catch  where error.errno == .noLink {
                // The namespace is gone; somebody will forget the pod.
            }
        }
    }

    private mutating func setTag(_ value: UInt64) throws(KernelError) {
        guard let pins else { return }
        let map: BPFMap
        if let pinned = try pins.openMap(Self.tag) {
            map = pinned
        } else {
            map = try BPFMap.createArray(name: Self.tag, valueSize: 8, entries: 1)
            try pins.pin(map, Self.tag)
        }
        ChangeLog.about(to: .pin, "note build \(value) in \(pins.path)")
        try map.update(UInt32(0), value)
    }
}

// MARK: The older version goes

extension NodeBuilder {
    /// Puts the programs that wait into the places of the older version's, over the new maps.
    mutating func takeOver(from older: PinDirectory) throws(KernelError) {
        guard let programs = waiting, let pins else { return }
        // Who comes back to the older version finds that the programs are not all its own.
        if let tag = try older.openMap(Self.tag), tag.valueSize == 8 {
            ChangeLog.about(to: .pin, "note that \(older.path) is being replaced")
            try tag.update(UInt32(0), UInt64(0))
        }
        for item in programs {
            if let link = links[item.place.program] { try pins.pin(link, item.place.program) }
        }
        for item in programs { try place(item.program, item.place) }
        try removeStrangers()
        try setTag(build)
        // Last: what failed before is tried again, whole.
        waiting = nil
    }
}
