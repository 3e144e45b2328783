// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
internal import RedirectionModel
internal import SystemPackage

/// A network namespace, held open by a descriptor so that it outlives its processes.
package final class NetworkNamespace: Sendable {
    private let descriptor: OwnedDescriptor

    /// The number of the descriptor, for a system call that only looks at it.
    package var rawDescriptor: CInt { descriptor.rawValue }

    /// The nsfs inode: equal for two handles of one namespace, network_namespaces(7).
    package let inode: UInt64

    /// Where threads go besides when they are inside.
    private let cgroup: Cgroup?

    private init(
        taking descriptor: consuming OwnedDescriptor, _ cgroup: Cgroup? = nil
    ) throws(KernelError) {
        inode = try descriptor.inode()
        self.descriptor = descriptor
        self.cgroup = cgroup
    }

    /// The same namespace for those who are in `cgroup`, a threaded one, while they are inside: what
    /// they open there belongs to it.
    package func within(_ cgroup: Cgroup) throws(KernelError) -> NetworkNamespace {
        try NetworkNamespace(taking: OwnedDescriptor(duplicating: rawDescriptor), cgroup)
    }

    /// Opens a namespace by a file that names it: `/run/netns/x`, `/proc/7/ns/net`.
    package static func open(_ path: String) throws(KernelError) -> NetworkNamespace {
        try NetworkNamespace(taking: OwnedDescriptor.open(path))
    }

    /// The namespace of the calling thread.
    package static func current() throws(KernelError) -> NetworkNamespace {
        try open("/proc/thread-self/ns/net")
    }

    /// The namespaces that are the machine's, by inode, and no workload's: the one we live in, and
    /// that of the first process, which is another for an agent with a namespace of its own.
    package static func machines() throws(KernelError) -> Set<UInt64> {
        var inodes: Set = [try current().inode]
        do throws(KernelError) {
            inodes.insert(try open("/proc/1/ns/net").inode)
        } catch  where error.saysGone || error.errno == .permissionDenied {
            // Who cannot see it cannot be given it either.
        }
        return inodes
    }

    /// Makes an empty namespace, its loopback interface up.
    package static func create() throws(KernelError) -> NetworkNamespace {
        let created = try away { () throws(KernelError) in
            try kernel("unshare(CLONE_NEWNET)") { clinux_unshare_netns() }
        } doing: { () throws(KernelError) in
            try current()
        }
        var links = try RouteNetlink.open(in: created)
        try links.setUp("lo")
        return created
    }

    /// Runs `body` inside the namespace, on the calling thread, and comes back.
    ///
    /// The namespace is a property of the *thread*, so nothing may suspend while inside:
    /// `body` is synchronous, and the type system keeps it that way. Make only system calls in
    /// there: a library that starts a thread would leave it in the pod for good (ADR 0008).
    /// A socket remembers the namespace it was born in, so open sockets in there and take
    /// them out.
    package func run<Value: ~Copyable>(
        _ body: () throws(KernelError) -> Value
    ) throws(KernelError) -> Value {
        try away { () throws(KernelError) in
            try kernel("setns(CLONE_NEWNET)") { clinux_enter_netns(descriptor.rawValue) }
        } doing: { () throws(KernelError) in
            guard let cgroup else { return try body() }
            return try cgroup.holdingThread(body)
        }
    }

    /// The cookie the kernel gives the namespace for its whole life (SO_NETNS_COOKIE, 5.14).
    package func cookie() throws(KernelError) -> UInt64 {
        let socket = try run { () throws(KernelError) in try Socket.open(.tcp, .ipv4) }
        var cookie: UInt64 = 0
        try kernel("getsockopt(SO_NETNS_COOKIE)") {
            unsafe clinux_netns_cookie(socket.rawDescriptor, &cookie)
        }
        return cookie
    }

    /// The cookie, `nil` where the kernel gives none.
    package func cookieIfAny() throws(KernelError) -> UInt64? {
        do throws(KernelError) {
            return try cookie()
        } catch  where error.errno == .protocolNotAvailable {
            return nil
        }
    }
}

extension NetworkNamespace: Equatable {
    package static func == (left: NetworkNamespace, right: NetworkNamespace) -> Bool {
        left.inode == right.inode
    }
}

/// Goes somewhere, runs `body` there, and puts the calling thread back where it started.
///
/// Who may not leave (`EPERM`) may not return either, so the way back begins after the way out.
private func away<Value: ~Copyable>(
    _ leave: () throws(KernelError) -> Void, doing body: () throws(KernelError) -> Value
) throws(KernelError) -> Value {
    let home = try OwnedDescriptor.open("/proc/thread-self/ns/net")
    try leave()
    defer {
        // Better to stop than to let this thread speak from inside a pod.
        let status = clinux_enter_netns(home.rawValue)
        precondition(status == 0, "setns(home) failed with errno \(-status)")
    }
    return try body()
}
