// SPDX-License-Identifier: Apache-2.0

package import AgentProtocol
internal import CLinuxShims
package import LinuxKernel
internal import SystemPackage
package import Testing

/// A client of a unix socket that says what it is told to, in its own time.
package struct UnixClient: ~Copyable {
    private let descriptor: OwnedDescriptor

    package static func connect(_ path: String) throws(KernelError) -> UnixClient {
        let number = try kernel("connect(\(path))") { unsafe clinux_connect_unix(path, 60_000) }
        return UnixClient(descriptor: OwnedDescriptor(taking: number))
    }

    /// Sends as much as the server takes; one that has closed takes nothing more.
    package func send(_ bytes: some Collection<UInt8>) throws(KernelError) {
        var rest = Array(bytes)[...]
        while !rest.isEmpty {
            do throws(KernelError) {
                let sent = try kernel("send") {
                    unsafe rest.withUnsafeBytes { buffer in
                        guard let base = buffer.baseAddress else { return 0 }
                        return unsafe clinux_send_now(descriptor.rawValue, base, buffer.count)
                    }
                }
                rest = rest.dropFirst(sent)
            } catch  where error.errno == .wouldBlock {
                pause(.milliseconds(1))
            } catch  where error.errno == .brokenPipe {
                return
            }
        }
    }

    package func send(_ text: String) throws(KernelError) { try send(text.utf8) }

    /// Says that nothing more will come.
    package func finishSending() throws(KernelError) {
        try kernel("shutdown") { clinux_shutdown(descriptor.rawValue, 1) }
    }

    /// What comes next; an empty array is the end, `nil` that nothing came in time.
    package func receive(within patience: Duration = .seconds(60)) throws(KernelError) -> [UInt8]? {
        guard try descriptor.waitForInput(patience) else { return nil }
        do throws(KernelError) {
            return try descriptor.read(upTo: 65536)
        } catch  where error.errno == .connectionReset {
            return []
        }
    }

    /// Everything until the server closes.
    package func receiveAll() throws(KernelError) -> [UInt8] {
        var all: [UInt8] = []
        while let bytes = try receive(), !bytes.isEmpty { all += bytes }
        return all
    }

    /// The answer that the server closes after.
    package func reply(sourceLocation: SourceLocation = #_sourceLocation) throws -> HTTPReply {
        try #require(
            try HTTPReply(receiveAll(), ended: true), sourceLocation: sourceLocation)
    }
}

/// A request as most clients would make it.
package struct TestRequest: Hashable, Sendable {
    package let method: String
    package let target: String
    package var body: String

    package init(_ method: String, _ target: String, _ body: String = "") {
        self.method = method
        self.target = target
        self.body = body
    }

    package var text: String {
        "\(method) \(target) HTTP/1.1\r\nHost: swerve\r\n"
            + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    /// Makes it at a socket.
    package func ask(
        _ socket: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> HTTPReply {
        let client = try UnixClient.connect(socket)
        try client.send(text)
        return try client.reply(sourceLocation: sourceLocation)
    }
}

extension HTTPReply {
    package var text: String { String(decoding: body, as: UTF8.self) }
}
