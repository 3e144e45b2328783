// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims

/// The signals the project speaks of, signal(7).
package enum Signal: CInt, Sendable {
    case hangUp = 1
    case interrupt = 2
    case kill = 9
    case brokenPipe = 13
    case terminate = 15
}

/// Signals read as data instead of interrupting something, signalfd(2).
package struct SignalDescriptor: ~Copyable, Sendable {
    private let descriptor: OwnedDescriptor

    /// Takes `signals` away from the calling thread and from every thread started by it later.
    ///
    /// So this belongs at the very start of `main`, before anything has made a thread: a thread
    /// that does not block a signal would die of it for all. A child process starts with
    /// nothing blocked.
    package static func block(_ signals: [Signal]) throws(KernelError) -> SignalDescriptor {
        let numbers = signals.map(\.rawValue)
        return SignalDescriptor(
            descriptor: OwnedDescriptor(
                taking: try kernel("signalfd") {
                    unsafe clinux_signal_descriptor(numbers, numbers.count)
                }))
    }

    /// Blocks the calling thread until the next one comes.
    package func next() throws(KernelError) -> Signal? {
        // struct signalfd_siginfo: 128 bytes, the number first.
        let record = try descriptor.read(upTo: 128)
        return record.loadInteger(at: 0, as: UInt32.self).flatMap { Signal(rawValue: CInt($0)) }
    }
}
