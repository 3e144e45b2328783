// SPDX-License-Identifier: Apache-2.0

internal import LibBPF
internal import LinuxKernel
internal import RedirectionEngine
internal import SystemPackage

/// The programs for identity by attachment: loaded once, attached to the cgroup of each workload.
struct AttachedPrograms: Sendable {
    /// How a socket's owner is found out.
    let ownerMethod: OwnerMethod
    let reports: [ProgramReport]
    private let entries: [Entry]
    private let usesLinks: Bool

    private struct Entry: Sendable {
        let program: BPFProgram
        let place: ProgramPart.Place
        /// What the kernel keeps beside each attachment, where the program asks for it.
        let storage: BPFMap?
        /// The node's maps that it uses.
        let maps: Set<UInt32>

        /// Whether the link attaches this program, loaded by whomever: the same instructions, over
        /// the same maps.
        func isSame(as link: BPFLink) throws(KernelError) -> Bool {
            let other = try link.program()
            guard other.id != program.id else { return true }
            guard other.tag == program.tag else { return false }
            return maps.isSubset(of: try BPFMap.mapIDs(ofProgram: other.id))
        }
    }

    init(
        _ loader: inout ProgramLoader, owners wanted: OwnerMethod?, below features: FeatureCeiling
    ) throws(KernelError) {
        var builder = Builder(loader: loader)
        for part in ProgramPart.origins { try builder.load(part.attached) }
        if features.permits(KernelVersion(5, 8)),
            BPFProbe.program(.cgroupSocketAddress, .getpeername4) == .yes
        {
            try builder.load(ProgramPart.peername.attached)
        }
        ownerMethod = try builder.loadDeciders(wanted, below: features)
        entries = builder.entries
        reports = builder.reports
        usesLinks = features.permits(KernelVersion(5, 8))
        loader = builder.loader
    }

    private struct Builder {
        var loader: ProgramLoader
        var entries: [Entry] = []
        var reports: [ProgramReport] = []

        init(loader: ProgramLoader) { self.loader = loader }

        mutating func load(_ part: ProgramPart) throws(KernelError) {
            let loaded = try loader.load(part)
            let shared = Set(NodeBuilder.mapNames.compactMap { loader.maps[$0]?.id })
            for place in part.places {
                let program = try loaded.program(place.program)
                reports.append(ProgramReport(program))
                let map = "swerve_at_" + place.program.dropFirst("swerve_".count)
                entries.append(
                    Entry(
                        program: program, place: place, storage: loader.maps[map],
                        maps: shared.intersection(try BPFMap.mapIDs(ofProgram: program.id))))
            }
        }

        /// Loads the programs that redirect, and before them those that say who a socket's owner
        /// is: the best the kernel takes.
        mutating func loadDeciders(
            _ wanted: OwnerMethod?, below features: FeatureCeiling
        ) throws(KernelError) -> OwnerMethod {
            let untyped = ProgramPart.deciders.map(\.attached)
            let choices: [(OwnerMethod, KernelVersion, [ProgramPart])] = [
                (
                    .credentials, KernelVersion(6, 2),
                    [ProgramPart.exactOwner.attached] + ProgramPart.deciders.map(\.attachedTyped)
                ),
                (.realUser, KernelVersion(5, 9), [ProgramPart.basicOwner.attached] + untyped),
                (.connectingUser, KernelVersion(5, 4), [ProgramPart.multipath] + untyped),
            ]
            for (method, since, parts) in choices
            where features.permits(since) && (wanted ?? method) == method {
                let before = self
                do throws(KernelError) {
                    for part in parts { try load(part) }
                    return method
                } catch {
                    self = before
                    guard wanted == nil, error.saysNoTypes else { throw error }
                }
            }
            throw KernelError("find out who owns a socket", .notSupported)
        }
    }

    /// Sees to it that the programs are attached to `cgroup`, where they go by the plan of `key`.
    ///
    /// Those that redirect come last, and all of them leave every socket alone until a plan has
    /// the key. What an earlier process has attached goes on, where it is the same.
    func attach(
        to cgroup: Cgroup, as key: UInt64, replacing old: CgroupInstallation?, _ pins: [PodPins]
    ) throws(KernelError) -> CgroupInstallation {
        let id = try cgroup.id()
        var links = old?.id == id ? old?.links ?? [:] : [:]
        for entry in entries {
            let name = entry.place.program
            let isThere = try links[name]?.isAttached(to: cgroup, entry.place.type) ?? false
            if isThere, let link = links[name], try entry.isSame(as: link) {
                for pins in pins where !pins.has(attached: name) {
                    try pins.pin(attached: link, name)
                }
            } else {
                // One that is there goes when its heir is: none would be worse than two.
                if !isThere { try Self.clear(entry.place, on: cgroup) }
                let link = try attach(entry, to: cgroup)
                try entry.storage?.setAttached(to: id, entry.place.type, key)
                for pins in pins { try pins.pin(attached: link, name) }
                if isThere { try links[name]?.takeAway() }
                links[name]?.abandon()
                links[name] = link
            }
            try Self.clear(entry.place, on: cgroup, sparing: links[name])
        }
        for place in ProgramPart.allPlaces where !entries.contains(where: { $0.place == place }) {
            if let link = links.removeValue(forKey: place.program) {
                if try link.isAttached(to: cgroup, place.type) { try link.takeAway() }
                link.abandon()
                for pins in pins { try pins.remove(attached: place.program) }
            }
            try Self.clear(place, on: cgroup)
        }
        return CgroupInstallation(cgroup: cgroup, id: id, links: links)
    }

