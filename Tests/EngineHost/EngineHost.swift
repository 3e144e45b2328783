// SPDX-License-Identifier: Apache-2.0

import Backends
import Foundation
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Synchronization

/// A process that runs the engine with the mechanisms of this build, and kills itself when told to.
///
///     EngineHost STATE PINS CGROUP LOCK FEATURES NETNS OWN-CGROUP WORD...
///
/// FEATURES is the newest kernel whose features are used, or `all`. The words are done in order: `apply MODE FILE`, `mode MODE`, `remove`, `recover`, `reconcile`,
/// `report` (JSON on standard output), `wait` (for the end of standard input), and `arm N`: the Nth
/// step from here is the last thing this process ever does.
@main
enum EngineHost {
    static func main() async throws {
        var words = CommandLine.arguments.dropFirst()[...]
        guard words.count > 7 else { throw Usage.tooFewWords }
        let (state, pins, cgroup) = (words.removeFirst(), words.removeFirst(), words.removeFirst())
        let (lockFile, features) = (words.removeFirst(), words.removeFirst())
        let (netns, own) = (words.removeFirst(), words.removeFirst())
        let node = Node(
            cgroup: Cgroup(path: cgroup), pins: pins, state: state,
            below: FeatureCeiling(KernelVersion(release: features)))
        let fuse = Fuse()
        let host = Host(
            engine: Engine(
                state: state, NodeMechanisms(node, lockFile: lockFile),
                hooks: Engine.Hooks(step: { _ in fuse.burn() })),
            place: WorkloadPlace(id: "web", namespace: netns, cgroup: own), fuse: fuse)
        while let word = words.popFirst() { try await host.run(word, &words) }
        print("\(fuse.steps) steps")
    }
}

enum Usage: Error {
    case tooFewWords
    case unknown(String)
}

/// Counts steps, and ends the process at the one it was set to.
final class Fuse: Sendable {
    private let state = Mutex((steps: 0, limit: Int?.none))

    var steps: Int { state.withLock { $0.steps } }

    func arm(_ limit: Int) { state.withLock { $0 = (0, limit) } }

    func burn() {
        let isOver = state.withLock { state in
            state.steps += 1
            return state.steps == state.limit
        }
        guard isOver else { return }
        try? ProcessIdentity.current().signal(.kill)
        // The signal takes effect before anything else happens, on whatever thread.
        while true { Thread.sleep(forTimeInterval: 1) }
    }
}

struct Host {
    let engine: Engine
    let place: WorkloadPlace
    let fuse: Fuse

    func run(_ word: String, _ words: inout ArraySlice<String>) async throws {
        func next() throws -> String {
            guard let word = words.popFirst() else { throw Usage.tooFewWords }
            return word
        }
        switch word {
        case "apply":
            let mode = try mode(next())
            let text = try Data(contentsOf: URL(filePath: next()))
            let plan = try JSONDecoder().decode(RedirectionPlan.self, from: text)
            try await engine.apply(plan, mode, to: place)
        case "mode": try await engine.setMode(try mode(next()), of: place.id)
        case "remove": try await engine.remove(place.id)
        case "recover": try check(await engine.recover())
        case "reconcile": try check(await engine.reconcile())
        case "report": try await report()
        case "wait": while readLine() != nil {}
        case "arm": fuse.arm(Int(try next()) ?? 1)
        default: throw Usage.unknown(word)
        }
    }

    private func mode(_ word: String) throws -> PolicyMode {
        guard let mode = PolicyMode(rawValue: word) else { throw Usage.unknown(word) }
        return mode
    }

    private func check(_ failures: [Workload.ID: EngineError]) throws {
        if let failure = failures.first { throw failure.value }
    }

    /// What is on record.
    private func report() async throws {
        struct Report: Encodable {
            let mechanism: String?
            let plan: String?
            let touched: [String]
        }
        let (records, problems) = engine.list()
        if let problem = problems.first { throw problem }
        let reports = records.map { record in
            Report(
                mechanism: record.mechanism?.rawValue, plan: "\(record.plan.fingerprint)",
                touched: record.touched.map(\.rawValue).sorted())
        }
        print(String(decoding: try JSONEncoder().encode(reports), as: UTF8.self))
        // A pipe's reader is waiting for this line.
        fflush(nil)
    }
}
