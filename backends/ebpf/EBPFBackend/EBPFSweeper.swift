// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
package import LinuxKernel
package import RedirectionEngine
internal import SystemPackage

/// Finds and removes programs, filters, qdiscs, routing and pins of ours, by their marks: names of
/// programs, the directory of pins, the numbers that routing bears.
package struct EBPFSweeper: KernelSweeper {
    package let mechanism = Mechanism.ebpf
    /// Where it is noted which qdiscs are ours.
    private let pins: String

    package init(pins: String = "/sys/fs/bpf/swerve") { self.pins = pins }

    /// How the names of all our programs begin.
    private static let prefix = "swerve_"

    // MARK: A namespace

    package func remains(
        in namespace: NetworkNamespace, named name: String
    ) async throws(RedirectionError) -> [Remain] {
        try during("look for what is left in \(name)") { () throws(KernelError) in
            var found = try Self.programs(in: namespace).map {
                Remain(mechanism, .program, in: name, $0.name)
            }
            for hook in try hooks(in: namespace) {
                let (slots, exists) = try namespace.run { () throws(KernelError) in
                    (try Self.slots(of: hook), try hook.exists())
                }
                found += slots.map {
                    let what = "\($0.direction) filter of interface \(hook.interface)"
                    return Remain(mechanism, .program, in: name, what)
                }
                guard hook.madeQdisc, exists else { continue }
                let what = "clsact of interface \(hook.interface)"
                found.append(Remain(mechanism, .qdisc, in: name, what))
            }
            if try !TransparentRouting.remains(in: namespace, of: .programs).isEmpty {
                found.append(Remain(mechanism, .routing, in: name, "rules and routes by mark"))
            }
            return try found
                + LoopbackReturn.remains(in: namespace).map {
                    Remain(mechanism, .routing, in: name, $0)
                }
        }
    }

    package func sweep(
        _ namespace: NetworkNamespace, named name: String
    ) async throws(RedirectionError) {
        try during("remove what is left in \(name)") { () throws(KernelError) in
            let ids = Set(try Self.programs(in: namespace).map(\.id))
            if !ids.isEmpty { ChangeLog.about(to: .program, "detach \(ids.sorted()) from \(name)") }
            for link in ids.isEmpty ? [] : try BPFLink.all() {
                guard let ends = try link.ends(), ends.namespace == namespace.inode,
                    ids.contains(ends.program)
                else { continue }
                try link.detach()
            }
            for hook in try hooks(in: namespace) {
                ChangeLog.about(to: .qdisc, "take filters off interface \(hook.interface)")
                try namespace.run { () throws(KernelError) in
                    for slot in try Self.slots(of: hook) { try hook.detach(slot) }
                    try hook.destroyIfUnused()
                }
            }
            try LoopbackReturn.remove(from: namespace) {
                ChangeLog.about(to: .routing, "\($0) in \(name)")
            }
            guard try !TransparentRouting.remains(in: namespace, of: .programs).isEmpty else {
                return
            }
            ChangeLog.about(to: .routing, "remove the programs' routing from \(name)")
            try TransparentRouting.remove(from: namespace, for: .programs)
        }
    }

    /// Our programs at socket lookup.
    private static func programs(
        in namespace: NetworkNamespace
    ) throws(KernelError) -> [BPFProgram] {
        try ours(BPFLink.programs(in: namespace, .socketLookup))
    }

    private static func ours(_ ids: [UInt32]) throws(KernelError) -> [BPFProgram] {
        var found: [BPFProgram] = []
        for id in ids {
            do throws(KernelError) {
                let program = try BPFProgram.open(id: id)
                if program.name.hasPrefix(prefix) { found.append(program) }
            } catch  where error.errno == .noSuchFileOrDirectory {
                // It has gone since.
            }
        }
        return found
    }

    /// Every interface, and whether its qdisc is ours.
    private func hooks(
        in namespace: NetworkNamespace
    ) throws(KernelError) -> [TrafficControlHook] {
        let pods = try notes(about: namespace)
        var links = try RouteNetlink.open(in: namespace)
        return try links.links().map { interface in
            TrafficControlHook(
                interface: interface.index,
                madeQdisc: pods.contains { $0.madeQdisc(of: interface.index) })
        }
    }

    /// What is pinned for the namespace, by any version and any way to name it.
    private func notes(about namespace: NetworkNamespace) throws(KernelError) -> [PodPins] {
        var keys = [namespace.inode]
        if let cookie = try? namespace.cookie() { keys.append(cookie) }
        return try BPFPins.own(in: pins).flatMap { own in keys.map { own.pod($0) } }
    }

    private static func slots(
        of hook: TrafficControlHook
    ) throws(KernelError) -> [TrafficControlHook.Slot] {
        var found: [TrafficControlHook.Slot] = []
        for slot in InboundAttachment.slots where try hook.holdsOurs(slot) { found.append(slot) }
        return found
    }
}

