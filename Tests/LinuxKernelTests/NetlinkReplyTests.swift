// SPDX-License-Identifier: Apache-2.0

import LinuxKernel
import Testing

/// How an answer's end and its marks are read, netlink(7).
@Suite struct NetlinkReplyTests {
    /// A message of `type` with `flags`, number 7, that holds `payload`.
    private func message(
        _ type: UInt16, flags: UInt16 = 0, _ payload: [Int32] = []
    ) -> NetlinkReply? {
        func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
            let size = value.bitWidth / 8
            return (0..<size).map { UInt8(truncatingIfNeeded: value.littleEndian >> ($0 * 8)) }
        }
        let header =
            bytes(UInt32(16 + 4 * payload.count)) + bytes(type) + bytes(flags) + bytes(UInt32(7))
            + bytes(UInt32(0))
        return NetlinkReply.split(header + payload.flatMap { bytes($0) }).first
    }

    @Test func `a list that broke off is an error, one that is whole is not`() {
        #expect(message(3, [-105])?.status == -105)
        #expect(message(3, [0])?.status == 0)
        #expect(message(3)?.status == 0)
    }

    @Test func `an acknowledgement carries its status, an object none`() throws {
        #expect(message(2, [-17])?.status == -17)
        #expect(message(2, [0])?.status == 0)
        let object = try #require(message(16, [-17]))
        #expect(object.status == nil)
    }

    @Test(arguments: [UInt16(3), 16])
    func `the mark of a torn list is seen on its last message, too`(_ type: UInt16) {
        #expect(message(type, flags: 0x10 | 0x2, [0])?.isTorn == true)
        #expect(message(type, flags: 0x2, [0])?.isTorn == false)
    }
}
