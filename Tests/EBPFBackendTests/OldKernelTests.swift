// SPDX-License-Identifier: Apache-2.0

import CBPFObjects
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import Testing

@testable import EBPFBackend
@testable import LibBPF

/// The objects for Linux 5.4 use nothing that it does not have.
@Suite(.requiresKernel, .timeLimit(.minutes(1))) struct OldKernelTests {
    private static let old =
        (ProgramPart.origins + [.multipath] + ProgramPart.deciders).map(\.attached.object)
        + [SWERVE_OBJECT_TC]

    private static let new = [
        SWERVE_OBJECT_CONNECT, SWERVE_OBJECT_DNS, SWERVE_OBJECT_OWNER,
        SWERVE_OBJECT_OWNER_ATTACHED, SWERVE_OBJECT_OWNER_BASIC,
        SWERVE_OBJECT_OWNER_BASIC_ATTACHED, SWERVE_OBJECT_PEERNAME, SWERVE_OBJECT_SK_LOOKUP,
        SWERVE_OBJECT_SOCKOPS, SWERVE_OBJECT_CONNECT_TYPED, SWERVE_OBJECT_CONNECT_ATTACHED_TYPED,
        SWERVE_OBJECT_DNS_TYPED, SWERVE_OBJECT_DNS_ATTACHED_TYPED, SWERVE_OBJECT_GETSOCKOPT_TYPED,
        SWERVE_OBJECT_SOCKOPS_TYPED,
    ]

    @Test func `the old path needs nothing newer than Linux 5_4`() throws {
        for name in Self.old {
            let object = try Self.load(name)
            #expect(object.newerThanOld.isEmpty, "object \(name.rawValue)")
            #expect(!object.compiledPrograms.isEmpty)
            // What follows the context is not blind: it sees each program ask for something.
            for program in object.compiledPrograms where program.name != "swerve_sock_create" {
                #expect(ContextAccess(of: program.instructions).end > 0, "\(program.name)")
            }
        }
    }

    /// So that the check above means something.
    @Test func `every other object is found to need more`() throws {
        for name in Self.new {
            #expect(try !Self.load(name).newerThanOld.isEmpty, "object \(name.rawValue)")
        }
    }

    @Test func `what they need more is named`() throws {
        let connect = try Self.load(SWERVE_OBJECT_CONNECT).newerThanOld
        #expect(connect.contains("swerve_connect4: helper 122, of 5.7"))
        #expect(connect.contains("swerve_connect4: helper 187, of 5.18"))
        let sockops = try Self.load(SWERVE_OBJECT_SOCKOPS).newerThanOld
        #expect(sockops.contains("swerve_sockops: helper 122, of 5.15"))
        #expect(sockops.contains("swerve_listeners: cookies of sockets"))
        let peername = try Self.load(SWERVE_OBJECT_PEERNAME).newerThanOld
        #expect(peername.contains("swerve_getpeername4: hook 29, of 5.8"))
    }

    /// An access behind the old context, by way of another register and the stack.
    @Test func `a field behind the old context is seen`() {
        let save = BPFInstruction(code: 0x7b, registers: 0x1a, offset: -8, immediate: 0)
        let restore = BPFInstruction(code: 0x79, registers: 0xa6, offset: -8, immediate: 0)
        let read = BPFInstruction(code: 0x61, registers: 0x62, offset: 72, immediate: 0)
        #expect(ContextAccess(of: [save, restore, read, .exit]).end == 76)
        #expect(ContextAccess(of: [save, read, .exit]).end == 0)
    }

    @Test func `a hook that the kernel does not know has no programs`() throws {
        let unknown = BPFAttachType(value: 9999)
        let cgroup = try Cgroup.root()
        #expect(try BPFLink.programs(on: cgroup, unknown) == [])
        #expect(try BPFLink.programs(in: try .current(), unknown) == [])
        #expect(try CgroupHook.query(cgroup, unknown) == nil)
        let errors = [22, 38, 1, 9].map { (number: CInt) in
            do throws(KernelError) {
                let found = try HookPrograms.read("ask") { _, _ in -number }
                return found.ids.isEmpty ? "nothing" : "programs"
            } catch {
                return error.call
            }
        }
        #expect(errors == ["nothing", "nothing", "ask", "ask"])
    }

    /// Loads the object by itself; subprograms are in the code only from then on.
    private static func load(_ name: swerve_object_name) throws -> BPFObject {
        let bytes = unsafe swerve_object(name)
        let file = unsafe UnsafeRawBufferPointer(start: bytes.start, count: bytes.size)
        var object = try unsafe BPFObject.open(file, name: "old\(name.rawValue)")
        try object.load()
        return object
    }
}
