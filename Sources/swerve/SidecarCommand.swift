// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import LinuxKernel
internal import RedirectionModel
internal import SidecarProxy

/// `1500:1500`, or a number for both.
struct OwnerArgument: ExpressibleByArgument {
    let owner: Owner

    init?(argument: String) {
        let parts = argument.split(separator: ":", omittingEmptySubsequences: false)
        guard let uid = parts.first.flatMap({ UInt32($0) }), parts.count <= 2 else { return nil }
        guard parts.count == 2 else {
            owner = Owner(uid: uid, gid: uid)
            return
        }
        guard let gid = UInt32(parts[1]) else { return nil }
        owner = Owner(uid: uid, gid: gid)
    }
}

/// What the lab's servers have in common.
struct ServerOptions: ParsableArguments {
    @Option(help: "The pod's name, for the record.")
    var pod: String

    @Option(help: "The file to append a line of JSON to for each connection.")
    var record = "/dev/stdout"

    @Option(help: "Become this user first: UID or UID:GID.")
    var user: OwnerArgument?

    func openRecord() throws -> ConnectionRecorder {
        // By number: a path of somebody else's standard output cannot always be opened.
        guard record != "/dev/stdout" else {
            return ConnectionRecorder(try OwnedDescriptor(duplicating: 1))
        }
        return ConnectionRecorder(try .open(record, .append))
    }

    /// Gives up privileges before any socket is opened: the socket's owner is what counts.
    func dropPrivileges() throws {
        if let user { try become(user.owner) }
    }
}

struct SidecarCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sidecar", abstract: "The reference sidecar of the lab.", shouldDisplay: false)

    @OptionGroup var server: ServerOptions

    @Option(help: "The port for connections that leave the pod.")
    var outbound: UInt16 = 15001

    @Option(help: "The port for connections that enter the pod.")
    var inbound: UInt16 = 15003

    func run() throws {
        let recorder = try server.openRecord()
        try server.dropPrivileges()
        let configuration = SidecarProxy.Configuration(
            pod: server.pod, outboundPort: outbound, inboundPort: inbound)
        try serve {
            let proxy = try await SidecarProxy.start(configuration, recorder: recorder)
            return { await proxy.stop(grace: .seconds(5)) }
        }
    }
}

struct GreetingCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ok", abstract: "The demo's application.", shouldDisplay: false)

    @OptionGroup var server: ServerOptions

    @Option(help: "How it introduces itself.")
    var name: String

    @Option(help: "The port to listen on.")
    var port: UInt16 = 8080

    func run() throws {
        let recorder = try server.openRecord()
        try server.dropPrivileges()
        try serve { [name, port, pod = server.pod] in
            let greeter = try await GreetingServer.start(
                name: name, pod: pod, port: port, recorder: recorder)
            return { await greeter.stop(grace: .seconds(5)) }
        }
    }
}

/// Starts a server; at the first signal stops it gracefully and exits with 0.
private func serve(
    _ start: @escaping @Sendable () async throws -> @Sendable () async -> Void
) throws -> Never {
    let signals = try SignalDescriptor.block([.interrupt, .terminate])
    let task = Task.detached { try await start() }
    Task.detached {
        // A server that cannot listen is no server.
        if case .failure(let error) = await task.result { fail(error) }
    }
    while try signals.next() == nil {}
    Task.detached {
        if let stop = try? await task.value { await stop() }
        end()
    }
    while true { _ = try signals.next() }
}
