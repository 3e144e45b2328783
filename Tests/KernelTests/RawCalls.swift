// SPDX-License-Identifier: Apache-2.0

import LinuxKernel
import RedirectionModel
import SystemPackage

#if canImport(Glibc)
import Glibc
#endif

/// Calls that only tests make, as programs in a workload do.
extension Socket {
    /// connect(2) to `AF_UNSPEC`, which takes a connection back.
    func disconnect() throws(KernelError) {
        var name = sockaddr()
        name.sa_family = sa_family_t(AF_UNSPEC)
        try checked("connect(AF_UNSPEC)") {
            unsafe Glibc.connect(rawDescriptor, &name, socklen_t(MemoryLayout<sockaddr>.size))
        }
    }

    /// sendto(2) with `MSG_FASTOPEN`: connects, with the first bytes in the SYN if that is possible.
    func sendFastOpen(_ text: String, toIPv4 endpoint: Endpoint) throws(KernelError) {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = endpoint.port.bigEndian
        name.sin_addr.s_addr = endpoint.address.ipv4.bigEndian
        let bytes = Array(text.utf8)
        let fastOpen: CInt = 0x2000_0000
        try checked("sendto(MSG_FASTOPEN)") {
            unsafe withUnsafePointer(to: &name) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { name in
                    CInt(
                        unsafe sendto(
                            rawDescriptor, bytes, bytes.count, fastOpen, name,
                            socklen_t(MemoryLayout<sockaddr_in>.size)))
                }
            }
        }
    }

    /// `SO_ERROR`: how a connect(2) that did not wait has ended; 0 is well.
    func pendingError() throws(KernelError) -> CInt {
        try value(of: Option(level: SOL_SOCKET, name: SO_ERROR), length: 4).enumerated()
            .reduce(0) { $0 | CInt($1.element) << (8 * $1.offset) }
    }

    private func checked(_ call: String, _ body: () -> CInt) throws(KernelError) {
        guard body() < 0 else { return }
        throw KernelError(call, Errno(rawValue: Glibc.errno))
    }
}
