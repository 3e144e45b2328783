// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// The workloads of a machine that has nobody else to tell of them: `kind: Workloads`.
///
/// ```yaml
/// apiVersion: swerve.dev/v1
/// kind: Workloads
/// policy:                  # of all of them, as in a policy's file
///   preset: istio
/// workloads:
///   - name: web
///     netns: /run/netns/web
///     policy: {outbound: {exclude: {ports: [22]}}}
///   - name: batch
///     cgroup: /sys/fs/cgroup/system.slice/batch.service
/// ```
package enum WorkloadsFile {
    package struct Entry: Hashable, Sendable {
        package let name: String
        /// A file that opens its network namespace.
        package let netns: String?
        package let cgroup: String?
        /// The file's, and its own over that.
        package let policy: Policy
    }

    static let kind = "Workloads"

    /// Whether the text says that it is such a file; `name` is the file's, for errors.
    package static func isOne(
        _ bytes: [UInt8], named name: String
    ) throws(PolicyErrors) -> Bool {
        guard case .mapping(let entries) = try PolicyFile.document(bytes, named: name).content
        else { return false }
        return entries.first { $0.key == "kind" }?.value.text == kind
    }

    /// Reads every workload, or every error.
    package static func parse(
        _ bytes: [UInt8], named name: String
    ) throws(PolicyErrors) -> [Entry] {
        var reader = PolicyReader(source: name)
        let entries = reader.readWorkloads(try PolicyFile.document(bytes, named: name))
        guard reader.errors.isEmpty else {
            throw PolicyErrors(reader.errors.inOrder, omitted: reader.omitted)
        }
        return entries
    }
}

extension PolicyReader {
    private static let names = ["name", "netns", "cgroup", "policy"]

    fileprivate mutating func readWorkloads(_ document: Element) -> [WorkloadsFile.Entry] {
        guard case .mapping(let fields) = document.content else {
            report(document.place, "", nil, "is \(document.kind)", "a mapping of fields")
            return []
        }
        checkHeader(fields, "apiVersion", PolicyFile.apiVersion, document.place)
        let known = ["apiVersion", "kind", "policy", "workloads"]
        for entry in fields where !known.contains(entry.key) {
            reportUnknown(entry, entry.key, known, of: "a file of workloads")
        }
        let shared = readPolicy(fields, "policy")
        guard let list = fields.first(where: { $0.key == "workloads" })?.value,
            case .list(let items) = list.content
        else {
            report(document.place, "workloads", nil, "is missing", "a list of workloads")
            return []
        }
        var entries: [WorkloadsFile.Entry] = []
        for (index, item) in items.enumerated() {
            let place = "workloads[\(index)]"
            guard let entry = readWorkload(item, place, over: shared) else { continue }
            if entries.contains(where: { $0.name == entry.name }) {
                report(item.place, "\(place).name", entry.name, "is another's name already", nil)
            }
            entries.append(entry)
        }
        return entries
    }

    private mutating func readWorkload(
        _ item: Element, _ path: String, over shared: Policy
    ) -> WorkloadsFile.Entry? {
        guard case .mapping(let fields) = item.content else {
            let allowed = "a mapping of " + Self.names.joined(separator: ", ")
            report(item.place, path, item.text, "is \(item.kind)", allowed)
            return nil
        }
        for field in fields where !Self.names.contains(field.key) {
            reportUnknown(field, "\(path).\(field.key)", Self.names, of: "a workload")
        }
        let own = readPolicy(fields, "\(path).policy")
        let name = readText(fields, "name", path)
        let netns = readPath(fields, "netns", path)
        let cgroup = readPath(fields, "cgroup", path)
        guard let name else {
            report(item.place, "\(path).name", nil, "is missing", "what to call the workload")
            return nil
        }
        if netns == nil, cgroup == nil {
            report(item.place, "\(path).netns", nil, "is missing", "netns, or cgroup")
        }
        return WorkloadsFile.Entry(
            name: name, netns: netns, cgroup: cgroup, policy: shared.overlaid(by: own))
    }

    /// The policy among the fields, if there is one.
    private mutating func readPolicy(_ fields: [Element.Entry], _ path: String) -> Policy {
        policy = Policy()
        guard let value = fields.first(where: { $0.key == "policy" })?.value else { return policy }
        guard case .mapping(let entries) = value.content else {
            report(value.place, path, value.text, "is \(value.kind)", "a mapping of fields")
            return policy
        }
        read(entries, below: "")
        return policy
    }

    private mutating func readText(
        _ fields: [Element.Entry], _ name: String, _ path: String
    ) -> String? {
        guard let value = fields.first(where: { $0.key == name })?.value else { return nil }
        if value.text == nil {
            report(value.place, "\(path).\(name)", nil, "is \(value.kind)", "a single value")
        }
        return value.text
    }

    private mutating func readPath(
        _ fields: [Element.Entry], _ name: String, _ path: String
    ) -> String? {
        guard let text = readText(fields, name, path) else { return nil }
        if !text.hasPrefix("/"), let value = fields.first(where: { $0.key == name })?.value {
            report(
                value.place, "\(path).\(name)", text, "is no path", "a path that begins with /")
        }
        return text
    }
}
