// SPDX-License-Identifier: Apache-2.0

internal import PolicyFile
internal import PolicyFuzzing
internal import RedirectionModel

/// What libFuzzer calls with every input it thinks of; `make fuzz` builds and runs it.
///
/// The first byte says what the rest is: a file, or annotations, a line each; its lowest three bits
/// are the preset then, and the next one is whether they are a namespace's.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // SAFETY: libFuzzer's bytes stay where they are until this returns, and are copied at once.
    let bytes = unsafe Array(UnsafeBufferPointer(start: start, count: count))
    guard let kind = bytes.first else { return 0 }
    let rest = Array(bytes.dropFirst())
    let result =
        kind < 128
        ? FuzzCheck.check(file: rest)
        : FuzzCheck.check(
            annotations: annotations(rest), level: (kind >> 3) & 1 == 0 ? .pod : .namespace,
            preset: Preset.Name.allCases[Int(kind & 7) % Preset.Name.allCases.count])
    if case .violated(let what) = result { fatalError(what) }
    return 0
}

/// `KEY=VALUE` lines.
private func annotations(_ bytes: [UInt8]) -> [String: String] {
    let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    let pairs = lines.map { line in
        (String(line.prefix { $0 != "=" }), String(line.drop { $0 != "=" }.dropFirst()))
    }
    return Dictionary(pairs) { $1 }
}
