// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionModel
import SystemPackage
import Testing

@Suite(.requiresKernel) struct ChildProcessTests {
    /// Runs a shell line born as `prepare` says, and returns what it printed.
    private func output(
        of line: String, _ prepare: (inout ChildProcess.Birth) throws -> Void
    ) throws -> String {
        let pipe = try OwnedDescriptor.pipe()
        var birth = ChildProcess.Birth(["sh", "-c", line])
        birth.output = pipe.writer.rawValue
        try prepare(&birth)
        let child = try ChildProcess.start(birth)
        let reader = pipe.takeReader()
        let text = String(decoding: try reader.readAll(), as: UTF8.self)
        #expect(try child.waitForExit() == 0)
        return text
    }

    @Test(.timeLimit(.minutes(5)))
    func `a child is born in its namespace, cgroup and user`() throws {
        let pod = try NetworkNamespace.create()
        let cgroup = try Cgroup.createUnique(prefix: "swerve-test")
        let text = try output(of: "id -u; readlink /proc/self/ns/net; cat /proc/self/cgroup") {
            $0.namespace = pod
            $0.cgroup = cgroup
            $0.owner = Owner(uid: 1500, gid: 1500)
        }
        #expect(text.hasPrefix("1500\nnet:[\(pod.inode)]\n"))
        #expect(text.contains("0::/" + (cgroup.path.split(separator: "/").last ?? "")))
        try cgroup.remove()
    }

    @Test(.timeLimit(.minutes(5)))
    func `a program that does not exist is an error of start`() {
        #expect(throws: KernelError("start /nowhere", .noSuchFileOrDirectory)) {
            _ = try ChildProcess.start(ChildProcess.Birth(["/nowhere"]))
        }
    }

    @Test(.timeLimit(.minutes(5)))
    func `the exit status is the program's own`() throws {
        let child = try ChildProcess.start(ChildProcess.Birth(["sh", "-c", "exit 7"]))
        #expect(try child.waitForExit() == 7)
    }

    @Test(.timeLimit(.minutes(5)))
    func `no descriptor of the parent reaches the child`() throws {
        // Prove the instrument first: the descriptor is there in this process.
        let marker = try OwnedDescriptor.open("/proc/version")
        #expect(marker.rawValue > 2)
        let text = try output(of: "ls /proc/self/fd | wc -l") { _ in }
        // 0, 1, 2 and the directory that ls reads.
        #expect(text == "4\n")
    }
}
