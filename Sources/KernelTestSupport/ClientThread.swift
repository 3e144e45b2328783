// SPDX-License-Identifier: Apache-2.0

internal import Foundation
package import LinuxKernel
package import RedirectionModel
internal import Synchronization
internal import Testing

/// A client on a thread of its own: it blocks, which tasks must not for long.
package final class ClientThread: Sendable {
    private struct State {
        var isStopping = false
        var isDone = false
        var allowed = 0
        var connected = 0
        var failure: KernelError?
    }

    private let state = Mutex(State())

    /// Connects and closes, as often as it is allowed, with a pause between: whoever uses every port
    /// of its address up, as fast as it can, measures ports.
    package init(in namespace: NetworkNamespace, to server: Endpoint) {
        Thread.detachNewThread { [self] in
            do throws(KernelError) {
                while !state.withLock({ $0.isStopping }) {
                    if state.withLock({ $0.connected < $0.allowed }) {
                        _ = try namespace.connect(to: server)
                        state.withLock { $0.connected += 1 }
                    }
                    Thread.sleep(forTimeInterval: 0.0005)
                }
            } catch {
                state.withLock { $0.failure = error }
            }
            state.withLock { $0.isDone = true }
        }
    }

    /// Lets it make more connections.
    package func allow(_ more: Int) { state.withLock { $0.allowed += more } }

    /// How many connections there were so far.
    package var connected: Int { state.withLock { $0.connected } }

    /// Whether it does not go on any more.
    package var isDone: Bool { state.withLock { $0.isDone } }

    /// Waits for the last connection, and returns how many there were.
    ///
    /// Without it, the thread goes on as long as its process.
    package func stop() throws -> Int {
        state.withLock { $0.isStopping = true }
        // A connection takes 10 seconds at the most.
        for _ in 0..<2000 where !isDone {
            Thread.sleep(forTimeInterval: 0.01)
        }
        let final = state.withLock { $0 }
        if let failure = final.failure { throw failure }
        #expect(final.isDone)
        return final.connected
    }
}
