// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims

#if canImport(Glibc)
internal import Glibc
#endif

/// A variable of the environment; an empty one is as good as none.
package func environment(_ name: String) -> String? {
    let value = unsafe getenv(name).map { unsafe String(cString: $0) }
    return value == "" ? nil : value
}

/// Where a program's own words go.
package enum StandardStream: CInt {
    case output = 1
    case error = 2

    /// Writes `text`; if nobody reads any more there is nobody to tell either.
    package func write(_ text: String) throws(SystemFailure) {
        try writeAll(text, to: rawValue, "standard stream")
    }
}

/// Makes a write that nobody reads an error instead of our end, signal(7).
package func ignoreBrokenPipes() { _ = signal(SIGPIPE, SIG_IGN) }

/// Ends the program.
package func leave(_ status: CInt) -> Never { exit(status) }

/// Writes all of `text` to a descriptor, which is called `name` in an error.
func writeAll(_ text: String, to descriptor: CInt, _ name: String) throws(SystemFailure) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
        let written = try system("write(\(name))") {
            unsafe rest.withUnsafeBytes { buffer in
                guard let base = buffer.baseAddress else { return 0 }
                return unsafe clinux_write(descriptor, base, buffer.count)
            }
        }
        rest = rest.dropFirst(written)
    }
}
