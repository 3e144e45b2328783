// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// What is said about a pod or a namespace beside its name.
package struct Metadata: Hashable, Sendable {
    package let labels: [String: String]
    package let annotations: [String: String]

    package init(labels: [String: String] = [:], annotations: [String: String] = [:]) {
        self.labels = labels
        self.annotations = annotations
    }
}

/// Whether a pod is a mesh's, by what the mesh's injector and its users write on pods and namespaces.
package enum MeshEnrollment: Hashable, Sendable {
    case enrolled
    /// Why not, in words.
    case outside(String)

    /// Reads what is said; `object` is whose annotations they are, for errors.
    ///
    /// A pod is the mesh's if its injector has left its mark, which says that there is a sidecar, and
    /// nobody has taken it out since: neither its own switch, nor else its namespace's, is off, and the
    /// namespace is the mesh's where the mesh wants it to be.
    package init(
        of pod: Metadata, in namespace: Metadata, preset: Preset.Name, object: String
    ) throws(PolicyErrors) {
        let words = Words(of: preset)
        var isOn = try words.injection(of: pod, object)
        if isOn == nil { isOn = try words.injection(of: namespace, "the namespace of \(object)") }
        if isOn == false {
            self = .outside("\(words.injection) says no")
        } else if let label = words.namespace, namespace.labels[label] == nil {
            self = .outside("its namespace has no label \(label)")
        } else if let missing = words.missingMark(on: pod) {
            self = .outside("it has no \(missing), and so no sidecar of the mesh's")
        } else {
            self = .enrolled
        }
    }

    /// Whether it takes a pod's labels to know, of one whose annotations and namespace are known.
    package static func depends(
        onLabelsOf annotations: [String: String], in namespace: Metadata, preset: Preset.Name
    ) -> Bool {
        let words = Words(of: preset)
        var candidates: [[String: String]] = [[:]]
        if case .label(let key) = words.mark { candidates.append([key: ""]) }
        for word in [words.on.first, words.off.first].compactMap(\.self) {
            candidates += candidates.map { labels in
                labels.merging([words.injection: word]) { before, _ in before }
            }
        }
        let answers = candidates.map { labels -> Bool? in
            let pod = Metadata(labels: labels, annotations: annotations)
            let answer = try? MeshEnrollment(of: pod, in: namespace, preset: preset, object: "")
            return answer.map { $0 == .enrolled }
        }
        return Set(answers).count > 1
    }

    /// A mesh's own words.
    private struct Words {
        enum Mark {
            case label(String)
            case annotation(String, value: String? = nil)
        }

        /// What the injector leaves on a pod.
        let mark: Mark
        /// The label a namespace of the mesh's has, whatever its value.
        var namespace: String?
        /// The key by which pods and namespaces are taken in and out.
        let injection: String
        let on: Set<String>
        let off: Set<String>

        init(of preset: Preset.Name) {
            switch preset {
            case .fsm: self = .flomesh("fsm-proxy-uuid", prefix: "flomesh.io/")
            case .osm: self = .flomesh("osm-proxy-uuid", prefix: "openservicemesh.io/")
            case .istio:
                self.init(
                    mark: .annotation("sidecar.istio.io/status"),
                    injection: "sidecar.istio.io/inject", on: ["true", "y", "yes", "on"],
                    off: ["false", "n", "no", "off"])
            case .linkerd:
                self.init(
                    mark: .annotation("linkerd.io/proxy-version"),
                    injection: "linkerd.io/inject", on: ["enabled", "ingress"], off: ["disabled"])
            case .kuma:
                self.init(
                    mark: .annotation("kuma.io/sidecar-injected", value: "true"),
                    injection: "kuma.io/sidecar-injection", on: ["enabled", "true"],
                    off: ["disabled", "false"])
            case .consul:
                self.init(
                    mark: .annotation(
                        "consul.hashicorp.com/connect-inject-status", value: "injected"),
                    injection: "consul.hashicorp.com/connect-inject", on: ["true"], off: ["false"])
            }
        }

        private init(
            mark: Mark, namespace: String? = nil, injection: String, on: Set<String>,
            off: Set<String>
        ) {
            self.mark = mark
            self.namespace = namespace
            self.injection = injection
            self.on = on
            self.off = off
        }

        private static func flomesh(_ label: String, prefix: String) -> Words {
            Words(
                mark: .label(label), namespace: prefix + "monitored-by",
                injection: prefix + "sidecar-injection", on: ["enabled", "yes", "true"],
                off: ["disabled", "no", "false"])
        }

        /// What the switch says, if there is one: a label, which several meshes allow, or an annotation.
        func injection(of said: Metadata, _ object: String) throws(PolicyErrors) -> Bool? {
            guard let value = said.labels[injection] ?? said.annotations[injection] else {
                return nil
            }
            let word = value.trimmed.lowercased()
            if on.contains(word) { return true }
            if off.contains(word) { return false }
            throw PolicyErrors([
                PolicyError(
                    source: object, line: 0, column: 0, field: injection, value: value,
                    problem: "says neither yes nor no",
                    allowed: (on.sorted() + off.sorted()).joined(separator: ", "))
            ])
        }

        func missingMark(on pod: Metadata) -> String? {
            switch mark {
            case .label(let key): pod.labels[key] == nil ? "label \(key)" : nil
            case .annotation(let key, nil): pod.annotations[key] == nil ? "annotation \(key)" : nil
            case .annotation(let key, let value?):
                pod.annotations[key] == value ? nil : "annotation \(key)=\(value)"
            }
        }
    }
}
