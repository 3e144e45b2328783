// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import LinuxKernel

/// That at most one lab is up: looking for another and starting one's own are one step.
enum LabClaim {
    /// Runs `start`, after which the lab's directory is there for others to find.
    ///
    /// Any number of labs may be there for a run; they need no claim.
    static func make(for identity: LabIdentity, _ start: () throws -> Void) async throws {
        guard identity.purpose == .up else { return try start() }
        let lock = try await take()
        defer { withExtendedLifetime(lock) {} }
        let others = LabRemains.inBaseDirectory().map(\.identity)
            .filter { $0.purpose == .up && $0 != identity && $0.owner.isRunning }
        if let other = others.first { throw LabError.alreadyUp(pid: other.owner.pid) }
        try start()
    }

    /// Locks the directory that nobody removes: the base directory goes with the last lab.
    private static func take() async throws -> FileLock {
        let path = LabIdentity.runtimeDirectory
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return try await FileLock.take(path, .directory, within: .seconds(30))
    }
}
