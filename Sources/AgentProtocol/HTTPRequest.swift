// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON

/// One call as HTTP/1.1 has it; the connection is for this call alone.
package enum HTTPRequest {
    package static func bytes(_ call: AgentCall, _ body: JSON) -> [UInt8] {
        let body = Array(body.rendered().utf8)
        let head = """
            POST \(call.path) HTTP/1.1\r
            Host: swerve\r
            Content-Type: application/json\r
            Content-Length: \(body.count)\r
            Connection: close\r
            \r

            """
        return Array(head.utf8) + body
    }
}
