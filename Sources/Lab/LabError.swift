// SPDX-License-Identifier: Apache-2.0

/// Why the lab cannot do what was asked, with what to do about it.
package enum LabError: Error, Hashable {
    case notRoot
    /// The machine lacks something else.
    case unsupported(String)
    case noHosts
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
    /// One thing failed, and then so did taking the lab down.
    case leftBehind(String, after: String)
    /// The policy asks the reference sidecar for something it does not do.
    case sidecarCannot(String)
    /// The lab that is up is not what the options ask for.
    case otherLab(String)
}

extension LabError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notRoot:
            "the lab makes network namespaces and cgroups: run it as root (sudo swerve lab ...)"
        case .unsupported(let reason): "a lab cannot be built here: \(reason)"
        case .noHosts:
            "there is no /etc/hosts for the pods to see theirs in place of: make one, it may be "
                + "empty (touch /etc/hosts)"
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
        case .leftBehind(let failure, let error): "\(failure); before that: \(error)"
        case .sidecarCannot(let what):
            "the lab's own sidecar cannot \(what), as the policy asks: say inbound.mode: redirect, "
                + "or give a sidecar that can with --sidecar"
        case .otherLab(let difference):
            "the lab that is up \(difference): leave the option out to use it, or take it down "
                + "with `swerve lab down`"
        }
    }

    private static func quote(_ log: String) -> String { log.isEmpty ? "" : "; it said: \(log)" }
}
