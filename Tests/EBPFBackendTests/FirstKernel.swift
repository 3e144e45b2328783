// SPDX-License-Identifier: Apache-2.0

import RedirectionEngine

@testable import LibBPF

/// The first mainline kernel that has what a program uses; by the kernel's history.
enum FirstKernel {
    /// Program types, by `enum bpf_prog_type`.
    static let programTypes: [UInt32: KernelVersion] = [
        3: v(4, 1), 9: v(4, 10), 13: v(4, 13), 18: v(4, 17), 25: v(5, 3), 30: v(5, 9),
    ]

    /// Hooks, by `enum bpf_attach_type`: `sock_create`, `sock_ops`, `connect`, `sendmsg`, `recvmsg`,
    /// `getsockopt`, `getpeername`, `sk_lookup`.
    static let attachTypes: [UInt32: KernelVersion] = [
        0: v(4, 10), 2: v(4, 10), 3: v(4, 13), 10: v(4, 17), 11: v(4, 17), 14: v(4, 18),
        15: v(4, 18), 19: v(5, 2), 20: v(5, 2), 21: v(5, 3), 29: v(5, 8), 30: v(5, 8), 36: v(5, 9),
    ]

    /// Map types, by `enum bpf_map_type`.
    static let mapTypes: [UInt32: KernelVersion] = [
        1: v(3, 19), 2: v(3, 19), 5: v(4, 6), 6: v(4, 6), 11: v(4, 11), 13: v(4, 12),
        18: v(4, 18), 19: v(4, 19), 24: v(5, 2),
    ]

    /// Flags of a map that is made, a bit each; 1 << 10 is what libbpf adds where it can.
    static let mapFlags: [UInt32: KernelVersion] = [
        1 << 0: v(4, 6), 1 << 7: v(5, 2), 1 << 9: v(5, 4), 1 << 10: v(3, 19),
    ]

    /// Helpers, by `enum bpf_func_id`, where it makes no difference who calls.
    private static let helpers: [Int32: KernelVersion] = [
        1: v(3, 19), 2: v(3, 19), 3: v(3, 19), 5: v(4, 1), 7: v(4, 1), 9: v(4, 1), 11: v(4, 1),
        15: v(4, 17), 26: v(4, 5), 46: v(4, 19), 59: v(4, 16), 64: v(4, 17), 70: v(4, 18),
        81: v(4, 19), 86: v(4, 20), 99: v(5, 2), 124: v(5, 9), 158: v(5, 11), 187: v(5, 18),
    ]

    /// Helpers that some types of program got later than others: socket storage, netns cookie.
    private static let lateHelpers: [Int32: [UInt32: KernelVersion]] = [
        107: [3: v(5, 2), 18: v(5, 3), 13: v(5, 3), 25: v(5, 3), 9: v(5, 9)],
        122: [18: v(5, 7), 9: v(5, 7), 13: v(5, 15)],
    ]

    /// How many bytes a context had in Linux 5.4, by program type; what is behind came later.
    static let oldContexts: [UInt32: Int] = [3: 176, 9: 76, 13: 192, 18: 72, 25: 40]

    /// The first kernel that lets programs of `type` call `helper`, `nil` for one that is not listed.
    static func helper(_ helper: Int32, in type: UInt32) -> KernelVersion? {
        lateHelpers[helper].map { $0[type] } ?? helpers[helper]
    }

    private static func v(_ major: Int, _ minor: Int) -> KernelVersion {
        KernelVersion(major, minor)
    }
}

extension BPFObject {
    /// What the loaded object uses that Linux 5.4 does not have, or nobody has looked up.
    var newerThanOld: [String] {
        compiledPrograms.flatMap(Self.newer) + declaredMaps.flatMap(Self.newer)
    }

    private static func newer(_ program: CompiledProgram) -> [String] {
        let type = program.type.value
        var found = [
            late(FirstKernel.programTypes[type], "program type \(type)"),
            late(
                FirstKernel.attachTypes[program.attachType.value],
                "hook \(program.attachType.value)"),
        ]
        for call in program.instructions where call.isCall && !call.isLocalCall {
            // A function of the kernel's own has its number from BTF: Linux 5.13.
            let isKernelFunction = call.source == 2
            found.append(
                late(
                    isKernelFunction
                        ? KernelVersion(5, 13) : FirstKernel.helper(call.immediate, in: type),
                    "helper \(call.immediate)"))
        }
        let reach = ContextAccess(of: program.instructions).end
        if reach > FirstKernel.oldContexts[type] ?? 0 { found.append("context byte \(reach)") }
        return Set(found.compactMap(\.self)).sorted().map { "\(program.name): \($0)" }
    }

    private static func newer(_ map: DeclaredMap) -> [String] {
        var found = [late(FirstKernel.mapTypes[map.type.value], "map type \(map.type.value)")]
        for bit in (0..<32).map({ UInt32(1) << $0 }) where map.flags & bit != 0 {
            found.append(late(FirstKernel.mapFlags[bit], "flag \(bit)"))
        }
        // With the socket's cookie on reading: Linux 5.8.
        if map.type == .socketHash, map.valueSize == 8 { found.append("cookies of sockets") }
        return found.compactMap(\.self).map { "\(map.name): \($0)" }
    }

    private static func late(_ since: KernelVersion?, _ what: String) -> String? {
        guard let since else { return "\(what), of an unknown kernel" }
        return since <= KernelVersion(5, 4) ? nil : "\(what), of \(since)"
    }
}
