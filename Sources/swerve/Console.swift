// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import LinuxKernel

/// Standard output and error, unbuffered: progress is seen when it happens.
enum Console {
    static func say(_ text: String = "") { write(text + "\n", to: 1) }

    static func complain(_ text: String) { write(text + "\n", to: 2) }

    /// Prints a value as JSON, keys in order.
    static func say(json value: some Encodable) throws { say(try text(json: value)) }

    /// A value as JSON, keys in order.
    static func text(json value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    /// Shows on standard error, a terminal's, what the next such line replaces.
    static func show(passing text: String) { write("\r\u{1b}[K" + text, to: 2) }

    private static func write(_ text: String, to descriptor: CInt) {
        // A reader that has gone away is no reason to fail.
        try? OwnedDescriptor(duplicating: descriptor).write(text)
    }
}
