// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import LinuxKernel
internal import RedirectionModel
internal import Synchronization

/// The sidecars and applications of a lab: started, waited for, and reaped.
final class LabProcesses: Sendable {
    private let children = Mutex<[ChildProcess]>([])

    /// A process with its own log, that is ready when it listens.
    struct Server: Sendable {
        /// `sidecar of ok-v1`, for messages.
        let what: String
        let child: ChildProcess
        let log: String
        let namespace: NetworkNamespace
        let ports: [UInt16]

        var identity: ProcessIdentity? { ProcessIdentity(running: child.pid) }
    }

    /// Starts a server in its pod; its standard error goes to the log.
    func start(
        _ what: String, _ birth: ChildProcess.Birth, in namespace: NetworkNamespace,
        log: String, listeningOn ports: [UInt16]
    ) throws(KernelError) -> Server {
        let output = try OwnedDescriptor.open(log, .append)
        let nothing = try OwnedDescriptor.open("/dev/null")
        var birth = birth
        birth.namespace = namespace
        birth.input = nothing.rawValue
        birth.output = birth.output ?? output.rawValue
        birth.error = output.rawValue
        // Out of reach of Ctrl-C: the guard ends the lab, in its own order.
        birth.startsSession = true
        let child = try ChildProcess.start(birth)
        children.withLock { $0.append(child) }
        return Server(what: what, child: child, log: log, namespace: namespace, ports: ports)
    }

    /// Waits until the server listens on all its ports.
    ///
    /// By looking, not by connecting: to a sidecar that goes to the origin, a connection
    /// straight to its port is a loop.
    func waitUntilListening(_ server: Server, within limit: Duration) throws {
        let deadline = ContinuousClock.now + limit
        for port in server.ports {
            while try !server.namespace.hasListener(on: port) {
                guard ContinuousClock.now < deadline else {
                    throw LabError.notListening(
                        what: server.what, port: port, log: lastLine(server.log))
                }
                // No event tells of a listener; the end of the process is one.
                if let status = try server.child.waitForExit(within: .milliseconds(5)) {
                    children.withLock { $0.removeAll { $0.pid == server.child.pid } }
                    throw LabError.died(
                        what: server.what, status: status, log: lastLine(server.log))
                }
            }
        }
    }

    private func lastLine(_ log: String) -> String {
        let text = (try? readFile(log)) ?? ""
        return text.split(separator: "\n").last.map(String.init) ?? ""
    }

    /// Takes leave of processes that have been killed, so that no zombie stays.
    func reap() {
        let dead = children.withLock { children in
            defer { children = [] }
            return children
        }
        for child in dead { _ = try? child.waitForExit(within: .seconds(2)) }
    }
}
