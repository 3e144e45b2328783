// SPDX-License-Identifier: Apache-2.0

/// Why the lab cannot do what was asked, with what to do about it.
package enum LabError: Error, Hashable {
    case notRoot
    case noCgroup2
    case alreadyUp(pid: Int32)
    case notUp
    case unknownPod(String, known: [String])
    /// A process of the lab ended before it listened.
    case died(what: String, status: Int, log: String)
    case notListening(what: String, port: UInt16, log: String)
    /// The client could not ask at all.
    case noClient(String)
    case guardFailed(String)
    case keeperFailed(String)
}

extension LabError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notRoot:
            "the lab makes network namespaces and cgroups: run it as root (sudo swerve lab ...)"
        case .noCgroup2:
            "no cgroup2 hierarchy is mounted: mount one (mount -t cgroup2 none /sys/fs/cgroup)"
        case .alreadyUp(let pid):
            "a lab is up already (pid \(pid)): use it, or take it down with `swerve lab down`"
        case .notUp: "no lab is up: start one with `swerve lab up`"
        case .unknownPod(let name, let known):
            "there is no pod \"\(name)\"; the lab has \(known.joined(separator: ", "))"
        case .died(let what, let status, let log):
            "\(what) ended with status \(status) before it listened" + Self.quote(log)
        case .notListening(let what, let port, let log):
            "\(what) does not listen on port \(port)" + Self.quote(log)
        case .noClient(let reason): "the client `curl` did not run (\(reason)): install curl"
        case .guardFailed(let reason):
            "the lab's guard failed (\(reason)): `swerve lab down` removes what is left"
        case .keeperFailed(let reason): reason
        }
    }

    private static func quote(_ log: String) -> String { log.isEmpty ? "" : "; it said: \(log)" }
}
