// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// One thing a policy can say: its names, its texts, and where it goes.
///
/// The table of them (`PolicyField.all`) is the language. The reader of files, that of annotations
/// and the renderer all go by it, so that none of them knows a field the others do not.
struct PolicyField: Sendable {
    enum Shape: Sendable {
        case value
        case list
        case either
    }

    /// Its place in a file: `outbound.exclude.ports`.
    let path: String
    /// Its key below `swerve.dev/`.
    let annotation: String
    let shape: Shape
    /// Puts the text into the policy; returns what is wrong with it.
    let read: @Sendable (FieldText, Dialect, inout Policy) -> [ValueProblem]
    /// The canonical text; `nil` where the policy says nothing.
    let write: @Sendable (Policy) -> FieldText?

    typealias Path<Value> = WritableKeyPath<Policy, Value> & Sendable

    /// A field of a single value.
    static func value<Value>(
        _ path: String, _ annotation: String, _ target: any Path<Value?>,
        _ parse: @escaping @Sendable (String) throws(ValueProblem) -> Value,
        _ render: @escaping @Sendable (Value) -> String
    ) -> PolicyField {
        PolicyField(
            path: path, annotation: annotation, shape: .value,
            read: { text, _, policy in
                do throws(ValueProblem) {
                    guard case .value(let text) = text else {
                        throw ValueProblem("is a list", allowed: "a single value")
                    }
                    policy[keyPath: target] = try parse(text)
                    return []
                } catch {
                    return [error]
                }
            },
            write: { $0[keyPath: target].map { .value(render($0)) } })
    }

    /// A field that is one of the names of an enumeration.
    static func choice<Value: RawRepresentable<String> & CaseIterable & SendableMetatype>(
        _ path: String, _ annotation: String, _ target: any Path<Value?>
    ) -> PolicyField {
        value(path, annotation, target, ValueText.choice) { $0.rawValue }
    }

    /// A list that replaces what a farther layer says.
    static func list<Value>(
        _ path: String, _ annotation: String, _ target: any Path<Value?>, _ items: ListText<Value>
    ) -> PolicyField {
        PolicyField(
            path: path, annotation: annotation, shape: .list,
            read: { text, dialect, policy in
                let (value, problems) = items.read(text.items, dialect)
                policy[keyPath: target] = value
                return problems
            },
            write: { $0[keyPath: target].map { .list(items.write($0)) } })
    }

    /// A list that adds to what a farther layer says, so that an empty one says nothing.
    static func exclusion<Value>(
        _ path: String, _ annotation: String, _ target: any Path<Value>, _ items: ListText<Value>
    ) -> PolicyField {
        PolicyField(
            path: path, annotation: annotation, shape: .list,
            read: { text, dialect, policy in
                let (value, problems) = items.read(text.items, dialect)
                policy[keyPath: target] = items.union(policy[keyPath: target], value)
                return problems
            },
            write: { policy in
                let texts = items.write(policy[keyPath: target])
                return texts.isEmpty ? nil : .list(texts)
            })
    }
}
