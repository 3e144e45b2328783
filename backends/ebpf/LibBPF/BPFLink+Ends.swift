// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel
internal import SystemPackage

extension BPFLink {
    /// What a link ties together.
    package struct Ends: Hashable, Sendable {
        /// The program's id.
        package let program: UInt32
        package let type: BPFAttachType
        /// The cgroup's id; 0 for none, or when the link no longer attaches anything.
        package let cgroup: UInt64
        /// The network namespace's inode; 0 likewise.
        package let namespace: UInt64
    }

    /// What the link ties together now; `nil` where there is an attachment without a link.
    package func ends() throws(KernelError) -> Ends? {
        switch hold {
        case .attachment: return nil
        case .link(let link):
            let number = link.rawValue
            var info = clibbpf_link()
            try kernel("bpf_obj_get_info_by_fd(a link)") {
                unsafe clibbpf_link_info(number, &info)
            }
            return Ends(
                program: info.program, type: BPFAttachType(value: info.attach_type),
                cgroup: info.cgroup, namespace: info.netns)
        }
    }

    /// The program it attaches, or did before somebody detached it.
    package func program(named name: String? = nil) throws(KernelError) -> BPFProgram {
        switch hold {
        case .link: try BPFProgram.open(id: try ends()?.program ?? 0, name: name)
        case .attachment(let attachment):
            try BPFProgram.open(id: attachment.current.id, name: name)
        }
    }

    /// Whether its program is on the cgroup still, and nobody has taken it away.
    package func isAttached(
        to cgroup: Cgroup, _ type: BPFAttachType
    ) throws(KernelError) -> Bool {
        switch hold {
        case .link:
            let ends = try ends()
            return try ends?.cgroup == cgroup.open().inode() && ends?.type == type
        case .attachment(let attachment):
            return try BPFLink.programs(on: cgroup, type).contains(attachment.current.id)
        }
    }

    /// Whether its program acts in the network namespace still.
    package func isAttached(to namespace: NetworkNamespace) throws(KernelError) -> Bool {
        try ends()?.namespace == namespace.inode
    }

    /// Takes the program away now, also when others hold the link (Linux 5.9).
    package func detach() throws(KernelError) {
        switch hold {
        case .link(let link):
            do throws(KernelError) {
                try kernel("bpf(BPF_LINK_DETACH)") { bpf_link_detach(link.rawValue) }
            } catch  where error.errno == .noLink {
                // ENOLINK: it attaches nothing any more.
            }
        case .attachment(let attachment): try attachment.detach()
        }
    }
}

// MARK: Links of others

extension BPFLink {
    /// Opens a link by its id, whoever made it; `nil` when it is gone, or when it has its number and
    /// is being attached still, which the kernel answers with EAGAIN.
    package static func open(id: UInt32) throws(KernelError) -> BPFLink? {
        do throws(KernelError) {
            let number = try kernel("bpf(BPF_LINK_GET_FD_BY_ID)") { bpf_link_get_fd_by_id(id) }
            return BPFLink(.link(OwnedDescriptor(taking: number)))
        } catch {
            let isThere = ![.noSuchFileOrDirectory, .resourceTemporarilyUnavailable]
                .contains(error.errno)
            guard isThere else { return nil }
            throw error
        }
    }

    /// Whether links can be found, and asked what they tie together (Linux 5.8).
    package static let areListed: Bool = {
        var next: UInt32 = 0
        let result = unsafe bpf_link_get_next_id(0, &next)
        return result != -Errno.invalidArgument.rawValue && result != -Errno.noFunction.rawValue
    }()

    /// The ids of all links of the machine; none where they cannot be listed.
    package static func ids() throws(KernelError) -> [UInt32] {
        guard areListed else { return [] }
        var ids: [UInt32] = []
        // Bounded: links that come meanwhile have higher ids, and there are not that many.
        for _ in 0..<1_000_000 {
            var next: UInt32 = 0
            let result = unsafe bpf_link_get_next_id(ids.last ?? 0, &next)
            if result == -Errno.noSuchFileOrDirectory.rawValue { break }
            try kernel("bpf(BPF_LINK_GET_NEXT_ID)") { result }
            ids.append(next)
        }
        return ids
    }
}

extension BPFLink {
    /// The ids of the programs that act in the network namespace.
    package static func programs(
        in namespace: NetworkNamespace, _ type: BPFAttachType
    ) throws(KernelError) -> [UInt32] {
        try HookPrograms.query(namespace.rawDescriptor, type, at: "netns").ids
    }

    /// All links that tie something to something now (Linux 5.8).
    package static func all() throws(KernelError) -> [BPFLink] {
        var links: [BPFLink] = []
        for id in try ids() { if let link = try open(id: id) { links.append(link) } }
        return links
    }
}
