// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON

/// The result of an ADD, in the words of the version it was written in.
package struct CNIResult: Sendable {
    private let json: JSON
    private let version: CNIVersion

    /// What 1.1.0 has added, by the list it is in.
    private static let addedBy1_1 = [
        "interfaces": ["mtu", "socketPath", "pciID"],
        "routes": ["mtu", "advmss", "priority", "table", "scope"],
    ]

    /// Reads a result; one that does not name its version is of the version `otherwise`.
    package init(_ json: JSON, otherwise: CNIVersion) throws(CNIError) {
        guard json.members != nil else {
            throw CNIError(
                .invalidConfiguration, "prevResult must be an object, is \(json.kind)")
        }
        self.json = json
        guard let named = json["cniVersion"], named != .null, named != .string("") else {
            version = otherwise
            return
        }
        guard let version = named.text.flatMap(CNIVersion.init) else {
            throw CNIError(
                .invalidConfiguration,
                "prevResult.cniVersion (\(named.rendered())): must be one of \(CNIVersion.list)")
        }
        self.version = version
    }

    /// The pod's addresses with their prefix lengths: those of no interface, and of interfaces that
    /// are in a sandbox.
    package func addresses() throws(CNIError) -> [String] {
        let interfaces = try list("interfaces")
        var addresses: [String] = []
        for entry in try list("ips") {
            let address = try Self.address(of: entry)
            if let index = entry["interface"]?.integer, interfaces.indices.contains(index),
                (interfaces[index]["sandbox"]?.text ?? "").isEmpty
            {
                continue
            }
            addresses.append(address)
        }
        return addresses
    }

    /// The same result in the words of another version.
    package func converted(to target: CNIVersion) throws(CNIError) -> JSON {
        var converted = json.setting("cniVersion", to: .string(target.rawValue))
        guard target != version else { return converted }
        if target < .v1_1_0 {
            for (name, added) in Self.addedBy1_1.sorted(by: { $0.key < $1.key }) {
                converted = try change(converted, name) { entry in
                    added.reduce(entry) { $0.setting($1, to: nil) }
                }
            }
        }
        return try change(converted, "ips") { entry throws(CNIError) in
            guard target < .v1_0_0 else { return entry.setting("version", to: nil) }
            let family = try Self.address(of: entry).utf8.contains(UInt8(ascii: ":")) ? "6" : "4"
            return entry.setting("version", to: .string(family))
        }
    }

    private func list(_ name: String) throws(CNIError) -> [JSON] {
        guard let value = json[name], value != .null else { return [] }
        guard let elements = value.elements, elements.allSatisfy({ $0.members != nil }) else {
            throw CNIError(.invalidConfiguration, "prevResult.\(name) must be a list of objects")
        }
        return elements
    }

    private func change(
        _ json: JSON, _ name: String, _ change: (JSON) throws(CNIError) -> JSON
    ) throws(CNIError) -> JSON {
        let before = try list(name)
        guard !before.isEmpty else { return json }
        var after: [JSON] = []
        for entry in before { after.append(try change(entry)) }
        return json.setting(name, to: .array(after))
    }

    private static func address(of entry: JSON) throws(CNIError) -> String {
        guard let address = entry["address"]?.text, !address.isEmpty else {
            throw CNIError(
                .invalidConfiguration,
                "prevResult.ips (\(entry.rendered())): address must be a string")
        }
        return address
    }
}
