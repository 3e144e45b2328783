// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel
internal import SystemPackage

/// The filesystem whose files are maps, programs and links: what is pinned there stays in the
/// kernel when the last process that held it is gone.
///
/// It holds directories, and no files of text. Names with a dot are refused by the kernel.
package enum BPFFileSystem {
    /// Whether the path is in one; false when there is no such path.
    package static func contains(_ path: String) throws(KernelError) -> Bool {
        do throws(KernelError) {
            return try kernel("statfs(\(path))") { unsafe clibbpf_is_bpffs(path) } != 0
        } catch  where error.errno == .noSuchFileOrDirectory {
            return false
        }
    }

    /// Mounts one on the directory.
    package static func mount(on path: String) throws(KernelError) {
        try kernel("mount(bpf, \(path))") { unsafe clibbpf_mount_bpffs(path) }
    }

    fileprivate static func pin(_ descriptor: CInt, at path: String) throws(KernelError) {
        try kernel("bpf(BPF_OBJ_PIN, \(path))") { unsafe bpf_obj_pin(descriptor, path) }
    }

    /// `nil` when nothing is pinned there.
    fileprivate static func open(_ path: String) throws(KernelError) -> CInt? {
        do throws(KernelError) {
            return try kernel("bpf(BPF_OBJ_GET, \(path))") { unsafe bpf_obj_get(path) }
        } catch  where error.errno == .noSuchFileOrDirectory {
            return nil
        }
    }
}

extension BPFMap {
    package func pin(at path: String) throws(KernelError) {
        try BPFFileSystem.pin(rawDescriptor, at: path)
    }

    /// Opens a pinned map; `nil` when there is none.
    package static func open(pinned path: String, name: String) throws(KernelError) -> BPFMap? {
        guard let number = try BPFFileSystem.open(path) else { return nil }
        return try BPFMap(taking: OwnedDescriptor(taking: number), name: name)
    }
}

extension BPFLink {
    /// Makes the link outlive the process; where there are no links, the program is pinned, whose
    /// attachment outlives the process anyhow.
    package func pin(at path: String) throws(KernelError) {
        switch hold {
        case .link(let link): try BPFFileSystem.pin(link.rawValue, at: path)
        case .attachment(let attachment):
            try BPFFileSystem.pin(attachment.current.rawDescriptor, at: path)
            attachment.keep()
        }
    }

    /// Opens what `pin(at:)` left, of a program attached to `cgroup` as `type` or to a namespace;
    /// `nil` when there is none.
    package static func open(
        pinned path: String, on cgroup: Cgroup? = nil, _ type: BPFAttachType
    ) throws(KernelError) -> BPFLink? {
        guard let number = try BPFFileSystem.open(path) else { return nil }
        let descriptor = OwnedDescriptor(taking: number)
        // proc(5): only of a link is its type shown.
        let kind = try readFile("/proc/self/fdinfo/\(number)")
        guard !kind.contains("link_type:") else { return BPFLink(.link(descriptor)) }
        guard let cgroup else {
            throw KernelError("open the link at \(path)", .invalidArgument)
        }
        let program = try BPFProgram(taking: descriptor)
        return BPFLink(
            .attachment(CgroupAttachment(adopting: program, on: try cgroup.open(), type)))
    }

    /// Opens a link by its id, whoever made it; `nil` when it is gone.
    package static func open(id: UInt32) throws(KernelError) -> BPFLink? {
        do throws(KernelError) {
            let number = try kernel("bpf(BPF_LINK_GET_FD_BY_ID)") { bpf_link_get_fd_by_id(id) }
            return BPFLink(.link(OwnedDescriptor(taking: number)))
        } catch  where error.errno == .noSuchFileOrDirectory {
            return nil
        }
    }

    /// The ids of all links of the machine (Linux 5.8).
    package static func ids() throws(KernelError) -> [UInt32] {
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

// MARK: What it holds in its place

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
