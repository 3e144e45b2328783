// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import LinuxKernel
internal import LocalHTTP
internal import OrderedJSON
internal import PolicyFile
internal import RedirectionEngine
internal import RedirectionModel

/// What operators ask of workloads, which are pods for the most part.
extension AgentAPI {
    static let podRoutes = [
        Route("GET", "/v1/pods") { (api, call) async throws(AgentRefusal) in
            try call.refuseQuery(otherThan: [])
            return Answer(encoding: try await api.list())
        },
        Route("GET", "/v1/pods/{id}") { (api, call) async throws(AgentRefusal) in
            try call.refuseQuery(otherThan: [])
            return Answer(
                encoding: await WorkloadReport(try await api.record(call.id), of: api.engine))
        },
        Route("PUT", "/v1/pods/{id}") { (api, call) async throws(AgentRefusal) in
            try call.refuseQuery(otherThan: [])
            let wish = try call.read { (json) throws(FieldError) in
                try WorkloadWish(json, id: call.id)
            }
            let record = try await api.keeper.apply(
                try wish.resolved(), to: wish.place, labels: wish.labels)
            return Answer(encoding: WorkloadReport(record))
        },
        Route("PATCH", "/v1/pods/{id}") { (api, call) async throws(AgentRefusal) in
            try call.refuseQuery(otherThan: [])
            let mode = try call.read(PolicyMode.init(asked:))
            return Answer(
                encoding: WorkloadReport(try await api.keeper.setMode(mode, of: call.id)))
        },
        Route("DELETE", "/v1/pods/{id}") { (api, call) async throws(AgentRefusal) in
            try call.refuseQuery(otherThan: [])
            try await api.keeper.delete(call.id)
            return Answer(json: .object([]))
        },
        Route("GET", "/v1/pods/{id}/counters") { (api, call) async throws(AgentRefusal) in
            try call.refuseQuery(otherThan: [])
            do throws(EngineError) {
                let counts = try await api.engine.counters(of: call.id)
                return Answer(encoding: counts.rows.map(CounterView.init))
            } catch { throw AgentRefusal(error) }
        },
        Route("GET", "/v1/pods/{id}/plan") { (api, call) async throws(AgentRefusal) in
            try call.refuseQuery(otherThan: [])
            let (record, workload) = try await api.opened(call.id)
            let plans = api.inspectors(workload).map { PlanView($0, record.plan) }
            return Answer(encoding: plans)
        },
        Route("GET", "/v1/pods/{id}/explain") { (api, call) async throws(AgentRefusal) in
            let question = try FlowQuestion(asked: call)
            let (record, workload) = try await api.opened(call.id)
            let explanation = await Explanation(
                question.flow(ownAddresses: record.plan.ownAddresses), under: record.plan,
                in: workload, by: api.inspectors(workload))
            return Answer(encoding: explanation)
        },
    ]

    private func list() async throws(AgentRefusal) -> WorkloadList {
        do throws(StateError) {
            let (workloads, problems) = try await engine.report()
            return WorkloadList(workloads: workloads, problems: problems.map { "\($0)" })
        } catch { throw AgentRefusal(.state(error)) }
    }

    private func record(_ id: Workload.ID) async throws(AgentRefusal) -> WorkloadRecord {
        do throws(EngineError) {
            return try await engine.record(of: id)
        } catch { throw AgentRefusal(error) }
    }

    private func opened(
        _ id: Workload.ID
    ) async throws(AgentRefusal) -> (WorkloadRecord, Workload) {
        let record = try await record(id)
        do throws(EngineError) {
            if let workload = try await engine.workload(of: record) { return (record, workload) }
        } catch { throw AgentRefusal(error) }
        throw AgentRefusal(
            404, AgentError("is gone", field: "id", value: id, retryable: false))
    }
}

/// What is listed.
private struct WorkloadList: Encodable {
    let workloads: [WorkloadReport]
    /// Files of the state that cannot be read.
    let problems: [String]
}

private struct CounterView: Encodable {
    let direction: Direction
    let reason: String
    let count: UInt64

    init(_ row: (direction: Direction, reason: Reason, count: UInt64)) {
        direction = row.direction
        reason = "\(row.reason)"
        count = row.count
    }
}

private struct PlanView: Encodable {
    let mechanism: Mechanism
    let fingerprint: String
    let sections: [RenderedPlan.Section]
    let refusal: String?
    let notes: [String]

    init(_ inspector: any PlanInspector, _ plan: RedirectionPlan) {
        mechanism = inspector.mechanism
        fingerprint = "\(plan.fingerprint)"
        notes = inspector.notes(on: plan)
        do throws(RedirectionError) {
            sections = try inspector.render(plan).sections
            refusal = nil
        } catch {
            sections = []
            refusal = "\(error)"
        }
    }
}

extension PolicyMode {
    /// Reads `{"mode": "nft"}`.
    fileprivate init(asked json: JSON) throws(FieldError) {
        let fields = try JSONFields(json)
        try fields.refuse(otherThan: ["mode"])
        self = try fields.required("mode") { (name) throws(FieldError) in
            try PolicyMode(named: name, fields)
        }
    }

    init?(named name: String, _ fields: JSONFields) throws(FieldError) {
        guard let word = try fields.string(name) else { return nil }
        guard let mode = PolicyMode(rawValue: word) else {
            let list = PolicyMode.allCases.map(\.rawValue).joined(separator: ", ")
            throw fields.error(name, "must be one of \(list)")
        }
        self = mode
    }
}
