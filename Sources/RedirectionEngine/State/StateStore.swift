// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
package import LinuxKernel

/// The records and journals of a node's workloads, in a directory that only root reads.
package struct StateStore: Hashable, Sendable {
    package let directory: Directory
    package var records: Directory { directory.child("workloads") }
    private var journals: Directory { directory.child("journal") }

    package init(_ path: String) { directory = Directory(path: path) }

    /// Makes the directory.
    package func prepare() throws(StateError) {
        try files { () throws(KernelError) in
            for part in [directory, records, journals] { try part.create() }
        }
    }

    /// Who is the one agent of the node.
    package var agentLock: String { directory.path + "/agent.lock" }
    /// Who may change workloads.
    package var lock: String { directory.path + "/lock" }

    // MARK: Names

    /// Throws unless the id can be a file's name, and looks like a name to people.
    package static func check(_ id: Workload.ID) throws(StateError) {
        let allowed = id.utf8.allSatisfy { byte in
            (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                || "._-:@+".utf8.contains(byte)
        }
        guard allowed else {
            throw .invalidID(id, because: "it may have ASCII letters, digits and ._-:@+")
        }
        guard (1...200).contains(id.utf8.count) else {
            throw .invalidID(id, because: "it must have 1 to 200 bytes")
        }
        guard let first = id.first, !".-".contains(first) else {
            throw .invalidID(id, because: "it must not begin with a dot or a hyphen")
        }
    }

    private static let suffix = ".json"
    private static let journalSuffix = ".journal"

    /// Every workload of which there is a record or a journal.
    package func ids() throws(StateError) -> [Workload.ID] {
        try Set(recordedIDs() + pendingIDs()).sorted()
    }

    /// Every workload of which there is a record.
    func recordedIDs() throws(StateError) -> [Workload.ID] { try ids(in: records, Self.suffix) }

    /// Every workload to which something is being done, or was when its writer ended.
    func pendingIDs() throws(StateError) -> [Workload.ID] {
        try ids(in: journals, Self.journalSuffix)
    }

    private func ids(
        in part: Directory, _ suffix: String
    ) throws(StateError) -> [Workload.ID] {
        try files { () throws(KernelError) in try part.contents() }
            .filter { $0.hasSuffix(suffix) }
            .map { String($0.dropLast(suffix.count)) }
    }

    private var parts: [(Directory, suffix: String)] {
        [(records, Self.suffix), (journals, Self.journalSuffix)]
    }

    /// Files among the records and journals that are not ours, and are left alone.
    package func strangers() throws(StateError) -> [String] {
        try files { () throws(KernelError) in
            var odd: [String] = []
            for (part, suffix) in parts {
                for name in try part.contents()
                where !name.hasSuffix(suffix) && !name.hasSuffix(suffix + Directory.unfinished) {
                    odd.append(part.path + "/" + name)
                }
            }
            return odd
        }
    }

    /// Removes what was being written when its writer ended.
    package func removeUnfinished() throws(StateError) {
        try files { () throws(KernelError) in
            for (part, suffix) in parts {
                for name in try part.contents()
                where name.hasSuffix(suffix + Directory.unfinished) {
                    try part.remove(name)
                }
            }
        }
    }

    // MARK: Records

    package func record(of id: Workload.ID) throws(StateError) -> WorkloadRecord? {
        try Self.check(id)
        let name = id + Self.suffix
        let text = try files { () throws(KernelError) in try records.read(name) }
        return try text.map { text throws(StateError) in
            let file = records.path + "/" + name
            let record: WorkloadRecord = try Self.decode(text, in: file)
            guard record.id == id else {
                throw .corrupt(file: file, because: "it is the record of \"\(record.id)\"")
            }
            return record
        }
    }

    /// Another one whenever the record has been written, by whomever.
    func version(of id: Workload.ID) throws(StateError) -> Directory.FileVersion? {
        try files { () throws(KernelError) in try records.version(of: id + Self.suffix) }
    }

    package func write(_ record: WorkloadRecord) throws(StateError) {
        let text = try Self.encode(record)
        try files { () throws(KernelError) in
            try records.replace(record.id + Self.suffix, with: text + "\n")
        }
    }

    package func forget(_ id: Workload.ID) throws(StateError) {
        try files { () throws(KernelError) in try records.remove(id + Self.suffix) }
    }

    // MARK: Journals

    /// What was begun and not finished; `nil` where nothing was.
    package func pending(_ id: Workload.ID) throws(StateError) -> Journal.Intent? {
        try Self.check(id)
        let name = id + Self.journalSuffix
        let text = try files { () throws(KernelError) in try journals.read(name) }
        return try text.flatMap { text throws(StateError) in
            try Journal.intent(in: text, of: journals.path + "/" + name)
        }
    }

    /// Writes down what is about to be done, in place of what an unfinished journal says.
    package func begin(
        _ intent: Journal.Intent, _ id: Workload.ID
    ) throws(StateError) -> Journal {
        try Self.check(id)
        let line = try Self.encode(Journal.Entry.begin(version: Journal.version, intent: intent))
        return try files { () throws(KernelError) in
            let name = id + Self.journalSuffix
            try journals.replace(name, with: line + "\n")
            return Journal(try .open(journals.path + "/" + name, .append))
        }
    }

    /// Strikes the journal: everything in it has been done, or undone.
    package func endJournal(_ id: Workload.ID) throws(StateError) {
        try files { () throws(KernelError) in try journals.remove(id + Self.journalSuffix) }
    }
}

// MARK: Text

extension StateStore {
    /// On one line, keys in order.
    static func encode(_ value: some Encodable) throws(StateError) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            return String(decoding: try encoder.encode(value), as: UTF8.self)
        } catch {
            throw .corrupt(file: "a record in memory", because: "\(error)")
        }
    }

    /// Reads a value that says its version; a newer one may mean anything, and is refused.
    static func decode<Value: Decodable>(
        _ text: String, in file: String
    ) throws(StateError) -> Value {
        let data = Data(text.utf8)
        let version: Int
        do {
            version = try JSONDecoder().decode(Versioned.self, from: data).version
        } catch {
            throw .corrupt(file: file, because: "\(error)")
        }
        guard version <= WorkloadRecord.currentVersion else {
            throw .newer(file: file, version: version, known: WorkloadRecord.currentVersion)
        }
        do {
            return try JSONDecoder().decode(Value.self, from: data)
        } catch {
            throw .corrupt(file: file, because: "\(error)")
        }
    }
}

/// What every version of a file of ours begins with, and nothing else of it.
private struct Versioned: Decodable { let version: Int }

/// Runs what touches files.
private func files<Value: ~Copyable>(
    _ body: () throws(KernelError) -> Value
) throws(StateError) -> Value {
    do throws(KernelError) {
        return try body()
    } catch {
        throw .kernel(error)
    }
}
