// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
internal import RedirectionEngine
internal import SystemPackage

/// One version's pins: `maps/NAME`, `links/PROGRAM`, and `pods/KEY/…` for each pod.
struct PinDirectory: Hashable, Sendable {
    let path: String

    private var maps: Directory { Directory(path: path + "/maps") }
    private var links: Directory { Directory(path: path + "/links") }
    private var pods: Directory { Directory(path: path + "/pods") }

    var name: String { String(path.split(separator: "/").last ?? "") }

    var exists: Bool { !Directory(path: path).names().isEmpty }

    func create() throws(KernelError) {
        ChangeLog.about(to: .pin, "make \(path)")
        for directory in [maps, links, pods] { try directory.create() }
    }

    func remove() throws(KernelError) { try Directory(path: path).removeTree() }

    // MARK: Identity

    /// Notes how sockets are known, which the keys of all pods go by: bpffs has no files, so a
    /// directory says it.
    func note(_ identity: IdentityMethod) throws(KernelError) {
        try Directory(path: path).child(Self.note(of: identity)).create()
    }

    /// Refuses to go on with pods that were entered by another kind of key: none would be found.
    func refuse(allBut wanted: IdentityMethod) throws(KernelError) {
        for other in IdentityMethod.allCases
        where other != wanted && Directory(path: path).has(Self.note(of: other)) {
            throw KernelError(
                "go on with \(path)", .invalidArgument,
                detail: "its pods are known by \(other.rawValue), and would be by "
                    + "\(wanted.rawValue) now; give the --max-features it was made with, or run "
                    + "swerve cleanup")
        }
    }

    private static func note(of identity: IdentityMethod) -> String {
        "identity-\(identity.rawValue)"
    }

    // MARK: Maps

    /// All maps that are pinned, by name.
    func openMaps() throws(KernelError) -> [String: BPFMap] {
        var found: [String: BPFMap] = [:]
        for name in maps.names() {
            found[name] = try openMap(name)
        }
        return found
    }

    func openMap(_ name: String) throws(KernelError) -> BPFMap? {
        try BPFMap.open(pinned: maps.path + "/" + name, name: name)
    }

    func has(map name: String) -> Bool { maps.has(name) }

    /// Pins the map, in the place of another of its name.
    func pin(_ map: BPFMap, _ name: String) throws(KernelError) {
        ChangeLog.about(to: .pin, "pin \(maps.path)/\(name)")
        try maps.remove(name)
        try map.pin(at: maps.path + "/" + name)
    }

    // MARK: The node's links

    func openLink(
        of place: ProgramPart.Place, on cgroup: Cgroup
    ) throws(KernelError) -> BPFLink? {
        try BPFLink.open(pinned: links.path + "/" + place.program, on: cgroup, place.type)
    }

    var linkNames: [String] { links.names() }

    func has(link name: String) -> Bool { links.has(name) }

    func pin(_ link: BPFLink, _ program: String) throws(KernelError) {
        ChangeLog.about(to: .pin, "pin \(links.path)/\(program)")
        try links.remove(program)
        try link.pin(at: links.path + "/" + program)
    }

    func removeLink(_ program: String) throws(KernelError) {
        ChangeLog.about(to: .pin, "remove \(links.path)/\(program)")
        try links.remove(program)
    }

    // MARK: Pods

    func pod(_ key: UInt64) -> PodPins { PodPins(directory: pods.child("\(key)")) }

    var podKeys: [UInt64] { pods.names().compactMap { UInt64($0) } }
}

/// What is pinned for a pod: the link of its inbound program, and which qdiscs are ours.
struct PodPins: Hashable, Sendable {
    fileprivate let directory: Directory

    private static let link = "sk_lookup"
    private var link: String { directory.path + "/" + Self.link }

    func openLink() throws(KernelError) -> BPFLink? {
        try BPFLink.open(pinned: link, .socketLookup)
    }

    var hasLink: Bool { directory.has(Self.link) }

    func pin(_ new: BPFLink) throws(KernelError) {
        ChangeLog.about(to: .pin, "pin \(link)")
        try directory.create()
        try directory.remove(Self.link)
        try new.pin(at: link)
    }

    // MARK: Programs on the pod's own cgroup

    private var attached: Directory { directory.child("attached") }

    /// What is pinned of the programs that are attached to the pod's cgroup, by their names.
    func openAttached(to cgroup: Cgroup) throws(KernelError) -> [String: BPFLink] {
        var links: [String: BPFLink] = [:]
        for name in attached.names() {
            guard let place = ProgramPart.allPlaces.first(where: { $0.program == name })
            else { continue }
            links[name] = try BPFLink.open(
                pinned: attached.path + "/" + name, on: cgroup, place.type)
        }
        return links
    }

    var hasAttached: Bool { !attached.names().isEmpty }

    func has(attached program: String) -> Bool { attached.has(program) }

    func pin(attached link: BPFLink, _ program: String) throws(KernelError) {
        ChangeLog.about(to: .pin, "pin \(attached.path)/\(program)")
        try directory.create()
        try attached.create()
        try attached.remove(program)
        try link.pin(at: attached.path + "/" + program)
    }

    func remove(attached program: String) throws(KernelError) {
        guard has(attached: program) else { return }
        ChangeLog.about(to: .pin, "remove \(attached.path)/\(program)")
        try attached.remove(program)
    }

    func removeLink() throws(KernelError) {
        guard hasLink else { return }
        ChangeLog.about(to: .pin, "remove \(link)")
        try directory.remove(Self.link)
    }

    /// Notes that the interface's qdisc is ours: bpffs has no files, so a directory says it.
    func noteQdisc(of interface: UInt32) throws(KernelError) {
        try directory.child("qdisc-\(interface)").create()
    }

    func forgetQdisc(of interface: UInt32) throws(KernelError) {
        try directory.child("qdisc-\(interface)").removeIfEmpty()
    }

    func madeQdisc(of interface: UInt32) -> Bool { directory.has("qdisc-\(interface)") }

    /// Removes everything, or nothing when there is nothing.
    func remove() throws(KernelError) {
        guard directory.exists else { return }
        ChangeLog.about(to: .pin, "remove \(directory.path)")
        try directory.removeTree()
    }

    func removeIfEmpty() throws(KernelError) { try directory.removeIfEmpty() }
}
