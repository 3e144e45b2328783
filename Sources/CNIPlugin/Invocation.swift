// SPDX-License-Identifier: Apache-2.0

package import AgentProtocol

/// What a runtime says in the environment.
package struct Invocation: Sendable {
    package enum Command: String, Sendable {
        case add = "ADD"
        case check = "CHECK"
        case delete = "DEL"
        case collect = "GC"
        case status = "STATUS"
        case version = "VERSION"

        /// The version that brought it.
        var since: CNIVersion {
            switch self {
            case .add, .delete, .version: .v0_3_0
            case .check: .v0_4_0
            case .collect, .status: .v1_1_0
            }
        }
    }

    package let command: Command
    /// Variables by their names; an empty one counts as missing.
    private let variables: [String: String]

    static let names = [
        "CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH",
    ]

    package init(_ lookUp: (String) -> String?) throws(CNIError) {
        var variables: [String: String] = [:]
        for name in Self.names { variables[name] = lookUp(name) }
        guard let word = variables["CNI_COMMAND"] else {
            throw CNIError(
                .invalidEnvironment, "CNI_COMMAND is missing",
                details: "this program is for container runtimes, which set CNI_COMMAND")
        }
        guard let command = Command(rawValue: word) else {
            throw CNIError(.invalidEnvironment, "CNI_COMMAND (\(word)) is no command of CNI")
        }
        self.command = command
        self.variables = variables
    }

    /// `CNI_NETNS`, which every command but ADD and CHECK can be without.
    package var namespacePath: String? { variables["CNI_NETNS"] }

    /// The pod that an ADD, a CHECK or a DEL is about, but for its addresses.
    func request(_ network: NetworkInput) throws(CNIError) -> PodRequest {
        var request = PodRequest(attachment: try attachment(), network: try network.network())
        request.namespacePath = namespacePath
        request.pod = try pod()
        request.annotations = try network.annotations()
        return request
    }

    /// The same for who has only been told what a plugin was, input included.
    package func request(_ input: [UInt8]) throws(CNIError) -> PodRequest {
        let network = try NetworkInput(input)
        var request = try request(network)
        if command == .add { request.addresses = try network.previousResult().addresses() }
        return request
    }

    /// Container and interface, once they are known to be such.
    func attachment() throws(CNIError) -> Attachment {
        var needed = ["CNI_CONTAINERID", "CNI_IFNAME"]
        if command != .delete { needed.append("CNI_NETNS") }
        let missing = needed.filter { variables[$0] == nil }
        guard missing.isEmpty, let container = variables["CNI_CONTAINERID"],
            let interface = variables["CNI_IFNAME"]
        else {
            throw CNIError(
                .invalidEnvironment, "missing: " + missing.joined(separator: ", "),
                details: "\(command.rawValue) needs \(needed.joined(separator: ", "))")
        }
        guard Self.isIdentifier(container) else {
            throw CNIError(
                .invalidEnvironment,
                "CNI_CONTAINERID (\(container)) must be letters, digits, '_', '.' and '-', "
                    + "with a letter or digit first")
        }
        guard Self.isInterface(interface) else {
            throw CNIError(
                .invalidEnvironment, "CNI_IFNAME (\(interface)) is no name of an interface")
        }
        return Attachment(container: container, interface: interface)
    }

    /// Whose pod it is: what `CNI_ARGS` say of it, in whatever order, among what else they say.
    func pod() throws(CNIError) -> PodIdentity {
        var pod = PodIdentity()
        for pair in (variables["CNI_ARGS"] ?? "").split(separator: ";") {
            guard let equals = pair.firstIndex(of: "=") else {
                throw CNIError(.invalidEnvironment, "CNI_ARGS has no '=' in (\(pair))")
            }
            let text = String(pair[pair.index(after: equals)...])
            let value = text.isEmpty ? nil : text
            switch pair[..<equals] {
            case "K8S_POD_NAMESPACE": pod.namespace = value
            case "K8S_POD_NAME": pod.name = value
            case "K8S_POD_UID": pod.uid = value
            default: break
            }
        }
        return pod
    }

    /// What the specification takes for one: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
    static func isIdentifier(_ text: String) -> Bool {
        func isPlain(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: false
            }
        }
        guard let first = text.utf8.first, isPlain(first), text.utf8.count < 256 else {
            return false
        }
        return text.utf8.allSatisfy { byte in
            isPlain(byte) || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ".")
                || byte == UInt8(ascii: "-")
        }
    }

    /// What Linux takes for one: up to 15 bytes, no blanks, no `/` and no `:`.
    static func isInterface(_ text: String) -> Bool {
        1...15 ~= text.utf8.count && text != "." && text != ".."
            && !text.utf8.contains { $0 <= 0x20 || $0 == 0x7f || $0 == 0x2f || $0 == 0x3a }
    }
}
