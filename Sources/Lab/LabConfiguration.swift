// SPDX-License-Identifier: Apache-2.0

package import EBPFBackend
internal import FoundationEssentials
package import RedirectionEngine
package import RedirectionModel

/// What kind of lab to build.
package struct LabConfiguration: Sendable {
    /// The mechanism; `nil` turns redirection off.
    package var wish: Wish?
    package var inbound = InboundMethod.preferred
    /// What may be used of the kernel.
    package var ceiling = FeatureCeiling.none
    /// What all pods' policy is; its mode counts where no mechanism is asked for.
    package var policy = Policy()
    /// A shell command to run as every pod's sidecar, in place of our own.
    package var sidecarCommand: String?
    /// The `swerve` program, which is also the sidecar, the application and the guard.
    package var executable: String
    package var purpose = LabIdentity.Purpose.run
    package var topology = LabTopology.scene

    package init(_ wish: Wish?, executable: String? = nil) {
        self.wish = wish
        self.executable = executable ?? Self.ownExecutable
    }

    /// The running program; by its link where the file has been replaced meanwhile.
    package static var ownExecutable: String {
        let link = "/proc/self/exe"
        let target = try? FileManager.default.destinationOfSymbolicLink(atPath: link)
        guard let target, FileManager.default.isExecutableFile(atPath: target) else { return link }
        return target
    }

    /// The sidecar's command line in `pod`: ours, or the one that was given with its
    /// placeholders filled in.
    func sidecarArguments(in pod: String, as sidecar: Sidecar) -> [String] {
        let owner = Self.owner(of: sidecar)
        guard let sidecarCommand else {
            return [
                executable, "sidecar", "--pod", pod, "--outbound", "\(sidecar.outboundPort)",
                "--inbound", "\(sidecar.inboundPort)", "--user", "\(owner.uid):\(owner.gid)",
            ]
        }
        let values = [
            "{pod}": pod, "{outbound}": "\(sidecar.outboundPort)",
            "{inbound}": "\(sidecar.inboundPort)", "{app}": "\(LabTopology.applicationPort)",
        ]
        let command = values.reduce(sidecarCommand) {
            $0.replacing($1.key, with: $1.value)
        }
        return ["/bin/sh", "-c", command]
    }

    func sidecarEnvironment(in pod: String, as sidecar: Sidecar) -> [String] {
        [
            "SWERVE_POD=\(pod)", "SWERVE_OUTBOUND_PORT=\(sidecar.outboundPort)",
            "SWERVE_INBOUND_PORT=\(sidecar.inboundPort)",
            "SWERVE_APP_PORT=\(LabTopology.applicationPort)",
        ]
    }

    /// Who the sidecar runs as: its first uid, and the group of the same number.
    static func owner(of sidecar: Sidecar) -> Owner {
        let uid = sidecar.uids.first ?? 1500
        return Owner(uid: uid, gid: sidecar.gids.first ?? uid)
    }
}
