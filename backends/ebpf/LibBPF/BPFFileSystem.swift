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
}
