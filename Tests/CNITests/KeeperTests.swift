// SPDX-License-Identifier: Apache-2.0

import CNIConfiguration
import Foundation
import LinuxKernel
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(2))) struct KeeperTests {
    /// A keeper on a thread of its own.
    private final class Keeper: Sendable {
        private struct State {
            var isOver = false
            var isDone = false
            var reports: [Result<ChainReport, KernelError>] = []
        }

        private let state = Mutex(State())

        init(_ chain: ConfigurationChain) {
            Thread.detachNewThread { [self] in
                ChainKeeper(chain).run(until: { state.withLock(\.isOver) }) { report in
                    state.withLock { $0.reports.append(report) }
                }
                state.withLock { $0.isDone = true }
            }
        }

        var reports: [ChainReport] { state.withLock(\.reports).compactMap { try? $0.get() } }

        func stop() {
            state.withLock { $0.isOver = true }
            _ = KeeperTests.eventually { state.withLock(\.isDone) }
        }
    }

    /// Waits generously for what must come.
    static func eventually(_ isSo: () -> Bool) -> Bool {
        for _ in 0..<6000 {
            if isSo() { return true }
            Thread.sleep(forTimeInterval: 0.005)
        }
        return false
    }

    @Test(arguments: [false, true])
    func `a hundred rewrites by the primary: none is lost, and we are in at the end`(
        carefully: Bool
    ) throws {
        let directory = try ConfigurationDirectory()
        let name = "10-flannel.conflist"
        let keeper = Keeper(directory.chain)
        defer { keeper.stop() }
        for generation in 1...100 {
            let text = ConfigurationDirectory.flannel(generation)
            try carefully ? directory.replace(name, text) : directory.overwrite(name, text)
            // Now and then we are given time, else it is a race.
            guard generation.isMultiple(of: 10) else { continue }
            let isBack = Self.eventually {
                directory.types(name)?.last == "swerve-cni"
                    && directory[name]?.contains("\"generation\": \(generation),") == true
            }
            #expect(isBack, "generation \(generation): \(directory.files)")
        }
        keeper.stop()
        _ = try directory.chain.uninstall()
        #expect(directory.files == [name: ConfigurationDirectory.flannel(100)])
    }

    @Test func `a lonely plugin that is written again and again is taken in again`() throws {
        let directory = try ConfigurationDirectory()
        let keeper = Keeper(directory.chain)
        defer { keeper.stop() }
        func text(_ round: Int) -> String {
            ConfigurationDirectory.bridge.replacingOccurrences(of: "10.1.", with: "10.\(round).")
        }
        for round in 1...50 {
            try directory.replace("10-bridge.conf", text(round))
            guard round.isMultiple(of: 10) else { continue }
            let isIn = Self.eventually {
                directory.types("10-bridge.conflist") == ["bridge", "swerve-cni"]
                    && directory["10-bridge.conf"] == nil
                    && directory["10-bridge.conflist"]?.contains("10.\(round).0.0") == true
            }
            #expect(isIn, "round \(round): \(directory.files)")
        }
        keeper.stop()
        _ = try directory.chain.uninstall()
        #expect(directory.files == ["10-bridge.conf": text(50)])
    }

    @Test func `an earlier file, a broken one, and a directory that comes later`() throws {
        let directory = try ConfigurationDirectory()
        let moved = directory.path + "-moved"
        try FileManager.default.moveItem(atPath: directory.path, toPath: moved)
        let keeper = Keeper(directory.chain)
        defer { keeper.stop() }
        #expect(Self.eventually { keeper.reports.last?.file == nil && !keeper.reports.isEmpty })
        try FileManager.default.moveItem(atPath: moved, toPath: directory.path)
        try directory.replace("20-b.conflist", ConfigurationDirectory.flannel(2))
        #expect(Self.eventually { keeper.reports.last?.file == "20-b.conflist" })
        try directory.replace("10-a.conflist", ConfigurationDirectory.flannel(1))
        #expect(Self.eventually { keeper.reports.last?.file == "10-a.conflist" })
        #expect(Self.eventually { directory.types("10-a.conflist")?.last == "swerve-cni" })
        try directory.overwrite("10-a.conflist", "{")
        #expect(Self.eventually { keeper.reports.last?.problems["10-a.conflist"] != nil })
        #expect(Self.eventually { keeper.reports.last?.file == "20-b.conflist" })
        try directory.remove("10-a.conflist")
        #expect(Self.eventually { keeper.reports.last?.problems == [:] })
        keeper.stop()
        _ = try directory.chain.uninstall()
        #expect(directory.files == ["20-b.conflist": ConfigurationDirectory.flannel(2)])
    }
}
