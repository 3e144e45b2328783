// SPDX-License-Identifier: Apache-2.0

internal import CLibMNL
internal import SystemPackage

#if canImport(Glibc)
internal import Glibc
#endif

/// A netlink socket: bound to the namespace it was opened in, usable from anywhere.
///
/// libmnl's socket is not thread-safe, so this type is not `Sendable`.
@safe
package struct NetlinkSocket: ~Copyable {
    private let socket: OpaquePointer
    private var sequence: UInt32 = 0

    private init(owning socket: OpaquePointer) { unsafe self.socket = socket }

    deinit { unsafe mnl_socket_close(socket) }

    /// The buses the project speaks on, netlink(7).
    package enum Bus: CInt {
        case route = 0
        case sockets = 4
        case netfilter = 12
    }

    /// Opens a socket on `bus` inside `namespace`.
    package static func open(
        _ bus: Bus, in namespace: NetworkNamespace
    ) throws(KernelError) -> NetlinkSocket {
        try namespace.run { () throws(KernelError) in
            var opened: OpaquePointer?
            try kernel("socket(AF_NETLINK)") { unsafe clibmnl_open(bus.rawValue, &opened) }
            guard let opened = unsafe opened else { preconditionFailure("no socket, no error") }
            let socket = unsafe NetlinkSocket(owning: opened)
            try kernel("bind(AF_NETLINK)") { unsafe clibmnl_bind(socket.socket) }
            return socket
        }
    }

    /// Opens a socket inside `namespace` that hears what the kernel tells the groups on `bus`.
    static func listen(
        to groups: [CInt], on bus: Bus, in namespace: NetworkNamespace
    ) throws(KernelError) -> NetlinkSocket {
        let socket = try open(bus, in: namespace)
        for group in groups {
            try kernel("setsockopt(NETLINK_ADD_MEMBERSHIP)") {
                unsafe clibmnl_join(socket.socket, group)
            }
        }
        return socket
    }

    /// The number of the descriptor, to wait on.
    var rawDescriptor: CInt { unsafe mnl_socket_get_fd(socket) }

    /// The messages of the next datagram; empty when there is none.
    func heard() throws(KernelError) -> [NetlinkReply] {
        var buffer = [UInt8](repeating: 0, count: 65536)
        let size = unsafe clibmnl_receive_now(socket, &buffer, buffer.count)
        if size == -Int(Errno.resourceTemporarilyUnavailable.rawValue) { return [] }
        try kernel("recv(AF_NETLINK)") { size }
        return NetlinkReply.split(Array(buffer.prefix(size)))
    }

    /// Sends a request and returns the payload messages of its answer, header included.
    ///
    /// A request must ask for an acknowledgement (`NLM_F_ACK`), for that is how its end is known.
    @discardableResult
    package mutating func request(
        _ message: borrowing NetlinkMessage, _ call: @autoclosure () -> String
    ) throws(KernelError) -> [[UInt8]] {
        try answer(to: message, call()).messages
    }

    /// Sends a request for a list (`NLM_F_DUMP`) and returns its messages, header included.
    ///
    /// The kernel answers in parts. When the list changes in between, it marks the answer as
    /// torn: objects may be missing or there twice. Then we ask again.
    package mutating func dump(
        _ message: borrowing NetlinkMessage, _ call: @autoclosure () -> String
    ) throws(KernelError) -> [[UInt8]] {
        for _ in 0..<Self.dumpAttempts {
            let answer = try answer(to: message, call())
            if !answer.isTorn { return answer.messages }
        }
        throw KernelError(
            call(), .resourceTemporarilyUnavailable,
            detail: "it changed during each of \(Self.dumpAttempts) attempts")
    }

    private static let dumpAttempts = 10

    private mutating func answer(
        to message: borrowing NetlinkMessage, _ call: @autoclosure () -> String
    ) throws(KernelError) -> Answer {
        sequence += 1
        let number = sequence
        let sent = unsafe message.withBytes(sequence: number) { bytes in
            unsafe clibmnl_send(socket, bytes.baseAddress, bytes.count)
        }
        try kernel(call()) { sent }
        return try receive(number, call())
    }

    /// Sends a datagram of messages the kernel works off before it returns, and reads what it
    /// then has to say: the number and status of each message that failed or asked for it.
    ///
    /// nfnetlink's batches are such messages. They may be long, so the socket makes room first.
    package mutating func exchange(
        _ datagram: [UInt8], _ call: @autoclosure () -> String
    ) throws(KernelError) -> [(sequence: UInt32, status: Int32)] {
        // The kernel keeps its own books in the buffer, too.
        let room = datagram.count + 65536
        try kernel(call()) { unsafe clibmnl_make_room(socket, CInt(clamping: room)) }
        try kernel(call()) { unsafe clibmnl_send(socket, datagram, datagram.count) }
        var statuses: [(sequence: UInt32, status: Int32)] = []
        while true {
            var buffer = [UInt8](repeating: 0, count: 65536)
            let size = unsafe clibmnl_receive_now(socket, &buffer, buffer.count)
            if size == -Int(Errno.resourceTemporarilyUnavailable.rawValue) { return statuses }
            try kernel(call()) { size }
            for message in NetlinkReply.split(Array(buffer.prefix(size))) {
                guard let status = message.status else { continue }
                statuses.append((message.sequence, status))
            }
        }
    }

    private struct Answer {
        var messages: [[UInt8]] = []
        var isTorn = false
    }

    /// Collects answers until the acknowledgement or the end of the dump.
    private func receive(
        _ number: UInt32, _ call: @autoclosure () -> String
    ) throws(KernelError) -> Answer {
        var answer = Answer()
        while true {
            var buffer = [UInt8](repeating: 0, count: 65536)
            let size = try kernel(call()) {
                unsafe clibmnl_receive(socket, &buffer, buffer.count)
            }
            for message in NetlinkReply.split(Array(buffer.prefix(Int(size)))) {
                guard message.sequence == number else { continue }
                // Any part may carry the mark, the last one too.
                answer.isTorn = answer.isTorn || message.isTorn
                if let status = message.status {
                    try kernel(call()) { status }
                    return answer
                }
                answer.messages.append(message.bytes)
            }
        }
    }
}

