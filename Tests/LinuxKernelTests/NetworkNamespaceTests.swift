// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import SystemPackage
import Testing

@Suite(.requiresKernel) struct NetworkNamespaceTests {
    @Test(.timeLimit(.minutes(5)))
    func `a body runs inside and the thread comes home`() throws {
        let home = try NetworkNamespace.current()
        let pod = try NetworkNamespace.create()
        let inside = try pod.run { () throws(KernelError) in try NetworkNamespace.current() }
        #expect(inside == pod)
        #expect(try NetworkNamespace.current() == home)
    }

    @Test(.timeLimit(.minutes(5)))
    func `a body that throws comes home too`() throws {
        let home = try NetworkNamespace.current()
        let pod = try NetworkNamespace.create()
        let refusal = KernelError("test", .ioError)
        #expect(throws: refusal) {
            try pod.run { () throws(KernelError) in throw refusal }
        }
        #expect(try NetworkNamespace.current() == home)
    }

    @Test(.timeLimit(.minutes(5)))
    func `a namespace has a cookie of its own`() throws {
        let pods = [try NetworkNamespace.create(), try NetworkNamespace.create()]
        #expect(try pods[0].cookie() != pods[1].cookie())
        #expect(try pods[0].cookie() == pods[0].cookie())
    }

    /// A thread inherits its creator's namespace.
    ///
    /// A `run` that resumed other work from inside
    /// once left a Dispatch worker in a pod for good, and unrelated tasks then opened sockets
    /// there; nothing failed. So look at every thread after a storm of tasks around `run`.
    @Test(.timeLimit(.minutes(5)))
    func `no thread of the process is left in a pod`() async throws {
        await #expect(processExitsWith: .success) {
            let home = try NetworkNamespace.current()
            let pod = try NetworkNamespace.create()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<64 {
                    group.addTask {
                        _ = try pod.run { () throws(KernelError) in
                            try NetworkNamespace.current()
                        }
                        await Task.yield()
                    }
                }
                try await group.waitForAll()
            }
            let threads = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")
            #expect(threads.count > 1, "a storm on one thread proves nothing")
            for thread in threads {
                #expect(try NetworkNamespace.open("/proc/self/task/\(thread)/ns/net") == home)
            }
        }
    }
}
