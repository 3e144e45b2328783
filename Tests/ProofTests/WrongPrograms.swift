// SPDX-License-Identifier: Apache-2.0

import EBPFBackend
import RedirectionModel

/// Mistakes on the way from a plan to the maps the programs read.
enum WrongPrograms: String, CaseIterable, Codable, Sendable {
    case everyServer = "every resolver is captured"
    case firstUser = "the sidecar is its first user alone"

    var inbound: InboundMethod {
        (Self.allCases.firstIndex(of: self) ?? 0).isMultiple(of: 2)
            ? .socketLookup : .trafficControl
    }

    func rewrite(_ plan: RedirectionPlan) -> RedirectionPlan {
        var plan = plan
        switch self {
        case .everyServer: plan.dns?.servers = nil
        case .firstUser:
            plan.sidecar.uids = plan.sidecar.uids.first.map { [$0] } ?? []
        }
        return plan
    }
}
