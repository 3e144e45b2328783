// SPDX-License-Identifier: Apache-2.0

import AgentProtocol
import OrderedJSON
import Testing

@Suite struct ProtocolTests {
    private var request: PodRequest {
        var request = PodRequest(
            attachment: Attachment(container: "4f1c", interface: "eth0"), network: "pods")
        request.namespacePath = "/var/run/netns/x"
        request.pod = PodIdentity(namespace: "default", name: "web", uid: "0c21")
        request.annotations = ["b": "2", "a": "1"]
        request.addresses = ["10.244.1.7/24"]
        return request
    }

    @Test func `messages are read as they were written`() throws {
        #expect(try PodRequest(request.json) == request)
        let bare = PodRequest(attachment: request.attachment, network: "pods")
        #expect(try PodRequest(bare.json) == bare)
        let collect = CollectRequest(network: "pods", valid: [request.attachment])
        #expect(try CollectRequest(collect.json) == collect)
        let answer = PodAnswer(redirected: true, mechanism: "nft", reason: "auto")
        #expect(try PodAnswer(answer.json) == answer)
        let status = StatusAnswer(ready: false, limited: true, reason: "no bpffs")
        #expect(try StatusAnswer(status.json) == status)
        let error = AgentError("m", field: "f", value: "v", remedy: "r", retryable: true)
        #expect(try AgentError(error.json) == error)
        let left = FailedOpen(request: request, reason: "down")
        #expect(try FailedOpen(left.json) == left)
    }

    @Test func `no annotations and unknown annotations are not the same`() throws {
        var one = request
        one.annotations = [:]
        #expect(try PodRequest(one.json).annotations == [:])
        one.annotations = nil
        #expect(try PodRequest(one.json).annotations == nil)
    }

    @Test func `a request with something unknown, missing or of the wrong kind is refused`() throws
    {
        for (field, value, place) in [
            ("color", JSON.string("red"), "color"), ("network", nil, "network"),
            ("annotations", JSON(members: ["a": JSON(1)]), "annotations.a"),
            ("pod", JSON(members: ["color": .null]), "pod.color"),
            ("addresses", .string("10.0.0.1"), "addresses"),
            ("attachment", JSON(members: ["containerID": .string("c")]), "attachment.interface"),
        ] as [(String, JSON?, String)] {
            let broken = request.json.setting(field, to: value)
            let error = #expect(throws: FieldError.self) { try PodRequest(broken) }
            #expect(error?.field == place)
        }
    }

    @Test func `an answer may say more than we know`() throws {
        let json = PodAnswer(redirected: false, reason: "").json.setting("since", to: JSON(1))
        #expect(try PodAnswer(json).redirected == false)
    }

    @Test func `a request is HTTP`() throws {
        let bytes = HTTPRequest.bytes(.delete, JSON(members: ["a": .string("☃")]))
        let expected =
            "POST /v1/cni/delete HTTP/1.1\r\nHost: swerve\r\nContent-Type: application/json\r\n"
            + "Content-Length: 11\r\nConnection: close\r\n\r\n{\"a\":\"☃\"}"
        #expect(String(decoding: bytes, as: UTF8.self) == expected)
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200\r\nX: y\r\ncontent-length:5\r\nZ: \r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nhello",
    ])
    func `an answer is whole when it is whole, however it is cut`(text: String) throws {
        let bytes = Array(text.utf8)
        for cut in 0..<bytes.count {
            let part = Array(bytes.prefix(cut))
            // The last of a chunked answer may be its trailer.
            if let early = try HTTPReply(part, ended: false) {
                #expect(early.body == Array("hello".utf8) && text.contains("chunked"))
            }
        }
        let whole = try #require(try HTTPReply(bytes, ended: true))
        #expect(whole.status == 200 && whole.body == Array("hello".utf8))
    }

    @Test(arguments: [
        "", "\r\n\r\n", "hello\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 20x OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "HTTP/1.1 200 OK\r\nContent-Length: ",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ])
    func `what is no answer is refused, and an endless one too`(text: String) {
        #expect(throws: HTTPReply.Malformed.self) { try HTTPReply(Array(text.utf8), ended: true) }
        let endless = Array(text.utf8) + [UInt8](repeating: 0x61, count: HTTPReply.largest)
        #expect(throws: HTTPReply.Malformed.self) { try HTTPReply(endless, ended: false) }
    }
}
