// SPDX-License-Identifier: Apache-2.0

internal import CBPFObjects
internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
package import RedirectionEngine

/// How inbound connections come to the sidecar.
package enum InboundMethod: String, Hashable, Sendable, Codable, CaseIterable {
    /// At socket lookup, Linux 5.9: no packet is touched.
    case socketLookup = "lookup"
    /// By rewriting ports at the pod's interface, on any kernel.
    case trafficControl = "tc"

    /// The best this kernel has, found out by doing.
    package static var preferred: InboundMethod { preferred(below: .none) }

    /// The best of it whose features may be used.
    ///
    /// Identity by attachment knows no listeners.
    package static func preferred(below features: FeatureCeiling) -> InboundMethod {
        let hasLookup =
            IdentityMethod.preferred(below: features) == .namespace
            && features.permits(KernelVersion(5, 9))
            && BPFProbe.program(.socketLookup, .socketLookup) == .yes
        return hasLookup ? .socketLookup : .trafficControl
    }
}

/// A pod's own inbound programs, attached.
struct InboundAttachment: Sendable {
    /// The programs as the verifier saw them.
    private(set) var reports: [ProgramReport] = []
    /// Holds the socket lookup program in its place.
    private(set) var link: BPFLink?
    private(set) var hooks: [TrafficControlHook] = []

    static let ingress = TrafficControlHook.Slot(.ingress, handle: 1, priority: 0x5357)
    static let egress = TrafficControlHook.Slot(.egress, handle: 1, priority: 0x5357)

    /// Attaches the pod's programs, or sees to it that those of `old` are where they belong.
    ///
    /// Interfaces come and go, so tc is looked at anew each time; what is there is replaced in
    /// place. A failure leaves `old` as it was.
    init(
        _ method: InboundMethod, podKey: UInt64, to namespace: NetworkNamespace,
        _ node: NodePrograms, replacing old: InboundAttachment?
    ) throws(KernelError) {
        switch method {
        case .socketLookup: try attachAtLookup(podKey, namespace, node, old)
        case .trafficControl:
            do throws(KernelError) {
                try attachToInterfaces(podKey, namespace, node, old?.hooks ?? [])
            } catch {
                try detach(from: namespace, podKey, node, sparing: old)
                throw error
            }
        }
    }

    /// What an earlier process has attached, or half attached.
    init(
        of podKey: UInt64, in namespace: NetworkNamespace, _ node: NodePrograms
    ) throws(KernelError) {
        for pins in node.pins(of: podKey) where link == nil { link = try pins.openLink() }
        var links = try RouteNetlink.open(in: namespace)
        for interface in try links.links() where !interface.isLoopback {
            let made = node.pins(of: podKey).contains { $0.madeQdisc(of: interface.index) }
            let hook = TrafficControlHook(interface: interface.index, madeQdisc: made)
            let isOurs = try namespace.run { () throws(KernelError) in
                for slot in Self.slots where try hook.holdsOurs(slot) { return true }
                return false
            }
            if made || isOurs { hooks.append(hook) }
        }
    }

    static let slots = [ingress, egress]

    var isEmpty: Bool { link == nil && hooks.isEmpty }

    // MARK: Socket lookup

    private mutating func attachAtLookup(
        _ podKey: UInt64, _ namespace: NetworkNamespace, _ node: NodePrograms,
        _ old: InboundAttachment?
    ) throws(KernelError) {
        let pins = node.pins(of: podKey).first
        if let present = old?.link, try present.isAttached(to: namespace) {
            link = present
            reports = old?.reports ?? []
            if node.isWaiting {
                // The older version's program is over maps that nobody will write to any more.
                try pins?.pin(present)
                ChangeLog.about(to: .program, "replace the inbound program of \(podKey)")
                try present.update(try node.socketLookup(of: podKey))
            } else if let pins, !pins.hasLink {
                try pins.pin(present)
            }
        } else {
            let program = try node.socketLookup(of: podKey)
            reports = [ProgramReport(program)]
            ChangeLog.about(to: .program, "attach swerve_sk_lookup to \(podKey)")
            let new = try BPFLink.attach(program, to: namespace, .socketLookup)
            link = new
            try pins?.pin(new)
        }
        if reports.isEmpty, let link { reports = [ProgramReport(try link.program())] }
    }

    // MARK: Traffic control

