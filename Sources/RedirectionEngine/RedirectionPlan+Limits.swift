// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

extension RedirectionPlan {
    /// The part of the plan that no mechanism can carry out, or `nil`.
    package var partNothingCanSay: String? {
        let ports = [sidecar.outboundPort, sidecar.inboundPort] + (dns.map { [$0.port] } ?? [])
        if ports.contains(0) { return "a sidecar on port 0" }
        guard case .transparent(let mark, let table) = inboundMode else { return nil }
        if mark == 0 { return "mark 0 for transparent inbound (every packet has it)" }
        if table == 0 || (253...255).contains(table) {
            return "routing table \(table) for transparent inbound (it is the system's)"
        }
        return nil
    }
}
