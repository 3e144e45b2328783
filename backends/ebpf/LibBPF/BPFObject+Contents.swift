// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF

/// What is in an object file, read without a kernel.
extension BPFObject {
    /// A program as it was compiled.
    package struct CompiledProgram: Sendable {
        package let name: String
        package let type: BPFProgramType
        package let attachType: BPFAttachType
        package let instructions: [BPFInstruction]
    }

    /// A map as it was declared.
    package struct DeclaredMap: Hashable, Sendable {
        package let name: String
        package let type: BPFMapType
        package let keySize: Int
        package let valueSize: Int
        /// The flags of bpf(2), BPF_MAP_CREATE.
        package let flags: UInt32
    }

    package var compiledPrograms: [CompiledProgram] {
        unsafe programs.map { program in
            let count = unsafe bpf_program__insn_cnt(program)
            let start = unsafe UnsafeRawPointer(bpf_program__insns(program))
            let bytes = unsafe UnsafeRawBufferPointer(
                start: start, count: Int(count) * MemoryLayout<BPFInstruction>.stride)
            return unsafe CompiledProgram(
                name: String(cString: bpf_program__name(program)),
                type: BPFProgramType(bpf_program__type(program)),
                attachType: BPFAttachType(bpf_program__expected_attach_type(program)),
                instructions: Array(bytes.bindMemory(to: BPFInstruction.self)))
        }
    }

    package var declaredMaps: [DeclaredMap] {
        unsafe maps.map { map in
            unsafe DeclaredMap(
                name: String(cString: bpf_map__name(map)),
                type: BPFMapType(value: bpf_map__type(map).rawValue),
                keySize: Int(bpf_map__key_size(map)), valueSize: Int(bpf_map__value_size(map)),
                flags: bpf_map__map_flags(map))
        }
    }
}
