// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// A part of a plan that can be set back on its own, and named when it says something.
struct PlanPart {
    /// Sets the part to what the plain plan says.
    let reset: (inout RedirectionPlan) -> Void
    /// What the plan says in this part, when the plain plan says something else.
    let peculiarity: (RedirectionPlan) -> String?

    private init<Value: Hashable>(
        _ name: String, _ path: WritableKeyPath<RedirectionPlan, Value>
    ) {
        let plain = Self.plainPlan[keyPath: path]
        reset = { $0[keyPath: path] = plain }
        peculiarity = { plan in
            plan[keyPath: path] == plain ? nil : "\(name): \(words(plan[keyPath: path]))"
        }
    }

    /// The plan that says nothing beyond what every plan must.
    private static var plainPlan: RedirectionPlan {
        RedirectionPlan(
            sidecar: Sidecar(uids: [], outboundPort: 15001, inboundPort: 15003, ownPorts: []),
            ownAddresses: World.podAddresses.both)
    }

    static var all: [PlanPart] {
        [
            PlanPart("dns", \.dns), PlanPart("virtual interfaces", \.virtualInterfaces),
            PlanPart("inbound mode", \.inboundMode),
            PlanPart("ports excluded for users", \.ownerPortExclusions),
            PlanPart("excluded uids", \.excludedUIDs), PlanPart("excluded gids", \.excludedGIDs),
            PlanPart("passes own addresses", \.passesOwnAddresses),
            PlanPart("own addresses", \.ownAddresses), PlanPart("IPv4", \.families[.ipv4]),
            PlanPart("IPv6", \.families[.ipv6]), PlanPart("enabled", \.isEnabled),
            PlanPart("passthrough sources", \.sidecar.passthroughSources),
            PlanPart("tunnel ports", \.sidecar.tunnelPorts),
            PlanPart("redirects self-calls", \.sidecar.redirectsSelfCalls),
            PlanPart("sidecar's ports", \.sidecar.ownPorts),
            PlanPart("sidecar's gids", \.sidecar.gids), PlanPart("sidecar's uids", \.sidecar.uids),
            PlanPart("outbound port", \.sidecar.outboundPort),
            PlanPart("inbound port", \.sidecar.inboundPort),
        ] + all(of: \.outbound, "outbound") + all(of: \.inbound, "inbound")
    }

    private static func all(
        of selection: WritableKeyPath<RedirectionPlan, Selection>, _ name: String
    ) -> [PlanPart] {
        [
            PlanPart(
                "\(name) excluded interfaces", selection.appending(path: \.excludedInterfaces)),
            PlanPart("\(name) excluded networks", selection.appending(path: \.excludedNetworks)),
            PlanPart("\(name) excluded ports", selection.appending(path: \.excludedPorts)),
            PlanPart("\(name) included networks", selection.appending(path: \.includedNetworks)),
            PlanPart("\(name) included ports", selection.appending(path: \.includedPorts)),
            PlanPart("\(name) combination", selection.appending(path: \.combination)),
        ]
    }
}

/// The value for a reader: without the names of types, and a list in order.
private func words<Value>(_ value: Value) -> String {
    if let list = value as? any Sequence & Hashable {
        return "[" + list.map { "\($0)" }.sorted().joined(separator: ", ") + "]"
    }
    if let optional = value as? any OptionalValue { return optional.words }
    return "\(value)".replacing("RedirectionModel.", with: "")
}

/// A value that may not be there, for `words` to see through.
private protocol OptionalValue {
    var words: String { get }
}

extension Optional: OptionalValue {
    fileprivate var words: String { map { Equivalence.words($0) } ?? "none" }
}

extension RedirectionPlan {
    /// What the plan says beyond what every plan must.
    package var peculiarities: [String] { PlanPart.all.compactMap { $0.peculiarity(self) } }
}
