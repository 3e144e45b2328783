// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import LinuxKernel

/// What is being done to a workload, a line of JSON a step, written before the step is taken.
///
/// The intention alone is what a recovery needs: it leads to the same end from wherever the work
/// stopped. The steps tell people how far it came.
package final class Journal: Sendable {
    static let version = 1

    package enum Intent: Hashable, Sendable, Codable {
        /// The workload is to have this; other mechanisms that were touched are to retire.
        case apply(record: WorkloadRecord)
        /// The workload is to have nothing.
        case remove(record: WorkloadRecord)

        package var record: WorkloadRecord {
            switch self {
            case .apply(let record), .remove(let record): record
            }
        }
    }

    enum Entry: Codable {
        case begin(version: Int, intent: Intent)
        case step(change: KernelChange)
        /// What is left of the file does not matter any more.
        case commit(version: Int)
    }

    private let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    /// Writes a step down.
    ///
    /// One that cannot be written is not a reason to stop in the middle of the work.
    package func note(_ change: KernelChange) { try? add(.step(change: change)) }

    package func commit() throws(StateError) { try add(.commit(version: Self.version)) }

    private func add(_ entry: Entry) throws(StateError) {
        let line = try StateStore.encode(entry) + "\n"
        do throws(KernelError) {
            try descriptor.write(line)
        } catch {
            throw .kernel(error)
        }
    }

    /// What the journal's text says is to be finished, `nil` for nothing.
    static func intent(in text: String, of file: String) throws(StateError) -> Intent? {
        // Whoever wrote what follows the last end of a line was interrupted at it.
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
        guard let first = lines.first else { return nil }
        struct Begin: Decodable {
            struct Version: Decodable { let version: Int }
            let begin: Version
        }
        let decoder = JSONDecoder()
        do {
            let version = try decoder.decode(Begin.self, from: Data(first.utf8)).begin.version
            guard version <= Self.version else {
                throw StateError.newer(file: file, version: version, known: Self.version)
            }
            let entries = try lines.map { try decoder.decode(Entry.self, from: Data($0.utf8)) }
            var intent: Intent?
            for entry in entries {
                switch entry {
                case .begin(_, let begun): intent = begun
                case .commit: intent = nil
                case .step: break
                }
            }
            return intent
        } catch let error as StateError {
            throw error
        } catch {
            throw .corrupt(file: file, because: "\(error)")
        }
    }
}