// MARK: The node

extension EBPFSweeper {
    package func remains(on node: Node) async throws(RedirectionError) -> [Remain] {
        try during("look for programs and pins") { () throws(KernelError) in
            var found = try BPFPins.own(in: node.pins).map {
                Remain(mechanism, .pin, in: node.pins, $0.name)
            }
            for attached in try attached(on: node) {
                let what = attached.program.name
                found.append(Remain(mechanism, .program, in: attached.cgroup.path, what))
            }
            return found
        }
    }

    package func sweep(_ node: Node) async throws(RedirectionError) {
        try during("remove programs and pins") { () throws(KernelError) in
            let own = try BPFPins.own(in: node.pins)
            // First what decides, then what others read: links, and only then their pins.
            for attached in try attached(on: node) {
                let (name, path) = (attached.program.name, attached.cgroup.path)
                ChangeLog.about(to: .program, "detach \(name) from \(path)")
                do throws(KernelError) {
                    try attached.detach()
                } catch  where Self.isNoCgroup(error) {
                }
            }
            for pins in own {
                ChangeLog.about(to: .pin, "remove \(pins.path)")
                try pins.remove()
            }
            do throws(KernelError) {
                try Directory(path: node.pins).removeIfEmpty()
            } catch  where error.errno == .resourceBusy {
                // The filesystem itself, which is not ours to take away.
            }
        }
    }

    package func refuseNewer(on node: Node) throws(RedirectionError) {
        let own = Int(SWERVE_ABI_VERSION)
        for name in Directory(path: node.pins).names() where name.hasPrefix("v") {
            guard let version = Int(name.dropFirst()), version > own else { continue }
            throw .newerState("\(node.pins)/\(name)", version: version, own: own)
        }
    }

    private struct Attached {
        let program: BPFProgram
        let cgroup: Cgroup
        let type: BPFAttachType

        /// Detaches the link that holds it there, or where there is none, the program.
        func detach() throws(KernelError) {
            let id = try cgroup.id()
            for link in try BPFLink.all() {
                guard let ends = try link.ends(), ends.program == program.id, ends.cgroup == id,
                    ends.type == type
                else { continue }
                return try link.detach()
            }
            try BPFLink.detach(program, from: cgroup, type)
        }
    }

    /// It has ended since it was listed, or is of no cgroup2 hierarchy: nothing is attached to it.
    private static func isNoCgroup(_ error: KernelError) -> Bool {
        error.errno == .noSuchFileOrDirectory || error.errno == .badFileDescriptor
    }

    /// Our programs on the cgroups of the node, those that redirect first.
    private func attached(on node: Node) throws(KernelError) -> [Attached] {
        var types: [BPFAttachType] = []
        for place in ProgramPart.allPlaces.reversed() where !types.contains(place.type) {
            types.append(place.type)
        }
        var found: [Attached] = []
        for cgroup in node.cgroup.subtree() {
            do throws(KernelError) {
                for type in types {
                    for program in try Self.ours(BPFLink.programs(on: cgroup, type)) {
                        found.append(Attached(program: program, cgroup: cgroup, type: type))
                    }
                }
            } catch  where Self.isNoCgroup(error) {
            }
        }
        return found
    }
}

extension Cgroup {
    /// The cgroup and all below it.
    func subtree() -> [Cgroup] {
        let below = Directory(path: path).directories().map { child($0) }
        return [self] + below.flatMap { $0.subtree() }
    }
}
