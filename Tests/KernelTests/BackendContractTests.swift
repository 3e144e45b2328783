// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import TestedMechanisms
import Testing

@Suite(.requiresKernel) struct BackendContractTests {
    /// A pod with `hostNetwork` once had its rules written into the node's own tables.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `the machine's own namespace is refused`(_ subject: Subject) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withTestCgroup { cgroup in
                let backend = try await subject.make(attachingTo: cgroup)
                let host = Workload(id: "host", namespace: try NetworkNamespace.current())
                // Off, so that a backend that forgets to refuse does no harm to this machine.
                var plan = Preset.fsm.plan(ownAddresses: [])
                plan.isEnabled = false
                let refusal = RedirectionError.ownNamespace(workload: "host")
                await #expect(throws: refusal) { try await backend.apply(plan, to: host) }
                await #expect(throws: refusal) { try await backend.remove(from: host) }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases, BackendContract.allCases)
    func `every backend keeps the contract`(
        _ subject: Subject, _ promise: BackendContract
    ) async {
        await #expect(processExitsWith: .success) { [subject, promise] in
            try await withTestCgroup { cgroup in
                let workloads = [try Workload.forTest("one"), try Workload.forTest("two")]
                try await promise.check(
                    try await subject.make(attachingTo: cgroup), workloads[0],
                    beside: workloads[1])
            }
        }
    }
}