    private func attach(_ entry: Entry, to cgroup: Cgroup) throws(KernelError) -> BPFLink {
        ChangeLog.about(to: .program, "attach \(entry.place.program) to \(cgroup.path)")
        return usesLinks
            ? try BPFLink.attach(entry.program, to: cgroup, entry.place.type)
            : try BPFLink.attachWithoutLink(entry.program, to: cgroup, entry.place.type)
    }

    /// Detaches programs of ours that a process has left without a pin.
    ///
    /// Where cgroups have no links, they outlive it, and two of one name would lose the origin of
    /// each connection.
    private static func clear(
        _ place: ProgramPart.Place, on cgroup: Cgroup, sparing link: BPFLink? = nil
    ) throws(KernelError) {
        let ids = try BPFLink.programs(on: cgroup, place.type)
        guard !ids.isEmpty else { return }
        let spared = try link?.program().id
        for id in ids where id != spared {
            let program = try BPFProgram.open(id: id)
            // The kernel keeps 15 bytes of a name; what has a link goes with that.
            guard program.name == place.program.prefix(15) else { continue }
            ChangeLog.about(to: .program, "detach \(place.program) from \(cgroup.path)")
            _ = try? BPFLink.detach(program, from: cgroup, place.type)
        }
    }

    /// What is not attached, or not pinned, as `attach` leaves it.
    func flaws(
        _ installation: CgroupInstallation?, _ pins: [PodPins]
    ) throws(KernelError) -> [Drift] {
        var flaws: [Drift] = []
        for entry in entries {
            let place = entry.place
            let cgroup = installation?.cgroup
            guard let cgroup, let link = installation?.links[place.program],
                try link.isAttached(to: cgroup, place.type)
            else {
                let place = "\(place.program) is not attached to \(cgroup?.path ?? "any cgroup")"
                flaws.append(Drift(.missing, .program, place))
                continue
            }
            if try !entry.isSame(as: link) {
                flaws.append(Drift(.changed, .program, "\(place.program) is of another build"))
            }
            if pins.contains(where: { !$0.has(attached: place.program) }) {
                flaws.append(Drift(.missing, .pin, "\(place.program) is not pinned"))
            }
        }
        return flaws
    }
}

/// The programs on a workload's cgroup; without pins, letting go of it detaches them.
struct CgroupInstallation: Sendable {
    let cgroup: Cgroup
    let id: UInt64
    /// By the programs' names.
    fileprivate let links: [String: BPFLink]

    fileprivate init(cgroup: Cgroup, id: UInt64, links: [String: BPFLink]) {
        self.cgroup = cgroup
        self.id = id
        self.links = links
    }

    /// What an earlier process has left of it, of whatever build; `nil` for nothing.
    init?(of key: UInt64, _ cgroup: Cgroup?, _ node: NodePrograms) throws(KernelError) {
        guard let cgroup else { return nil }
        var links: [String: BPFLink] = [:]
        for pins in node.pins(of: key) {
            let found = try pins.openAttached(to: cgroup)
            links.merge(found) { first, _ in first }
        }
        guard !links.isEmpty else { return nil }
        self.init(cgroup: cgroup, id: try cgroup.id(), links: links)
    }

    /// The same below the node's cgroup, where nobody knows the workload's own any more.
    ///
    /// One program is attached for many pods: whose it is, is beside the attachment.
    init?(of key: UInt64, somewhereIn node: NodePrograms) throws(KernelError) {
        guard node.pins(of: key).contains(where: \.hasAttached) else { return nil }
        for cgroup in node.cgroup.subtree() {
            guard let found = try? CgroupInstallation(of: key, cgroup, node),
                try found.isAttached(as: key)
            else { continue }
            self = found
            return
        }
        return nil
    }

    private func isAttached(as key: UInt64) throws(KernelError) -> Bool {
        for place in ProgramPart.allPlaces {
            guard let link = links[place.program], try link.isAttached(to: cgroup, place.type)
            else { continue }
            for map in try BPFMap.mapIDs(ofProgram: link.program().id) {
                let map = try BPFMap.open(id: map)
                guard map.name.hasPrefix("swerve_at_") else { continue }
                if try map.attached(to: id, place.type, as: UInt64.self) == key { return true }
            }
        }
        return false
    }

    /// Takes the programs away; those of a cgroup that is gone went with it.
    func detach() throws(KernelError) {
        guard (try? cgroup.id()) == id else { return }
        // First what decides, then what others read.
        for place in ProgramPart.allPlaces.reversed() {
            guard let link = links[place.program], try link.isAttached(to: cgroup, place.type)
            else { continue }
            ChangeLog.about(to: .program, "detach \(place.program) from \(cgroup.path)")
            try link.takeAway()
        }
    }
}

extension BPFLink {
    /// Takes its program away.
    fileprivate func takeAway() throws(KernelError) {
        do throws(KernelError) {
            try detach()
        } catch  where error.errno == .invalidArgument {
            // Before Linux 5.9 a link goes when nobody holds it.
        }
    }
}
