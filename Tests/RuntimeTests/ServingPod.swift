// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import RedirectionModel
import Testing

/// A pod of two containers, as a mesh has them: an application, and an Envoy of uid 1500.
struct ServingPod {
    let running: RunningPod
    private let application: String

    /// Where its application is asked, and where it asks.
    private static let port = EnvoyConfiguration.applicationPort
    private static let otherPort: UInt16 = 9080
    private static let sidecarUID = 1500

    private var node: RuntimeNode { running.containerd.node }

    static func start(_ pod: RuntimePod, _ containerd: Containerd) async throws -> ServingPod {
        let running = try pod.start(containerd)
        let application = try running.run(
            "application",
            ["/bin/busybox", "httpd", "-f", "-p", "\(port)", "-h", "/www"], as: 0)
        let program = URL(filePath: EnvoyConfiguration.program).resolvingSymlinksInPath()
        var envoy = EnvoyConfiguration()
        envoy.recorded = ["DOWNSTREAM_REMOTE", "DOWNSTREAM_LOCAL", "UPSTREAM_REMOTE"]
        try running.run(
            "envoy", envoy.arguments(program: "/envoy/" + program.lastPathComponent),
            as: sidecarUID, mounts: ["/envoy": program.deletingLastPathComponent().path])
        let namespace = try running.namespace()
        try await waitUntil {
            try [15001, 15003, port].allSatisfy { port in
                try !namespace.listeningSockets(on: port).isEmpty
            }
        }
        return ServingPod(running: running, application: application)
    }

    /// What Envoy wrote about a connection: who made it, where that wanted to go, and where it went.
    private struct Record: Equatable {
        let client: Endpoint
        let origin: Endpoint
        let server: Endpoint
    }

    private func records() -> [Record] {
        running.log("envoy").compactMap { line in
            ProxyRecord.ends(in: Substring(line)).map {
                Record(client: $0.0, origin: $0.1, server: $0.2)
            }
        }
    }

    /// Checks that requests both ways are answered, and whether Envoy carries them, by its own words
    /// and by those of whoever is asked.
    func expectServes(
        inboundByEnvoy: Bool = true, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        try await expectAnswers(byEnvoy: inboundByEnvoy, sourceLocation: sourceLocation)
        try await expectAsks(sourceLocation)
    }

    /// The same of requests that come in.
    func expectAnswers(
        byEnvoy: Bool, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let origin = Endpoint(running.address, Self.port)
        let (client, answer) = try ask(origin)
        let asker = byEnvoy ? "127.0.0.1" : RuntimeNode.gateway
        #expect(answer.contains(":\(asker)]"), "\(answer)", sourceLocation: sourceLocation)
        guard byEnvoy else {
            #expect(!records().contains { $0.client == client }, sourceLocation: sourceLocation)
            return
        }
        let record = Record(
            client: client, origin: origin, server: Endpoint(.loopback(.ipv4), Self.port))
        try await waitUntil { records().contains(record) }
    }

    /// Asks who asks; Envoy tells of the connection when both ends are closed.
    private func ask(_ origin: Endpoint) throws -> (client: Endpoint, answer: String) {
        let socket = try node.namespace.connect(to: origin)
        try socket.send("GET /cgi-bin/who HTTP/1.0\r\n\r\n")
        return (try socket.localEndpoint(), try socket.receiveAll())
    }

    private func expectAsks(_ sourceLocation: SourceLocation) async throws {
        let gateway = try #require(IPAddress(RuntimeNode.gateway))
        let origin = Endpoint(gateway, Self.otherPort)
        let before = records().filter { $0.server == origin }.count
        let server = try node.namespace.listen(.ipv4, origin.port)
        let command = ["/bin/busybox", "wget", "-q", "-O", "-", "http://\(origin)/"]
        try running.containerd.begin([
            (
                "ExecSync",
                JSON(members: [
                    "container_id": .string(application), "timeout": JSON(60),
                    "cmd": .array(command.map(JSON.string)),
                ])
            )
        ])
        do {
            let accepted = try server.accept(timeout: .seconds(60))
            _ = try accepted.descriptor.read(upTo: 4096)
            try accepted.send("HTTP/1.0 200 OK\r\n\r\nan answer")
        }
        let answer = try running.containerd.finish()[0]
        let text = answer.json["stdout"]?.text.flatMap { Data(base64Encoded: $0) }
        #expect(
            text.map { String(decoding: $0, as: UTF8.self) } == "an answer", "\(answer)",
            sourceLocation: sourceLocation)
        try await waitUntil {
            let asked = records().filter { $0.server == origin }
            return asked.count > before && asked.allSatisfy { $0.origin == origin }
        }
    }
}
