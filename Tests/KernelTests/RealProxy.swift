// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

/// Proxies that other people wrote, as they are.
enum RealProxy: String, CaseIterable, Codable, Sendable {
    case envoy
    case haproxy

    /// Where the pod's application listens, on loopback alone: only the proxy can reach it.
    static let applicationPort = EnvoyConfiguration.applicationPort

    private var program: String {
        switch self {
        case .haproxy: "/usr/sbin/haproxy"
        case .envoy: EnvoyConfiguration.program
        }
    }

    private func arguments(_ file: TemporaryFile) throws -> [String] {
        switch self {
        case .haproxy:
            try OwnedDescriptor.open(file.path, .replace).write(HAProxyConfiguration.text)
            return [program, "-db", "-f", file.path]
        case .envoy:
            return EnvoyConfiguration().arguments()
        }
    }

    /// Runs `body` with the proxy serving the pod, as the sidecar's user.
    func run(in pod: TestPod, _ body: (RunningProxy) throws -> Void) async throws {
        #expect(FileManager.default.isExecutableFile(atPath: program), "\(program) is missing")
        let configuration = TemporaryFile()
        let log = TemporaryFile()
        let output = try OwnedDescriptor.open(log.path, .append)
        var birth = ChildProcess.Birth(try arguments(configuration))
        birth.namespace = pod.namespace
        birth.cgroup = pod.workload.cgroup
        birth.owner = .sidecar
        birth.output = output.rawValue
        birth.error = output.rawValue
        let process = try LeashedProcess(birth)
        let proxy = RunningProxy(logPath: log.path)
        do {
            try await proxy.waitForListeners(in: pod.namespace)
            try body(proxy)
        } catch {
            // The error alone does not say what the proxy thought of it.
            Issue.record("\(error); the log: \(try readFile(log.path))")
            try process.stop()
            throw error
        }
        try process.stop()
        withExtendedLifetime((configuration, log)) {}
    }
}

/// A proxy at work.
struct RunningProxy {
    let logPath: String

    /// What the proxy wrote about a connection: its own view, in its own words.
    struct Record: Equatable {
        let client: Endpoint
        /// The proxy's own end of its connection to the server.
        let source: Endpoint
        let server: Endpoint
    }

    func waitForListeners(in namespace: NetworkNamespace) async throws {
        for port: UInt16 in [15001, 15003] {
            let limit = ContinuousClock.now + .seconds(10)
            while try namespace.listeningSockets(on: port).isEmpty {
                let log = try readFile(logPath)
                try #require(ContinuousClock.now < limit, "nobody listens: \(log)")
                try await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    /// The record of `client`'s connection, which comes when that is over; waits 5 seconds at most.
    func record(of client: Endpoint) throws -> Record {
        for _ in 0..<100 {
            let records = try readFile(logPath).split(separator: "\n").compactMap(Self.parse)
            if let record = records.first(where: { $0.client == client }) { return record }
            Thread.sleep(forTimeInterval: 0.05)
        }
        struct NoRecord: Error { let log: String }
        throw NoRecord(log: try readFile(logPath))
    }

    private static func parse(_ line: Substring) -> Record? {
        ProxyRecord.ends(in: line).map { Record(client: $0.0, source: $0.1, server: $0.2) }
    }
}
