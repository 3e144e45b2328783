// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel

extension Cgroup {
    /// The cgroup that kubelet has made below this one for the pod of this uid, if it is there.
    ///
    /// Kubelet makes it before the network, and names it by how it drives cgroups: by directories
    /// (`kubepods/burstable/pod0c21-7`) or as systemd's slices, in which a dash parts the levels
    /// (`kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0c21_7.slice`). On a node of
    /// kind's all of it is below `kubelet`.
    func ofPod(_ uid: String?) -> Cgroup? {
        // What is no uid is no path of ours either.
        guard let uid, !uid.isEmpty, uid.allSatisfy({ $0.isHexDigit || $0 == "-" }) else {
            return nil
        }
        let classes = [[], ["burstable"], ["besteffort"]]
        for names in classes.flatMap({ [["kubepods"] + $0, ["kubelet", "kubepods"] + $0] }) {
            let slices = names + ["pod" + uid.replacing("-", with: "_")]
            let paths = [
                (names + ["pod" + uid]).joined(separator: "/"),
                slices.indices.map { slices[...$0].joined(separator: "-") + ".slice" }
                    .joined(separator: "/"),
            ]
            for path in paths {
                let cgroup = child(path)
                if (try? cgroup.open()) != nil { return cgroup }
            }
        }
        return nil
    }

    /// The network namespace of a container whose cgroup a runtime has made in this one, a pod's.
    ///
    /// Runtimes name it by the id, or as a scope of systemd's; CRI-O has a prefix in either case, and
    /// crun has the processes one level below.
    func namespace(
        ofContainer id: String
    ) throws(KernelError) -> ReachableNamespaces.Found? {
        let scopes = ["cri-containerd", "crio", "docker"].map { "\($0)-\(id).scope" }
        for name in [id, "crio-\(id)"] + scopes {
            for cgroup in [child(name), child(name + "/container")] {
                do throws(KernelError) {
                    guard let inode = try cgroup.namespaceInode() else { continue }
                    // Where the namespace has a name, that outlives the process.
                    return try ReachableNamespaces.find(inode: inode)
                } catch  where error.saysGone {}
            }
        }
        return nil
    }

    /// The network namespace of the oldest process here, unless that is still on its way to one.
    private func namespaceInode() throws(KernelError) -> UInt64? {
        guard let process = try processes().min() else { return nil }
        let inode = try NetworkNamespace.open("/proc/\(process)/ns/net").inode
        // Nobody else has got its number meanwhile.
        guard try processes().contains(process) else { return nil }
        return try NetworkNamespace.machines().contains(inode) ? nil : inode
    }
}
