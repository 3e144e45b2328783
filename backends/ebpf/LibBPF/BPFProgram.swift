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
    init(taking descriptor: consuming OwnedDescriptor, name: String? = nil) throws(KernelError) {
        var info = bpf_prog_info()
        var size = UInt32(MemoryLayout<bpf_prog_info>.size)
        try kernel("bpf_obj_get_info_by_fd(\(name ?? "a program"))") {
            [number = descriptor.rawValue] in
            unsafe bpf_obj_get_info_by_fd(number, &info, &size)
        }
        self.name =
            unsafe name
            ?? withUnsafeBytes(of: info.name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
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

extension BPFProgram {
    /// Opens a program that is in the kernel by its id.
    ///
    /// Without a `name` it has the kernel's, which is cut to 15 bytes.
    package static func open(id: UInt32, name: String? = nil) throws(KernelError) -> BPFProgram {
        let descriptor = try kernel("bpf_prog_get_fd_by_id(\(id))") { bpf_prog_get_fd_by_id(id) }
        return try BPFProgram(taking: OwnedDescriptor(taking: descriptor), name: name)
    }

    /// Hands a packet to the program, for a trial; returns what it says and what it made of it.
    ///
    /// The maps are the real ones: what the program writes there stays.
    package func run(
        on packet: [UInt8]
    ) throws(KernelError) -> (result: Int32, packet: [UInt8]) {
        // A program may add to the packet, by a header or two.
        var output = [UInt8](repeating: 0, count: packet.count + 256)
        var result: UInt32 = 0
        var size = 0
        try kernel("bpf(BPF_PROG_TEST_RUN, \(name))") {
            unsafe packet.withUnsafeBytes { input in
                unsafe output.withUnsafeMutableBytes { output in
                    var options = unsafe bpf_test_run_opts()
                    unsafe options.sz = clibbpf_bpf_test_run_opts_size()
                    unsafe options.data_in = input.baseAddress
                    unsafe options.data_size_in = UInt32(input.count)
                    unsafe options.data_out = output.baseAddress
                    unsafe options.data_size_out = UInt32(output.count)
                    let status = unsafe bpf_prog_test_run_opts(descriptor.rawValue, &options)
                    unsafe result = options.retval
                    unsafe size = Int(options.data_size_out)
                    return status
                }
            }
        }
        return (Int32(bitPattern: result), Array(output.prefix(size)))
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
