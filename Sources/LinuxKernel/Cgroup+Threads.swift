// SPDX-License-Identifier: Apache-2.0

internal import SystemPackage

/// Threads of one process in cgroups of their own (cgroups(7), "Thread mode").
extension Cgroup {
    /// Lets threads of the parent's processes live here, apart from each other.
    package func makeThreaded() throws(KernelError) {
        try OwnedDescriptor.open(path + "/cgroup.type", .write).write("threaded")
    }

    /// Runs `body` with the calling thread in here, and takes it back where it was.
    package func holdingThread<Value: ~Copyable>(
        _ body: () throws(KernelError) -> Value
    ) throws(KernelError) -> Value {
        let home = try Cgroup.ofThread()
        try addThread()
        defer {
            do throws(KernelError) {
                try home.addThread()
            } catch {
                preconditionFailure("cannot leave \(path): \(error)")
            }
        }
        return try body()
    }

    /// Moves the calling thread here.
    private func addThread() throws(KernelError) {
        try OwnedDescriptor.open(path + "/cgroup.threads", .write).write("0")
    }
}
