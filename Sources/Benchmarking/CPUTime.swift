// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel

/// Processor time in microseconds.
///
/// User and system time are those of the processes that take part, to the microsecond (cgroup v2's
/// `cpu.stat`). Softirq time is the whole machine's, sampled in ticks of 10 ms: kernels without
/// CONFIG_IRQ_TIME_ACCOUNTING charge it to whom it interrupts as well, so it is no summand, but others
/// charge it to nobody.
struct CPUTime: Codable, Sendable {
    var user = 0.0
    var system = 0.0
    var softirq = 0.0

    var total: Double { user + system }

    static func now(of cgroups: [String]) throws(KernelError) -> CPUTime {
        var time = CPUTime(softirq: softirq(try readFile("/proc/stat")))
        for cgroup in cgroups {
            let statistics = try readFile(cgroup + "/cpu.stat")
            time.user += value(of: "user_usec", in: statistics)
            time.system += value(of: "system_usec", in: statistics)
        }
        return time
    }

    private static func value(of key: String, in text: String) -> Double {
        let line = text.split(separator: "\n").first { $0.hasPrefix(key + " ") }
        return line.flatMap { Double($0.dropFirst(key.count + 1)) } ?? 0
    }

    /// The seventh number of the line `cpu` (proc(5)), in hundredths of a second.
    static func softirq(_ statistics: String) -> Double {
        let line = statistics.split(separator: "\n").first { $0.hasPrefix("cpu ") }
        let fields = line?.split(separator: " ") ?? []
        return fields.count > 7 ? (Double(fields[7]) ?? 0) * 10_000 : 0
    }

    static func - (left: CPUTime, right: CPUTime) -> CPUTime {
        CPUTime(
            user: left.user - right.user, system: left.system - right.system,
            softirq: left.softirq - right.softirq)
    }

    static func += (left: inout CPUTime, right: CPUTime) {
        left.user += right.user
        left.system += right.system
        left.softirq += right.softirq
    }

    static func / (left: CPUTime, count: Double) -> CPUTime {
        CPUTime(
            user: left.user / count, system: left.system / count, softirq: left.softirq / count)
    }
}
