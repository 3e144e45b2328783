// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import AgentTestSupport
import Foundation
import KernelTestSupport
import LinuxKernel
import Logging
import OrderedJSON
import RedirectionEngine
import RedirectionModel
import Synchronization
import Testing

@testable import NodeAgent

@Suite struct MetricsTests {
    @Test func `text is escaped as Prometheus reads it`() {
        var text = MetricsText()
        text.add("a_total", .counter, "One\nand \\ and \"", [.init(3, ["x": "a\"b\\c\nd"])])
        text.add("none", .gauge, "Not there.", [])
        #expect(
            text.text == """
                # HELP a_total One\\nand \\\\ and "
                # TYPE a_total counter
                a_total{x="a\\"b\\\\c\\nd"} 3

                """)
    }

    @Test func `a histogram's buckets add up`() {
        var histogram = Histogram()
        for milliseconds in [0.5, 1, 3, 700, 60_000] {
            histogram.add(.milliseconds(1) * milliseconds)
        }
        let samples = histogram.samples("by", "x")
        let counts = samples.filter { $0.suffix == "_bucket" }.map(\.value)
        #expect(counts == ["2", "2", "3", "3", "3", "3", "3", "3", "3", "4", "4", "4", "4", "5"])
        #expect(samples.last?.value == "5")
        #expect(Double(samples[samples.count - 2].value).map { abs($0 - 60.7045) < 0.001 } == true)
    }

    private static func record(_ id: String) throws -> WorkloadRecord {
        let namespace = try NetworkNamespace.open("/proc/self/ns/net")
        return WorkloadRecord(
            WorkloadPlace(id: id, namespace: "/nowhere"),
            try WorkloadIdentity(of: Workload(id: id, namespace: namespace)), mode: .auto,
            plan: Preset.fsm.plan(ownAddresses: []), choice: nil)
    }

    private static func reading(
        _ count: UInt64, by mechanism: Mechanism = .nft
    ) -> NodeReadings.Counters {
        var counts = ReasonCounters()
        counts[.outbound, .outbound] = count
        return NodeReadings.Counters(mechanism: mechanism, counts: counts)
    }

    @Test(.requiresKernel) func `totals never go back`() throws {
        let (web, db) = (try Self.record("web"), try Self.record("db"))
        var totals = ConnectionTotals()
        func total(_ mechanism: Mechanism = .nft) -> UInt64? {
            totals.rows[
                .init(
                    mechanism: mechanism, direction: .outbound, verdict: "redirect-outbound",
                    reason: .outbound)]
        }
        func add(_ reading: NodeReadings.Counters, of record: WorkloadRecord) {
            let isTaken = totals.add(reading, of: record, seenBy: totals.look())
            #expect(isTaken)
        }
        add(Self.reading(5), of: web)
        add(Self.reading(7), of: web)
        add(Self.reading(2), of: db)
        #expect(total() == 9)
        // A new plan counts from zero; so does a pod that comes under an old name.
        add(Self.reading(3), of: web)
        #expect(total() == 12)
        totals.keep(["db"], seenBy: totals.look())
        add(Self.reading(4), of: web)
        #expect(total() == 16)
        let isTaken = totals.begin(Self.reading(4), of: "db", seenBy: totals.look())
        #expect(isTaken)
        add(Self.reading(5), of: db)
        #expect(total() == 17)
        add(Self.reading(1, by: .ebpf), of: web)
        #expect(total() == 17 && total(.ebpf) == 1)
    }

    @Test(.requiresKernel) func `looks that overlap count nothing twice`() throws {
        let web = try Self.record("web")
        var totals = ConnectionTotals()
        func total() -> UInt64 { totals.rows.values.reduce(0, +) }
        func add(
            _ count: UInt64, of record: WorkloadRecord, _ look: ConnectionTotals.Look? = nil
        ) -> Bool {
            totals.add(Self.reading(count), of: record, seenBy: look ?? totals.look())
        }
        let (early, late) = (totals.look(), totals.look())
        #expect(add(1000, of: web, late))
        #expect(!add(999, of: web, early))
        let hasBegun = totals.begin(Self.reading(999), of: "web", seenBy: early)
        #expect(!hasBegun)
        #expect(add(1001, of: web))
        #expect(total() == 1001)
        // Who has listed the workloads before this one came does not forget it,
        let blind = totals.look()
        let db = try Self.record("db")
        #expect(add(10, of: db))
        totals.keep(["web"], seenBy: blind)
        #expect(add(11, of: db))
        #expect(total() == 1012)
        // and who has looked at it before it went does not bring it back.
        let slow = totals.look()
        totals.keep(["web"], seenBy: totals.look())
        #expect(!add(11, of: db, slow))
        #expect(total() == 1012)
    }

    @Test(.requiresKernel, .timeLimit(.minutes(2)))
    func `scrapes at once add nothing, and another agent begins at zero`() async throws {
        let state = "/tmp/swerve-metrics-\(UInt32.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: state) }
        let mechanisms = InMemoryMechanisms(InMemoryKernel())
        let engine = Engine(state: state, mechanisms)
        let pod = try ToldPod("a1")
        let place = WorkloadPlace(id: "web", namespace: try #require(pod.request.namespacePath))
        let plan = Preset.fsm.plan(ownAddresses: [])
        try await engine.apply(plan, .nft, to: place)
        let workload = Workload(id: "web", namespace: pod.namespace)
        let backend = try #require(try await mechanisms.backend(.nft) as? InMemoryBackend)
        let destination = try #require(Endpoint("192.0.2.7:443"))
        func connect(_ count: Int) async {
            let flow = FlowQuestion(.outbound, to: destination).flow(ownAddresses: [])
            for _ in 0..<count { _ = await backend.verdict(for: flow, in: workload) }
        }
        func total(_ metrics: AgentMetrics) async -> String? {
            let text = await metrics.text(of: engine, isReady: true)
            let line = text.split(separator: "\n").first {
                $0.hasPrefix("swerve_connections_total{")
            }
            return line?.split(separator: " ").last.map(String.init)
        }
        let first = AgentMetrics()
        await connect(5)
        #expect(await total(first) == "5")
        await withTaskGroup { group in
            for _ in 0..<50 {
                group.addTask { _ = await first.text(of: engine, isReady: true) }
                group.addTask { await first.keepCounts(of: "web", in: engine) }
            }
        }
        #expect(await total(first) == "5")
        let second = AgentMetrics()
        second.begin(with: try engine.store.ids())
        #expect(await total(second) == "0")
        await connect(2)
        #expect(await total(second) == "2")
        #expect(await total(first) == "7")
    }

    @Test func `a line of the log is a JSON object, whatever is in it`() throws {
        let lines = Mutex<[String]>([])
        var logger = Logger(label: "test") { label in
            JSONLogHandler(label) { line in lines.withLock { $0.append(line) } }
        }
        logger[metadataKey: "node"] = "a"
        logger.warning("two\nlines and \"quotes\"", metadata: ["workload": "web\t1"])
        logger.debug("not at this level")
        let written = lines.withLock(\.self)
        #expect(written.count == 1)
        let json = try JSON(parsing: written.first ?? "")
        #expect(json["level"] == .string("warning") && json["logger"] == .string("test"))
        #expect(json["message"] == .string("two\nlines and \"quotes\""))
        #expect(json["workload"] == .string("web\t1") && json["node"] == .string("a"))
    }

    @Test(.requiresKernel, .timeLimit(.minutes(2)))
    func `drift, choices and refusals are counted`() async throws {
        try await TestAgent.with(refusing: [.ebpf]) { agent in
            let pod = try ToldPod("a1")
            #expect(try await agent.ask("POST", "/v1/cni/add", pod.body).status == 200)
            agent.kernel.lose(.nft, of: pod.id)
            #expect(try await agent.ask("POST", "/v1/cni/check", pod.body).status == 200)
            let text = try await agent.ask("GET", "/metrics").text
            for line in [
                #"swerve_workloads{mechanism="nft",mode="auto"} 1"#,
                #"swerve_passed_over_workloads{mechanism="ebpf",cause="kernel"} 1"#,
                #"swerve_drift_total{mechanism="nft",kind="missing"} 1"#,
                "swerve_drifted_workloads 0",
                #"swerve_apply_duration_seconds_count{mechanism="nft"} 1"#,
                #"swerve_requests_total{method="POST",route="/v1/cni/add",status="200"} 1"#,
            ] {
                #expect(text.contains(line + "\n"), "\(text)")
            }
        }
    }

    @Test(.requiresKernel, .timeLimit(.minutes(2)))
    func `events come as they happen`() async throws {
        try await TestAgent.with { agent in
            let pod = try ToldPod("a1")
            let body = pod.body
            let (id, line) = (pod.id, #""kind":"applied","mechanism":"ebpf""#)
            try await onThread { [socket = agent.socket] in
                let follower = try UnixClient.connect(socket)
                try follower.send(TestRequest("GET", "/v1/events?follow=true").text)
                var text = String(decoding: try follower.receive() ?? [], as: UTF8.self)
                #expect(text.hasPrefix("HTTP/1.1 200 "))
                #expect(try TestRequest("POST", "/v1/cni/add", body).ask(socket).status == 200)
                while !text.contains(line), let more = try follower.receive(), !more.isEmpty {
                    text += String(decoding: more, as: UTF8.self)
                }
                #expect(text.contains(line) && text.contains(id))
            }
        }
    }
}