/// One message of an answer, nlmsghdr first.
package struct NetlinkReply {
    let type: UInt16
    let sequence: UInt32
    let bytes: [UInt8]

    private static let errorType: UInt16 = 2
    private static let doneType: UInt16 = 3

    /// Zero or a negative errno when the message ends the answer, else `nil`.
    ///
    /// A list that broke off says so in its last message, where a whole one has zero.
    package var status: Int32? {
        switch type {
        case Self.errorType: field(at: 16, as: Int32.self)
        case Self.doneType: field(at: 16, as: Int32.self) ?? 0
        default: nil
        }
    }

    /// Whether the kernel marked the message as part of a list that changed meanwhile.
    package var isTorn: Bool { (field(at: 6, as: UInt16.self) ?? 0) & UInt16(NLM_F_DUMP_INTR) != 0 }

    private func field<Field: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as: Field.Type)
        -> Field?
    {
        bytes.loadInteger(at: offset, as: Field.self)
    }

    /// Splits a datagram into its messages, netlink(7) "NLMSG_ALIGN".
    package static func split(_ datagram: [UInt8]) -> [NetlinkReply] {
        var messages: [NetlinkReply] = []
        var offset = 0
        while let length = datagram.loadInteger(at: offset, as: UInt32.self), length >= 16,
            offset + Int(length) <= datagram.count
        {
            let bytes = Array(datagram[offset..<(offset + Int(length))])
            messages.append(
                NetlinkReply(
                    type: bytes.loadInteger(at: 4, as: UInt16.self) ?? 0,
                    sequence: bytes.loadInteger(at: 8, as: UInt32.self) ?? 0, bytes: bytes))
            offset += (Int(length) + 3) & ~3
        }
        return messages
    }
}

extension [UInt8] {
    /// The integer in host order at `offset`, or `nil` when the bytes end before it does.
    package func loadInteger<Value: FixedWidthInteger & BitwiseCopyable>(
        at offset: Int, as type: Value.Type
    ) -> Value? {
        guard offset >= 0, offset + MemoryLayout<Value>.size <= count else { return nil }
        return unsafe withUnsafeBytes { unsafe $0.loadUnaligned(fromByteOffset: offset, as: type) }
    }

    /// The netlink attributes from `offset` on, by type; flag bits of the type are cut off.
    package func netlinkAttributes(from offset: Int) -> [(type: Int, value: [UInt8])] {
        var attributes: [(type: Int, value: [UInt8])] = []
        var offset = offset
        while let length = loadInteger(at: offset, as: UInt16.self), length >= 4,
            offset + Int(length) <= count,
            let type = loadInteger(at: offset + 2, as: UInt16.self)
        {
            let value = Array(self[(offset + 4)..<(offset + Int(length))])
            attributes.append((Int(type & 0x3fff), value))
            offset += (Int(length) + 3) & ~3
        }
        return attributes
    }
}
