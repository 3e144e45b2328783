// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel
import RedirectionEngine
import RedirectionModel
import TestedMechanisms
import Testing

/// Unmodified proxies serve redirected connections, whatever redirects them.
///
/// That a connection went through the proxy is proven by both ends and by the proxy's own log:
/// the server sees the end that the proxy says is its own, and not the client's.
@Suite(.requiresKernel, .serialized) struct ProxyTests {
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases, RealProxy.allCases)
    func `a proxy carries an application's connection to where it was going`(
        _ subject: Subject, _ kind: RealProxy
    ) async {
        await #expect(processExitsWith: .success) { [subject, kind] in
            try await withRedirectedPod(by: subject) { pod, _ in
                try await kind.run(in: pod) { proxy in
                    for family in kind.originFamilies {
                        let server = try pod.peer.listen(family, 8080)
                        let origin = Endpoint(pod.peerAddress(family), 8080)
                        let name = Endpoint(pod.address(family), 20_001)
                        let client = try pod.namespace.connect(to: origin, from: name)
                        let source = try exchange(client, server)
                        #expect(source != name)
                        #expect(
                            try proxy.record(of: name)
                                == .init(client: name, source: source, server: origin))
                    }
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases, RealProxy.allCases)
    func `a proxy carries what comes from outside to the application`(
        _ subject: Subject, _ kind: RealProxy
    ) async {
        await #expect(processExitsWith: .success) { [subject, kind] in
            try await withRedirectedPod(by: subject) { pod, _ in
                try await kind.run(in: pod) { proxy in
                    for family in AddressFamily.allCases {
                        let port = RealProxy.applicationPort
                        let application = try pod.namespace.listen(
                            family, port, on: .loopback(family), as: .application)
                        let client = try pod.peer.connect(to: Endpoint(pod.address(family), port))
                        let name = try client.localEndpoint()
                        let source = try exchange(client, application)
                        let server = Endpoint(.loopback(family), port)
                        #expect(
                            try proxy.record(of: name)
                                == .init(client: name, source: source, server: server))
                    }
                }
            }
        }
    }

    /// A limit of haproxy, the same under the kernel's own NAT: see `HAProxyConfiguration`.
    @Test(.timeLimit(.minutes(5)), arguments: Subject.allCases)
    func `haproxy takes every redirected IPv6 connection for one to itself`(
        _ subject: Subject
    ) async {
        await #expect(processExitsWith: .success) { [subject] in
            try await withRedirectedPod(by: subject) { pod, _ in
                try await RealProxy.haproxy.run(in: pod) { _ in
                    let server = try pod.peer.listen(.ipv6, 8080)
                    let client = try pod.namespace.connect(
                        to: Endpoint(pod.peerAddress(.ipv6), 8080))
                    #expect(try client.descriptor.waitForInput(.seconds(10)))
                    #expect(throws: KernelError.self) {
                        try client.send("anybody there?")
                        _ = try client.receiveAll()
                    }
                    #expect(try !server.descriptor.waitForInput(.zero))
                }
            }
        }
    }
}

extension RealProxy {
    /// The families whose original destination the proxy asks for.
    var originFamilies: [AddressFamily] {
        switch self {
        case .envoy: [.ipv4, .ipv6]
        case .haproxy: [.ipv4]
        }
    }
}

/// Sends through `client` to whoever `server` accepts, and back; returns who that was.
private func exchange(
    _ client: borrowing Socket, _ server: borrowing Socket
) throws(KernelError) -> Endpoint {
    try client.send("a question")
    try client.finishSending()
    let accepted = try server.accept()
    let source = try accepted.peerEndpoint()
    #expect(try accepted.receiveAll() == "a question")
    try accepted.send("an answer")
    try accepted.finishSending()
    #expect(try client.receiveAll() == "an answer")
    return source
}
