// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims

/// A descriptor with one owner, all of whose calls have a deadline.
package struct Descriptor: ~Copyable {
    private let number: CInt
    private let name: String

    init(taking number: CInt, name: String) {
        self.number = number
        self.name = name
    }

    deinit { _ = clinux_close(number) }

    /// Connects a stream to the unix socket at `path`.
    package static func connect(
        _ path: String, by deadline: Deadline
    ) throws(SystemFailure) -> Descriptor {
        let milliseconds = deadline.milliseconds
        guard milliseconds > 0 else { throw .timedOut("connect(\(path))") }
        let number = try system("connect(\(path))") {
            unsafe clinux_connect_unix(path, milliseconds)
        }
        return Descriptor(taking: number, name: path)
    }

    /// Standard input, to read a runtime's configuration from.
    package static func standardInput() throws(SystemFailure) -> Descriptor {
        Descriptor(
            taking: try system("dup(standard input)") { clinux_duplicate(0) },
            name: "standard input")
    }

    /// Sends all of `bytes` through a socket.
    package func send(_ bytes: [UInt8], by deadline: Deadline) throws(SystemFailure) {
        var rest = bytes[...]
        while !rest.isEmpty {
            try wait(for: clinux_output, "send(\(name))", by: deadline)
            let sent = try system("send(\(name))") {
                unsafe rest.withUnsafeBytes { buffer in
                    guard let base = buffer.baseAddress else { return 0 }
                    return unsafe clinux_send_now(number, base, buffer.count)
                }
            }
            rest = rest.dropFirst(sent)
        }
    }

    /// Reads what has come; an empty array is the end.
    package func receive(by deadline: Deadline) throws(SystemFailure) -> [UInt8] {
        try wait(for: clinux_input, "read(\(name))", by: deadline)
        var chunk = [UInt8](repeating: 0, count: 65536)
        let count = try system("read(\(name))") { unsafe clinux_read(number, &chunk, chunk.count) }
        return Array(chunk.prefix(count))
    }

    /// Reads to the end, or until there is more than `limit`.
    package func receiveAll(
        limit: Int, by deadline: Deadline
    ) throws(SystemFailure) -> [UInt8] {
        var all: [UInt8] = []
        while all.count <= limit {
            let chunk = try receive(by: deadline)
            if chunk.isEmpty { break }
            all += chunk
        }
        return all
    }

    private func wait(
        for event: CShort, _ call: String, by deadline: Deadline
    ) throws(SystemFailure) {
        let milliseconds = deadline.milliseconds
        guard milliseconds > 0 else { throw .timedOut(call) }
        let ready = try system(call) {
            var number = number
            return unsafe clinux_poll_first(&number, 1, event, milliseconds)
        }
        if ready == 0 { throw .timedOut(call) }
    }
}
