// SPDX-License-Identifier: Apache-2.0

import RedirectionModel
import Testing

@Suite struct PortSetTests {
    @Test func `ranges that touch or overlap become one`() {
        let set = PortSet([80...90, 91...95, 85...86, 443...443])
        #expect(set.ranges == [80...95, 443...443])
        #expect(set.description == "80-95,443")
    }

    @Test func `the last port is an ordinary one`() {
        let set = PortSet([65535...65535, 0...0])
        #expect(set.contains(65535) && set.contains(0) && !set.contains(65534))
        #expect(set.union([65534]).ranges == [0...0, 65534...65535])
    }

    @Test func `membership is what the ranges say`() {
        for _ in 0..<200 {
            let ranges = (0..<Int.random(in: 0...20)).map { _ in
                let first = UInt16.random(in: 0...500)
                return first...(first + UInt16.random(in: 0...20))
            }
            let set = PortSet(ranges)
            for port in UInt16(0)...530 {
                #expect(set.contains(port) == ranges.contains { $0.contains(port) })
            }
        }
    }

    @Test func `what is left is in the one and not in the other`() {
        func random() -> PortSet {
            PortSet(
                (0..<Int.random(in: 0...12)).map { _ in
                    let first = UInt16.random(in: 0...100)
                    return first...(first + UInt16.random(in: 0...20))
                })
        }
        for _ in 0..<500 {
            let (one, other) = (random(), random())
            let rest = one.subtracting(other)
            for port in UInt16(0)...121 {
                let expected = one.contains(port) && !other.contains(port)
                #expect(rest.contains(port) == expected, "\(one) - \(other)")
            }
        }
        let all = PortSet([0...65535])
        #expect(all.subtracting([0, 65535]).ranges == [1...65534])
        #expect(all.subtracting(all).isEmpty && PortSet([]).subtracting(all).isEmpty)
    }
}
