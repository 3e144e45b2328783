// SPDX-License-Identifier: Apache-2.0

import PolicyFile
import RedirectionModel
import Testing

@Suite struct AnnotationTests {
    private func parse(
        _ annotations: [String: String], _ preset: Preset.Name = .fsm,
        _ level: PolicyAnnotations.Level = .pod
    ) throws(PolicyErrors) -> Policy {
        try PolicyAnnotations.parse(annotations, of: "pod a/b", level: level, preset: preset)
    }

    private func errors(
        _ annotations: [String: String], _ preset: Preset.Name = .fsm
    ) -> [String] {
        do throws(PolicyErrors) {
            _ = try parse(annotations, preset)
            return []
        } catch {
            return error.errors.map(\.description)
        }
    }

    @Test func `annotations of ours say what fields say`() throws {
        let policy = try parse([
            "swerve.dev/mode": "ebpf",
            "swerve.dev/exclude-outbound-ports": "22, 8000-8100 ,53/udp",
            "swerve.dev/dns-capture": "10.96.0.10,fd00::10",
            "swerve.dev/virtual-interfaces": "br+:172.18.0.0/16,fd00:1::/64; docker0",
            "swerve.dev/exclude-outbound-ports-by-user": "1000-2000:80,443:tcp;7:53",
            "swerve.dev/include-inbound-ports": "",
        ])
        #expect(policy.mode == .ebpf)
        #expect(policy.outbound.excludedPorts.description == "22,8000-8100")
        #expect(policy.outbound.excludesDNSOverUDP)
        #expect(policy.inbound.includedPorts == [])
        #expect(policy.virtualInterfaces?.count == 2)
        #expect(policy.outbound.excludedPortsByUser.map(\.ports.description) == ["80,443", "53"])
        let rendered = PolicyFile.render(policy)
        #expect(try PolicyFile.parse(Array(rendered.utf8), named: "rendered") == policy)
    }

    @Test(arguments: [
        (
            ["swerve.dev/mod": "ebpf"],
            "swerve.dev/mod: is not an annotation of ours; did you mean swerve.dev/mode?"
        ),
        (
            ["swerve.dev/mode": "EBPF"],
            "is not one of the choices; did you mean ebpf?; allowed: auto, ebpf"
        ),
        (
            ["swerve.dev/exclude-inbound-ports": "80,,90"],
            "swerve.dev/exclude-inbound-ports: \"\" is not a port"
        ),
        (["swerve.dev/exclude-inbound-ports": "80,80"], "overlaps with 80 in the same list"),
        (["swerve.dev/sidecar-uids": "1 000"], "\"1 000\" is not a user"),
        (["swerve.dev/dns-capture": "OFF"], "\"OFF\" is not an address"),
        (["flomesh.io/outbound-port-exclusion-list": "80;90"], "\"80;90\" is not a port"),
        (
            ["flomesh.io/outbound-port-exclusion-lst": "80"],
            "did you mean flomesh.io/outbound-port-exclusion-list?"
        ),
    ])
    func `a bad annotation names its key, its value and what is allowed`(
        _ annotations: [String: String], _ problem: String
    ) {
        let said = errors(annotations).joined()
        #expect(said.hasPrefix("pod a/b: ") && said.contains(problem), "\(said)")
    }

    @Test func `fsm and osm differ in their prefix`() throws {
        for (preset, prefix) in [(Preset.Name.fsm, "flomesh.io/"), (.osm, "openservicemesh.io/")] {
            let policy = try parse(
                [
                    prefix + "outbound-port-exclusion-list": "80, 80,443",
                    prefix + "inbound-port-exclusion-list": "9090",
                    prefix + "outbound-ip-range-exclusion-list": "10.0.0.1/8",
                    prefix + "outbound-ip-range-inclusion-list": "0.0.0.0/0",
                    prefix + "port": "15021",
                    prefix + "sidecar-injection": "enabled",
                ], preset)
            #expect(policy.outbound.excludedPorts == [80, 443])
            #expect(policy.inbound.excludedPorts == [9090, 15021])
            #expect(policy.outbound.excludedNetworks.map(\.description) == ["10.0.0.0/8"])
            #expect(policy.outbound.includedNetworks == [.all(.ipv4)])
        }
    }

