// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import LinuxKernel

/// What BPF maps take, as the kernel tells of each (`memlock` in proc(5)'s fdinfo, in whole pages).
enum BPFMemory {
    /// The sum over all maps that this process has open.
    static func lockedBytes() throws(KernelError) -> Int {
        let directory = "/proc/self/fdinfo"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        var maps: [String: Int] = [:]
        for name in names {
            // Descriptors come and go meanwhile, the one of this listing among them.
            guard let text = try? readFile(directory + "/" + name), text.contains("map_id:")
            else { continue }
            maps[value("map_id:", text) ?? name] = value("memlock:", text).flatMap { Int($0) }
        }
        return maps.values.reduce(0, +)
    }

    private static func value(_ key: String, _ text: String) -> String? {
        let line = text.split(separator: "\n").first { $0.hasPrefix(key) }
        return line?.dropFirst(key.count).filter { !$0.isWhitespace }
    }
}
