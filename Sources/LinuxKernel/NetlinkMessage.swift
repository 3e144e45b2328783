// SPDX-License-Identifier: Apache-2.0

internal import CLibMNL

/// A netlink message under construction, netlink(7): a header, a family header, attributes.
///
/// libmnl lays out and pads every part; nothing in the project counts bytes by hand.
@safe
package struct NetlinkMessage: ~Copyable {
    /// Enough for any request we make; a longer attribute list is a programming error.
    private static let capacity = 8192

    private let buffer: UnsafeMutableRawPointer
    private let header: UnsafeMutablePointer<nlmsghdr>

    /// Starts a message of `type` (`RTM_NEWLINK`, ...) with `NLM_F_*` flags.
    package init(_ type: Int, flags: CInt) {
        unsafe buffer = .allocate(byteCount: Self.capacity, alignment: 8)
        unsafe header = mnl_nlmsg_put_header(buffer)
        unsafe header.pointee.nlmsg_type = UInt16(type)
        unsafe header.pointee.nlmsg_flags = UInt16(flags)
    }

    deinit { unsafe buffer.deallocate() }

    /// Adds the family header: `ifinfomsg`, `ifaddrmsg`, `rtmsg`.
    package mutating func add<Header: BitwiseCopyable>(header value: Header) {
        let size = MemoryLayout<Header>.size
        guard let place = unsafe mnl_nlmsg_put_extra_header(header, size) else { return }
        unsafe place.storeBytes(of: value, as: Header.self)
    }

    package mutating func add(_ type: Int, _ value: UInt32) {
        checkRoom(for: 4)
        unsafe mnl_attr_put_u32(header, UInt16(type), value)
    }

    package mutating func add(_ type: Int, _ text: String) {
        checkRoom(for: text.utf8.count + 1)
        unsafe mnl_attr_put_strz(header, UInt16(type), text)
    }

    package mutating func add(_ type: Int, _ bytes: [UInt8]) {
        checkRoom(for: bytes.count)
        unsafe mnl_attr_put(header, UInt16(type), bytes.count, bytes)
    }

    /// Adds an attribute that holds what `body` adds.
    package mutating func nest(_ type: Int, _ body: (inout NetlinkMessage) -> Void) {
        checkRoom(for: 0)
        guard let nest = unsafe mnl_attr_nest_start(header, UInt16(type)) else { return }
        body(&self)
        unsafe mnl_attr_nest_end(header, nest)
    }

    private func checkRoom(for size: Int) {
        let used = unsafe Int(header.pointee.nlmsg_len)
        precondition(used + size + 16 <= Self.capacity, "netlink message too long")
    }

    /// Numbers the message and lends its bytes.
    func withBytes<Value>(sequence: UInt32, _ body: (UnsafeRawBufferPointer) -> Value) -> Value {
        unsafe header.pointee.nlmsg_seq = sequence
        let length = unsafe Int(header.pointee.nlmsg_len)
        return unsafe body(UnsafeRawBufferPointer(start: buffer, count: length))
    }
}
