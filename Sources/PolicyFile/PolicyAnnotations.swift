// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// Policies in the annotations of a pod or a namespace: ours, and the preset's mesh's own.
package enum PolicyAnnotations {
    /// What an annotation may be on.
    package enum Level: Hashable, Sendable {
        case namespace
        case pod
    }

    static let prefix = "swerve.dev/"

    /// The keys of a mesh's own that are read with its preset.
    package static func keys(of preset: Preset.Name) -> [String] {
        MeshVocabulary(of: preset).keys.keys.sorted()
    }

    /// Reads what is said about redirection; `object` is whose annotations they are, for errors.
    ///
    /// `preset` is the one in effect where the annotations do not name one: its mesh's annotations
    /// are read, other meshes' are not. Where a mesh's annotation and one of ours disagree, ours is
    /// the nearer.
    package static func parse(
        _ annotations: [String: String], of object: String, level: Level = .pod,
        preset: Preset.Name = .fsm
    ) throws(PolicyErrors) -> Policy {
        var reader = AnnotationReader(source: object)
        for (key, text) in annotations.sorted(by: { $0.key < $1.key }) where key.hasPrefix(prefix) {
            reader.readOurs(key, text)
        }
        let ours = reader.policy
        reader.ours = ours
        let vocabulary = MeshVocabulary(of: ours.preset ?? preset)
        reader.policy = Policy()
        if level == .pod || vocabulary.appliesToNamespaces {
            for (key, text) in annotations.sorted(by: { $0.key < $1.key }) {
                reader.read(key, text, in: vocabulary)
            }
        }
        guard reader.errors.isEmpty else { throw PolicyErrors(reader.errors) }
        return reader.policy.overlaid(by: ours)
    }
}

/// Reads annotations into a policy, and collects what is wrong with them.
private struct AnnotationReader {
    /// The API server allows 256 KiB for all annotations of an object together.
    static let sizeLimit = 1 << 18

    let source: String
    var policy = Policy()
    /// What annotations of ours say, once they have been read.
    var ours = Policy()
    var errors: [PolicyError] = []

    mutating func readOurs(_ key: String, _ text: String) {
        let name = String(key.dropFirst(PolicyAnnotations.prefix.count))
        guard let field = PolicyField.byAnnotation[name] else {
            let names = PolicyField.byAnnotation.keys.sorted()
            let hint = nearest(name, among: names).map {
                "; did you mean \(PolicyAnnotations.prefix)\($0)?"
            }
            report(
                key, nil,
                ValueProblem(
                    "is not an annotation of ours\(hint ?? "")",
                    allowed: names.joined(separator: ", ")))
            return
        }
        guard isShort(key, text) else { return }
        let value = text.trimmed.fieldText(for: field)
        policy.places[field.path] = "\(source): \(key)"
        report(key, value, field.read(value, .strict, &policy))
    }

    mutating func read(_ key: String, _ text: String, in vocabulary: MeshVocabulary) {
        guard let meaning = vocabulary.keys[key] else {
            if let problem = vocabulary.problem(withUnknown: key) { report(key, nil, problem) }
            return
        }
        guard isShort(key, text) else { return }
        let text = text.trimmed
        switch meaning {
        case .field(let path): read(key, text, into: path)
        case .includes(let path, let everything):
            read(key, text == "*" ? everything : text, into: path, readsEmpty: true)
        case .custom(let read):
            report(key, .value(text), read(text, &policy))
        case .mentions(let mentions):
            for mention in mentions where mention.isIn(text) && !isSaid(mention.field) {
                report(key, nil, ValueProblem(mention.problem))
            }
        case .refused(let reason, let unless):
            if !unless.contains(text) { report(key, text, ValueProblem(reason)) }
        }
    }

    private func isSaid(_ path: String) -> Bool {
        PolicyField.byPath[path]?.write(ours) != nil
    }

    private mutating func read(
        _ key: String, _ text: String, into path: String, readsEmpty: Bool = false
    ) {
        guard let field = PolicyField.byPath[path] else { preconditionFailure("no field \(path)") }
        if text.isEmpty, field.shape == .list, !readsEmpty { return }
        let value = text.fieldText(for: field)
        policy.places[field.path] = "\(source): \(key)"
        report(key, value, field.read(value, .mesh, &policy))
    }

    private mutating func isShort(_ key: String, _ text: String) -> Bool {
        if text.utf8.count <= Self.sizeLimit { return true }
        report(
            key, text, ValueProblem("is too long", allowed: "\(Self.sizeLimit) bytes"))
        return false
    }

    private mutating func report(_ key: String, _ text: FieldText, _ problems: [ValueProblem]) {
        for problem in problems {
            let value =
                problem.index.map { text.items.indices.contains($0) ? text.items[$0] : "" }
                ?? text.items.joined(separator: ",")
            report(key, value, problem)
        }
    }

    private mutating func report(_ key: String, _ value: String?, _ problem: ValueProblem) {
        errors.append(
            PolicyError(
                source: source, line: 0, column: 0, field: key, value: value,
                problem: problem.problem, allowed: problem.allowed))
    }
}

extension String {
    /// An annotation's text as a field's: lists are separated by commas, records by semicolons.
    func fieldText(for field: PolicyField) -> FieldText {
        let record = RecordKeys.byPath[field.path]
        var items = isEmpty ? [] : items(separatedBy: record == nil ? "," : ";")
        if let record { items = items.map(record.withoutBlanks) }
        switch field.shape {
        case .value: return .value(self)
        case .list: return .list(items)
        case .either: return ["off", "all"].contains(self) ? .value(self) : .list(items)
        }
    }

    /// Its parts, without the blanks around them.
    func items(separatedBy separator: Character) -> [String] {
        split(separator: separator, omittingEmptySubsequences: false).map { $0.trimmed }
    }
}

extension StringProtocol {
    /// Without blanks and tabs at either end.
    var trimmed: String {
        let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" }
        let start = drop(while: isBlank)
        let end = start.lastIndex { !isBlank($0) }
        return end.map { String(start[...$0]) } ?? ""
    }
}
