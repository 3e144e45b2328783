// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON

/// One call as HTTP/1.1 has it; the connection is for this call alone.
package enum HTTPRequest {
    package static func bytes(_ call: AgentCall, _ body: JSON) -> [UInt8] {
        bytes("POST", call.path, body)
    }

    /// The same for what an operator asks.
    package static func bytes(_ method: String, _ path: String, _ body: JSON?) -> [UInt8] {
        let body = Array((body?.rendered() ?? "").utf8)
        let head = """
            \(method) \(path) HTTP/1.1\r
            Host: swerve\r
            Content-Type: application/json\r
            Content-Length: \(body.count)\r
            Connection: close\r
            \r

            """
        return Array(head.utf8) + body
    }
}
