// SPDX-License-Identifier: Apache-2.0

import Equivalence
import Foundation
import KernelTestSupport
import LinuxKernel
import RedirectionModel
import Testing

@testable import RedirectionEngine

@Suite struct StateStoreTests {
    private let directory = TemporaryFile()
    private var store: StateStore { StateStore(directory.path) }

    private func record(
        _ id: String, _ plan: RedirectionPlan = Preset.fsm.plan(ownAddresses: [])
    ) throws -> WorkloadRecord {
        let place = WorkloadPlace(id: id, namespace: "/proc/self/ns/net")
        var record = WorkloadRecord(
            place, try WorkloadIdentity(of: try place.open()), mode: .auto, plan: plan,
            choice: Choice(
                mechanism: .nft, reason: "because",
                passedOver: [PassedOver(.ebpf, .kernel, "no luck")]),
            touched: [.ebpf])
        _ = record.note([Drift(.missing, .rules, "rule 3")], of: .nft)
        return record
    }

    private func write(_ text: String, to name: String) throws {
        try Data(text.utf8).write(to: URL(filePath: "\(directory.path)/\(name)"))
    }

    @Test func `any plan is read back as it was written`() throws {
        for policy in 0..<2000 {
            var generator = PlanGenerator(Randomness(seed: 4, policy: policy))
            let plan = generator.plan()
            let text = try JSONEncoder().encode(plan)
            #expect(try JSONDecoder().decode(RedirectionPlan.self, from: text) == plan)
        }
    }

    @Test func `a record is read back as it was written, by its id`() throws {
        try store.prepare()
        let records = try ["web", "db-1.x_y:z@w+v"].map { try record($0) }
        for record in records { try store.write(record) }
        for record in records { #expect(try store.record(of: record.id) == record) }
        #expect(try store.ids() == ["db-1.x_y:z@w+v", "web"])
        #expect(records[0].retiring == [.ebpf])
        try store.forget("web")
        #expect(try store.record(of: "web") == nil)
    }

    @Test func `only root reads what is kept`() throws {
        try store.prepare()
        for path in ["", "/workloads", "/journal"] {
            let mode = try FileManager.default.attributesOfItem(atPath: directory.path + path)
            #expect(mode[.posixPermissions] as? Int == 0o700)
        }
    }

    @Test(arguments: ["", ".", "..", "../x", "a/b", "-rf", ".hidden", "a b", "a\nb", "ä", "\0"])
    func `what cannot be a file's name names no workload`(_ id: String) throws {
        #expect(throws: StateError.self) { try StateStore.check(id) }
        #expect(throws: StateError.self) { try store.record(of: id) }
        let long = String(repeating: "a", count: 201)
        #expect(throws: StateError.self) { try StateStore.check(long) }
    }

    @Test func `a record that a newer build wrote is refused, and stays`() throws {
        try store.prepare()
        let text = #"{"version": 2, "shape": "unknown"}"#
        try write(text, to: "workloads/web.json")
        let file = directory.path + "/workloads/web.json"
        #expect(throws: StateError.newer(file: file, version: 2, known: 1)) {
            try store.record(of: "web")
        }
        #expect(try readFile(file) == text)
        let journal = #"{"begin": {"version": 2, "what": "ever"}}"# + "\n"
        try write(journal, to: "journal/db.journal")
        let begun = directory.path + "/journal/db.journal"
        #expect(throws: StateError.newer(file: begun, version: 2, known: 1)) {
            try store.pending("db")
        }
    }

    @Test func `what is damaged is named`() throws {
        try store.prepare()
        try write("{\"version\": 1, \"place\"", to: "workloads/web.json")
        try write("mine\n", to: "workloads/notes.txt")
        try write("nonsense\nmore\n", to: "journal/web.journal")
        let file = directory.path + "/workloads/web.json"
        #expect(throws: StateError.self) { try store.record(of: "web") }
        do { _ = try store.record(of: "web") } catch { #expect("\(error)".hasPrefix(file)) }
        do { _ = try store.pending("web") } catch {
            #expect("\(error)".hasPrefix(directory.path + "/journal/web.journal"))
        }
        #expect(try store.strangers() == [directory.path + "/workloads/notes.txt"])
        // Another's record under this name is as bad.
        try store.write(try record("db"))
        try FileManager.default.copyItem(
            atPath: directory.path + "/workloads/db.json",
            toPath: directory.path + "/workloads/db2.json")
        #expect(throws: StateError.self) { try store.record(of: "db2") }
    }

    @Test func `a journal's last line may be torn anywhere`() throws {
        try store.prepare()
        let record = try record("web")
        let journal = try store.begin(.apply(record: record), "web")
        journal.note(KernelChange(part: .rules, detail: "write table inet swerve"))
        #expect(try store.pending("web") == .apply(record: record))
        let whole = try readFile(directory.path + "/journal/web.journal")
        try journal.commit()
        #expect(try store.pending("web") == nil)
        let committed = try readFile(directory.path + "/journal/web.journal")
        let end = committed.utf8.count - whole.utf8.count
        for kept in 0..<end {
            let torn = String(committed.dropLast(end - kept))
            try write(torn, to: "journal/web.journal")
            #expect(try store.pending("web") == .apply(record: record))
        }
        // Torn in its first line, nothing was done yet.
        try write(String(whole.prefix(40)), to: "journal/web.journal")
        #expect(try store.pending("web") == nil)
    }

    @Test func `what was being written when its writer ended is cleared away`() throws {
        try store.prepare()
        try store.write(try record("web"))
        try write("{\"ver", to: "workloads/web.json.new")
        try write("{\"beg", to: "journal/web.journal.new")
        #expect(try store.ids() == ["web"])
        #expect(try store.strangers() == [])
        try store.removeUnfinished()
        #expect(Directory(path: directory.path + "/workloads").names() == ["web.json"])
        #expect(Directory(path: directory.path + "/journal").names() == [])
    }

    @Test(arguments: ["web.new", "web.json", "web.journal", "web.json.new", "web.journal.new"])
    func `no workload's name is taken for one of our endings`(_ id: String) throws {
        try store.prepare()
        let record = try record(id)
        _ = try store.begin(.apply(record: record), id)
        try store.removeUnfinished()
        #expect(try store.ids() == [id])
        #expect(try store.strangers() == [])
        #expect(try store.pending(id) == .apply(record: record))
        try store.write(record)
        try store.endJournal(id)
        try store.removeUnfinished()
        #expect(try store.ids() == [id])
        #expect(try store.record(of: id) == record)
    }
}
