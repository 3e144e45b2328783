// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// Mechanisms without a kernel, for the tests of whoever uses an engine.
package struct InMemoryMechanisms: MechanismSource {
    private let kernel: InMemoryKernel
    private let backends: [Mechanism: InMemoryBackend]
    private let refusing: Set<Mechanism>
    private let strays: Set<Workload.ID>

    /// Those in `refusing` lack something; `strays` are workloads on nobody's record that are there.
    package init(
        _ kernel: InMemoryKernel, refusing: Set<Mechanism> = [], strays: Set<Workload.ID> = []
    ) {
        self.kernel = kernel
        self.refusing = refusing
        self.strays = strays
        backends = Dictionary(
            uniqueKeysWithValues: Mechanism.allCases.map {
                ($0, InMemoryBackend(as: $0, in: kernel))
            })
    }

    /// What would be found out about them.
    package var assessments: [Assessment] {
        Mechanism.allCases.map { mechanism in
            let luck = Feature(mechanism, "luck", since: "9.9", use: "everything", probe: "trying")
            let answer: ProbeAnswer = refusing.contains(mechanism) ? .no("none") : .yes
            return Assessment(mechanism, [FeatureReport(luck, answer)])
        }
    }

    package func choose(
        _ wish: Wish, for plan: RedirectionPlan, in workload: Workload
    ) async throws(EngineError) -> Choice {
        do throws(ChoiceError) {
            return try RedirectionEngine.choose(
                wish, among: assessments, on: KernelVersion(6, 1))
        } catch {
            throw .choice(error)
        }
    }

    package func backend(
        _ mechanism: Mechanism
    ) async throws(RedirectionError) -> any RedirectionBackend {
        guard let backend = backends[mechanism] else {
            throw .unsupported(feature: "\(mechanism)", because: "there is none")
        }
        return backend
    }

    package func letGo() async {}

    package func forget(
        allBut workloads: [Workload]
    ) async throws(RedirectionError) -> [String] {
        kernel.forget(allBut: Set(workloads.map(\.id)), sparing: strays)
    }
}
