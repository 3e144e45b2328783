// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
package import LinuxKernel
internal import Synchronization

/// A lab's name, which says whose it is: whatever bears the name of a process that is gone is
/// an orphan, and may be removed by anyone.
package struct LabIdentity: Hashable, Sendable {
    /// Why the lab exists.
    package enum Purpose: String, Sendable {
        /// To be played in: `swerve lab up`.
        case up
        /// For one run of the scene, and gone with it.
        case run
    }

    package let purpose: Purpose
    package let owner: ProcessIdentity
    /// The pid namespace the owner's number belongs to: in another, it means nothing.
    let pidNamespace: UInt64
    /// Tells the labs of one process apart.
    let number: Int

    private static let counter = Atomic<Int>(0)

    /// A name for a new lab of this process.
    package static func next(_ purpose: Purpose) throws(KernelError) -> LabIdentity {
        LabIdentity(
            purpose: purpose, owner: try .current(),
            pidNamespace: try ProcessIdentity.currentPidNamespace(),
            number: counter.wrappingAdd(1, ordering: .relaxed).newValue)
    }

    /// True when the owner was a process of this pid namespace, and is gone.
    package var isOrphan: Bool {
        guard let here = try? ProcessIdentity.currentPidNamespace(), here == pidNamespace
        else { return false }
        return !owner.isRunning
    }

    /// Where the lab keeps its files.
    package var directory: String { Self.baseDirectory + "/" + description }

    /// The lab's cgroup; everything that runs in the lab lives below it.
    package func cgroup() throws(KernelError) -> Cgroup {
        try Cgroup.root().child(Self.cgroupPrefix + description)
    }

    static let cgroupPrefix = "swerve-lab-"

    /// `$XDG_RUNTIME_DIR/swerve/lab`, or `/run/swerve/lab`.
    package static var baseDirectory: String { runtimeDirectory + "/swerve/lab" }

    static var runtimeDirectory: String {
        let named = ProcessInfo.processInfo.environment["XDG_RUNTIME_DIR"] ?? ""
        return named.hasPrefix("/") ? named : "/run"
    }

    /// What a process of ours needs in its environment to look in the same place.
    package static var environment: [String] { ["XDG_RUNTIME_DIR=\(runtimeDirectory)"] }
}

extension LabIdentity: LosslessStringConvertible {
    /// `up-4026531836-812-99123-1`.
    package var description: String {
        "\(purpose.rawValue)-\(pidNamespace)-\(owner.pid)-\(owner.startTime)-\(number)"
    }

    package init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 5, let purpose = Purpose(rawValue: String(parts[0])),
            let pidNamespace = UInt64(parts[1]), let pid = Int32(parts[2]),
            let startTime = UInt64(parts[3]), let number = Int(parts[4])
        else { return nil }
        self.purpose = purpose
        self.pidNamespace = pidNamespace
        owner = ProcessIdentity(pid: pid, startTime: startTime)
        self.number = number
    }
}
