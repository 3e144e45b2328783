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

    /// How the maps begin that hold what is beside a program's attachments; each is one program's.
    static let storagePrefix = "swerve_at_"

    init(
        _ loader: inout ProgramLoader, owners wanted: OwnerMethod?, below features: FeatureCeiling
    ) throws(KernelError) {
        var builder = Builder(loader: loader)
        for part in ProgramPart.readers { try builder.load(part) }
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
                let map = AttachedPrograms.storagePrefix + place.program.dropFirst("swerve_".count)
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

    /// Attaches the programs to `cgroup`, where they go by the plan of `key`.
    ///
    /// Those that redirect come last, and all of them leave every socket alone until a plan has
    /// the key.
    func attach(
        to cgroup: Cgroup, as key: UInt64, _ pins: PodPins?
    ) throws(KernelError) -> CgroupInstallation {
        let id = try cgroup.id()
        var links: [ProgramPart.Place: BPFLink] = [:]
        for entry in entries {
            let (type, name) = (entry.place.type, entry.place.program)
            ChangeLog.about(to: .program, "attach \(name) to \(cgroup.path)")
            let link =
                usesLinks
                ? try BPFLink.attach(entry.program, to: cgroup, type)
                : try BPFLink.attachWithoutLink(entry.program, to: cgroup, type)
            links[entry.place] = link
            try entry.storage?.setAttached(to: id, type, key)
            try pins?.pin(link, name)
        }
        return CgroupInstallation(cgroup: cgroup, id: id, links: links)
    }
}

/// The programs on a workload's cgroup; letting go of it detaches them, unless they are pinned.
struct CgroupInstallation: Sendable {
    let cgroup: Cgroup
    let id: UInt64
    private let links: [ProgramPart.Place: BPFLink]

    fileprivate init(cgroup: Cgroup, id: UInt64, links: [ProgramPart.Place: BPFLink]) {
        self.cgroup = cgroup
        self.id = id
        self.links = links
    }

    /// What an earlier process has attached and pinned; `nil` when it is not all there.
    init?(_ pins: PodPins, on cgroup: Cgroup) throws(KernelError) {
        var links: [ProgramPart.Place: BPFLink] = [:]
        for place in ProgramPart.all.flatMap(\.places) {
            links[place] = try pins.openLink(of: place, on: cgroup)
        }
        self.init(cgroup: cgroup, id: try cgroup.id(), links: links)
        let needed = (ProgramPart.readers + ProgramPart.deciders).flatMap(\.places)
        guard needed.allSatisfy({ links[$0] != nil }), try detached().isEmpty else { return nil }
    }

    /// The programs that somebody has taken away.
    func detached() throws(KernelError) -> [String] {
        var names: [String] = []
        for (place, link) in links where try !link.isAttached(to: cgroup, place.type) {
            names.append(place.program)
        }
        return names.sorted()
    }

    /// Takes them away now: pinned ones would stay.
    func detach() throws(KernelError) {
        for link in links.values { try link.detach() }
    }
}
