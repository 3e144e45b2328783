// SPDX-License-Identifier: Apache-2.0

/// Something that happened to a workload, for logs and whoever asks later.
package struct EngineEvent: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        /// The plan is in the kernel; why by this mechanism.
        case applied(Mechanism?, reason: String)
        case removed
        case retired(Mechanism)
        case lingering(Mechanism, connections: Int)
        /// Something unfinished was found, and is being finished.
        case recovering
        /// The kernel is not as it should be.
        case drifted(Mechanism, Drift)
        case repaired(Mechanism)
        /// The namespace or cgroup is gone.
        case forgotten
        /// Something of ours is redirected that nobody's record knows of, and that is there.
        case orphan(String)
        case failed(String)
    }

    package let workload: Workload.ID
    package let kind: Kind

    package init(_ workload: Workload.ID, _ kind: Kind) {
        self.workload = workload
        self.kind = kind
    }
}

extension EngineEvent: CustomStringConvertible {
    package var description: String {
        switch kind {
        case .applied(let mechanism?, let reason):
            "\(workload): redirected by \(mechanism) (\(reason))"
        case .applied(nil, let reason): "\(workload): not redirected (\(reason))"
        case .removed: "\(workload): removed"
        case .retired(let mechanism): "\(workload): nothing of \(mechanism) is left"
        case .lingering(let mechanism, let connections):
            "\(workload): \(mechanism) stays for \(connections) established connections"
        case .recovering: "\(workload): finishing what was interrupted"
        case .drifted(let mechanism, let drift): "\(workload): \(mechanism): \(drift)"
        case .repaired(let mechanism): "\(workload): \(mechanism) repaired"
        case .forgotten: "\(workload): gone, and forgotten"
        case .orphan(let what):
            "\(workload): \(what) is redirected, and has no record here: it stays as it is; "
                + "`swerve cleanup` would remove it"
        case .failed(let reason): "\(workload): \(reason)"
        }
    }
}

/// The latest events, and how often each kind of drift was found since the start.
package struct EventLog: Sendable {
    package static let limit = 200
    package private(set) var latest: [EngineEvent] = []
    package private(set) var drifts: [DriftCause: Int] = [:]

    package struct DriftCause: Hashable, Sendable {
        package let mechanism: Mechanism
        package let kind: Drift.Kind
    }

    mutating func add(_ event: EngineEvent) {
        latest.append(event)
        if latest.count > Self.limit { latest.removeFirst(latest.count - Self.limit) }
        if case .drifted(let mechanism, let drift) = event.kind {
            drifts[DriftCause(mechanism: mechanism, kind: drift.kind), default: 0] += 1
        }
    }
}
