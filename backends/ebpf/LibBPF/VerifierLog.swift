// SPDX-License-Identifier: Apache-2.0

/// What the verifier writes while it reads a program.
enum VerifierLog {
    /// The line that says why, and how many others were left out; `nil` for an empty log.
    ///
    /// The verifier ends with statistics ("processed 12 insns ..."), which explain nothing.
    static func lastWords(_ log: String) -> String? {
        let lines = log.split(separator: "\n")
        guard let last = lines.last(where: { !isStatistics($0) }) else { return nil }
        return lines.count > 1 ? "\(last) (\(lines.count - 1) lines omitted)" : String(last)
    }

    private static func isStatistics(_ line: Substring) -> Bool {
        ["processed ", "verification time ", "stack depth ", "max_states"].contains {
            line.hasPrefix($0)
        }
    }
}

/// Memory for a log, which libbpf keeps a pointer to while it loads; freed with its owner.
///
/// The kernel before 6.4 fails a load whose log does not fit, so there is room to spare. Pages
/// that no log reaches are never touched.
@safe
struct LogBuffer: ~Copyable {
    static let size = 4 << 20
    let start: UnsafeMutablePointer<CChar>

    init() {
        unsafe start = .allocate(capacity: Self.size)
        unsafe start.initialize(to: 0)
    }

    deinit { unsafe start.deallocate() }

    var text: String { unsafe String(cString: start) }
}
