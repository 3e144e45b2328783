// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage

/// Finds out whether a backend works here by having it redirect a namespace that nobody uses.
struct Trial {
    private let backend: any RedirectionBackend
    private let feature: String
    private let since: String

    init(of backend: any RedirectionBackend, _ feature: String, since: String) {
        self.backend = backend
        self.feature = feature
        self.since = since
    }

    func assess() async -> Assessment {
        let report = FeatureReport(
            feature, since: since, use: "redirection both ways", answer: await answer())
        return Assessment(backend.mechanism, [report])
    }

    private func answer() async -> ProbeAnswer {
        let namespace: NetworkNamespace
        do throws(KernelError) {
            namespace = try .create()
        } catch {
            return .unknown("no namespace to try it in: \(error)")
        }
        let workload = Workload(id: "trial", namespace: namespace)
        let plan = Preset.fsm.plan(ownAddresses: [IPAddress(ipv4: 0xc000_0201)])
        do throws(RedirectionError) {
            try await backend.apply(plan, to: workload)
            let installed = try await backend.installed(in: workload)
            return installed == plan.fingerprint
                ? .yes : .unknown("the kernel took the rules and does not have them")
        } catch {
            return Self.answer(to: error)
        }
    }

    /// Only what the kernel says about itself is conclusive; a refusal of this caller is not.
    static func answer(to error: RedirectionError) -> ProbeAnswer {
        switch error {
        case .unsupported, .inexpressible: return .no("\(error)")
        case .limit: return .unknown("\(error)")
        case .kernel(let cause, _):
            let conclusive: Set<Errno> = [
                .noSuchFileOrDirectory, .notSupported, .protocolNotSupported,
                .protocolNotAvailable, .noFunction,
            ]
            return conclusive.contains(cause.errno) ? .no("\(error)") : .unknown("\(error)")
        }
    }
}
