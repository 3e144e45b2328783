// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import CNIPlugin
internal import FoundationEssentials
internal import LocalHTTP
internal import OrderedJSON
internal import RedirectionEngine

/// What plugins ask: ours in the words of AgentProtocol, Flomesh's in its own.
extension AgentAPI {
    static let cniRoutes = [
        Route("POST", AgentCall.add.path) { (api, call) async throws(AgentRefusal) in
            let pod = try call.read(PodRequest.init)
            return Answer(json: try await api.keeper.add(pod).json)
        },
        Route("POST", AgentCall.check.path) { (api, call) async throws(AgentRefusal) in
            let pod = try call.read(PodRequest.init)
            return Answer(json: try await api.keeper.check(pod).json)
        },
        Route("POST", AgentCall.delete.path) { (api, call) async throws(AgentRefusal) in
            let pod = try call.read(PodRequest.init)
            try await api.keeper.delete(pod.id)
            return Answer(json: .object([]))
        },
        Route("POST", AgentCall.collect.path) { (api, call) async throws(AgentRefusal) in
            let request = try call.read(CollectRequest.init)
            try await api.keeper.collect(request)
            return Answer(json: .object([]))
        },
        Route("POST", AgentCall.status.path) { (api, call) async throws(AgentRefusal) in
            _ = try call.read { (json) throws(FieldError) in
                try JSONFields(json).refuse(otherThan: [])
            }
            return Answer(json: await api.readiness.status.json)
        },
        Route("POST", "/v1/cni/create-pod") { (api, call) async throws(AgentRefusal) in
            let pod = try call.flomeshPod("ADD")
            _ = try await api.keeper.enrolling.add(pod)
            return Answer(200, text: "ok")
        },
        Route("POST", "/v1/cni/delete-pod") { (api, call) async throws(AgentRefusal) in
            let pod = try call.flomeshPod("DEL")
            try await api.keeper.delete(pod.id)
            return Answer(200, text: "ok")
        },
    ]
}

extension PodKeeper {
    /// The same for a plugin that asks for the pods of the mesh only.
    fileprivate var enrolling: PodKeeper {
        var keeper = self
        keeper.policy = policy.enrolling
        return keeper
    }
}

extension Call {
    /// The pod of Flomesh's plugin: the CNI library's `skel.CmdArgs`, as Go writes it in JSON.
    fileprivate func flomeshPod(_ command: String) throws(AgentRefusal) -> PodRequest {
        let (variables, input) = try read(Self.arguments)
        do throws(CNIError) {
            return try Invocation { $0 == "CNI_COMMAND" ? command : variables[$0] }.request(input)
        } catch {
            throw AgentRefusal(malformed: error.message)
        }
    }

    private static func arguments(
        _ json: JSON
    ) throws(FieldError) -> (variables: [String: String], input: [UInt8]) {
        let fields = try JSONFields(json)
        var variables: [String: String] = [:]
        for (name, variable) in [
            ("ContainerID", "CNI_CONTAINERID"), ("Netns", "CNI_NETNS"), ("IfName", "CNI_IFNAME"),
            ("Args", "CNI_ARGS"), ("Path", "CNI_PATH"),
        ] {
            guard let text = try fields.string(name), !text.isEmpty else { continue }
            variables[variable] = text
        }
        let text = try fields.required("StdinData", fields.string)
        guard let input = Data(base64Encoded: text) else {
            throw fields.error("StdinData", "must be base64")
        }
        return (variables, Array(input))
    }
}