    @Test func `other meshes' annotations are not ours to read`() throws {
        #expect(try parse(["traffic.kuma.io/exclude-inbound-ports": "x"]) == Policy())
        #expect(!errors(["traffic.kuma.io/exclude-inbound-ports": "x"], .kuma).isEmpty)
        let chosen = ["swerve.dev/preset": "kuma", "traffic.kuma.io/exclude-inbound-ports": "1"]
        #expect(try parse(chosen).inbound.excludedPorts == [1])
    }

    @Test func `istio's stars are everything, and its empty lists nothing`() throws {
        let prefix = "traffic.sidecar.istio.io/"
        func plan(_ annotations: [String: String]) throws -> RedirectionPlan {
            var all = ["swerve.dev/preset": "istio"]
            all.merge(annotations) { $1 }
            return try parse(all).resolved(ownAddresses: []).plan
        }
        let stars = try plan([
            prefix + "includeOutboundIPRanges": "*", prefix + "includeInboundPorts": "*",
            prefix + "includeOutboundPorts": "80",
        ])
        #expect(stars.outbound.includedNetworks == nil && stars.outbound.includedPorts == nil)
        #expect(stars.inbound.includedPorts == nil)
        let nothing = try plan([
            prefix + "includeOutboundIPRanges": "", prefix + "includeInboundPorts": "",
            prefix + "includeOutboundPorts": "80",
        ])
        #expect(nothing.outbound.includedNetworks == [])
        #expect(nothing.outbound.includedPorts == [80] && nothing.outbound.combination == .any)
        #expect(nothing.inbound.includedPorts == [])
        let rest = try plan([
            "sidecar.istio.io/interceptionMode": "TPROXY", "sidecar.istio.io/inject": "true",
            "status.sidecar.istio.io/port": "15777", prefix + "excludeInterfaces": "net1",
            prefix + "kubevirtInterfaces": "k0", "istio.io/reroute-virtual-interfaces": "k1",
        ])
        #expect(rest.inboundMode == .transparent(mark: 1337, table: 133))
        #expect(rest.inbound.excludedPorts == [15777])
        #expect(rest.outbound.excludedInterfaces == ["net1"])
        #expect(rest.inbound.excludedInterfaces == ["net1"])
        #expect(Set(rest.virtualInterfaces.map(\.interface)) == ["k0", "k1"])
        let dns = ["proxy.istio.io/config": "proxyMetadata:\n  ISTIO_META_DNS_CAPTURE: \"true\""]
        #expect(errors(dns, .istio).joined().contains("say swerve.dev/dns-capture"))
        #expect(try plan(dns.merging(["swerve.dev/dns-capture": "all"]) { $1 }).dns != nil)
        #expect(try plan(["proxy.istio.io/config": "concurrency: 2"]).dns == nil)
        #expect(errors([prefix + "excludeOutboundPort": "80"], .istio).joined().contains("did you"))
    }

    @Test func `istio's inbound exclusions count only where everything else is taken`() throws {
        let prefix = "traffic.sidecar.istio.io/"
        func excluded(_ include: String?) throws -> PortSet {
            var all = [
                prefix + "excludeInboundPorts": "9000", "status.sidecar.istio.io/port": "15777",
                "swerve.dev/exclude-inbound-ports": "22",
            ]
            all[prefix + "includeInboundPorts"] = include
            return try parse(all, .istio).inbound.excludedPorts
        }
        #expect(try excluded(nil) == [22, 9000, 15777])
        #expect(try excluded("*") == [22, 9000, 15777])
        #expect(try excluded("80,9000") == [22])
        #expect(try excluded("") == [22])
    }

    @Test(arguments: [
        ("interceptionMode: TPROXY\nx: 2", "interceptionMode", "inbound-mode", "redirect"),
        (#"{"statusPort":15777,"concurrency":2}"#, "statusPort", "exclude-inbound-ports", "15777"),
    ])
    func `istio's own configuration is not passed over where it is about redirection`(
        _ text: String, _ word: String, _ ours: String, _ value: String
    ) throws {
        let config = ["proxy.istio.io/config": text]
        let found = errors(config, .istio)
        #expect(found.count == 1)
        #expect(found.joined().contains("\(word), which is not read there; say swerve.dev/\(ours)"))
        #expect(errors(config.merging(["swerve.dev/\(ours)": value]) { $1 }, .istio) == [])
        #expect(errors(["proxy.istio.io/config": "# \(word)\nx\(word): 1"], .istio) == [])
    }

    @Test func `kuma's ports by user`() throws {
        let key = "traffic.kuma.io/exclude-outbound-ports-for-uids"
        let policy = try parse([key: "tcp:80,443:1000-2000; 53:7 ;9;udp:*:10"], .kuma)
        let text = policy.outbound.excludedPortsByUser.map {
            "\($0.protocols.map(\.rawValue).sorted()) \($0.ports) \($0.uids)"
        }
        #expect(
            text == [
                #"["tcp"] 80,443 1000-2000"#, #"["tcp", "udp"] 53 7"#,
                #"["tcp", "udp"] 1-65535 9"#, #"["udp"] 1-65535 10"#,
            ])
        for bad in ["tcp:80:", "sctp:80:1", "a:b:c:d", ":", "tcp:80:1;;"] {
            #expect(!errors([key: bad], .kuma).isEmpty, "\(bad)")
        }
    }

