// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF

/// Where a program is attached: `enum bpf_attach_type`, as far as the project goes.
package struct BPFAttachType: Hashable, Sendable {
    let value: UInt32
    init(_ type: bpf_attach_type) { value = type.rawValue }
    init(value: UInt32) { self.value = value }

    var raw: bpf_attach_type { bpf_attach_type(rawValue: value) }

    package static let none = BPFAttachType(bpf_attach_type(rawValue: 0))
    package static let connect4 = BPFAttachType(BPF_CGROUP_INET4_CONNECT)
    package static let connect6 = BPFAttachType(BPF_CGROUP_INET6_CONNECT)
    package static let getpeername4 = BPFAttachType(BPF_CGROUP_INET4_GETPEERNAME)
    package static let getpeername6 = BPFAttachType(BPF_CGROUP_INET6_GETPEERNAME)
    package static let sendmsg4 = BPFAttachType(BPF_CGROUP_UDP4_SENDMSG)
    package static let sendmsg6 = BPFAttachType(BPF_CGROUP_UDP6_SENDMSG)
    package static let recvmsg4 = BPFAttachType(BPF_CGROUP_UDP4_RECVMSG)
    package static let recvmsg6 = BPFAttachType(BPF_CGROUP_UDP6_RECVMSG)
    package static let postBind4 = BPFAttachType(BPF_CGROUP_INET4_POST_BIND)
    package static let postBind6 = BPFAttachType(BPF_CGROUP_INET6_POST_BIND)
    package static let getsockopt = BPFAttachType(BPF_CGROUP_GETSOCKOPT)
    package static let setsockopt = BPFAttachType(BPF_CGROUP_SETSOCKOPT)
    package static let socketCreate = BPFAttachType(BPF_CGROUP_INET_SOCK_CREATE)
    package static let socketRelease = BPFAttachType(BPF_CGROUP_INET_SOCK_RELEASE)
    package static let sockOps = BPFAttachType(BPF_CGROUP_SOCK_OPS)
    package static let socketLookup = BPFAttachType(BPF_SK_LOOKUP)
}

/// What a program may see and call: `enum bpf_prog_type`, as far as the project goes.
package struct BPFProgramType: Hashable, Sendable {
    let value: UInt32
    init(_ type: bpf_prog_type) { value = type.rawValue }

    var raw: bpf_prog_type { bpf_prog_type(rawValue: value) }

    package static let cgroupSocketAddress = BPFProgramType(BPF_PROG_TYPE_CGROUP_SOCK_ADDR)
    package static let cgroupSocketOption = BPFProgramType(BPF_PROG_TYPE_CGROUP_SOCKOPT)
    package static let cgroupSocket = BPFProgramType(BPF_PROG_TYPE_CGROUP_SOCK)
    package static let sockOps = BPFProgramType(BPF_PROG_TYPE_SOCK_OPS)
    package static let socketLookup = BPFProgramType(BPF_PROG_TYPE_SK_LOOKUP)
    package static let trafficControl = BPFProgramType(BPF_PROG_TYPE_SCHED_CLS)
}

/// How a map keeps its entries: `enum bpf_map_type`, as far as the project goes.
package struct BPFMapType: Hashable, Sendable {
    let value: UInt32
    private init(_ type: bpf_map_type) { value = type.rawValue }
    init(value: UInt32) { self.value = value }

    var raw: bpf_map_type { bpf_map_type(rawValue: value) }

    package static let array = BPFMapType(BPF_MAP_TYPE_ARRAY)
    package static let hash = BPFMapType(BPF_MAP_TYPE_HASH)
    package static let lruHash = BPFMapType(BPF_MAP_TYPE_LRU_HASH)
    package static let longestPrefix = BPFMapType(BPF_MAP_TYPE_LPM_TRIE)
    package static let perCPUArray = BPFMapType(BPF_MAP_TYPE_PERCPU_ARRAY)
    package static let perCPUHash = BPFMapType(BPF_MAP_TYPE_PERCPU_HASH)
    package static let arrayOfMaps = BPFMapType(BPF_MAP_TYPE_ARRAY_OF_MAPS)
    package static let hashOfMaps = BPFMapType(BPF_MAP_TYPE_HASH_OF_MAPS)
    package static let socketHash = BPFMapType(BPF_MAP_TYPE_SOCKHASH)
    package static let socketMap = BPFMapType(BPF_MAP_TYPE_SOCKMAP)
    package static let cgroupStorage = BPFMapType(BPF_MAP_TYPE_CGROUP_STORAGE)
    package static let socketStorage = BPFMapType(BPF_MAP_TYPE_SK_STORAGE)

    /// True when a lookup answers with one value for each possible CPU.
    var isPerCPU: Bool { self == .perCPUArray || self == .perCPUHash }
}

/// A function of the kernel that programs call: `enum bpf_func_id`, those worth a probe.
package struct BPFHelper: Hashable, Sendable {
    let value: Int32
    private init(_ helper: bpf_func_id) { value = Int32(bitPattern: helper.rawValue) }

    package static let getNetnsCookie = BPFHelper(BPF_FUNC_get_netns_cookie)
    package static let getSocketCookie = BPFHelper(BPF_FUNC_get_socket_cookie)
    package static let getLocalStorage = BPFHelper(BPF_FUNC_get_local_storage)
    package static let socketStorageGet = BPFHelper(BPF_FUNC_sk_storage_get)
    package static let socketLookupTCP = BPFHelper(BPF_FUNC_sk_lookup_tcp)
    package static let socketAssign = BPFHelper(BPF_FUNC_sk_assign)
    package static let getCurrentUIDGID = BPFHelper(BPF_FUNC_get_current_uid_gid)
    package static let bind = BPFHelper(BPF_FUNC_bind)
    package static let getsockopt = BPFHelper(BPF_FUNC_getsockopt)
    package static let setsockopt = BPFHelper(BPF_FUNC_setsockopt)
    package static let setReturnValue = BPFHelper(BPF_FUNC_set_retval)
    package static let redirectPeer = BPFHelper(BPF_FUNC_redirect_peer)
    package static let loop = BPFHelper(BPF_FUNC_loop)
}

/// One instruction, laid out as `struct bpf_insn` is on a little-endian machine.
package struct BPFInstruction: BitwiseCopyable, Hashable, Sendable {
    let code: UInt8
    /// Destination in the low half, source in the high one.
    let registers: UInt8
    let offset: Int16
    let immediate: Int32

    /// Sets what the program returns: `r0 = value`.
    package static func returnValue(_ value: Int32) -> BPFInstruction {
        BPFInstruction(code: 0xb7, registers: 0, offset: 0, immediate: value)
    }
    package static func call(_ helper: BPFHelper) -> BPFInstruction {
        BPFInstruction(code: 0x85, registers: 0, offset: 0, immediate: helper.value)
    }
    package static let exit = BPFInstruction(code: 0x95, registers: 0, offset: 0, immediate: 0)
}
