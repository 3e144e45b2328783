// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel
internal import SidecarProxy

/// One question the client asked, and everything seen of it.
package struct Exchange: Hashable, Sendable, Codable {
    package var family: AddressFamily
    /// The pod that was asked, and the address that was dialed.
    package var target: String
    package var destination: Endpoint
    package var answer: String
    /// Whom the client thought it was talking to, getpeername(2).
    package var peerSeenByClient: Endpoint?
    package var path: ConnectionPath
    /// What is not as it should be; empty when all is well.
    package var problems: [String] = []
}

/// What an exchange must look like in a lab of this kind.
struct Expectation {
    let client: LabState.Pod
    let target: LabState.Pod
    let lab: LabState

    /// Says what differs.
    func problems(of exchange: Exchange) -> [String] {
        var problems: [String] = []
        let wanted = "Hi, I am \(target.greeting ?? "nobody") !"
        if exchange.answer != wanted {
            problems.append("the answer is \"\(exchange.answer)\", not \"\(wanted)\"")
        }
        if let peer = exchange.peerSeenByClient, peer != exchange.destination {
            problems.append("the client sees \(peer) as its peer, not \(exchange.destination)")
        }
        if !client.addresses.contains(exchange.path.client.address) {
            problems.append("the client's own address is \(exchange.path.client.address)")
        }
        return problems + pathProblems(exchange)
    }

    private func pathProblems(_ exchange: Exchange) -> [String] {
        let hops = exchange.path.hops
        let found = hops.map { "\($0.role) of \($0.pod)" }
        guard lab.sidecarCommand == nil else { return foreignSidecarProblems(exchange) }
        let wanted =
            lab.mechanism == nil
            ? ["app of \(target.name)"]
            : [
                "outbound of \(client.name)", "inbound of \(target.name)", "app of \(target.name)",
            ]
        guard found == wanted else {
            let seen = found.isEmpty ? "nobody saw it" : "seen by " + list(found)
            return ["the connection went another way than \(list(wanted)): \(seen)"]
        }
        return hops.filter { $0.role != .app }.flatMap { hop -> [String] in
            let error = hop.error.map { ["\(hop.role) of \(hop.pod): \($0)"] } ?? []
            return hop.origin == exchange.destination
                ? error
                : error + ["\(hop.role) of \(hop.pod) was told the origin \(text(hop.origin))"]
        }
    }

    /// What can be told without a sidecar's own record: from where the application was reached.
    private func foreignSidecarProblems(_ exchange: Exchange) -> [String] {
        guard let app = exchange.path.hops.last, app.role == .app else {
            return ["the application has no record of the connection"]
        }
        let isDirect = app.peer == exchange.path.client
        guard isDirect == (lab.mechanism == nil) else {
            return ["the application was reached by \(text(app.peer))"]
        }
        return []
    }

    private func list(_ names: [String]) -> String { names.joined(separator: ", ") }
    private func text(_ endpoint: Endpoint?) -> String { endpoint.map { "\($0)" } ?? "unknown" }
}
