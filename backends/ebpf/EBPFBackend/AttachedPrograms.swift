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
    }

    init(
        _ loader: inout ProgramLoader, owners wanted: OwnerMethod?, below features: FeatureCeiling
    ) throws(KernelError) {
        var builder = Builder(loader: loader)
        for part in ProgramPart.origins { try builder.load(part) }
        if features.permits(KernelVersion(5, 8)),
            BPFProbe.program(.cgroupSocketAddress, .getpeername4) == .yes
        {
            try builder.load(.peername)
        }
        ownerMethod = try builder.loadOwners(wanted, below: features)
        for part in ProgramPart.deciders { try builder.load(part) }
        entries = builder.entries
        reports = builder.reports
        usesLinks = features.permits(KernelVersion(5, 7))
        loader = builder.loader
    }

    private struct Builder {
        var loader: ProgramLoader
        var entries: [Entry] = []
        var reports: [ProgramReport] = []

        init(loader: ProgramLoader) { self.loader = loader }

        mutating func load(_ part: ProgramPart) throws(KernelError) {
            let loaded = try loader.load(part.attached)
            for place in part.places {
                let program = try loaded.program(place.program)
                reports.append(ProgramReport(program))
                let map = "swerve_at_" + place.program.dropFirst("swerve_".count)
                entries.append(
                    Entry(program: program, place: place, storage: loader.maps[map]))
            }
        }

        /// Loads the programs that say who a socket's owner is, the best the kernel takes.
        mutating func loadOwners(
            _ wanted: OwnerMethod?, below features: FeatureCeiling
        ) throws(KernelError) -> OwnerMethod {
            let choices: [(OwnerMethod, KernelVersion, ProgramPart)] = [
                (.credentials, KernelVersion(6, 2), .exactOwner),
                (.realUser, KernelVersion(5, 9), .basicOwner),
                (.connectingUser, KernelVersion(5, 4), .multipath),
            ]
            for (method, since, part) in choices
            where features.permits(since) && (wanted ?? method) == method {
                do throws(KernelError) {
                    try load(part)
                    return method
                } catch {
                    guard wanted == nil, error.saysNoExactOwner else { throw error }
                }
            }
            throw KernelError("find out who owns a socket", .notSupported)
        }
    }

    /// Sees to it that the programs are attached to `cgroup`, where they go by the plan of `key`.
    ///
    /// Those that redirect come last, and all of them leave every socket alone until a plan has
    /// the key. What an earlier process has attached goes on.
    func attach(
        to cgroup: Cgroup, as key: UInt64, replacing old: CgroupInstallation?, _ pins: [PodPins]
    ) throws(KernelError) -> CgroupInstallation {
        let id = try cgroup.id()
        var links = old?.id == id ? old?.links ?? [:] : [:]
        if links.isEmpty { try Self.clear(cgroup) }
        for entry in entries {
            let name = entry.place.program
            if let link = links[name], try link.isAttached(to: cgroup, entry.place.type) {
                for pins in pins where !pins.has(attached: name) {
                    try pins.pin(attached: link, name)
                }
                continue
            }
            links[name]?.abandon()
            ChangeLog.about(to: .program, "attach \(name) to \(cgroup.path)")
            let link =
                usesLinks
                ? try BPFLink.attach(entry.program, to: cgroup, entry.place.type)
                : try BPFLink.attachWithoutLink(entry.program, to: cgroup, entry.place.type)
            links[name] = link
            try entry.storage?.setAttached(to: id, entry.place.type, key)
            for pins in pins { try pins.pin(attached: link, name) }
        }
        return CgroupInstallation(cgroup: cgroup, id: id, links: links)
    }

    /// Detaches programs of ours that a process has left without a pin: where cgroups have no links,
    /// they outlive it.
    private static func clear(_ cgroup: Cgroup) throws(KernelError) {
        for place in Set(ProgramPart.all.flatMap(\.places)) {
            for id in try BPFLink.programs(on: cgroup, place.type) {
                let program = try BPFProgram.open(id: id)
                // The kernel keeps 15 bytes of a name; what has a link goes with that.
                guard program.name == place.program.prefix(15) else { continue }
                ChangeLog.about(to: .program, "detach \(place.program) from \(cgroup.path)")
                _ = try? BPFLink.detach(program, from: cgroup, place.type)
            }
        }
    }

    /// What is not attached, or not pinned, as `attach` leaves it.
    func flaws(
        _ installation: CgroupInstallation?, _ pins: [PodPins]
    ) throws(KernelError) -> [Drift] {
        var flaws: [Drift] = []
        for place in entries.map(\.place) {
            let cgroup = installation?.cgroup
            guard let cgroup, let link = installation?.links[place.program],
                try link.isAttached(to: cgroup, place.type)
            else {
                let place = "\(place.program) is not attached to \(cgroup?.path ?? "any cgroup")"
                flaws.append(Drift(.missing, .program, place))
                continue
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

    /// What an earlier process has left of it; `nil` for nothing, and for another build's.
    init?(of key: UInt64, _ cgroup: Cgroup?, _ node: NodePrograms) throws(KernelError) {
        guard let cgroup, node.isSameBuild else { return nil }
        var links: [String: BPFLink] = [:]
        for pins in node.pins(of: key) {
            let found = try pins.openAttached(to: cgroup)
            links.merge(found) { first, _ in first }
        }
        guard !links.isEmpty else { return nil }
        self.init(cgroup: cgroup, id: try cgroup.id(), links: links)
    }

    /// Takes the programs away; those of a cgroup that is gone went with it.
    func detach() throws(KernelError) {
        guard (try? cgroup.id()) == id else { return }
        for place in Set(ProgramPart.all.flatMap(\.places)) {
            guard let link = links[place.program], try link.isAttached(to: cgroup, place.type)
            else { continue }
            ChangeLog.about(to: .program, "detach \(place.program) from \(cgroup.path)")
            do throws(KernelError) {
                try link.detach()
            } catch  where error.errno == .invalidArgument {
                // Before Linux 5.9 a link goes when nobody holds it.
            }
        }
    }
}
