// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
internal import FoundationEssentials
package import RedirectionModel
internal import SystemPackage

extension NetworkNamespace {
    /// Our own handles on the sockets that listen on `port` in this namespace.
    ///
    /// Found by sock_diag(7) and in `/proc/PID/fd`, taken with pidfd_getfd(2) (Linux 5.6). A
    /// process that ends while we look is not an error: its sockets are gone as well.
    package func listeningSockets(on port: UInt16) throws(KernelError) -> [ListeningSocket] {
        var families = try inodes(listeningOn: port)
        guard !families.isEmpty else { return [] }
        var found: [ListeningSocket] = []
        // The namespace's own processes first; but a proxy may have opened its socket here and
        // live elsewhere, as node proxies do.
        for process in processesHereFirst() where !families.isEmpty {
            for number in numericNames(in: "/proc/\(process)/fd") {
                guard let inode = socketInode("/proc/\(process)/fd/\(number)"),
                    let family = families[inode],
                    let socket = ListeningSocket(process, number, inode, family)
                else { continue }
                found.append(socket)
                families[inode] = nil
            }
        }
        return found
    }

    /// True when a TCP socket of the namespace listens on the port.
    package func hasListener(on port: UInt16) throws(KernelError) -> Bool {
        try !inodes(listeningOn: port).isEmpty
    }

    /// The listening sockets' inodes.
    private func inodes(listeningOn port: UInt16) throws(KernelError) -> [UInt64: AddressFamily] {
        var inodes: [UInt64: AddressFamily] = [:]
        do throws(KernelError) {
            var netlink = try NetlinkSocket.open(.sockets, in: self)
            for family in AddressFamily.allCases {
                for inode in try netlink.inodes(listeningOn: port, family) {
                    inodes[inode] = family
                }
            }
            return inodes
        } catch {
            guard error.saysNoSubsystem else { throw error }
            return try inodesInTables(listeningOn: port)
        }
    }

    /// The same as the namespace's own tables have it: for these the kernel looks through all the
    /// connections of the machine.
    private func inodesInTables(
        listeningOn port: UInt16
    ) throws(KernelError) -> [UInt64: AddressFamily] {
        var inodes: [UInt64: AddressFamily] = [:]
        for (name, family) in [("tcp", AddressFamily.ipv4), ("tcp6", .ipv6)] {
            let table = try run { () throws(KernelError) in
                try readFile("/proc/thread-self/net/\(name)")
            }
            for inode in ListenerTable.inodes(listeningOn: port, in: table) {
                inodes[inode] = family
            }
        }
        return inodes
    }

    private func processesHereFirst() -> [Int32] {
        let all = numericNames(in: "/proc")
        let here = Set(
            all.filter { (try? NetworkNamespace.open("/proc/\($0)/ns/net")) == self })
        return all.filter(here.contains) + all.filter { !here.contains($0) }
    }
}

/// The text of `/proc/net/tcp`.
package enum ListenerTable {
    /// The inodes of the sockets that listen on `port`.
    package static func inodes(listeningOn port: UInt16, in table: String) -> [UInt64] {
        table.split(separator: "\n").dropFirst().compactMap { line in
            // proc(5): slot, local address:port, remote, state (0A listens), … inode.
            let fields = line.split(separator: " ")
            guard fields.count > 9, fields[3] == "0A",
                let local = fields[1].split(separator: ":").last,
                UInt16(local, radix: 16) == port
            else { return nil }
            return UInt64(fields[9])
        }
    }
}

/// A listening socket of some process, held by a descriptor of our own.
package final class ListeningSocket: Sendable {
    private let descriptor: OwnedDescriptor
    package let family: AddressFamily
    /// The kernel's number for the socket, which no other socket ever has.
    package let cookie: UInt64
    /// True when only this machine's loopback can reach it.
    package let isOnLoopback: Bool

    package var rawDescriptor: CInt { descriptor.rawValue }

    /// Takes the socket out of a process; `nil` when either is gone by now, or the number is
    /// another file's.
    init?(_ process: Int32, _ number: Int32, _ inode: UInt64, _ family: AddressFamily) {
        do throws(KernelError) {
            let handle = OwnedDescriptor(
                taking: try kernel("pidfd_open(\(process))") { clinux_pidfd_open(process) })
            let socket = Socket(
                taking: OwnedDescriptor(
                    taking: try kernel("pidfd_getfd(\(process), \(number))") {
                        clinux_pidfd_getfd(handle.rawValue, number)
                    }))
            guard try socket.descriptor.inode() == inode else {
                throw KernelError("find socket:[\(inode)]", .noSuchFileOrDirectory)
            }
            // SO_COOKIE, socket(7).
            let bytes = try socket.value(of: Socket.Option(level: 1, name: 57), length: 8)
            cookie = bytes.loadInteger(at: 0, as: UInt64.self) ?? 0
            isOnLoopback = try socket.localEndpoint().address.isLoopback
            self.family = family
            descriptor = socket.descriptor
        } catch {
            return nil
        }
    }
}

private func numericNames(in directory: String) -> [Int32] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    return names.compactMap { Int32($0) }
}

/// The inode in a link like `socket:[4711]`.
private func socketInode(_ link: String) -> UInt64? {
    guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: link),
        target.hasPrefix("socket:[")
    else { return nil }
    return UInt64(target.dropFirst("socket:[".count).dropLast())
}
