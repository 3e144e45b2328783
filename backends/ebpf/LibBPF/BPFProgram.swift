// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel
internal import SystemPackage

/// A program in the kernel, verified; it stays there while anything refers to it.
package final class BPFProgram: Sendable {
    private let descriptor: OwnedDescriptor
    package let name: String
    package let id: UInt32
    /// A hash of the instructions, as the kernel's tools print it.
    package let tag: String
    /// How many instructions the verifier walked, over all paths: its effort (Linux 5.16).
    package let verifiedInstructions: Int
    /// How many instructions the program has once the kernel has rewritten it.
    package let translatedInstructions: Int

    /// The number of the descriptor, for a system call that only looks at it.
    package var rawDescriptor: CInt { descriptor.rawValue }

    /// Takes over a descriptor of a program; `name` where the kernel's 15 letters do not reach.
    init(taking descriptor: consuming OwnedDescriptor, name: String) throws(KernelError) {
        var info = bpf_prog_info()
        var size = UInt32(MemoryLayout<bpf_prog_info>.size)
        try kernel("bpf_obj_get_info_by_fd(\(name))") { [number = descriptor.rawValue] in
            unsafe bpf_obj_get_info_by_fd(number, &info, &size)
        }
        self.name = name
        id = info.id
        tag = unsafe withUnsafeBytes(of: info.tag) { unsafe $0.map(hexadecimal).joined() }
        verifiedInstructions = Int(info.verified_insns)
        translatedInstructions =
            Int(info.xlated_prog_len) / MemoryLayout<BPFInstruction>.stride
        self.descriptor = descriptor
    }

    /// Loads raw instructions; the smallest programs are questions put to the kernel.
    package static func load(
        _ type: BPFProgramType, _ attachType: BPFAttachType = .none,
        instructions: [BPFInstruction], name: String = "swerve_probe"
    ) throws(KernelError) -> BPFProgram {
        var log = LogBuffer()
        let result = attempt(type, attachType, name, instructions, &log)
        guard result >= 0 else {
            throw KernelError(
                "bpf(BPF_PROG_LOAD, \(name))", Errno(rawValue: -result),
                detail: VerifierLog.lastWords(log.text))
        }
        return try BPFProgram(taking: OwnedDescriptor(taking: result), name: name)
    }

    /// Returns a descriptor, or a negative errno with the verifier's words in `log`.
    private static func attempt(
        _ type: BPFProgramType, _ attachType: BPFAttachType, _ name: String,
        _ instructions: [BPFInstruction], _ log: inout LogBuffer
    ) -> CInt {
        Library.prepare()
        var options = unsafe bpf_prog_load_opts()
        unsafe options.sz = clibbpf_bpf_prog_load_opts_size()
        unsafe options.expected_attach_type = attachType.raw
        unsafe options.log_buf = log.start
        unsafe options.log_size = UInt32(LogBuffer.size)
        unsafe options.log_level = 1
        return unsafe instructions.withUnsafeBytes { bytes in
            unsafe bpf_prog_load(
                type.raw, name, "GPL", bytes.assumingMemoryBound(to: bpf_insn.self).baseAddress,
                instructions.count, &options)
        }
    }
}

private func hexadecimal(_ byte: UInt8) -> String {
    (byte < 16 ? "0" : "") + String(byte, radix: 16)
}

/// The library's own state, which is the process's.
enum Library {
    private static let silenced: Void = clibbpf_silence()

    /// Makes libbpf quiet; whatever it has to say is in the error we throw.
    static func prepare() { silenced }
}
