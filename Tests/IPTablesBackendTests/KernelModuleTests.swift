// SPDX-License-Identifier: Apache-2.0

import LinuxKernel
import SystemPackage
import Testing

@testable import XTables

@Suite struct KernelModuleTests {
    private let index = """
        kernel/net/netfilter/x_tables.ko:
        kernel/net/ipv4/netfilter/ip_tables.ko: kernel/net/netfilter/x_tables.ko
        kernel/net/ipv4/netfilter/iptable_nat.ko.xz: kernel/net/nat.ko.xz kernel/net/track.ko.xz
        kernel/net/dashed-name.ko:

        """

    @Test func `what a module needs is loaded before it`() {
        #expect(
            KernelModule.files(of: "x_tables", in: index) == ["kernel/net/netfilter/x_tables.ko"])
        #expect(
            KernelModule.files(of: "iptable_nat", in: index) == [
                "kernel/net/track.ko.xz", "kernel/net/nat.ko.xz",
                "kernel/net/ipv4/netfilter/iptable_nat.ko.xz",
            ])
    }

    @Test func `names are told apart, dashes and underscores are not`() {
        #expect(KernelModule.files(of: "tables", in: index) == nil)
        #expect(KernelModule.files(of: "dashed_name", in: index) == ["kernel/net/dashed-name.ko"])
    }

    private static let absent = -Errno.protocolNotAvailable.rawValue

    @Test func `a module that may not be loaded is as good as none, and said`() {
        let refused = KernelModule.trying("x") { (_) throws(KernelError) in
            throw KernelError("finit_module(x)", .notPermitted)
        } _: {
            Self.absent
        }
        #expect(refused.status == Self.absent)
        #expect(refused.note?.contains("finit_module(x)") == true)
    }

    @Test func `with the module it is tried once more, without it not`() {
        for isThere in [true, false] {
            var tries = 0
            let result = KernelModule.trying("x") { (_) throws(KernelError) in
                isThere
            } _: {
                tries += 1
                return tries == 1 ? Self.absent : 0
            }
            #expect(result.status == (isThere ? 0 : Self.absent))
            #expect(tries == (isThere ? 2 : 1))
            #expect(result.note == nil)
        }
    }
}
