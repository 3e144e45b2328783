// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel
internal import SystemPackage

/// A socket that several threads accept from, or that one hands to another.
package final class SharedSocket: Sendable {
    package let socket: Socket
    package init(_ socket: consuming Socket) { self.socket = socket }

    /// Accepts a connection; `nil` when none comes within the socket's timeout.
    package func accept(timeout: Duration = .seconds(10)) throws(KernelError) -> Socket? {
        do throws(KernelError) {
            return try socket.accept(timeout: timeout)
        } catch {
            guard error.errno == .resourceTemporarilyUnavailable else { throw error }
            return nil
        }
    }
}
