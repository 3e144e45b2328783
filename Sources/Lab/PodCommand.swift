// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel
package import RedirectionModel

/// Running a command in a pod: its network, its cgroup, its names.
package struct PodCommand: Sendable {
    package let birth: ChildProcess.Birth

    /// Prepares `arguments` to run in `pod` as `owner`; root when `nil`.
    package init(
        _ arguments: [String], in pod: LabState.Pod, of lab: LabState, as owner: Owner? = nil
    ) throws(KernelError) {
        var birth = ChildProcess.Birth(arguments)
        birth.namespace = try .open(pod.namespace)
        birth.cgroup = Cgroup(path: pod.cgroup)
        birth.hosts = lab.hosts
        birth.owner = owner
        self.birth = birth
    }

    package struct Output: Hashable, Sendable {
        package let status: Int
        package let output: String
        package let error: String
    }

    /// Runs it to its end and returns what it printed.
    package func capture() throws(KernelError) -> Output {
        let output = try OwnedDescriptor.pipe()
        let error = try OwnedDescriptor.pipe()
        let nothing = try OwnedDescriptor.open("/dev/null")
        var birth = birth
        birth.input = nothing.rawValue
        birth.output = output.writer.rawValue
        birth.error = error.writer.rawValue
        birth.startsSession = true
        let child = try ChildProcess.start(birth)
        let text = try output.takeReader().readAll()
        let complaint = try error.takeReader().readAll()
        return Output(
            status: try child.waitForExit(), output: String(decoding: text, as: UTF8.self),
            error: String(decoding: complaint, as: UTF8.self))
    }
}
