// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import LinuxKernel
internal import Synchronization

/// A thread that sleeps until the kernel tells of a change.
///
/// It ends some time after this is gone, or when it cannot hear any more: `hasEnded` then, and
/// somebody should begin anew. Until then the period has to do.
final class Listener: Sendable {
    private let life = Life()

    var hasEnded: Bool { life.hasEnded.load(ordering: .relaxed) }

    /// Hears of changes in a namespace.
    convenience init(
        to namespace: NetworkNamespace, failed: @escaping @Sendable (KernelError) -> Void,
        _ body: @escaping @Sendable () -> Void
    ) {
        self.init(failed) { (life) throws(KernelError) in
            let watch = try NamespaceWatch.open(in: namespace)
            try life.listen(body) { () throws(KernelError) in
                try !watch.waitForChange(.seconds(1)).isEmpty
            }
        }
    }

    /// Hears of files that are written in a directory, or gone.
    convenience init(
        to directory: Directory, failed: @escaping @Sendable (KernelError) -> Void,
        _ body: @escaping @Sendable () -> Void
    ) {
        self.init(failed) { (life) throws(KernelError) in
            let watch = try FileWatch.open(directory: directory.path)
            try life.listen(body) { () throws(KernelError) in
                try watch.waitForChange(.seconds(1))
            }
        }
    }

    private init(
        _ failed: @escaping @Sendable (KernelError) -> Void,
        _ listen: @escaping @Sendable (Life) throws(KernelError) -> Void
    ) {
        let life = life
        let thread = Thread {
            do throws(KernelError) {
                try listen(life)
            } catch {
                life.hasEnded.store(true, ordering: .relaxed)
                failed(error)
            }
        }
        thread.stackSize = 256 << 10
        thread.start()
    }

    deinit { life.isOver.store(true, ordering: .relaxed) }
}

/// What a listener and its thread know of each other.
private final class Life: Sendable {
    let isOver = Atomic<Bool>(false)
    let hasEnded = Atomic<Bool>(false)

    /// Calls `body` at each change, and once at the beginning: what came before is not told.
    func listen(
        _ body: () -> Void, _ waitForChange: () throws(KernelError) -> Bool
    ) throws(KernelError) {
        body()
        while !isOver.load(ordering: .relaxed) {
            guard try waitForChange() else { continue }
            body()
            // Our own work is heard too; what does not hold must not become a busy loop.
            Thread.sleep(forTimeInterval: 0.2)
        }
    }
}
