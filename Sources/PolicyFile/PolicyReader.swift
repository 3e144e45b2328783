// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// Reads a document into a policy, and collects what is wrong with it.
struct PolicyReader {
    let source: String
    var policy = Policy()
    var errors: [PolicyError] = []
    /// How many more there are than are worth the work of describing them.
    var omitted = 0

    private static let header = ["apiVersion": PolicyFile.apiVersion, "kind": PolicyFile.kind]

    /// The mappings of the language: `outbound`, `outbound.exclude`.
    private static let groups: Set<String> = Set(
        PolicyField.all.flatMap { field in
            let names = field.path.split(separator: ".")
            return names.indices.dropFirst().map { names[..<$0].joined(separator: ".") }
        })

    init(source: String) { self.source = source }

    mutating func read(_ document: Element) {
        guard case .mapping(let entries) = document.content else {
            report(document.place, "", nil, "is \(document.kind)", "a mapping of fields")
            return
        }
        for (key, wanted) in Self.header.sorted(by: { $0.key < $1.key }) {
            checkHeader(entries, key, wanted, document.place)
        }
        read(entries.filter { Self.header[$0.key] == nil }, below: "")
    }

    mutating func checkHeader(
        _ entries: [Element.Entry], _ key: String, _ wanted: String, _ place: Element.Place
    ) {
        guard let entry = entries.first(where: { $0.key == key }) else {
            report(place, key, nil, "is missing", wanted)
            return
        }
        if entry.value.text != wanted {
            report(
                entry.value.place, key, entry.value.text, "is not what this program reads", wanted)
        }
    }

    mutating func read(_ entries: [Element.Entry], below prefix: String) {
        for entry in entries {
            let path = prefix.isEmpty ? entry.key : "\(prefix).\(entry.key)"
            if let field = PolicyField.byPath[path] {
                read(entry.value, into: field)
            } else if Self.groups.contains(path) {
                guard case .mapping(let inner) = entry.value.content else {
                    report(
                        entry.value.place, path, entry.value.text, "is \(entry.value.kind)",
                        "a mapping of \(Self.names(below: path).joined(separator: ", "))")
                    continue
                }
                read(inner, below: path)
            } else {
                reportUnknown(entry, path, Self.names(below: prefix))
            }
        }
    }

    /// The fields and groups of a mapping, as they are written.
    private static func names(below prefix: String) -> [String] {
        let start = prefix.isEmpty ? "" : "\(prefix)."
        var names: [String] = prefix.isEmpty ? header.keys.sorted() : []
        for field in PolicyField.all where field.path.hasPrefix(start) {
            let name = String(field.path.dropFirst(start.count).prefix { $0 != "." })
            if !names.contains(name) { names.append(name) }
        }
        return names
    }

    mutating func reportUnknown(
        _ entry: Element.Entry, _ path: String, _ names: [String], of what: String = "a policy"
    ) {
        guard errors.count < PolicyErrors.limit else {
            omitted += 1
            return
        }
        let elsewhere = PolicyField.all.first { $0.path.hasSuffix(".\(entry.key)") }?.path
        let hint = nearest(entry.key, among: names) ?? elsewhere
        let question = hint.map { "; did you mean \($0)?" } ?? ""
        report(
            entry.keyPlace, path, nil, "is not a field of \(what)\(question)",
            names.joined(separator: ", "))
    }

    private mutating func read(_ element: Element, into field: PolicyField) {
        guard let (text, places) = text(of: element, for: field) else { return }
        policy.places[field.path] = "\(source):\(element.place.line):\(element.place.column)"
        for problem in field.read(text, .strict, &policy) {
            let index = problem.index
            report(
                index.flatMap { places.indices.contains($0) ? places[$0] : nil } ?? element.place,
                field.path + (index.map { "[\($0)]" } ?? ""),
                index.map { text.items[$0] } ?? (text.items.count == 1 ? text.items[0] : nil),
                problem.problem, problem.allowed)
        }
    }

    /// The field's text and the places of its items, or `nil` after a report of why there is none.
    private mutating func text(
        of element: Element, for field: PolicyField
    ) -> (FieldText, [Element.Place])? {
        switch element.content {
        case .text where field.shape != .list && element.text != nil:
            return element.text.map { (.value($0), [element.place]) }
        case .list(let items) where field.shape != .value:
            let keys = RecordKeys.byPath[field.path]
            let before = errors.count + omitted
            let texts = items.enumerated().map { index, item in
                let path = "\(field.path)[\(index)]"
                return keys.map { record(item, path, $0) } ?? single(item, path)
            }
            guard errors.count + omitted == before else { return nil }
            return (.list(texts), items.map(\.place))
        default:
            let wanted =
                switch field.shape {
                case .value: "a single value"
                case .list: "a list, such as [a, b]"
                case .either: "a single value or a list"
                }
            report(element.place, field.path, element.text, "is \(element.kind)", wanted)
            return nil
        }
    }

    /// The text of an item of a list; empty after a report.
    private mutating func single(_ item: Element, _ path: String) -> String {
        if let text = item.text { return text }
        report(item.place, path, nil, "is \(item.kind)", "a single value")
        return ""
    }

    /// The text of a record; empty after a report.
    private mutating func record(_ item: Element, _ path: String, _ keys: RecordKeys) -> String {
        let names = keys.keys.map(\.name)
        guard case .mapping(let entries) = item.content else {
            report(
                item.place, path, item.text, "is \(item.kind)",
                "a mapping of \(names.joined(separator: ", "))")
            return ""
        }
        for entry in entries where !names.contains(entry.key) {
            reportUnknown(entry, "\(path).\(entry.key)", names)
        }
        let parts = keys.keys.compactMap { key in
            part(entries.first { $0.key == key.name }?.value, key, path, item.place)
        }
        return parts.joined(separator: ":")
    }

    private mutating func part(
        _ value: Element?, _ key: RecordKeys.Key, _ path: String, _ place: Element.Place
    ) -> String? {
        let path = "\(path).\(key.name)"
        guard let value else {
            if key.isRequired { report(place, path, nil, "is missing", nil) }
            return nil
        }
        let texts: [String]
        switch value.content {
        case .list(let items) where key.isList && !items.isEmpty:
            texts = items.enumerated().map { single($1, "\(path)[\($0)]") }
        case .text where !key.isList && value.text != nil:
            texts = [value.text ?? ""]
        case .list(let items) where items.isEmpty && key.isList && !key.isRequired:
            return nil
        default:
            let wanted = key.isList ? "a list with at least one item" : "a single value"
            report(value.place, path, value.text, "is \(value.kind)", wanted)
            return nil
        }
        // They separate the parts, so a value that has one would be taken for something else.
        for text in texts where text.contains(",") || !key.mayHaveColons && text.contains(":") {
            report(value.place, path, text, "has a , or a : in it", nil)
        }
        return texts.joined(separator: ",")
    }

    mutating func report(
        _ place: Element.Place, _ field: String, _ value: String?, _ problem: String,
        _ allowed: String?
    ) {
        guard errors.count < PolicyErrors.limit else {
            omitted += 1
            return
        }
        errors.append(
            PolicyError(
                source: source, line: place.line, column: place.column, field: field,
                value: value, problem: problem, allowed: allowed))
    }
}
