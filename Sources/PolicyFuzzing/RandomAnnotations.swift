// SPDX-License-Identifier: Apache-2.0

package import PolicyFile
package import RedirectionModel

/// Makes annotations of an object: known keys, values that would do for some of them, and slips.
package struct RandomAnnotations {
    private var mutator: Mutator

    package init(_ generator: SeededGenerator) { mutator = Mutator(generator) }

    private static let values = [
        "80", "80,443", "8000-8100,22", "53", "53/udp,53/tcp", "1337", "0-100", "10.0.0.0/8",
        "10.0.0.0/8,2001:db8::/32", "*", "", "eth0,br+", "true", "false", "enabled", "disabled",
        "all", "off", "10.96.0.10", "udp,tcp", "any", "ebpf", "none", "transparent", "TPROXY",
        "tcp:80,443:1000-2000;53:7;9", "1000:80:tcp;5:53", "br+:172.18.0.0/16;docker0", "dualstack",
        "1000 : 80, 90 : tcp", "br+ : 172.18.0.0/16 , ::/0", "lo", "15010",
        "interceptionMode: TPROXY",
        "managed", "istio", "consul", "0",
        #"{"ProxyUserID":"5995","ProxyInboundPort":20000,"ExcludeUIDs":["0","5996"]}"#,
        #"{"ConsulDNSIP":"127.0.0.1","ConsulDNSPort":8600,"ExcludeOutboundCIDRs":["10.0.0.0\/8"]}"#,
    ]

    package mutating func next() -> ([String: String], PolicyAnnotations.Level, Preset.Name) {
        let preset = mutator.generator.pick(Preset.Name.allCases)
        let keys =
            mutator.generator.once(in: 2)
            ? PolicyFile.fields.map(\.annotation) : PolicyAnnotations.keys(of: preset)
        var annotations: [String: String] = [:]
        for _ in 0..<Int.random(in: 1...3, using: &mutator.generator) {
            let key = slip(mutator.generator.pick(keys), onceIn: 20)
            annotations[key] = slip(mutator.generator.pick(Self.values), onceIn: 3)
        }
        return (annotations, mutator.generator.pick([.pod, .namespace]), preset)
    }

    private mutating func slip(_ text: String, onceIn times: Int) -> String {
        guard mutator.generator.once(in: times) else { return text }
        return String(decoding: mutator.mutate(text), as: UTF8.self)
    }
}
