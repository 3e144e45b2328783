// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import Testing

@Suite(.requiresKernel) struct BackendContractTests {
    @Test(.timeLimit(.minutes(1)), arguments: Subject.allCases, BackendContract.allCases)
    func `every backend keeps the contract`(
        _ subject: Subject, _ promise: BackendContract
    ) async {
        await #expect(processExitsWith: .success) { [subject, promise] in
            try await withTestCgroup { cgroup in
                let workloads = [
                    Workload(id: "one", namespace: try NetworkNamespace.create()),
                    Workload(id: "two", namespace: try NetworkNamespace.create()),
                ]
                try await promise.check(
                    try await subject.make(attachingTo: cgroup), workloads[0],
                    beside: workloads[1])
            }
        }
    }
}
