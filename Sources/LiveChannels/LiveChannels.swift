// SPDX-License-Identifier: Apache-2.0

package import NIOCore
internal import Synchronization

/// The accepted connections of a server, so that it can end gracefully.
package final class LiveChannels: Sendable {
    private let channels = Mutex<[ObjectIdentifier: any Channel]>([:])

    package init() {}

    /// How many there are now.
    package var count: Int { channels.withLock(\.count) }

    package func insert(_ channel: any Channel) {
        let key = ObjectIdentifier(channel)
        channels.withLock { $0[key] = channel }
        channel.closeFuture.whenComplete { [weak self] _ in
            self?.channels.withLock { $0[key] = nil }
        }
    }

    /// Waits until all are closed; after `grace` closes those that are left.
    package func drain(grace: Duration) async {
        let cutter = Task {
            try await Task.sleep(for: grace)
            for channel in channels.withLock({ Array($0.values) }) { channel.close(promise: nil) }
        }
        for channel in channels.withLock({ Array($0.values) }) {
            try? await channel.closeFuture.get()
        }
        cutter.cancel()
    }
}
