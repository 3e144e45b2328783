// SPDX-License-Identifier: Apache-2.0

import RedirectionModel
import Testing

@Suite struct AddressTests {
    @Test(arguments: [
        "0.0.0.0", "10.0.0.7", "255.255.255.255", "::", "::1", "2001:db8::1", "fe80::1:0:0:1",
        "1:2:3:4:5:6:7:8", "1:0:0:2::3",
    ])
    func `an address is written as it was read`(_ text: String) {
        #expect(IPAddress(text)?.description == text)
    }

    @Test(arguments: [
        "", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "+1.2.3.4", "1.2.3.4 ", ":", ":::",
        "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "12345::", "g::",
        "::1.2.3", "1.2.3.4::", "::+1",
    ])
    func `what is not an address is refused`(_ text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test func `a mapped address is the IPv4 address`() {
        #expect(IPAddress("::ffff:10.0.0.7") == IPAddress("10.0.0.7"))
        #expect(IPAddress("::ffff:a00:7")?.family == .ipv4)
        #expect(IPAddress("::ffff:127.9.9.9")?.isLoopback == true)
    }

    @Test func `any address survives its text`() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            // Groups of zeros are what the short form is about, so make many.
            let groups = (0..<8).map { _ in
                Bool.random(using: &generator) ? 0 : UInt16.random(in: 0 ... .max)
            }
            let address = IPAddress(bits: groups.reduce(0) { $0 << 16 | UInt128($1) })
            #expect(IPAddress(address.description) == address)
            #expect(IPAddress(bytes: address.bytes) == address)
        }
    }

    @Test func `a network holds its own family only`() throws {
        let everything6 = try #require(CIDR("::/0"))
        let everything4 = try #require(CIDR("0.0.0.0/0"))
        let address = try #require(IPAddress("10.0.0.7"))
        #expect(everything4.contains(address))
        #expect(!everything6.contains(address))
        #expect(everything4 == .all(.ipv4))
        #expect(everything6 == .all(.ipv6))
    }

    @Test(arguments: [
        ("10.0.0.7/8", "10.0.0.0/8"), ("192.0.2.1", "192.0.2.1/32"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::1", "::1/128"),
    ])
    func `a network is its first address`(_ text: String, _ expected: String) {
        #expect(CIDR(text)?.description == expected)
    }

    @Test(arguments: [
        "10.0.0.0/33", "::/129", "10.0.0.0/", "/8", "10.0.0.0/8/8", "10.0.0.0/-1", "*",
    ])
    func `what is not a network is refused`(_ text: String) {
        #expect(CIDR(text) == nil)
    }

    @Test func `an endpoint survives its text`() {
        for text in ["10.0.0.7:80", "[2001:db8::1]:443"] {
            #expect(Endpoint(text)?.description == text)
        }
        for text in ["10.0.0.7", "10.0.0.7:70000", "[::1]", ""] { #expect(Endpoint(text) == nil) }
    }
}
