// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import LinuxKernel
internal import Synchronization

/// A thread that sleeps until the kernel tells of a change in a namespace.
///
/// It ends some time after this is gone. Where nothing can be heard, the period has to do.
final class NamespaceListener: Sendable {
    let namespace: NetworkNamespace
    private let life: Life

    private final class Life: Sendable {
        let isOver = Atomic<Bool>(false)
    }

    /// Calls `body` at each change, and once when it can hear: what came before is not told.
    init(to namespace: NetworkNamespace, _ body: @escaping @Sendable () -> Void) {
        self.namespace = namespace
        let life = Life()
        self.life = life
        let thread = Thread {
            guard let watch = try? NamespaceWatch.open(in: namespace) else { return }
            body()
            while !life.isOver.load(ordering: .relaxed) {
                guard let changes = try? watch.waitForChange(.seconds(1)) else { return }
                guard !changes.isEmpty else { continue }
                body()
                // Repairs are heard too; one that does not hold must not become a busy loop.
                Thread.sleep(forTimeInterval: 0.2)
            }
        }
        thread.stackSize = 256 << 10
        thread.start()
    }

    deinit { life.isOver.store(true, ordering: .relaxed) }
}
