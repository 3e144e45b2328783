// SPDX-License-Identifier: Apache-2.0

/// Who is at the other end of a unix socket, as the kernel knows it: SO_PEERCRED, unix(7).
package struct Peer: Hashable, Sendable {
    package let pid: UInt32
    package let uid: UInt32

    package init(pid: UInt32, uid: UInt32) {
        self.pid = pid
        self.uid = uid
    }
}

/// A request that has arrived whole.
package struct Request: Sendable {
    package let method: String
    /// Without the query, and not decoded.
    package let path: String
    package let query: String
    package let body: [UInt8]
    package let peer: Peer

    package init(
        _ method: String, _ target: String, body: [UInt8] = [], from peer: Peer
    ) {
        self.method = method
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        path = String(parts[0])
        query = parts.count > 1 ? String(parts[1]) : ""
        self.body = body
        self.peer = peer
    }
}

/// What is answered to a request.
package struct Answer: Sendable {
    package enum Body: Sendable {
        case whole([UInt8])
        /// Piece by piece, until the stream ends or the client goes.
        case stream(AsyncStream<[UInt8]>)
    }

    package let status: Int
    package let type: String
    /// Further fields of the head.
    package var fields: [(name: String, value: String)] = []
    package let body: Body

    package init(_ status: Int, _ type: String, _ body: Body) {
        self.status = status
        self.type = type
        self.body = body
    }

    package init(_ status: Int, text: String, type: String = "text/plain; charset=utf-8") {
        self.init(status, type, .whole(Array(text.utf8)))
    }
}

/// What the server itself refuses, before anybody has read the request.
package enum Refusal: Hashable, Sendable {
    /// Neither root nor our own user.
    case stranger(uid: UInt32)
    /// The request has not arrived in time.
    case slow(Duration)
    case tooLarge(limit: Int)
    case malformed(String)
    case crowded(limit: Int)

    package var status: Int {
        switch self {
        case .stranger: 403
        case .slow: 408
        case .tooLarge: 413
        case .malformed: 400
        case .crowded: 503
        }
    }
}

extension Refusal: CustomStringConvertible {
    package var description: String {
        switch self {
        case .stranger(let uid): "user \(uid) may not speak to the agent: only root may"
        case .slow(let patience): "the request has not arrived within \(patience)"
        case .tooLarge(let limit): "the request is larger than \(limit) bytes"
        case .malformed(let problem): "the request is not HTTP: \(problem)"
        case .crowded(let limit): "there are \(limit) connections already"
        }
    }
}

/// What a client may take of the server.
package struct Limits: Sendable {
    package var connections = 256
    /// In bytes, of all fields of a head together.
    package var head = 16 << 10
    package var body = 1 << 20
    /// For a whole request to arrive; and for an answer, or the next piece of one, to be taken.
    package var patience = Duration.seconds(10)

    package init() {}
}
