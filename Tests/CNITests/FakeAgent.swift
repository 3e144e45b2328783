// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import Foundation
import OrderedJSON
import Synchronization

#if canImport(Glibc)
import Glibc
#endif

/// An agent of the test's own: it listens where it is told and answers as it is told.
final class FakeAgent: Sendable {
    /// What a connection gets.
    enum Behavior: Sendable {
        case answer(Int, JSON)
        /// These bytes, then the end; or then nothing more, with the connection open.
        case bytes(String, staysOpen: Bool = false)

        static let redirected = Behavior.answer(
            200, PodAnswer(redirected: true, mechanism: "ebpf", reason: "auto").json)
        static let silence = Behavior.bytes("", staysOpen: true)

        static func refusal(_ error: AgentError, status: Int = 422) -> Behavior {
            .answer(status, error.json)
        }
    }

    /// A request as it arrived.
    struct Request: Sendable, Equatable {
        let line: String
        let body: JSON

        var call: AgentCall? {
            AgentCall.allCases.first { line == "POST \($0.path) HTTP/1.1" }
        }
    }

    private struct State {
        var requests: [Request] = []
        var open: [CInt] = []
        var isDone = false
    }

    private let state = Mutex(State())
    private let listener: CInt

    var requests: [Request] { state.withLock(\.requests) }

    private init(_ path: String, _ behave: @escaping @Sendable (Request) -> Behavior) {
        let listener = Self.listen(path)
        self.listener = listener
        Thread.detachNewThread { [self] in
            while true {
                let connection = accept(listener, nil, nil)
                guard connection >= 0 else { break }
                serve(connection, behave)
            }
            state.withLock { $0.isDone = true }
        }
    }

    /// Runs `body` while an agent listens at `path`.
    static func with<Value>(
        _ path: String, _ behave: @escaping @Sendable (Request) -> Behavior,
        _ body: (FakeAgent) throws -> Value
    ) rethrows -> Value {
        let agent = FakeAgent(path, behave)
        defer { agent.stop() }
        return try body(agent)
    }

    private func stop() {
        _ = shutdown(listener, CInt(SHUT_RDWR))
        while !state.withLock({ $0.isDone }) { Thread.sleep(forTimeInterval: 0.001) }
        for connection in state.withLock(\.open) { close(connection) }
        close(listener)
    }

    private func serve(_ connection: CInt, _ behave: (Request) -> Behavior) {
        guard let request = Self.read(connection) else {
            close(connection)
            return
        }
        state.withLock { $0.requests.append(request) }
        switch behave(request) {
        case .answer(let status, let json):
            let body = json.rendered()
            Self.write(
                connection,
                "HTTP/1.1 \(status) Whatever\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
            close(connection)
        case .bytes(let text, let staysOpen):
            Self.write(connection, text)
            if staysOpen {
                state.withLock { $0.open.append(connection) }
            } else {
                close(connection)
            }
        }
    }

    private static func listen(_ path: String) -> CInt {
        let listener = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { field in
            unsafe field.copyBytes(from: path.utf8)
        }
        let status = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                unsafe bind(listener, address, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        precondition(status == 0 && Glibc.listen(listener, 16) == 0, "cannot listen at \(path)")
        return listener
    }

    /// Reads one request; the plugin sends whole ones, or goes away.
    private static func read(_ connection: CInt) -> Request? {
        var received: [UInt8] = []
        while true {
            var chunk = [UInt8](repeating: 0, count: 65536)
            let count = unsafe Glibc.read(connection, &chunk, chunk.count)
            guard count > 0 else { return nil }
            received += chunk.prefix(count)
            let parts = String(decoding: received, as: UTF8.self).components(
                separatedBy: "\r\n\r\n")
            if parts.count > 1, let body = try? JSON(parsing: parts[1]) {
                let line = parts[0].components(separatedBy: "\r\n")[0]
                return Request(line: line, body: body)
            }
        }
    }

    private static func write(_ connection: CInt, _ text: String) {
        let bytes = Array(text.utf8)
        _ = unsafe send(connection, bytes, bytes.count, CInt(MSG_NOSIGNAL))
    }
}
