// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// The annotations by which a mesh lets pods say what is redirected.
struct MeshVocabulary: Sendable {
    enum Meaning: Sendable {
        /// The text of a field of ours.
        case field(String)
        /// The same for an include list, where `*` is everything and an empty text nothing.
        case includes(String, everything: String)
        case custom(@Sendable (String, inout Policy) -> [ValueProblem])
        /// A configuration of the mesh's own, of which only these are looked for.
        case mentions([Mention])
        /// Something this product cannot do, unless the value asks for nothing.
        case refused(String, unless: Set<String> = [])
    }

    /// A word in a mesh's own configuration that asks for something about redirection.
    struct Mention: Sendable {
        let word: String
        /// What stands on its line too, where it asks for anything.
        let company: String
        /// The field at which an annotation of ours says what is wanted instead.
        let field: String
        let problem: String

        init(_ word: String, with company: String = "", saidAt field: String, _ problem: String) {
            self.word = word
            self.company = company
            self.field = field
            self.problem = problem
        }

        func isIn(_ text: String) -> Bool {
            text.split { $0.isNewline || $0 == "," }.contains { line in
                let words = line.prefix { $0 != "#" }.split {
                    !$0.isLetter && !$0.isNumber && $0 != "_"
                }
                return words.contains { $0 == word }
                    && (company.isEmpty || words.contains { $0 == company })
            }
        }
    }

    let keys: [String: Meaning]
    /// Prefixes below which everything is about redirection, so that an unknown key is a slip.
    let closedPrefixes: [String]
    let appliesToNamespaces: Bool

    init(
        keys: [String: Meaning], closedPrefixes: [String] = [], appliesToNamespaces: Bool = false
    ) {
        self.keys = keys
        self.closedPrefixes = closedPrefixes
        self.appliesToNamespaces = appliesToNamespaces
    }

    init(of preset: Preset.Name) {
        self =
            switch preset {
            case .fsm: .flomesh(prefix: "flomesh.io/")
            case .osm: .flomesh(prefix: "openservicemesh.io/")
            case .istio: .istio
            case .linkerd: .linkerd
            case .kuma: .kuma
            case .consul: .consul
            }
    }

    /// What is wrong with a key that is not one of `keys`; `nil` when it is none of our business.
    ///
    /// A mesh has many annotations for its control plane, so a key must look like a slip.
    func problem(withUnknown key: String) -> ValueProblem? {
        let isClosed = closedPrefixes.contains { key.hasPrefix($0) }
        let known = keys.keys.sorted()
        let slip = known.first {
            prefix(of: $0) == prefix(of: key) && isSlip(name(of: key), name(of: $0))
        }
        guard isClosed || slip != nil else { return nil }
        let hint = slip ?? nearest(key, among: known)
        return ValueProblem(
            "is not an annotation of this mesh" + (hint.map { "; did you mean \($0)?" } ?? ""),
            allowed: known.filter { prefix(of: $0) == prefix(of: key) }.joined(separator: ", "))
    }

    private func prefix(of key: String) -> Substring { key.prefix { $0 != "/" } }

    private func name(of key: String) -> String {
        String(key.drop { $0 != "/" }.dropFirst())
    }

    /// Longer names than these differ from others by a letter or two only by mistake.
    private func isSlip(_ name: String, _ known: String) -> Bool {
        known.count > 8 && name != known && isWithin(2, name, known)
    }
}
