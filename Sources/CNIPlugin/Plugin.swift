// SPDX-License-Identifier: Apache-2.0

package import AgentProtocol
package import OrderedJSON

/// What the plugin needs of the world; a test gives it another one.
package struct PluginWorld {
    /// Asks the agent, and returns what a success carried.
    package let ask: (AgentCall, JSON, PluginConfiguration) throws(AgentFailure) -> JSON
    /// Leaves word for the agent of a pod that was started without it.
    package let record: (FailedOpen, PluginConfiguration) -> String?
    /// Says in that word that the pod is gone.
    package let forget: (Attachment, PluginConfiguration) -> Void

    package init(
        ask: @escaping (AgentCall, JSON, PluginConfiguration) throws(AgentFailure) -> JSON,
        record: @escaping (FailedOpen, PluginConfiguration) -> String?,
        forget: @escaping (Attachment, PluginConfiguration) -> Void
    ) {
        self.ask = ask
        self.record = record
        self.forget = forget
    }
}

/// What a runtime gets: standard output, and lines for its log.
package struct PluginOutcome: Hashable {
    package var output = ""
    package var log: [String] = []
    package var failed = false
}

/// The plugin: what a runtime asks, asked of the agent, and answered in CNI's words.
package struct Plugin {
    private let invocation: Invocation
    private let world: PluginWorld
    private var outcome = PluginOutcome()

    /// Does what the environment and standard input say.
    package static func run(
        _ lookUp: (String) -> String?, input: () throws(CNIError) -> [UInt8], _ world: PluginWorld
    ) -> PluginOutcome {
        var version = CNIVersion.latest
        do throws(CNIError) {
            var plugin = Plugin(invocation: try Invocation(lookUp), world: world)
            if plugin.invocation.command == .version {
                plugin.outcome.output = versions(try input())
                return plugin.outcome
            }
            let network = try NetworkInput(try input())
            version = network.version
            try plugin.obey(network)
            return plugin.outcome
        } catch {
            let command = lookUp("CNI_COMMAND") ?? "no command"
            return PluginOutcome(
                output: error.json(version).rendered() + "\n",
                log: ["\(command): \(error.message)"], failed: true)
        }
    }

    private init(invocation: Invocation, world: PluginWorld) {
        self.invocation = invocation
        self.world = world
    }

    /// What we speak, and in which version that is said: the runtime's own, if it names one.
    private static func versions(_ input: [UInt8]) -> String {
        let asked = (try? JSON(parsing: input))?["cniVersion"]?.text
        let supported = CNIVersion.allCases.map { JSON.string($0.rawValue) }
        return JSON(members: [
            "cniVersion": .string(asked ?? CNIVersion.latest.rawValue),
            "supportedVersions": .array(supported),
        ]).rendered() + "\n"
    }

    private mutating func obey(_ network: NetworkInput) throws(CNIError) {
        let command = invocation.command
        guard network.version >= command.since else {
            throw CNIError(
                .incompatibleVersion,
                "cniVersion \(network.version.rawValue) has no \(command.rawValue)",
                details: "\(command.rawValue) exists since \(command.since.rawValue)")
        }
        let configuration = try configuration(network)
        switch command {
        case .add: try add(network, configuration)
        case .check: try check(network, configuration)
        case .delete: try delete(network, configuration)
        case .collect: try collect(network, configuration)
        case .status: try status(configuration)
        case .version: break
        }
    }

    /// Our fields; a DEL makes do with what is legible, for an ADD that failed over them is followed
    /// by a DEL.
    private mutating func configuration(
        _ network: NetworkInput
    ) throws(CNIError) -> PluginConfiguration {
        do throws(FieldError) {
            return try PluginConfiguration(network.json)
        } catch {
            guard invocation.command == .delete else { throw CNIError(error) }
            outcome.log.append("DEL: \(error.message)")
            var configuration = PluginConfiguration()
            if let socket = network.json["agentSocket"]?.text { configuration.agentSocket = socket }
            return configuration
        }
    }

    private mutating func add(
        _ network: NetworkInput, _ configuration: PluginConfiguration
    ) throws(CNIError) {
        var request = try invocation.request(network)
        let previous = try network.previousResult()
        let result = try previous.converted(to: network.version)
        request.addresses = try previous.addresses()
        do throws(AgentFailure) {
            let answer = try world.ask(.add, request.json, configuration)
            try understand(answer) { json throws(FieldError) in _ = try PodAnswer(json) }
        } catch {
            let failure = error.cniError(configuration)
            guard configuration.failurePolicy == .open else { throw failure }
            startAnyway(request, failure, configuration)
        }
        outcome.output = result.rendered() + "\n"
    }

    /// What `failurePolicy: open` asks for, and nobody gets without asking.
    private mutating func startAnyway(
        _ request: PodRequest, _ failure: CNIError, _ configuration: PluginConfiguration
    ) {
        let pod = FailedOpen(request: request, reason: failure.message)
        var line = "ADD: \(failure.message); the pod starts WITHOUT redirection: failurePolicy open"
        if let problem = world.record(pod, configuration) {
            line += "; the agent will not know: \(problem)"
        }
        outcome.log.append(line)
    }

    private func check(
        _ network: NetworkInput, _ configuration: PluginConfiguration
    ) throws(CNIError) {
        var request = try invocation.request(network)
        request.addresses = try network.previousResult().addresses()
        _ = try ask(.check, request.json, configuration)
    }

    /// Tells the agent that a pod goes, and lets it go.
    ///
    /// A DEL must not hold a pod that wants to go: redirection goes with the namespace, and an agent
    /// that comes back sees which pods are gone. It fails only if the agent asks for another try.
    private mutating func delete(
        _ network: NetworkInput, _ configuration: PluginConfiguration
    ) throws(CNIError) {
        var request = PodRequest(
            attachment: try invocation.attachment(), network: network.json["name"]?.text ?? "")
        request.namespacePath = invocation.namespacePath
        request.pod = (try? invocation.pod()) ?? PodIdentity()
        world.forget(request.attachment, configuration)
        do throws(AgentFailure) {
            _ = try world.ask(.delete, request.json, configuration)
        } catch {
            let failure = error.cniError(configuration)
            if error.isAnswer, error.isWorthRetrying { throw failure }
            outcome.log.append("DEL: \(failure.message); the agent will see that the pod is gone")
        }
    }

    private func collect(
        _ network: NetworkInput, _ configuration: PluginConfiguration
    ) throws(CNIError) {
        let request = CollectRequest(
            network: try network.network(), valid: try network.validAttachments())
        _ = try ask(.collect, request.json, configuration)
    }

    private mutating func status(_ configuration: PluginConfiguration) throws(CNIError) {
        do throws(CNIError) {
            let answer: StatusAnswer
            do throws(AgentFailure) {
                let json = try world.ask(.status, .object([]), configuration)
                answer = try understand(json) { json throws(FieldError) in try StatusAnswer(json) }
            } catch {
                let failure = error.cniError(configuration)
                throw CNIError(.unavailable, failure.message, details: failure.details)
            }
            guard answer.ready else {
                throw CNIError(
                    answer.limited ? .limited : .unavailable,
                    "the agent is not ready: \(answer.reason)")
            }
        } catch {
            // With this policy a pod can be added all the same.
            guard configuration.failurePolicy == .open, error.code == .unavailable else {
                throw error
            }
            outcome.log.append("STATUS: \(error.message); failurePolicy open")
        }
    }

    private func ask(
        _ call: AgentCall, _ body: JSON, _ configuration: PluginConfiguration
    ) throws(CNIError) -> JSON {
        do throws(AgentFailure) {
            return try world.ask(call, body, configuration)
        } catch { throw error.cniError(configuration) }
    }

    /// Reads a success; one that says something else is no success.
    private func understand<Answer>(
        _ json: JSON, _ read: (JSON) throws(FieldError) -> Answer
    ) throws(AgentFailure) -> Answer {
        do throws(FieldError) { return try read(json) } catch { throw .garbled(error.message) }
    }
}
