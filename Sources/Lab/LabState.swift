// SPDX-License-Identifier: Apache-2.0

package import EBPFBackend
internal import FoundationEssentials
package import LinuxKernel
package import PolicyFile
package import RedirectionEngine
package import RedirectionModel

/// What there is to know of a running lab; what other processes find in its directory.
package struct LabState: Hashable, Sendable, Codable {
    package struct Pod: Hashable, Sendable, Codable {
        package var name: String
        package var node: String
        package var addresses: [IPAddress]
        /// How its application introduces itself; `nil` where there is none.
        package var greeting: String?
        package var cgroup: String
        /// A path that opens the pod's network namespace while the lab lives.
        package var namespace: String
        package var sidecar: ProcessIdentity?
        package var application: ProcessIdentity?
    }

    package var name: String
    package var owner: ProcessIdentity
    /// `nil`: redirection is off.
    package var mechanism: Mechanism?
    package var reason: String
    package var inbound: InboundMethod
    /// The command that stands in for our sidecar, whose records are then missing.
    package var sidecarCommand: String?
    /// The pods' policy, as a policy file.
    package var policy: String
    package var cgroup: String
    package var hosts: String
    package var records: String
    package var pods: [Pod]

    /// What works otherwise here than in a mesh.
    package func notes() throws -> [String] {
        let plan = try readPolicy().resolved(ownAddresses: []).plan
        guard mechanism != nil, sidecarCommand == nil, plan.isEnabled, let dns = plan.dns else {
            return []
        }
        return [
            "name lookups are redirected to port \(dns.port), where the lab's own sidecar does not "
                + "answer; give one that does with --sidecar"
        ]
    }

    /// What `policy` says.
    package func readPolicy() throws(PolicyErrors) -> Policy {
        try PolicyFile.parse(Array(policy.utf8), named: name)
    }

    /// The pod with this name.
    package func pod(_ name: String) throws(LabError) -> Pod {
        guard let pod = pods.first(where: { $0.name == name }) else {
            throw .unknownPod(name, known: pods.map(\.name))
        }
        return pod
    }
}

extension LabState {
    private static let fileName = "/state.json"

    /// Writes the state where other processes look for it; nobody sees half of it.
    func publish(in directory: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let data = try encoder.encode(self)
        try data.write(to: URL(filePath: directory + Self.fileName), options: .atomic)
    }

    /// The state of the lab that `swerve lab up` keeps, if there is one.
    package static func running() throws -> LabState? {
        for remains in LabRemains.inBaseDirectory() where remains.identity.purpose == .up {
            guard remains.identity.owner.isRunning,
                let text = try? readFile(remains.identity.directory + fileName)
            else { continue }
            return try JSONDecoder().decode(LabState.self, from: Data(text.utf8))
        }
        return nil
    }

    /// The state of the running lab, or the error that says how to start one.
    package static func require() throws -> LabState {
        guard let state = try running() else { throw LabError.notUp }
        return state
    }
}
