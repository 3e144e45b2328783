// SPDX-License-Identifier: Apache-2.0

internal import LibBPF
package import LinuxKernel
package import RedirectionEngine
internal import SystemPackage

extension EBPFBackend {
    /// The programs of others that act on a workload's sockets where ours would.
    ///
    /// Ours are, or would be, attached to `target`; the workload lives in `leaf`, there or below.
    package static func others(attachingTo target: Cgroup, leaf: Cgroup? = nil) -> [ForeignHook] {
        let leaf = leaf ?? target
        do throws(KernelError) {
            var found: [ForeignHook] = []
            for cgroup in Cgroup.path(from: try target.top(), to: leaf) {
                for hook in hooks {
                    guard let installed = try CgroupHook.query(cgroup, hook.type) else { continue }
                    found += [foreign(installed, hook, relativeTo: target)].compactMap(\.self)
                }
            }
            return found
        } catch {
            return [.unseen("BPF programs on \(leaf.path)", because: "\(error)")]
        }
    }

    /// Where our programs are attached, and what that decides.
    private struct WatchedHook {
        let type: BPFAttachType
        let name: String
        let decides: String
    }

    private static let hooks: [WatchedHook] = [
        WatchedHook(type: .connect4, name: "connect4", decides: "where connections go"),
        WatchedHook(type: .connect6, name: "connect6", decides: "where connections go"),
        WatchedHook(type: .sendmsg4, name: "sendmsg4", decides: "where name lookups go"),
        WatchedHook(type: .sendmsg6, name: "sendmsg6", decides: "where name lookups go"),
        WatchedHook(type: .recvmsg4, name: "recvmsg4", decides: "whom name lookups are from"),
        WatchedHook(type: .recvmsg6, name: "recvmsg6", decides: "whom name lookups are from"),
        WatchedHook(type: .getpeername4, name: "getpeername4", decides: "the peer that is seen"),
        WatchedHook(type: .getpeername6, name: "getpeername6", decides: "the peer that is seen"),
        WatchedHook(type: .getsockopt, name: "getsockopt", decides: "the original destination"),
        WatchedHook(type: .socketCreate, name: "sock_create", decides: "which sockets there are"),
        WatchedHook(type: .sockOps, name: "sock_ops", decides: "what is told of connections"),
    ]

    private static func foreign(
        _ installed: CgroupHook, _ hook: WatchedHook, relativeTo target: Cgroup
    ) -> ForeignHook? {
        let others = installed.programs.filter { !$0.name.hasPrefix(ownPrefix) }
        guard let first = others.first else { return nil }
        let isFirst = installed.programs.first == first
        let place = installed.cgroup
        let meaning: Meaning =
            if place == target {
                installed.sharing != .multiple ? .alone : isFirst ? .before : .after
            } else if target.isBelow(place) {
                // What is attached above runs later.
                switch installed.sharing {
                case .multiple: .after
                case .overridable: .replaced
                case .exclusive: .alone
                }
            } else { .before }
        return ForeignHook(
            .program, others.map(\.description).joined(separator: ", "),
            in: "\(place.path), \(hook.name)", effect: meaning.words(of: hook.decides),
            // Where a connection goes is changed before there is a packet for rules to see.
            precedes: meaning == .before ? Set(Mechanism.allCases) : [],
            blocks: meaning == .alone || meaning == .replaced ? [.ebpf] : [])
    }

    /// What a program of others is to ours.
    private enum Meaning {
        case before
        case after
        case replaced
        case alone

        func words(of decision: String) -> String {
            switch self {
            case .before: "runs before ours, and decides first \(decision)"
            case .after: "runs after ours, and has a say in \(decision)"
            case .replaced: "allows one program only, and ours below it would run in its place"
            case .alone: "was attached to be alone: ours cannot be attached (EPERM)"
            }
        }
    }

    /// How the names of our programs begin.
    private static let ownPrefix = "swerve_"
}

extension Cgroup {
    /// The cgroups from `root` down to `leaf`, both among them.
    fileprivate static func path(from root: Cgroup, to leaf: Cgroup) -> [Cgroup] {
        guard leaf.isBelow(root) else { return [leaf] }
        return leaf.path.dropFirst(root.path.count).split(separator: "/")
            .reduce(into: [root]) { path, name in
                path.append((path.last ?? root).child(String(name)))
            }
    }

    /// Whether it is `other`, or in its subtree.
    fileprivate func isBelow(_ other: Cgroup) -> Bool {
        path == other.path || path.hasPrefix(other.path + "/")
    }
}
