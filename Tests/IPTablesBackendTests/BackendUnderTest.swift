// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// A backend with a lock file of its own, so that tests do not wait for each other.
struct BackendUnderTest: Sendable, CustomTestStringConvertible {
    let flavor: IPTablesBackend.Flavor

    static let all = [BackendUnderTest(flavor: .nft), BackendUnderTest(flavor: .legacy)]

    var testDescription: String { "\(flavor)" }

    /// Whose routing is its own.
    var owner: TransparentRouting.Owner { flavor == .nft ? .rules : .legacyRules }

    /// Runs `body` with a backend and an empty namespace.
    func run(_ body: (IPTablesBackend, Workload) async throws -> Void) async throws {
        try await run(in: Workload(id: "pod", namespace: try NetworkNamespace.create()), body)
    }

    func run(
        in workload: Workload, _ body: (IPTablesBackend, Workload) async throws -> Void
    ) async throws {
        let lock = TemporaryFile()
        try await body(IPTablesBackend(flavor, lockFile: lock.path), workload)
    }
}

/// What else may be in a namespace: rules as Docker and kube-proxy write them, and an operator's.
///
/// Every legacy table is there already: one that we are the first to use stays, empty, for a
/// table can be emptied but not unmade.
enum ForeignRules {
    static func load(into namespace: NetworkNamespace) throws {
        for (tool, rules) in [
            (["iptables-legacy-restore"], ipv4), (["ip6tables-legacy-restore"], ipv6),
            (["nft", "-f", "-"], nft),
        ] {
            let result =
                tool.count == 1
                ? try StockTool.run(tool[0], input: rules, in: namespace)
                : try StockTool.run(tool[0], tool[1], tool[2], input: rules, in: namespace)
            #expect(result == StockTool.Result(status: 0, output: ""))
        }
    }

    private static let ipv4 = """
        *nat
        :PREROUTING ACCEPT [0:0]
        :INPUT ACCEPT [0:0]
        :OUTPUT ACCEPT [0:0]
        :POSTROUTING ACCEPT [0:0]
        :DOCKER - [0:0]
        :KUBE-MARK-MASQ - [0:0]
        :KUBE-SEP-A - [0:0]
        :KUBE-SERVICES - [0:0]
        :KUBE-SVC-A - [0:0]
        -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
        -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
        -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
        -A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
        -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
        -A DOCKER -i docker0 -j RETURN
        -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
        -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
        -A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.244.0.5:8080
        -A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A
        -A KUBE-SVC-A ! -s 10.244.0.0/16 -d 10.96.0.10/32 -j KUBE-MARK-MASQ
        -A KUBE-SVC-A -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-A
        COMMIT
        *filter
        :INPUT DROP [0:0]
        :FORWARD ACCEPT [0:0]
        :OUTPUT ACCEPT [0:0]
        -A INPUT -i lo -j ACCEPT
        -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        COMMIT
        *raw
        :PREROUTING ACCEPT [0:0]
        :OUTPUT ACCEPT [0:0]
        -A PREROUTING -p tcp -m tcp --dport 9999 -j CT --notrack
        COMMIT
        *mangle
        :PREROUTING ACCEPT [0:0]
        :INPUT ACCEPT [0:0]
        :FORWARD ACCEPT [0:0]
        :OUTPUT ACCEPT [0:0]
        :POSTROUTING ACCEPT [0:0]
        -A OUTPUT -p tcp -m tcp --dport 9998 -j MARK --set-xmark 0x7/0xffffffff
        COMMIT

        """

    private static let ipv6 = """
        *nat
        :PREROUTING ACCEPT [0:0]
        :INPUT ACCEPT [0:0]
        :OUTPUT ACCEPT [0:0]
        :POSTROUTING ACCEPT [0:0]
        :KUBE-SERVICES - [0:0]
        -A PREROUTING -j KUBE-SERVICES
        -A OUTPUT -j KUBE-SERVICES
        -A KUBE-SERVICES -d fd96::a/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd10::5]:8080
        COMMIT
        *filter
        :INPUT ACCEPT [0:0]
        :FORWARD DROP [0:0]
        :OUTPUT ACCEPT [0:0]
        -A OUTPUT -d 2001:db8:bad::/48 -j REJECT --reject-with icmp6-port-unreachable
        COMMIT
        *raw
        :PREROUTING ACCEPT [0:0]
        :OUTPUT ACCEPT [0:0]
        -A PREROUTING -p tcp -m tcp --dport 9999 -j CT --notrack
        COMMIT
        *mangle
        :PREROUTING ACCEPT [0:0]
        :INPUT ACCEPT [0:0]
        :FORWARD ACCEPT [0:0]
        :OUTPUT ACCEPT [0:0]
        :POSTROUTING ACCEPT [0:0]
        -A OUTPUT -p tcp -m tcp --dport 9998 -j MARK --set-xmark 0x7/0xffffffff
        COMMIT

        """

    private static let nft = """
        table ip operator {
            set allowed {
                type ipv4_addr
                flags interval
                elements = { 10.0.0.0/8 }
            }
            chain output {
                type nat hook output priority -100; policy accept;
                ip daddr 10.96.0.11 tcp dport 80 dnat to 10.244.0.6:8080
            }
        }
        table inet swerve-of-somebody-else {
            chain input {
                type filter hook input priority filter; policy accept;
                ip saddr @unknown counter
            }
            set unknown {
                type ipv4_addr
            }
        }

        """
}

/// Sends something each way.
func converse(_ one: borrowing Socket, _ other: borrowing Socket) throws {
    try one.send("question")
    #expect(try other.descriptor.read(upTo: 100) == Array("question".utf8))
    try other.send("answer")
    #expect(try one.descriptor.read(upTo: 100) == Array("answer".utf8))
}
