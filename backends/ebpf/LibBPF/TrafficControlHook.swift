// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel
internal import SystemPackage

/// The place on a network interface where programs see its packets: a clsact qdisc, tc-bpf(8).
///
/// A plain value: nothing is undone by itself, for it could only be undone inside the
/// interface's namespace. Call everything here inside `NetworkNamespace.run`.
package struct TrafficControlHook: Hashable, Sendable {
    package let interface: UInt32
    /// False when somebody else had put the qdisc there, and would miss it.
    package let madeQdisc: Bool

    /// One that `create` has found or made earlier.
    package init(interface: UInt32, madeQdisc: Bool) {
        self.interface = interface
        self.madeQdisc = madeQdisc
    }

    package enum Direction: Hashable, Sendable, CaseIterable {
        case ingress
        case egress
    }

    /// Which filter of a direction is meant; lower priorities run first.
    package struct Slot: Hashable, Sendable {
        package let direction: Direction
        package let handle: UInt32
        package let priority: UInt32

        package init(_ direction: Direction, handle: UInt32, priority: UInt32) {
            self.direction = direction
            self.handle = handle
            self.priority = priority
        }
    }

    /// Makes sure that the interface has a clsact qdisc, and remembers whether it had one.
    package static func create(on interface: UInt32) throws(KernelError) -> TrafficControlHook {
        Library.prepare()
        var hook = raw(interface, BPF_TC_INGRESS.rawValue | BPF_TC_EGRESS.rawValue)
        let result = unsafe bpf_tc_hook_create(&hook)
        if result == -Errno.fileExists.rawValue {
            return TrafficControlHook(interface: interface, madeQdisc: false)
        }
        try kernel("bpf_tc_hook_create(\(interface))") { result }
        return TrafficControlHook(interface: interface, madeQdisc: true)
    }

    /// Attaches `program`, in the place of a filter that has the slot already.
    package func attach(_ program: BPFProgram, _ slot: Slot) throws(KernelError) {
        var hook = raw(slot.direction)
        var options = Self.options(slot)
        options.prog_fd = program.rawDescriptor
        options.flags = BPF_TC_F_REPLACE.rawValue
        try kernel("bpf_tc_attach(\(program.name), \(interface))") {
            unsafe bpf_tc_attach(&hook, &options)
        }
    }

    /// Removes the slot's filter; it is not an error if it is gone.
    package func detach(_ slot: Slot) throws(KernelError) {
        var hook = raw(slot.direction)
        var options = Self.options(slot)
        let result = unsafe bpf_tc_detach(&hook, &options)
        // EINVAL: no filter has the priority, or the qdisc itself is gone.
        let gone = [Errno.noSuchFileOrDirectory.rawValue, Errno.invalidArgument.rawValue]
        guard !gone.contains(-result) else { return }
        try kernel("bpf_tc_detach(\(interface))") { result }
    }

    /// The id of the program in the slot, or `nil` when it is empty.
    package func program(in slot: Slot) throws(KernelError) -> UInt32? {
        var hook = raw(slot.direction)
        var options = Self.options(slot)
        let result = unsafe bpf_tc_query(&hook, &options)
        let empty = [Errno.noSuchFileOrDirectory.rawValue, Errno.invalidArgument.rawValue]
        guard !empty.contains(-result) else { return nil }
        try kernel("bpf_tc_query(\(interface))") { result }
        return options.prog_id
    }

    /// Removes the qdisc if `create` made it and no filter is left; true if it did.
    @discardableResult
    package func destroyIfUnused() throws(KernelError) -> Bool {
        guard madeQdisc, try !hasFilters() else { return false }
        var hook = Self.raw(interface, BPF_TC_INGRESS.rawValue | BPF_TC_EGRESS.rawValue)
        let result = unsafe bpf_tc_hook_destroy(&hook)
        if result == -Errno.noSuchFileOrDirectory.rawValue { return false }
        try kernel("bpf_tc_hook_destroy(\(interface))") { result }
        return true
    }

    /// Whether the interface has a clsact qdisc, whoever made it.
    package func exists() throws(KernelError) -> Bool {
        var socket = try NetlinkSocket.open(.route, in: .current())
        var message = NetlinkMessage(Int(RTM_GETQDISC), flags: NLM_F_REQUEST | NLM_F_DUMP)
        message.add(header: tcmsg())
        return try socket.dump(message, "list queueing disciplines").contains { answer in
            // struct tcmsg: family, padding, index, handle, parent. clsact has a place of its own,
            // which no other qdisc but ingress takes.
            answer.loadInteger(at: 16 + 4, as: UInt32.self) == interface
                && answer.loadInteger(at: 16 + 12, as: UInt32.self) == clibbpf_clsact_parent()
        }
    }

    /// True while anybody's filter is on the qdisc.
    private func hasFilters() throws(KernelError) -> Bool {
        var socket = try NetlinkSocket.open(.route, in: .current())
        for parent in [clibbpf_clsact_ingress(), clibbpf_clsact_egress()] {
            var message = NetlinkMessage(Int(RTM_GETTFILTER), flags: NLM_F_REQUEST | NLM_F_DUMP)
            var header = tcmsg()
            header.tcm_ifindex = CInt(interface)
            header.tcm_parent = parent
            message.add(header: header)
            let filters = try socket.request(message, "list filters of \(interface)")
            if !filters.isEmpty { return true }
        }
        return false
    }
}

extension TrafficControlHook {
    private func raw(_ direction: Direction) -> bpf_tc_hook {
        let point = direction == .ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS
        return Self.raw(interface, point.rawValue)
    }

    private static func raw(_ interface: UInt32, _ points: UInt32) -> bpf_tc_hook {
        var hook = bpf_tc_hook()
        hook.sz = clibbpf_bpf_tc_hook_size()
        hook.ifindex = CInt(interface)
        hook.attach_point = bpf_tc_attach_point(rawValue: points)
        return hook
    }

    private static func options(_ slot: Slot) -> bpf_tc_opts {
        var options = bpf_tc_opts()
        options.sz = clibbpf_bpf_tc_opts_size()
        options.handle = slot.handle
        options.priority = slot.priority
        return options
    }
}
