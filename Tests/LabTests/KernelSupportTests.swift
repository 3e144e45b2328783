// SPDX-License-Identifier: Apache-2.0

import Backends
import Foundation
import RedirectionEngine
import Testing

@testable import Lab

/// docs/kernel-support.md has its tables from the code.
///
/// `make kernel-support` writes them anew.
@Suite struct KernelSupportTests {
    private let root = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
    private let begin =
        "<!-- features: made from the code by `make kernel-support`, do not edit -->\n"
    private let end = "<!-- end of features -->\n"

    @Test func `the page lists the features that are probed`() throws {
        let file = root.appending(path: "docs/kernel-support.md")
        let page = try String(contentsOf: file, encoding: .utf8)
        let start = try #require(page.range(of: begin))
        let stop = try #require(page.range(of: end))
        let made =
            Backends.built.map { mechanism in
                "\n## \(mechanism)\n\n"
                    + Backends.features.filter { $0.mechanism == mechanism }.markdown + "\n"
            }.joined() + "\n"
        if ProcessInfo.processInfo.environment["SWERVE_UPDATE_GOLDEN"] != nil {
            let text = page[..<start.upperBound] + made + page[stop.lowerBound...]
            try String(text).write(to: file, atomically: true, encoding: .utf8)
        } else {
            #expect(page[start.upperBound..<stop.lowerBound] == made, "run make kernel-support")
        }
    }

    @Test func `every feature is told apart, dated and explained`() throws {
        let names = Backends.features.map { "\($0.mechanism) \($0.name)" }
        #expect(Set(names).count == names.count)
        for feature in Backends.features {
            #expect(KernelVersion(release: feature.since) != nil, "\(feature.name)")
            #expect(!feature.use.isEmpty && !feature.probe.isEmpty, "\(feature.name)")
            for prerequisite in feature.prerequisites {
                #expect(names.contains("\(feature.mechanism) \(prerequisite)"), "\(feature.name)")
            }
        }
    }

    @Test func `every feature is shown at work by suites that exist`() throws {
        let files = try #require(
            FileManager.default.enumerator(
                at: root.appending(path: "Tests"), includingPropertiesForKeys: nil))
        let suites = try files.compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }
            .map { try String(contentsOf: $0, encoding: .utf8) }.joined()
        for feature in Backends.features {
            #expect(!feature.tests.isEmpty, "\(feature.name)")
            for test in feature.tests {
                #expect(suites.contains("struct \(test) {"), "\(test) of \(feature.name)")
            }
        }
    }
}
