// SPDX-License-Identifier: Apache-2.0

internal import LibBPF
package import LinuxKernel
package import RedirectionEngine
package import RedirectionModel
internal import SystemPackage

extension EBPFBackend {
    /// What this kernel has of the mechanism, found out by doing.
    ///
    /// What is asked of a cgroup is asked of one made for it at the top of where `node` is mounted,
    /// to which programs would be attached: in a container our own root is another, and read-only.
    package static func assess(
        attachingTo node: Cgroup? = nil, below ceiling: FeatureCeiling = .none,
        remembering memory: FeatureMemory = .process
    ) -> Assessment {
        let top = try? node?.top()
        // What a killed probe left is no part of the answer; nor is that it cannot be removed.
        try? Cgroup.sweep(prefix: probePrefix, below: top)
        return Assessment(
            .ebpf, asking: rows.map { $0.probe(below: top) }, below: ceiling, remembering: memory)
    }

    /// What the mechanism uses of the kernel.
    package static var features: [Feature] { rows.map(\.feature) }

    /// Why the mechanism cannot have the workload on this kernel, whatever the plan is or with
    /// this one; `nil` where nothing is in the way.
    package static func obstacle(
        to plan: RedirectionPlan? = nil, in workload: Workload,
        below ceiling: FeatureCeiling = .none
    ) -> String? {
        if workload.cgroup == nil, IdentityMethod.preferred(below: ceiling) == .attachment {
            return "without netns cookies, the workload's cgroup must be known"
        }
        return plan?.partCgroupsCannotHave(workload).map { part in
            "\(RedirectionError.inexpressible(part: part, mechanism: .ebpf))"
        }
    }

    /// Which of its ways the mechanism goes in a workload, for people; `nil` is any pod.
    package static func manner(
        of workload: Workload?, _ inbound: InboundMethod, below ceiling: FeatureCeiling
    ) -> String {
        let isCgroup = workload?.scope == .cgroup
        let identity: IdentityMethod = isCgroup ? .attachment : .preferred(below: ceiling)
        let known =
            switch identity {
            case .namespace: "sockets known by their network namespace"
            case .attachment: "sockets known by the cgroup that programs are attached to"
            }
        // What arrives is of no cgroup.
        guard !isCgroup else { return known }
        switch inbound.permitted(below: ceiling) {
        case .socketLookup: return known + ", inbound by socket lookup"
        case .trafficControl: return known + ", inbound by tc"
        }
    }

    /// How the cgroups begin that an assessment makes.
    package static let probePrefix = "swerve-probe"

    private static var rows: [Row] {
        baseRows + identityRows + outboundRows + lookupRows + originRows + inboundRows + ownerRows
            + listRows + retirementRows
    }

    private static var baseRows: [Row] {
        [
            Row("bpf(2)", "3.18", "everything", .call, after: [], tests: ["ProbeCommandTests"]),
            Row(
                "cgroup2 hierarchy", "4.5", "where programs are attached", .hierarchy, after: [],
                tests: ["ProbeCommandTests"]),
            Row(
                "attach to a cgroup", "4.10", "all of it", .attachment,
                after: ["bpf(2)", "cgroup2 hierarchy"],
                tests: ["LibBPFTests"]),
            Row(
                "bpf_link on a cgroup", "5.7", "attachment that ends with its owner", .link,
                without: "`BPF_PROG_ATTACH`: programs outlive a killed owner",
                after: ["bpf(2)", "cgroup2 hierarchy"], tests: ["LibBPFTests"]),
        ]
    }

    private static var outboundRows: [Row] {
        [
            Row(
                "cgroup/connect4", "4.17", "outbound verdict and rewrite",
                .program(.cgroupSocketAddress, .connect4), tests: redirection),
            Row(
                "cgroup/connect6", "4.17", "outbound verdict and rewrite",
                .program(.cgroupSocketAddress, .connect6), tests: redirection),
            Row(
                "socket storage in connect", "5.3", "origin, owner",
                .helper(.socketStorageGet, .cgroupSocketAddress, .connect4), tests: redirection),
            Row(
                "bpf_bind in connect", "4.17", "the source the sidecar sees",
                .helper(.bind, .cgroupSocketAddress, .connect4), tests: redirection),
            Row(
                "bpf_set_retval", "5.18", "errors programs understand: no MPTCP, no route",
                .helper(.setReturnValue, .cgroupSocketAddress, .connect4), without: "`EPERM`",
                tests: ["ObservationTests", "FullPolicyTests"]),
        ]
    }

