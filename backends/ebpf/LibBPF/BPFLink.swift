// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel
internal import Synchronization
internal import SystemPackage

/// A program attached to something; letting go of the link detaches it.
///
/// When the process ends in whatever way, the kernel detaches it too, unless it is pinned. Only
/// before Linux 5.7, where cgroups have no links, does an attachment outlive a process that was
/// killed.
package final class BPFLink: Sendable {
    enum Hold: ~Copyable, Sendable {
        case link(OwnedDescriptor)
        case attachment(CgroupAttachment)
    }

    let hold: Hold

    init(_ hold: consuming Hold) { self.hold = hold }

    /// Attaches `program` to a cgroup, next to the programs of others.
    package static func attach(
        _ program: BPFProgram, to cgroup: Cgroup, _ type: BPFAttachType
    ) throws(KernelError) -> BPFLink {
        // One that cannot be asked what it ties together is of no use to who adopts it.
        areListed
            ? try create(program, on: cgroup, type)
            : try attachWithoutLink(program, to: cgroup, type)
    }

    /// Attaches `program` to a cgroup by a link and nothing else (Linux 5.7).
    package static func create(
        _ program: BPFProgram, on cgroup: Cgroup, _ type: BPFAttachType
    ) throws(KernelError) -> BPFLink {
        let target = try cgroup.open()
        return try create(
            program, target.rawValue, type,
            "bpf(BPF_LINK_CREATE, \(program.name), \(cgroup.path))")
    }

    /// Attaches it as kernels before 5.7 do, whatever this one has: the attachment outlives a process
    /// that is killed, until somebody detaches it or the cgroup goes.
    package static func attachWithoutLink(
        _ program: BPFProgram, to cgroup: Cgroup, _ type: BPFAttachType
    ) throws(KernelError) -> BPFLink {
        BPFLink(.attachment(try CgroupAttachment(program, to: try cgroup.open(), type)))
    }

    /// Detaches a program that was attached without a link, whoever did; false if it is not there.
    @discardableResult
    package static func detach(
        _ program: BPFProgram, from cgroup: Cgroup, _ type: BPFAttachType
    ) throws(KernelError) -> Bool {
        let target = try cgroup.open()
        let result = bpf_prog_detach2(program.rawDescriptor, target.rawValue, type.raw)
        if result == -Errno.noSuchFileOrDirectory.rawValue { return false }
        try kernel("bpf(BPF_PROG_DETACH, \(program.name), \(cgroup.path))") { result }
        return true
    }

    /// Attaches `program` to a network namespace (`socketLookup`, Linux 5.9).
    package static func attach(
        _ program: BPFProgram, to namespace: NetworkNamespace, _ type: BPFAttachType
    ) throws(KernelError) -> BPFLink {
        try create(
            program, namespace.rawDescriptor, type, "bpf(BPF_LINK_CREATE, \(program.name), netns)")
    }

    private static func create(
        _ program: BPFProgram, _ target: CInt, _ type: BPFAttachType, _ call: String
    ) throws(KernelError) -> BPFLink {
        let link = try kernel(call) {
            bpf_link_create(program.rawDescriptor, target, type.raw, nil)
        }
        return BPFLink(.link(OwnedDescriptor(taking: link)))
    }

    /// The ids of the programs attached to the cgroup itself, in the order they run.
    package static func programs(
        on cgroup: Cgroup, _ type: BPFAttachType
    ) throws(KernelError) -> [UInt32] {
        let target = try cgroup.open()
        return try HookPrograms.query(target.rawValue, type, at: cgroup.path).ids
    }

    /// Lets go of an attachment that is gone already, so that nothing is detached with this: the same
    /// program may be there again.
    package func abandon() {
        switch hold {
        case .link: break
        case .attachment(let attachment): attachment.keep()
        }
    }

    /// Puts `program` in the place of the attached one, with no moment between them.
    package func update(_ program: BPFProgram) throws(KernelError) {
        switch hold {
        case .link(let link):
            try kernel("bpf(BPF_LINK_UPDATE, \(program.name))") {
                bpf_link_update(link.rawValue, program.rawDescriptor, nil)
            }
        case .attachment(let attachment):
            try attachment.replace(with: program)
        }
    }
}

/// A program attached to a cgroup the way kernels before 5.7 do it.
final class CgroupAttachment: Sendable {
    private let cgroup: OwnedDescriptor
    private let type: BPFAttachType
    private let program: Mutex<BPFProgram>
    /// Whether it stays when this goes: a pin of the program says where it is.
    private let isKept: Atomic<Bool>

    init(
        _ program: BPFProgram, to cgroup: consuming OwnedDescriptor, _ type: BPFAttachType
    ) throws(KernelError) {
        try Self.attach(program, cgroup.rawValue, type)
        self.cgroup = cgroup
        self.type = type
        self.program = Mutex(program)
        isKept = Atomic(false)
    }

    /// Takes over an attachment that another process has made.
    init(adopting program: BPFProgram, on cgroup: consuming OwnedDescriptor, _ type: BPFAttachType)
    {
        self.cgroup = cgroup
        self.type = type
        self.program = Mutex(program)
        isKept = Atomic(true)
    }

    deinit {
        if !isKept.load(ordering: .relaxed) { try? detach() }
    }

    /// The program that is attached now.
    var current: BPFProgram { program.withLock { $0 } }

    func keep() { isKept.store(true, ordering: .relaxed) }

    func detach() throws(KernelError) {
        let attached = current
        try kernel("bpf(BPF_PROG_DETACH, \(attached.name))") {
            bpf_prog_detach2(attached.rawDescriptor, cgroup.rawValue, type.raw)
        }
    }

    /// Attaches the new program before the old one goes: for a moment both run, never none.
    func replace(with next: BPFProgram) throws(KernelError) {
        try Self.attach(next, cgroup.rawValue, type)
        let old = program.withLock { current in
            defer { current = next }
            return current
        }
        try kernel("bpf(BPF_PROG_DETACH, \(old.name))") {
            bpf_prog_detach2(old.rawDescriptor, cgroup.rawValue, type.raw)
        }
    }

    private static func attach(
        _ program: BPFProgram, _ cgroup: CInt, _ type: BPFAttachType
    ) throws(KernelError) {
        try kernel("bpf(BPF_PROG_ATTACH, \(program.name))") {
            bpf_prog_attach(program.rawDescriptor, cgroup, type.raw, UInt32(BPF_F_ALLOW_MULTI))
        }
    }
}