    @Test func `kuma's switches`() throws {
        let policy = try parse(
            [
                "kuma.io/transparent-proxying": "enabled", "kuma.io/builtin-dns": "disabled",
                "kuma.io/transparent-proxying-ip-family-mode": "ipv4", "kuma.io/sidecar-uid": "7",
                "kuma.io/transparent-proxying-ebpf": "enabled", "kuma.io/mesh": "default",
                "kuma.io/application-probe-proxy-port": "9001",
                "traffic.kuma.io/drop-invalid-packets": "false",
            ], .kuma)
        #expect(policy.mode == .ebpf && policy.dns.capture == .off)
        #expect(policy.families == [.ipv6: .pass] && policy.sidecar.uids == [7])
        #expect(policy.inbound.excludedPorts == [9001])
        #expect(!errors(["traffic.kuma.io/drop-invalid-packets": "true"], .kuma).isEmpty)
        #expect(!errors(["traffic.kuma.io/anything-new": "true"], .kuma).isEmpty)
    }

    @Test(arguments: ["enabled", "disabled"])
    func `a pod that opted out of kuma's redirection stays out`(_ ebpf: String) throws {
        let keys = ["", "-ebpf"].map { "kuma.io/transparent-proxying" + $0 }
        #expect(try parse([keys[0]: "disabled", keys[1]: ebpf], .kuma).mode == PolicyMode.none)
        let on = try parse([keys[0]: "enabled", keys[1]: ebpf], .kuma).mode
        #expect(on == (ebpf == "enabled" ? .ebpf : nil))
    }

    @Test func `what kuma's injector writes on every pod is no error`() throws {
        let prefix = "kuma.io/transparent-proxying"
        let injected = [
            prefix: "enabled", prefix + "-inbound-port": "15006",
            prefix + "-inbound-v6-port": "15010", prefix + "-outbound-port": "15001",
            prefix + "-ip-family-mode": "ipv6", prefix + "-ebpf": "disabled",
            prefix + "-ebpf-bpf-fs-path": "/sys/fs/bpf", prefix + "-ebpf-cgroup-path": "/x",
            prefix + "-ebpf-tc-attach-iface": "", prefix + "-ebpf-instance-ip-env-var-name": "IP",
            prefix + "-ebpf-programs-source-path": "/tmp/kuma-ebpf",
            prefix + "-reachable-services": "a_b_svc_80,c", "kuma.io/sidecar-injected": "true",
        ]
        let policy = try parse(injected, .kuma)
        #expect(policy.families == [.ipv4: .pass, .ipv6: .managed] && policy.mode == nil)
        let key = prefix + "-inbound-v6-port"
        #expect(errors([key: "15006"], .kuma) == [])
        #expect(errors([key: "16006", prefix + "-inbound-port": "16006"], .kuma) == [])
        #expect(errors([key: "15011"], .kuma).joined().contains("allowed: 15006 or 15010"))
    }

    @Test func `linkerd's admin and control ports may be said on different objects`() throws {
        let prefix = "config.linkerd.io/"
        let namespace = try parse([prefix + "admin-port": "5191"], .linkerd, .namespace)
        let pod = try parse(
            [prefix + "control-port": "4191", "swerve.dev/preset": "linkerd"], .linkerd)
        let merged = try Policy.merging([namespace, pod]).resolved(ownAddresses: []).plan
        #expect(merged.sidecar.ownPorts == [4143, 4191, 5191])
    }

