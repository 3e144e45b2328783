// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
package import RedirectionModel
package import SidecarProxy

/// The client asks every application, by both families.
package struct Scene: Sendable {
    package let lab: LabState
    private let client: LabState.Pod

    package init(in lab: LabState) throws {
        self.lab = lab
        client = try lab.pod("curl")
    }

    /// Plays the whole scene; `report` is told of each exchange as it ends.
    package func play(_ report: (Exchange) -> Void = { _ in }) throws -> [Exchange] {
        var exchanges: [Exchange] = []
        for target in lab.pods where target.greeting != nil {
            for address in target.addresses {
                let exchange = try ask(target, at: address)
                report(exchange)
                exchanges.append(exchange)
            }
        }
        return exchanges
    }

    /// Asks one application at one of its addresses, by name.
    package func ask(_ target: LabState.Pod, at address: IPAddress) throws -> Exchange {
        let log = try RecordLog.follow(lab.records)
        let url = "http://\(target.name):\(LabTopology.applicationPort)/"
        let result = try PodCommand(
            [
                "curl", "-sS", "--max-time", "5", address.family == .ipv4 ? "-4" : "-6", "-w",
                "\n" + Self.report, url,
            ], in: client, of: lab
        ).captureClient()
        let said = ClientReport(result.output)
        // An answer has been all the way; without one there may be nothing to wait for.
        let limit: Duration = said?.body.isEmpty ?? true ? .milliseconds(300) : .seconds(5)
        let records = try log.records(within: limit) { records in
            guard let said else { return records.contains { $0.error != nil } }
            return path(from: said.local, in: records).reachedApplication
        }
        var exchange = Exchange(
            family: address.family, target: target.name,
            destination: Endpoint(address, LabTopology.applicationPort),
            answer: said?.body ?? "", peerSeenByClient: said?.remote,
            path: said.map { path(from: $0.local, in: records) }
                ?? ConnectionPath(client: Endpoint(address, 0), hops: []))
        if result.status != 0 {
            exchange.problems = ["\(result.error.trimmed)"] + complaints(records)
        } else {
            exchange.problems = Expectation(client: client, target: target, lab: lab)
                .problems(of: exchange)
        }
        return exchange
    }

    /// What curl prints about its socket: the lab's proof, not curl's guess.
    private static let report = "%{local_ip} %{local_port} %{remote_ip} %{remote_port}"

    /// Every connection a sidecar of the lab has recorded so far; none must be in a lab without
    /// redirection.
    package func sidecarRecords() throws -> [ConnectionRecord] {
        try RecordLog.all(lab.records).filter { $0.role != .app }
    }

    private func complaints(_ records: [ConnectionRecord]) -> [String] {
        records.compactMap { record in
            record.error.map { "\(record.role) of \(record.pod): \($0)" }
        }
    }

    private func path(from client: Endpoint, in records: [ConnectionRecord]) -> ConnectionPath {
        let path = ConnectionPath.trace(from: client, in: records)
        guard lab.sidecarCommand != nil, path.hops.isEmpty else { return path }
        // Somebody else's sidecars keep no record of ours: the application's is what is left.
        return ConnectionPath(client: client, hops: records.filter { $0.role == .app })
    }
}

/// What curl printed: the answer, and the ends of its socket.
struct ClientReport: Hashable {
    let body: String
    let local: Endpoint
    let remote: Endpoint?

    /// Reads the body and the line that follows it; `nil` when there was no connection.
    init?(_ output: String) {
        var lines = output.split(separator: "\n", omittingEmptySubsequences: false)
        guard let fields = lines.popLast()?.split(separator: " "), fields.count == 4,
            let local = Self.endpoint(fields[0], fields[1]), local.port != 0
        else { return nil }
        self.local = local
        remote = Self.endpoint(fields[2], fields[3])
        body = lines.joined(separator: "\n").trimmed
    }

    private static func endpoint(_ address: Substring, _ port: Substring) -> Endpoint? {
        guard let address = IPAddress(String(address)), let port = UInt16(port) else { return nil }
        return Endpoint(address, port)
    }
}

extension PodCommand {
    /// Runs the client; that it is not installed deserves a sentence of its own.
    fileprivate func captureClient() throws -> Output {
        do throws(KernelError) {
            return try capture()
        } catch {
            throw LabError.noClient("\(error)")
        }
    }
}

extension String {
    /// Without white space around it.
    var trimmed: String {
        guard let first = firstIndex(where: { !$0.isWhitespace }),
            let last = lastIndex(where: { !$0.isWhitespace })
        else { return "" }
        return String(self[first...last])
    }
}
