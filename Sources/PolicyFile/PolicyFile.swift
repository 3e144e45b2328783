// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// Policy files: YAML, `apiVersion: swerve.dev/v1`, `kind: Policy`; docs/policy.md is the language.
package enum PolicyFile {
    static let apiVersion = "swerve.dev/v1"
    static let kind = "Policy"

    /// Everything a policy can say: its place in a file, and its annotation.
    package static var fields: [(path: String, annotation: String)] {
        PolicyField.all.map { ($0.path, PolicyAnnotations.prefix + $0.annotation) }
    }

    /// Reads a policy; `name` is the file's, for errors.
    ///
    /// A pure function of the bytes. Every error in the file is reported, not the first alone,
    /// unless it is not YAML at all.
    package static func parse(
        _ bytes: [UInt8], named name: String
    ) throws(PolicyErrors) -> Policy {
        var reader = PolicyReader(source: name)
        reader.read(try document(bytes, named: name))
        guard reader.errors.isEmpty else {
            throw PolicyErrors(reader.errors.inOrder, omitted: reader.omitted)
        }
        return reader.policy
    }

    static func document(
        _ bytes: [UInt8], named name: String
    ) throws(PolicyErrors) -> Element {
        do throws(SyntaxProblem) {
            guard let document = try Element(yaml: bytes) else {
                throw SyntaxProblem(problem: "the file is empty")
            }
            return document
        } catch {
            throw PolicyErrors([
                PolicyError(
                    source: name, line: error.line, column: error.column, field: "", value: nil,
                    problem: error.problem, allowed: nil)
            ])
        }
    }
}

extension [PolicyError] {
    /// By their place in the file.
    var inOrder: [PolicyError] {
        sorted { ($0.line, $0.column) < ($1.line, $1.column) }
    }
}
