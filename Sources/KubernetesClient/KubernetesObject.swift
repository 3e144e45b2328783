// SPDX-License-Identifier: Apache-2.0

internal import OrderedJSON

/// What we want to know of a pod or a namespace: its metadata, of which the server is asked for
/// nothing else.
package struct KubernetesObject: Hashable, Sendable {
    package let name: String
    /// `nil` for a namespace.
    package let namespace: String?
    package let uid: String
    package let labels: [String: String]
    package let annotations: [String: String]
    package let version: String

    package init(
        name: String, namespace: String? = nil, uid: String, labels: [String: String] = [:],
        annotations: [String: String] = [:], version: String = ""
    ) {
        self.name = name
        self.namespace = namespace
        self.uid = uid
        self.labels = labels
        self.annotations = annotations
        self.version = version
    }

    init(_ json: JSON) throws(KubernetesError) {
        do throws(FieldError) {
            let object = try JSONFields(json)
            let fields = try object.required("metadata", object.fields)
            name = try fields.required("name", fields.string)
            namespace = try fields.string("namespace")
            uid = try fields.required("uid", fields.string)
            labels = try fields.dictionary("labels") ?? [:]
            var annotations = try fields.dictionary("annotations") ?? [:]
            // The whole object once more, and by far the longest.
            annotations["kubectl.kubernetes.io/last-applied-configuration"] = nil
            self.annotations = annotations
            version = try fields.required("resourceVersion", fields.string)
        } catch {
            throw .malformed(error.message)
        }
    }
}

/// What is listed and watched.
package struct KubernetesResource: Hashable, Sendable {
    /// As it is in paths: `pods`.
    package let name: String
    let query: [(String, String)]

    /// The pods of a node.
    package static func pods(on node: String) -> KubernetesResource {
        KubernetesResource(name: "pods", query: [("fieldSelector", "spec.nodeName=\(node)")])
    }

    package static let namespaces = KubernetesResource(name: "namespaces", query: [])

    var path: String { "/api/v1/\(name)" }

    package static func == (one: KubernetesResource, other: KubernetesResource) -> Bool {
        one.name == other.name
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(name) }
}

/// A page of a list.
struct KubernetesPage {
    let objects: [KubernetesObject]
    /// The version of the list, to watch from.
    let version: String
    /// What to ask for the next page with.
    let rest: String?

    init(_ json: JSON) throws(KubernetesError) {
        do throws(FieldError) {
            let list = try JSONFields(json)
            let metadata = try list.required("metadata", list.fields)
            version = try metadata.required("resourceVersion", metadata.string)
            rest = try metadata.string("continue").flatMap { $0.isEmpty ? nil : $0 }
            var objects: [KubernetesObject] = []
            for element in try list.elements("items") ?? [] {
                objects.append(try Self.object(element))
            }
            self.objects = objects
        } catch {
            throw .malformed(error.message)
        }
    }

    private static func object(_ json: JSON) throws(FieldError) -> KubernetesObject {
        do throws(KubernetesError) {
            return try KubernetesObject(json)
        } catch {
            throw FieldError("items", nil, "\(error)")
        }
    }
}

/// A line of a watch.
enum WatchEvent {
    case set(KubernetesObject)
    case deleted(KubernetesObject)
    /// Nothing has happened up to this version.
    case bookmark(String)

    init(_ line: [UInt8]) throws(KubernetesError) {
        let json = try KubernetesError.reading(line)
        guard let object = json["object"] else { throw .malformed("an event has no object") }
        switch json["type"]?.text {
        case "ADDED", "MODIFIED": self = .set(try KubernetesObject(object))
        case "DELETED": self = .deleted(try KubernetesObject(object))
        case "BOOKMARK":
            guard let version = object["metadata"]?["resourceVersion"]?.text else {
                throw .malformed("a bookmark has no version")
            }
            self = .bookmark(version)
        case "ERROR": throw KubernetesError(status: object["code"]?.integer ?? 500, object)
        case let type: throw .malformed("an event of type \(type ?? "none")")
        }
    }

    /// The version to go on from.
    var version: String {
        switch self {
        case .set(let object), .deleted(let object): object.version
        case .bookmark(let version): version
        }
    }
}

extension KubernetesError {
    /// What a `Status` says.
    init(status: Int, _ object: JSON?) {
        let message = object?["message"]?.text ?? object?["reason"]?.text ?? "no reason is given"
        let short = String(message.prefix(512))
        self = status == 410 ? .gone(short) : .refused(status: status, message: short)
    }

    static func reading(_ bytes: [UInt8]) throws(KubernetesError) -> JSON {
        do throws(JSONError) {
            return try JSON(parsing: bytes)
        } catch {
            throw .malformed("no JSON: \(error)")
        }
    }
}
