// SPDX-License-Identifier: Apache-2.0

import IPTablesBackend
import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import Testing

@Suite(.requiresKernel, .timeLimit(.minutes(5))) struct AssessmentTests {
    /// The kernel under test redirects with both kinds of rules (the traffic tests show it), so
    /// a probe that finds something missing is itself wrong.
    @Test(arguments: [IPTablesBackend.Flavor.nft, .legacy])
    func `a kernel that redirects by rules is found able to`(
        _ flavor: IPTablesBackend.Flavor
    ) {
        let assessment = IPTablesBackend.assess(flavor, remembering: FeatureMemory())
        #expect(assessment.features.count > 5)
        for feature in assessment.features {
            #expect(feature.answer == .yes, "\(feature)")
        }
        #expect(assessment.missing.isEmpty)
    }

    @Test(arguments: [IPTablesBackend.Flavor.nft, .legacy])
    func `a privilege that is missing is not a feature that is missing`(
        _ flavor: IPTablesBackend.Flavor
    ) throws {
        let assessment = try asOwner(.application) { () throws(KernelError) in
            IPTablesBackend.assess(flavor, remembering: FeatureMemory())
        }
        let answers = assessment.missing.map(\.answer)
        #expect(!answers.isEmpty)
        for answer in answers {
            guard case .unknown = answer else {
                Issue.record("\(answer)")
                continue
            }
        }
    }
}
