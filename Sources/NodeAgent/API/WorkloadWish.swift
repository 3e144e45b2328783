// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import OrderedJSON
internal import PolicyFile
internal import RedirectionEngine
internal import RedirectionModel

/// A workload that an operator wants redirected, as `swerve apply` does.
///
/// ```json
/// {
///   "namespace": "/run/netns/web", "cgroup": "/sys/fs/cgroup/web.slice",
///   "policy": "apiVersion: swerve.dev/v1\nkind: Policy\n",
///   "annotations": {"swerve.dev/exclude-outbound-ports": "22"},
///   "mode": "auto", "addresses": ["10.0.0.2"], "labels": {"name": "web"}
/// }
/// ```
struct WorkloadWish: Sendable {
    let place: WorkloadPlace
    let labels: [String: String]?
    private let policy: [UInt8]?
    private let annotations: [String: String]
    private let mode: PolicyMode?
    private let addresses: [IPAddress]

    private static let known = [
        "namespace", "cgroup", "policy", "annotations", "mode", "addresses", "labels",
    ]

    init(_ json: JSON, id: Workload.ID) throws(FieldError) {
        let fields = try JSONFields(json)
        try fields.refuse(otherThan: Self.known)
        let namespace = try fields.path("namespace")
        let cgroup = try fields.path("cgroup")
        if let namespace {
            place = WorkloadPlace(id: id, namespace: namespace, cgroup: cgroup)
        } else if let cgroup {
            place = WorkloadPlace(id: id, cgroup: cgroup)
        } else {
            throw fields.error("namespace", "must be given, or a cgroup")
        }
        labels = try fields.dictionary("labels")
        policy = try fields.string("policy").map { Array($0.utf8) }
        annotations = try fields.dictionary("annotations") ?? [:]
        guard policy != nil || !annotations.isEmpty else {
            throw fields.error("policy", "must be given, or annotations")
        }
        mode = try PolicyMode(named: "mode", fields)
        var addresses: [IPAddress] = []
        for text in try fields.strings("addresses") ?? [] {
            guard let address = IPAddress(text) else {
                throw fields.error("addresses", "\(text) is no address")
            }
            addresses.append(address)
        }
        self.addresses = addresses
    }

    /// What is to be done: the plan of the workload's own addresses, where none are given.
    func resolved() throws(AgentRefusal) -> NodePolicy.Resolved {
        var said = Policy()
        do throws(PolicyErrors) {
            if let policy { said = try PolicyFile.parse(policy, named: "policy") }
            said = said.overlaid(
                by: try PolicyAnnotations.parse(
                    annotations, of: "annotations", preset: said.preset ?? .fsm))
        } catch { throw AgentRefusal(error) }
        said.mode = mode ?? said.mode
        return try NodePolicy.resolve(said, otherwise: .auto, Set(try ownAddresses()))
    }

    private func ownAddresses() throws(AgentRefusal) -> [IPAddress] {
        guard addresses.isEmpty else { return addresses }
        do throws(KernelError) {
            return try NetworkNamespace.open(place.namespace).addresses()
        } catch {
            throw AgentRefusal(.unreachable(place.id, error))
        }
    }
}

extension JSONFields {
    fileprivate func path(_ name: String) throws(FieldError) -> String? {
        guard let path = try string(name) else { return nil }
        guard path.hasPrefix("/") else { throw error(name, "must be a path that begins with /") }
        return path
    }
}

extension FlowQuestion {
    /// Reads `?to=192.0.2.7:443&uid=1000`.
    init(asked call: Call) throws(AgentRefusal) {
        try call.refuseQuery(
            otherThan: ["direction", "protocol", "to", "from", "uid", "gid", "interface"])
        guard let to = try call.value("to", "192.0.2.7:443, [2001:db8::7]:443", Endpoint.init)
        else { throw AgentRefusal(malformed: "must be given", field: "to") }
        let direction = try call.value("direction", "outbound, inbound", Direction.init)
        self.init(direction ?? .outbound, to: to)
        self.protocol =
            try call.value("protocol", "tcp, udp", TransportProtocol.init) ?? self.protocol
        from = try call.value("from", "192.0.2.7:443, [2001:db8::7]:443", Endpoint.init)
        uid = try call.value("uid", "a number", { UInt32($0) }) ?? uid
        gid = try call.value("gid", "a number", { UInt32($0) })
        interface =
            try call.value("interface", "a name of 1 to 15 bytes") { name in
                InterfacePattern(name).flatMap { $0.isPrefix ? nil : name }
            } ?? interface
        if let from, from.address.family != to.address.family {
            throw AgentRefusal(
                malformed: "is of another family than to (\(to))", field: "from",
                value: "\(from)")
        }
    }
}

extension Call {
    /// A part of the query, if it is there; `allowed` is what it may be.
    fileprivate func value<Value>(
        _ name: String, _ allowed: String, _ read: (String) -> Value?
    ) throws(AgentRefusal) -> Value? {
        guard let text = query[name] else { return nil }
        guard let value = read(text) else {
            throw AgentRefusal(
                malformed: "cannot be read; allowed: \(allowed)", field: name, value: text)
        }
        return value
    }
}