    /// How a socket's workload is known.
    private static var identityRows: [Row] {
        let cgroup = "identity by the workload's cgroup"
        return [
            Row(
                "cgroup storage", "4.19", "identity by the workload's cgroup",
                .map(.cgroupStorage), without: "identity by network namespace",
                tests: ["OldKernelTests"]),
            Row(
                "SO_NETNS_COOKIE", "5.14", "identity by network namespace", .namespaceCookie,
                without: cgroup, after: [], tests: ["BackendContractTests"]),
            Row(
                "netns cookie in connect", "5.7", "identity by network namespace",
                .helper(.getNetnsCookie, .cgroupSocketAddress, .connect4), without: cgroup,
                tests: redirection),
            Row(
                "netns cookie in sock_create", "5.7", "identity by network namespace",
                .helper(.getNetnsCookie, .cgroupSocket, .socketCreate), without: cgroup,
                tests: redirection),
            Row(
                "netns cookie in sock_ops", "5.15", "identity by network namespace",
                .helper(.getNetnsCookie, .sockOps, .sockOps), without: cgroup, tests: redirection),
        ]
    }

    private static var lookupRows: [Row] {
        [
            Row(
                "cgroup/sendmsg4", "4.18", "name lookups of sockets that are not connected",
                .program(.cgroupSocketAddress, .sendmsg4), tests: ["NameLookupTests"]),
            Row(
                "cgroup/recvmsg4", "5.2", "answers come from the resolver that was asked",
                .program(.cgroupSocketAddress, .recvmsg4), tests: ["NameLookupTests"]),
        ]
    }

    private static var originRows: [Row] {
        [
            Row(
                "sock_ops", "4.13", "origin to the sidecar's socket; listeners",
                .program(.sockOps, .sockOps), tests: redirection),
            Row(
                "cgroup/getsockopt", "5.3", "`SO_ORIGINAL_DST`",
                .program(.cgroupSocketOption, .getsockopt), tests: ["OriginalDestinationTests"]),
            Row(
                "cgroup/getpeername4", "5.8", "the application sees the peer it asked for",
                .program(.cgroupSocketAddress, .getpeername4),
                without: "the application sees the sidecar's address", tests: redirection),
        ]
    }

    private static var inboundRows: [Row] {
        [
            Row(
                "sk_lookup", "5.9", "inbound, no packet touched",
                .program(.socketLookup, .socketLookup), without: "inbound by tc",
                tests: redirection),
            Row(
                "tc classifier", "4.4", "inbound by rewriting",
                .program(.trafficControl, .none), without: "inbound by `sk_lookup`",
                tests: ["TrafficControlTests", "RedirectionTests"]),
            Row(
                "socket hash", "4.18", "the sidecar's listeners", .map(.socketHash),
                without: "inbound by tc", tests: redirection),
        ]
    }

    private static var ownerRows: [Row] {
        [
            Row(
                "cgroup/sock_create", "4.10", "who created a socket; no MPTCP",
                .program(.cgroupSocket, .socketCreate), tests: ["BackendContractTests"]),
            Row(
                "owner by credentials", "6.2",
                "a socket's owner as packet filters see it, of older sockets too; places (ADR 0024)",
                .exactOwner,
                without: "the real user of new sockets, before 5.9 of who connects; handshakes",
                tests: ["ObservationTests", "FullPolicyTests", "HandoverTests"]),
        ]
    }

    private static var listRows: [Row] {
        [
            Row(
                "hash of maps", "4.12", "lists of ports and networks", .map(.hashOfMaps),
                tests: ["LibBPFTests"]),
            Row(
                "longest-prefix trie", "4.11", "networks, ranges of ids", .map(.longestPrefix),
                tests: ["LibBPFTests"]),
        ]
    }

    private static var retirementRows: [Row] {
        [
            Row(
                "sock_diag", "3.3", "retiring: connections that need the programs still",
                .socketTable,
                without: "what is kept for old connections stays until `swerve remove`",
                after: [], tests: ["RetirementTests"])
        ]
    }

