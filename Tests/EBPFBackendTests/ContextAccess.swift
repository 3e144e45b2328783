// SPDX-License-Identifier: Apache-2.0

@testable import LibBPF

/// How far into its context a program reaches, found by following the pointer through registers, the
/// stack and the functions it is passed to.
///
/// Paths are joined: a register counts as the pointer if it may be.
struct ContextAccess {
    /// The first byte behind the last one that is read or written; 0 for none.
    private(set) var end = 0
    private let code: [BPFInstruction]
    private var known: [Int: State] = [:]
    private var waiting: [Int] = [0]

    /// Where the pointer may be: registers, and places on the stack.
    private struct State: Equatable {
        var registers: Set<UInt8> = []
        var stack: Set<Int16> = []

        mutating func formUnion(_ other: State) {
            registers.formUnion(other.registers)
            stack.formUnion(other.stack)
        }
    }

    init(of code: [BPFInstruction]) {
        self.code = code
        known[0] = State(registers: [1])
        while let place = waiting.popLast() { step(at: place) }
    }

    private mutating func flow(_ state: State, to place: Int) {
        guard code.indices.contains(place) else { return }
        var joined = known[place] ?? State()
        joined.formUnion(state)
        guard known[place] != joined || known[place] == nil else { return }
        known[place] = joined
        waiting.append(place)
    }

    private mutating func step(at place: Int) {
        guard var state = known[place] else { return }
        let instruction = code[place]
        let target = place + 1 + Int(instruction.offset)
        switch instruction.class {
        case .load: load(instruction, &state)
        case .storeImmediate: note(instruction, through: instruction.destination, state)
        case .store: store(instruction, &state)
        case .jump where instruction.isCall:
            if instruction.isLocalCall {
                let arguments = state.registers.intersection([1, 2, 3, 4, 5])
                flow(
                    State(registers: arguments), to: place + 1 + Int(instruction.immediate))
            }
            state.registers.subtract([0, 1, 2, 3, 4, 5])
        case .jump where instruction.isExit: return
        case .jump where instruction.isAlways: return flow(state, to: target)
        case .jump: flow(state, to: target)
        case .wideImmediate:
            state.registers.remove(instruction.destination)
            return flow(state, to: place + 2)
        case .arithmetic where instruction.isMove && state.registers.contains(instruction.source):
            state.registers.insert(instruction.destination)
        case .arithmetic where instruction.isMove: state.registers.remove(instruction.destination)
        case .arithmetic: break
        }
        flow(state, to: place + 1)
    }

    private mutating func load(_ instruction: BPFInstruction, _ state: inout State) {
        note(instruction, through: instruction.source, state)
        let isPointer = instruction.source == 10 && state.stack.contains(instruction.offset)
        state.registers.remove(instruction.destination)
        if isPointer { state.registers.insert(instruction.destination) }
    }

    private mutating func store(_ instruction: BPFInstruction, _ state: inout State) {
        note(instruction, through: instruction.destination, state)
        guard instruction.destination == 10 else { return }
        state.stack.remove(instruction.offset)
        if state.registers.contains(instruction.source) { state.stack.insert(instruction.offset) }
    }

    private mutating func note(
        _ instruction: BPFInstruction, through register: UInt8, _ state: State
    ) {
        guard state.registers.contains(register) else { return }
        end = max(end, Int(instruction.offset) + instruction.width)
    }
}

/// The encoding, as far as this goes: Linux, Documentation/bpf/standardization.
extension BPFInstruction {
    enum Class { case load, store, storeImmediate, jump, arithmetic, wideImmediate }

    var `class`: Class {
        switch code & 7 {
        case 0: .wideImmediate
        case 1: .load
        case 2: .storeImmediate
        case 3: .store
        case 5, 6: .jump
        default: .arithmetic
        }
    }
    var destination: UInt8 { registers & 15 }
    var source: UInt8 { registers >> 4 }
    var isMove: Bool { code == 0xbf }
    var isCall: Bool { code == 0x85 }
    /// A call of a function of the program's own; else of the kernel's.
    var isLocalCall: Bool { isCall && source == 1 }
    var isExit: Bool { code == 0x95 }
    var isAlways: Bool { code == 0x05 }
    /// How many bytes a load or store moves.
    var width: Int { [0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8][code & 0x18] ?? 8 }
}
