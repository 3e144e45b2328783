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
    private var link: BPFLink?
    private var hooks: [TrafficControlHook] = []

    private static let ingress = TrafficControlHook.Slot(.ingress, handle: 1, priority: 0x5357)
    private static let egress = TrafficControlHook.Slot(.egress, handle: 1, priority: 0x5357)

    /// Attaches the pod's programs, or sees to it that those of `old` are where they belong.
    ///
    /// Interfaces come and go, so tc is looked at anew each time; what is there is replaced in
    /// place. A failure leaves `old` as it was.
    init(
        _ method: InboundMethod, podKey: UInt64, to namespace: NetworkNamespace,
        _ node: NodePrograms, replacing old: InboundAttachment?
    ) throws(KernelError) {
        switch method {
        case .socketLookup:
            if let old {
                self = old
                return
            }
            let object = try node.loadForPod(
                SWERVE_OBJECT_SK_LOOKUP, name: "sk_lookup", data: podKey)
            let program = try object.program("swerve_sk_lookup")
            reports = [ProgramReport(program)]
            link = try BPFLink.attach(program, to: namespace, .socketLookup)
        case .trafficControl:
            do throws(KernelError) {
                try attachToInterfaces(podKey, namespace, node, old?.hooks ?? [])
            } catch {
                try detach(from: namespace, sparing: old)
                throw error
            }
        }
    }

    /// Attaches to every interface of the pod but loopback, and those that stand on another.
    ///
    /// A VLAN's packets pass the interface below it as well, where they are rewritten already.
    private mutating func attachToInterfaces(
        _ podKey: UInt64, _ namespace: NetworkNamespace, _ node: NodePrograms,
        _ old: [TrafficControlHook]
    ) throws(KernelError) {
        var links = try RouteNetlink.open(in: namespace)
        for link in try links.links() where !link.isLoopback && !link.isVLAN {
            let object = try node.loadForPod(
                SWERVE_OBJECT_TC, name: "tc",
                data: swerve_tc_settings(
                    pod: podKey, l2_length: link.isEthernet ? 14 : 0, pad: 0))
            let ingressProgram = try object.program("swerve_tc_ingress")
            let egressProgram = try object.program("swerve_tc_egress")
            let hook = try namespace.run { () throws(KernelError) in
                try TrafficControlHook.create(on: link.index)
            }
            // Whether the qdisc is ours was known when it was made. Noted before anything is
            // attached, so that a failure finds what to take away.
            hooks.append(old.first { $0.interface == link.index && $0.madeQdisc } ?? hook)
            try namespace.run { () throws(KernelError) in
                // Egress first: an answer never leaves with the sidecar's port on it.
                try hook.attach(egressProgram, Self.egress)
                try hook.attach(ingressProgram, Self.ingress)
            }
            reports = [ProgramReport(ingressProgram), ProgramReport(egressProgram)]
        }
    }

    /// Takes the programs away again; a link goes by itself.
    ///
    /// Leaves alone the interfaces that `old` is on. Goes on to the other interfaces when one
    /// refuses, and tells of the first refusal.
    func detach(
        from namespace: NetworkNamespace, sparing old: InboundAttachment? = nil
    ) throws(KernelError) {
        guard !hooks.isEmpty else { return }
        let spared = Set(old?.hooks.map(\.interface) ?? [])
        var links = try RouteNetlink.open(in: namespace)
        // An interface that is gone took its programs along.
        let present = Set(try links.links().map(\.index))
        var refusal: KernelError?
        for hook in hooks where present.subtracting(spared).contains(hook.interface) {
            do throws(KernelError) {
                try namespace.run { () throws(KernelError) in
                    try hook.detach(Self.ingress)
                    try hook.detach(Self.egress)
                    try hook.destroyIfUnused()
                }
            } catch {
                refusal = refusal ?? error
            }
        }
        if let refusal { throw refusal }
    }
}
