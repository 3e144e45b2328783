// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Benchmarking
internal import FoundationEssentials
internal import LinuxKernel

/// A job that a benchmark gives to a process of its own, as JSON.
private func decode<Job: Decodable>(_ text: String) throws -> Job {
    try JSONDecoder().decode(Job.self, from: Data(text.utf8))
}

struct BenchServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-serve", abstract: "A server or a sidecar of a benchmark.",
        shouldDisplay: false)

    @Argument(help: "What to serve.")
    var job: String

    func run() throws {
        let job: ServeJob = try decode(job)
        try job.run { () throws(KernelError) in
            try OwnedDescriptor(duplicating: 1).write("ready\n")
        }
    }
}

struct BenchLoadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-load", abstract: "A client of a benchmark.", shouldDisplay: false)

    @Argument(help: "What to do and measure.")
    var job: String

    func run() throws {
        let job: LoadJob = try decode(job)
        Console.say(String(decoding: try JSONEncoder().encode(try job.run()), as: UTF8.self))
    }
}
