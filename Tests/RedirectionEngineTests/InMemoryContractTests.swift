// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

@Suite struct InMemoryContractTests {
    @Test(arguments: BackendContract.allCases)
    func `a backend without a kernel keeps the contract`(_ promise: BackendContract) async throws {
        let home = try NetworkNamespace.current()
        let backend = InMemoryBackend {
            $0.outbound.excludedInterfaces.isEmpty ? nil : "interfaces"
        }
        try await promise.check(
            backend, Workload(id: "one", namespace: home),
            beside: Workload(id: "two", namespace: home))
    }
}
