// SPDX-License-Identifier: Apache-2.0

internal import PolicyFile
internal import PolicyFuzzing
internal import RedirectionModel

#if canImport(Glibc)
internal import Glibc
#endif

/// libFuzzer's own main, which is in C++ and has no header.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutableRawPointer?>,
    _ check: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// What SwiftPM takes for this program's main.
///
/// Writes what to start from into the directory that `SWERVE_FUZZ_SEEDS` names, where libFuzzer
/// finds it.
@_cdecl("policy_fuzzer_main")
public func fuzz(_ count: CInt, _ arguments: UnsafeMutableRawPointer?) -> CInt {
    if let path = unsafe getenv("SWERVE_FUZZ_SEEDS") { writeSeeds(unsafe String(cString: path)) }
    var count = count
    var arguments = unsafe arguments
    return unsafe runFuzzer(&count, &arguments) { unsafe fuzzOneInput($0, $1) }
}

private func writeSeeds(_ directory: String) {
    var policies = RandomPolicy(SeededGenerator(seed: 1))
    for number in 0..<50 {
        write("\0" + PolicyFile.render(policies.next()), "\(directory)/file-\(number)")
    }
    let ours = PolicyFile.fields.map(\.annotation)
    for (number, preset) in Preset.Name.allCases.enumerated() {
        for (index, key) in (ours + PolicyAnnotations.keys(of: preset)).enumerated() {
            // A first byte from 128 on, as UTF-8 has none: this preset, of pods and of namespaces.
            write(
                "\(key)=80,443\n", "\(directory)/annotation-\(number)-\(index)",
                first: UInt8(128 + number + 8 * (index % 2)))
        }
    }
}

private func write(_ text: String, _ path: String, first: UInt8? = nil) {
    guard let file = unsafe fopen(path, "w") else { return }
    // SAFETY: fwrite reads as many bytes as it is told there are.
    let bytes = (first.map { [$0] } ?? []) + Array(text.utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe fwrite($0.baseAddress, 1, $0.count, file) }
    unsafe fclose(file)
}