    /// Attaches to every interface of the pod but loopback, and those that stand on another.
    ///
    /// A VLAN's packets pass the interface below it as well, where they are rewritten already.
    private mutating func attachToInterfaces(
        _ podKey: UInt64, _ namespace: NetworkNamespace, _ node: NodePrograms,
        _ old: [TrafficControlHook]
    ) throws(KernelError) {
        let pins = node.pins(of: podKey).first
        for interface in try Self.interfaces(in: namespace) {
            let object = try node.loadForPod(
                SWERVE_OBJECT_TC, name: "tc",
                data: swerve_tc_settings(
                    pod: podKey, l2_length: interface.isEthernet ? 14 : 0, pad: 0))
            let ingressProgram = try object.program("swerve_tc_ingress")
            let egressProgram = try object.program("swerve_tc_egress")
            let hook = try Self.makeQdisc(of: interface.index, namespace, pins)
            // Whether the qdisc is ours was known when it was made. Noted before anything is
            // attached, so that a failure finds what to take away.
            hooks.append(old.first { $0.interface == interface.index && $0.madeQdisc } ?? hook)
            ChangeLog.about(to: .program, "filter interface \(interface.index) of \(podKey)")
            try namespace.run { () throws(KernelError) in
                // Egress first: an answer never leaves with the sidecar's port on it.
                try hook.attach(egressProgram, Self.egress)
                try hook.attach(ingressProgram, Self.ingress)
            }
            reports = [ProgramReport(ingressProgram), ProgramReport(egressProgram)]
        }
    }

    /// The interfaces that packets are rewritten at.
    static func interfaces(
        in namespace: NetworkNamespace
    ) throws(KernelError) -> [RouteNetlink.Link] {
        var links = try RouteNetlink.open(in: namespace)
        return try links.links().filter { !$0.isLoopback && !$0.isVLAN }
    }

    /// Makes sure that the interface has a qdisc.
    ///
    /// That it will be ours is noted before: a crash in between leaves a note of what is not
    /// there, which does no harm.
    private static func makeQdisc(
        of interface: UInt32, _ namespace: NetworkNamespace, _ pins: PodPins?
    ) throws(KernelError) -> TrafficControlHook {
        let wasNoted = pins?.madeQdisc(of: interface) ?? false
        if let pins, !wasNoted {
            let isThere = try namespace.run { () throws(KernelError) in
                try TrafficControlHook(interface: interface, madeQdisc: false).exists()
            }
            if !isThere {
                ChangeLog.about(to: .pin, "note the qdisc of interface \(interface)")
                try pins.noteQdisc(of: interface)
            }
        }
        ChangeLog.about(to: .qdisc, "make clsact on interface \(interface)")
        let hook = try namespace.run { () throws(KernelError) in
            try TrafficControlHook.create(on: interface)
        }
        if !hook.madeQdisc, let pins, pins.madeQdisc(of: interface), !wasNoted {
            // Somebody was faster.
            try pins.forgetQdisc(of: interface)
        }
        return wasNoted ? TrafficControlHook(interface: interface, madeQdisc: true) : hook
    }

    // MARK: Taking them away

    /// Takes the programs away again; without pins, a link goes by itself.
    ///
    /// Leaves alone the interfaces that `old` is on. Goes on to the other interfaces when one
    /// refuses, and tells of the first refusal.
    func detach(
        from namespace: NetworkNamespace, _ podKey: UInt64, _ node: NodePrograms,
        sparing old: InboundAttachment? = nil
    ) throws(KernelError) {
        let pins = node.pins(of: podKey)
        if old?.link == nil { for pin in pins { try pin.removeLink() } }
        let spared = Set(old?.hooks.map(\.interface) ?? [])
        var refusal: KernelError?
        for hook in try present(hooks, in: namespace) where !spared.contains(hook.interface) {
            do throws(KernelError) {
                ChangeLog.about(to: .qdisc, "take filters off interface \(hook.interface)")
                try namespace.run { () throws(KernelError) in
                    for slot in Self.slots { try hook.detach(slot) }
                    try hook.destroyIfUnused()
                }
                for pin in pins { try pin.forgetQdisc(of: hook.interface) }
            } catch {
                refusal = refusal ?? error
            }
        }
        if let refusal { throw refusal }
        if old == nil { for pin in pins { try pin.remove() } }
    }

    /// Those whose interface is there: one that is gone took its programs along.
    private func present(
        _ hooks: [TrafficControlHook], in namespace: NetworkNamespace
    ) throws(KernelError) -> [TrafficControlHook] {
        guard !hooks.isEmpty else { return [] }
        var links = try RouteNetlink.open(in: namespace)
        let present = Set(try links.links().map(\.index))
        return hooks.filter { present.contains($0.interface) }
    }
}

extension TrafficControlHook {
    /// Whether a program of ours is in the slot; the kernel keeps 15 bytes of its name.
    func holdsOurs(_ slot: Slot) throws(KernelError) -> Bool {
        guard let id = try program(in: slot) else { return false }
        return try BPFProgram.open(id: id).name.hasPrefix("swerve_tc_")
    }
}
