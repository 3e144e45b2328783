// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import LinuxKernel

/// What labs of this process have left, looked for and not assumed.
package enum Leftovers {
    /// Names what is still there: cgroups, directories, child processes.
    package static func find() throws -> [String] {
        let own = try ProcessIdentity.current()
        let remains = try LabRemains.all().filter { $0.identity.owner == own }
        return remains.map { "lab \($0.identity)" } + children().map { "process \($0)" }
    }

    /// The children of every thread of this process, proc(5).
    private static func children() -> [String] {
        let tasks = "/proc/self/task"
        let threads = (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []
        return threads.flatMap { thread in
            let list = (try? readFile("\(tasks)/\(thread)/children")) ?? ""
            return list.split(separator: " ").map(String.init)
        }
    }
}