    private static let redirection = ["RedirectionTests"]
}

/// A feature and how it is asked for.
private struct Row {
    let feature: Feature
    let question: Question

    init(
        _ name: String, _ since: String, _ use: String, _ question: Question,
        without replacement: String? = nil, after prerequisites: [String] = ["bpf(2)"],
        tests: [String]
    ) {
        feature = Feature(
            .ebpf, name, since: since, use: use, without: replacement, probe: question.words,
            after: prerequisites, tests: tests)
        self.question = question
    }

    func probe(below top: Cgroup?) -> FeatureProbe {
        FeatureProbe(feature) { question.answer(below: top) }
    }
}

private enum Question {
    /// Whether the system call may be made at all.
    case call
    case hierarchy
    case attachment
    case link
    case exactOwner
    case namespaceCookie
    case socketTable
    case program(BPFProgramType, BPFAttachType)
    case helper(BPFHelper, BPFProgramType, BPFAttachType)
    case map(BPFMapType)

    func answer(below top: Cgroup?) -> ProbeAnswer {
        switch self {
        case .call: BPFProbe.systemCall().probeAnswer
        case .hierarchy: Self.findHierarchy(top)
        case .attachment:
            Self.attach(below: top) { (program, cgroup) throws(KernelError) in
                try BPFLink.attach(program, to: cgroup, .connect4)
            }
        case .link:
            Self.attach(below: top) { (program, cgroup) throws(KernelError) in
                try BPFLink.create(program, on: cgroup, .connect4)
            }
        case .exactOwner: ProgramLoader.probeExactOwner().probeAnswer
        case .namespaceCookie:
            ProbeAnswer { () throws(KernelError) in _ = try NetworkNamespace.current().cookie() }
        case .socketTable:
            ProbeAnswer { () throws(KernelError) in
                _ = try ConnectedSocket.all(in: try .create())
            }
        case .program(let type, let attachType): BPFProbe.program(type, attachType).probeAnswer
        case .helper(let helper, let type, let attachType):
            BPFProbe.helper(helper, in: type, attachType).probeAnswer
        case .map(let type): BPFProbe.map(type).probeAnswer
        }
    }

    /// What is done to find out.
    var words: String {
        switch self {
        case .call: "making a map"
        case .hierarchy: "looking among the mounts"
        case .attachment, .link: "attaching a program that does nothing to a cgroup made for it"
        case .exactOwner: "loading the programs that use it"
        case .namespaceCookie: "asking for ours"
        case .socketTable: "listing those of an empty namespace"
        case .program: "loading the smallest program for the hook"
        case .helper: "loading a program that calls it: the verifier says whether it knows it"
        case .map: "making a map"
        }
    }

    private static func findHierarchy(_ top: Cgroup?) -> ProbeAnswer {
        do throws(KernelError) {
            if top == nil { _ = try Cgroup.root() }
            return .yes
        } catch  where error.errno == .noSuchFileOrDirectory {
            return .no("none is mounted")
        } catch {
            return .unknown("\(error)")
        }
    }

    /// Attaches a program that does nothing to a cgroup made for it, and removes both.
    private static func attach(
        below top: Cgroup?, by attaching: (BPFProgram, Cgroup) throws(KernelError) -> BPFLink
    ) -> ProbeAnswer {
        BPFProbe.answer { () throws(KernelError) in
            let cgroup = try Cgroup.createUnique(
                prefix: EBPFBackend.probePrefix, below: top)
            let link: BPFLink
            do throws(KernelError) {
                let program = try BPFProgram.load(
                    .cgroupSocketAddress, .connect4, instructions: [.returnValue(1), .exit])
                link = try attaching(program, cgroup)
            } catch {
                try cgroup.remove()
                throw error
            }
            withExtendedLifetime(link) {}
            try cgroup.remove()
        }.probeAnswer
    }
}

extension BPFProbe.Answer {
    fileprivate var probeAnswer: ProbeAnswer {
        switch self {
        case .yes: .yes
        case .no(let reason): .no(reason)
        case .unknown(let error): .unknown(error.description)
        }
    }
}
