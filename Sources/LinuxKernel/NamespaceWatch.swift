// SPDX-License-Identifier: Apache-2.0

internal import CLibMNL
internal import CLinuxShims
internal import SystemPackage

/// Hears of changes in a network namespace as the kernel makes them, whoever asked for them.
///
/// It says what kind of thing has changed and nothing more: whether that matters is found by
/// comparing, and our own changes are among them. Of legacy tables the kernel tells nobody.
package struct NamespaceWatch: ~Copyable {
    /// What can be heard of.
    package enum Part: Hashable, Sendable, CaseIterable {
        /// Tables, chains, rules and sets of nf_tables.
        case rules
        /// Routes and routing rules, both families.
        case routing
        /// Queueing disciplines and filters of tc.
        case qdisc
        /// Interfaces.
        case link
    }

    private let rules: NetlinkSocket
    private let routes: NetlinkSocket
    private let either: OwnedDescriptor

    package static func open(in namespace: NetworkNamespace) throws(KernelError) -> NamespaceWatch {
        let rules = try NetlinkSocket.listen(
            to: [CInt(NFNLGRP_NFTABLES.rawValue)], on: .netfilter, in: namespace)
        let groups = [
            RTNLGRP_LINK, RTNLGRP_TC, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_ROUTE,
            RTNLGRP_IPV6_RULE,
        ]
        let routes = try NetlinkSocket.listen(
            to: groups.map { CInt($0.rawValue) }, on: .route, in: namespace)
        let descriptors = [rules.rawDescriptor, routes.rawDescriptor]
        let either = OwnedDescriptor(
            taking: try kernel("epoll_create1") { unsafe clinux_poll_set(descriptors, 2) })
        return NamespaceWatch(rules: rules, routes: routes, either: either)
    }

    /// The number of a descriptor that has input when something has changed.
    package var rawDescriptor: CInt { either.rawValue }

    /// What has changed since the last call; does not wait.
    package func read() throws(KernelError) -> Set<Part> {
        var changed: Set<Part> = []
        try drain(rules) { message in
            if message.type >> 8 == UInt16(NFNL_SUBSYS_NFTABLES) { changed.insert(.rules) }
        } lost: {
            changed.insert(.rules)
        }
        try drain(routes) { message in
            if let part = Self.part(message.type) { changed.insert(part) }
        } lost: {
            changed.formUnion([.routing, .qdisc, .link])
        }
        return changed
    }

    /// Waits for a change, and until it has been quiet for a moment: changes come in groups.
    ///
    /// Empty when `limit` passes first.
    package func waitForChange(
        _ limit: Duration, settling quiet: Duration = .milliseconds(10)
    ) throws(KernelError) -> Set<Part> {
        let deadline = ContinuousClock.now + limit
        guard try either.waitForInput(limit) else { return [] }
        var changed = try read()
        while ContinuousClock.now < deadline, try either.waitForInput(quiet) {
            changed.formUnion(try read())
        }
        return changed
    }

    /// Reads all there is; the kernel says with `ENOBUFS` that some of it was lost.
    private func drain(
        _ socket: borrowing NetlinkSocket, _ body: (NetlinkReply) -> Void, lost: () -> Void
    ) throws(KernelError) {
        // A stream without end is somebody's who changes things all the time; we come again.
        for _ in 0..<10_000 {
            do throws(KernelError) {
                let messages = try socket.heard()
                if messages.isEmpty { return }
                messages.forEach(body)
            } catch {
                guard error.errno == .noBufferSpace else { throw error }
                lost()
            }
        }
    }

    private static func part(_ type: UInt16) -> Part? {
        switch Int(type) {
        case RTM_NEWLINK, RTM_DELLINK: .link
        case RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWRULE, RTM_DELRULE: .routing
        case RTM_NEWQDISC, RTM_DELQDISC, RTM_NEWTCLASS, RTM_DELTCLASS, RTM_NEWTFILTER,
            RTM_DELTFILTER, RTM_NEWCHAIN, RTM_DELCHAIN:
            .qdisc
        default: nil
        }
    }
}