    @Test func `blanks around values, items and parts do not matter`() throws {
        let key = "swerve.dev/"
        let neat = [
            key + "outbound-port": "16001", key + "dns-capture": "all", key + "mode": "nft",
            key + "exclude-outbound-ports-by-user": "1000-2000:80,443:tcp;7:53",
            key + "virtual-interfaces": "br+:172.18.0.0/16,fd00:1::/64;docker0",
            "flomesh.io/port": "15021",
        ]
        let blank = neat.mapValues { text in
            " " + text.map { ",;:".contains($0) ? " \($0)\t" : "\($0)" }.joined() + " "
        }
        // The colons of an address are its own.
        var readable = blank
        readable[key + "virtual-interfaces"] = " br+ : 172.18.0.0/16 , fd00:1::/64 ; docker0 "
        #expect(try parse(readable) == parse(neat))
        #expect(errors([key + "outbound-port": "16 001"]).count == 1)
    }

    @Test(arguments: ["lo", "l+", "lo+"])
    func `loopback leads to no machine`(_ name: String) {
        let said = errors(["swerve.dev/virtual-interfaces": "docker0;\(name):10.0.0.0/8"])
        #expect(said.joined().contains("is the loopback interface too"))
        let istio = errors(["istio.io/reroute-virtual-interfaces": "k0,\(name)"], .istio)
        #expect(istio.joined().contains("is the loopback interface too"))
    }

    @Test func `linkerd's are read on namespaces too, others' are not`() throws {
        let linkerd = [
            "config.linkerd.io/skip-inbound-ports": "6000-8000",
            "config.linkerd.io/skip-outbound-ports": "25", "config.linkerd.io/proxy-uid": "7",
            "config.linkerd.io/skip-subnets": "10.0.0.0/8", "config.linkerd.io/admin-port": "5191",
        ]
        let policy = try parse(linkerd, .linkerd, .namespace)
        #expect(policy.inbound.excludedPorts.description == "6000-8000")
        #expect(policy.sidecar.adminPort == 5191 && policy.sidecar.ports == nil)
        #expect(policy.inbound.excludedSources.count == 1)
        #expect(policy.sidecar.uids == [7])
        let fsm = ["flomesh.io/inbound-port-exclusion-list": "80", "swerve.dev/mode": "nft"]
        let namespace = try parse(fsm, .fsm, .namespace)
        #expect(namespace.inbound.excludedPorts.isEmpty && namespace.mode == .nft)
    }

    @Test func `consul's configuration is read from its JSON`() throws {
        let key = "consul.hashicorp.com/redirect-traffic-config"
        let json = """
            {"ConsulDNSIP": "127.0.0.1", "ConsulDNSPort": 8600, "ProxyUserID": "5995",
             "ProxyInboundPort": 20000, "ProxyOutboundPort": 0, "ExcludeInboundPorts": ["9000", "20300"],
             "ExcludeOutboundPorts": null, "ExcludeOutboundCIDRs": ["10.0.0.0\\/8"],
             "ExcludeUIDs": ["5996", "0"], "NetNS": "/proc/1/ns/net", "IptablesProvider": null}
            """
        let policy = try parse([key: json, "consul.hashicorp.com/dual-stack": "false"], .consul)
        #expect(policy.sidecar.uids == [5995] && policy.sidecar.inboundPort == 20000)
        #expect(policy.sidecar.outboundPort == nil && policy.sidecar.dnsPort == 8600)
        #expect(policy.dns.capture == .servers([.loopback(.ipv4)]))
        #expect(policy.inbound.excludedPorts == [9000, 20300])
        #expect(policy.outbound.excludedUIDs == [0, 5996])
        #expect(policy.outbound.excludedNetworks.count == 1 && policy.families == [.ipv6: .pass])
        for bad in [
            "", "[]", "{", #"{"ProxyUser": "1"}"#, #"{"ProxyUserID": {}}"#,
            #"{"ConsulDNSIP": "10.0.0.1"}"#, #"{"ExcludeUIDs": ["root"]}"#,
        ] {
            #expect(!errors([key: bad], .consul).isEmpty, "\(bad)")
        }
        let off = try parse(["consul.hashicorp.com/transparent-proxy": "false"], .consul)
        #expect(off.mode == PolicyMode.none)
    }

    @Test func `ours are nearer than the mesh's`() throws {
        let policy = try parse(
            ["config.linkerd.io/proxy-uid": "7", "swerve.dev/sidecar-uids": "8"], .linkerd)
        #expect(policy.sidecar.uids == [8])
    }
}
