// SPDX-License-Identifier: Apache-2.0

internal import LibBPF
internal import LinuxKernel
package import RedirectionEngine

extension EBPFBackend {
    /// What this kernel has of the mechanism, found out by doing.
    package static func assess() -> Assessment {
        // What a killed probe left is no part of the answer; nor is that it cannot be removed.
        try? Cgroup.sweep(prefix: probePrefix)
        return Assessment(
            .ebpf, programReports + helperReports + mapReports + [ownerReport, attachReport])
    }

    /// How the cgroups begin that an assessment makes.
    package static let probePrefix = "swerve-probe"

    private static var programReports: [FeatureReport] {
        [
            report(
                "cgroup/connect4", "4.17", "outbound redirection",
                .program(.cgroupSocketAddress, .connect4)),
            report(
                "cgroup/connect6", "4.17", "outbound redirection",
                .program(.cgroupSocketAddress, .connect6)),
            report(
                "cgroup/getpeername4", "5.8", "the application sees the peer it asked for",
                .program(.cgroupSocketAddress, .getpeername4)),
            report(
                "cgroup/sendmsg4", "4.18", "name lookups of sockets that are not connected",
                .program(.cgroupSocketAddress, .sendmsg4)),
            report(
                "cgroup/recvmsg4", "5.2", "answers come from the resolver that was asked",
                .program(.cgroupSocketAddress, .recvmsg4)),
            report(
                "cgroup/sock_create", "4.10", "a socket's owner",
                .program(.cgroupSocket, .socketCreate)
            ),
            report("sock_ops", "4.13", "origin to the sidecar", .program(.sockOps, .sockOps)),
            report(
                "cgroup/getsockopt", "5.3", "SO_ORIGINAL_DST",
                .program(.cgroupSocketOption, .getsockopt)),
            report(
                "sk_lookup", "5.9", "inbound without rewriting",
                .program(.socketLookup, .socketLookup), isRequired: false),
            report(
                "tc classifier", "4.4", "inbound by rewriting", .program(.trafficControl, .none),
                isRequired: false),
        ]
    }

    private static var helperReports: [FeatureReport] {
        [
            report(
                "netns cookie in connect", "5.7", "which pod a socket is of",
                .helper(.getNetnsCookie, .cgroupSocketAddress, .connect4)),
            report(
                "netns cookie in sock_ops", "5.15", "which pod a connection is of",
                .helper(.getNetnsCookie, .sockOps, .sockOps)),
            report(
                "socket storage in connect", "5.8", "origin",
                .helper(.socketStorageGet, .cgroupSocketAddress, .connect4)),
            report(
                "bind in connect", "4.17", "source address",
                .helper(.bind, .cgroupSocketAddress, .connect4)),
        ]
    }

    private static var mapReports: [FeatureReport] {
        [
            report("hash of maps", "4.12", "lists of ports and networks", .map(.hashOfMaps)),
            report("longest-prefix trie", "4.11", "lists of networks", .map(.longestPrefix)),
            report("socket hash", "4.18", "the sidecar's listeners", .map(.socketHash)),
        ]
    }

    /// Without it, a socket's owner is its creator's real user, which a set-user-ID program changes.
    private static var ownerReport: FeatureReport {
        FeatureReport(
            "owner by credentials", since: "6.2", use: "a socket's owner as packet filters see it",
            isRequired: false, answer: ProgramLoader.probeExactOwner().probeAnswer)
    }

    /// Attaches a program that does nothing to a cgroup made for it, and removes both.
    private static var attachReport: FeatureReport {
        let answer = BPFProbe.answer { () throws(KernelError) in
            let cgroup = try Cgroup.createUnique(prefix: probePrefix)
            let link: BPFLink
            do throws(KernelError) {
                let program = try BPFProgram.load(
                    .cgroupSocketAddress, .connect4, instructions: [.returnValue(1), .exit])
                link = try BPFLink.attach(program, to: cgroup, .connect4)
            } catch {
                try cgroup.remove()
                throw error
            }
            withExtendedLifetime(link) {}
            try cgroup.remove()
        }
        return FeatureReport(
            "attach to a cgroup", since: "4.10", use: "all of it", answer: answer.probeAnswer)
    }

    private enum Question {
        case program(BPFProgramType, BPFAttachType)
        case helper(BPFHelper, BPFProgramType, BPFAttachType)
        case map(BPFMapType)

        var answer: BPFProbe.Answer {
            switch self {
            case .program(let type, let attachType): BPFProbe.program(type, attachType)
            case .helper(let helper, let type, let attachType):
                BPFProbe.helper(helper, in: type, attachType)
            case .map(let type): BPFProbe.map(type)
            }
        }
    }

    private static func report(
        _ feature: String, _ since: String, _ use: String, _ question: Question,
        isRequired: Bool = true
    ) -> FeatureReport {
        FeatureReport(
            feature, since: since, use: use, isRequired: isRequired,
            answer: question.answer.probeAnswer)
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
