// SPDX-License-Identifier: Apache-2.0

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
}
