// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import OrderedJSON

/// What a runtime sends to standard input.
struct NetworkInput {
    let json: JSON
    let version: CNIVersion

    init(_ bytes: [UInt8]) throws(CNIError) {
        do throws(JSONError) {
            json = try JSON(parsing: bytes)
        } catch {
            throw CNIError(.undecodable, "the network configuration is not JSON: \(error)")
        }
        guard json.members != nil else {
            throw CNIError(
                .undecodable, "the network configuration must be an object, is \(json.kind)")
        }
        let asked = json["cniVersion"]
        guard let word = asked?.text, let version = CNIVersion(rawValue: word) else {
            throw CNIError(
                .incompatibleVersion,
                "cniVersion \(asked?.rendered() ?? "is missing, which means 0.1.0,") "
                    + "is not supported",
                details: "supported are " + CNIVersion.list)
        }
        self.version = version
    }

    private func fields() throws(CNIError) -> JSONFields {
        do throws(FieldError) { return try JSONFields(json) } catch { throw CNIError(error) }
    }

    /// The network's name.
    func network() throws(CNIError) -> String {
        let fields = try fields()
        do throws(FieldError) {
            let name = try fields.required("name", fields.string)
            guard !name.isEmpty else { throw fields.error("name", "must not be empty") }
            return name
        } catch { throw CNIError(error) }
    }

    /// The pod's annotations, if the runtime passes them.
    func annotations() throws(CNIError) -> [String: String]? {
        let fields = try fields()
        do throws(FieldError) {
            let passed = try fields.fields("runtimeConfig")
            return try passed?.dictionary(PluginConfiguration.annotationsCapability)
        } catch { throw CNIError(error) }
    }

    /// What the plugins before ours have made.
    func previousResult() throws(CNIError) -> CNIResult {
        guard let previous = json["prevResult"], previous != .null else {
            throw CNIError(
                .invalidConfiguration, "prevResult is missing",
                details: "swerve-cni makes no network: chain it after the plugin that does")
        }
        return try CNIResult(previous, otherwise: version)
    }

    /// The attachments that a GC leaves; no list is not an empty list.
    func validAttachments() throws(CNIError) -> [Attachment] {
        let fields = try fields()
        do throws(FieldError) {
            // libcni sends two names: an early specification had another.
            let early = try fields.elements("cni.dev/attachments")
            guard let elements = try fields.elements("cni.dev/valid-attachments") ?? early else {
                throw fields.error("cni.dev/valid-attachments", "must be given")
            }
            var attachments: [Attachment] = []
            for (index, element) in elements.enumerated() {
                let entry = try JSONFields(element, at: "cni.dev/valid-attachments[\(index)]")
                attachments.append(
                    Attachment(
                        container: try entry.required("containerID", entry.string),
                        interface: try entry.required("ifname", entry.string)))
            }
            return attachments
        } catch { throw CNIError(error) }
    }
}
