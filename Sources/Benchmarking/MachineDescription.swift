// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
package import LinuxKernel

/// What the numbers are numbers of.
package struct MachineDescription: Codable, Sendable {
    /// Whether this program was optimized when it was built: `release` or `debug`.
    package let build: String
    package let kernel: String
    package let processor: String
    package let processors: Int
    package let isVirtual: Bool
    /// `full`, or another preemption model the kernel tells of.
    package let preemption: String?
    package let governor: String?
    /// What slows system calls down, by vulnerability; those that the processor has not are left out.
    package let mitigations: [String: String]
    /// How many tasks wanted to run in the last minute, on average, when the run began.
    package let load: Double

    package static func current() throws(KernelError) -> MachineDescription {
        let information = (try? readFile("/proc/cpuinfo")) ?? ""
        let load = (try? readFile("/proc/loadavg"))?.split(separator: " ").first
        return MachineDescription(
            build: buildKind, kernel: try kernelRelease(),
            processor: field("model name", information) ?? "unknown",
            processors: information.split(separator: "\n").count { $0.hasPrefix("processor") },
            isVirtual: field("flags", information)?.contains(" hypervisor") ?? false,
            preemption: text("/sys/kernel/debug/sched/preempt"),
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            mitigations: mitigations(), load: load.flatMap { Double($0) } ?? .nan)
    }

    private static var buildKind: String {
        #if DEBUG
        "debug"
        #else
        "release"
        #endif
    }

    private static func field(_ name: String, _ information: String) -> String? {
        let line = information.split(separator: "\n").first { $0.hasPrefix(name) }
        return line?.split(separator: ":", maxSplits: 1).last
            .map { $0.trimmed }
    }

    private static func text(_ path: String) -> String? {
        (try? readFile(path))?.trimmed
    }

    private static func mitigations() -> [String: String] {
        let directory = "/sys/devices/system/cpu/vulnerabilities"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        let states = names.compactMap { name in
            text(directory + "/" + name).map { (name, $0) }
        }
        return Dictionary(uniqueKeysWithValues: states).filter { $0.value != "Not affected" }
    }
}

extension StringProtocol {
    /// Without space at both ends.
    fileprivate var trimmed: String {
        let start = drop(while: \.isWhitespace)
        return String(start.reversed().drop(while: \.isWhitespace).reversed())
    }
}
