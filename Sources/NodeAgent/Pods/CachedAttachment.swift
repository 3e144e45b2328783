// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import CNIPlugin
internal import FoundationEssentials
internal import OrderedJSON

/// What a runtime's CNI library (libcni: containerd's, CRI-O's) remembers of an ADD until its DEL.
///
/// It is a file in `/var/lib/cni/results`, written when the whole chain of plugins has succeeded:
///
/// ```json
/// {
///   "kind": "cniCacheV1", "containerId": "4f1c…", "ifName": "eth0", "networkName": "pods",
///   "config": "eyJjbmlWZXJza…", "netns": "/var/run/netns/cni-5b0c…",
///   "cniArgs": [["K8S_POD_NAMESPACE", "shop"], ["K8S_POD_NAME", "web"]],
///   "capabilityArgs": {"io.kubernetes.cri.pod-annotations": {"swerve.dev/mode": "auto"}},
///   "result": {"interfaces": [{"name": "eth0", "sandbox": "/var/run/netns/cni-5b0c…"}]}
/// }
/// ```
struct CachedAttachment: Sendable {
    /// The pod as our plugin would have told of it, without a namespace where nobody has written down
    /// which: older libraries do not, and not all plugins have it in their result.
    let pod: PodRequest
    /// The plugins of the network's configuration as it was then.
    let plugins: [String]

    init(_ json: JSON) throws(FieldError) {
        let fields = try JSONFields(json)
        guard try fields.required("kind", fields.string) == "cniCacheV1" else {
            throw fields.error("kind", "must be \"cniCacheV1\"")
        }
        plugins = try Self.plugins(fields)
        pod = try Self.pod(fields)
    }

    /// `config`, in base64: a list of plugins, or one that is alone.
    private static func plugins(_ fields: JSONFields) throws(FieldError) -> [String] {
        let text = try fields.required("config", fields.string)
        guard let bytes = Data(base64Encoded: text), let json = try? JSON(parsing: Array(bytes))
        else { throw fields.error("config", "must be a network configuration in base64") }
        return (json["plugins"]?.elements ?? [json]).compactMap { $0["type"]?.text }
    }

    private static func pod(_ fields: JSONFields) throws(FieldError) -> PodRequest {
        // What the library has been told is what it tells a plugin, and is checked like that; a DEL
        // needs the least.
        var variables = [
            "CNI_COMMAND": "DEL",
            "CNI_CONTAINERID": try fields.required("containerId", fields.string),
            "CNI_IFNAME": try fields.required("ifName", fields.string),
        ]
        variables["CNI_NETNS"] = try namespacePath(fields, of: variables["CNI_IFNAME"])
        let arguments = try fields.elements("cniArgs") ?? []
        variables["CNI_ARGS"] = arguments.map { pair in
            (pair.elements ?? []).compactMap(\.text).joined(separator: "=")
        }.joined(separator: ";")
        let input = JSON(members: [
            "cniVersion": .string(CNIVersion.v1_0_0.rawValue),
            "name": .string(try fields.required("networkName", fields.string)),
        ])
        var pod: PodRequest
        do throws(CNIError) {
            pod = try Invocation { variables[$0] }.request(Array(input.rendered().utf8))
        } catch {
            throw FieldError("the attachment", nil, error.message)
        }
        let capabilities = try fields.fields("capabilityArgs")
        pod.annotations = try capabilities?.dictionary(PluginConfiguration.annotationsCapability)
        return pod
    }

    private static func namespacePath(
        _ fields: JSONFields, of interface: String?
    ) throws(FieldError) -> String? {
        if let path = try fields.string("netns"), !path.isEmpty { return path }
        let interfaces = try fields.fields("result")?.elements("interfaces") ?? []
        let own = interfaces.first {
            $0["name"]?.text == interface && $0["sandbox"]?.text?.isEmpty == false
        }
        return own?["sandbox"]?.text
    }
}
