// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

/// Texts of single values, read in one way only: no octal, no hexadecimal, no sign, no blanks.
enum ValueText {
    static let ports = "1 to 65535, or a range such as 8000-8100"
    static let ids = "0 to 4294967294, or a range such as 1000-2000"
    static let cidrs = "an address or a network such as 10.0.0.0/8 or 2001:db8::/32"
    static let numbers = "1 to 4294967295"
    static let interfaces =
        "1 to 15 bytes without / : or blanks; a + at the end stands for any rest"

    static func decimal(_ text: some StringProtocol) -> UInt64? {
        let isDecimal = text.utf8.allSatisfy { (48...57).contains($0) }
        guard isDecimal, (1...10).contains(text.utf8.count),
            text.utf8.count == 1 || text.utf8.first != 48
        else { return nil }
        return UInt64(text)
    }

    static func port(_ text: String) throws(ValueProblem) -> UInt16 {
        guard let number = decimal(text), (1...65535).contains(number) else {
            throw ValueProblem("is not a port", allowed: "1 to 65535, in decimal")
        }
        return UInt16(number)
    }

    static func number(_ text: String) throws(ValueProblem) -> UInt32 {
        guard let number = decimal(text), (1...UInt64(UInt32.max)).contains(number) else {
            throw ValueProblem("is not a number that can be used here", allowed: numbers)
        }
        return UInt32(number)
    }

    static func portRange(_ text: String) throws(ValueProblem) -> ClosedRange<UInt16> {
        let range = try range(text, within: 1...65535, "port", ports)
        return UInt16(range.lowerBound)...UInt16(range.upperBound)
    }

    /// A range of user or group ids; 4294967295 is (uid_t)-1, which stands for nobody.
    static func idRange(_ text: String) throws(ValueProblem) -> ClosedRange<UInt32> {
        let range = try range(text, within: 0...4_294_967_294, "user or group id", ids)
        return UInt32(range.lowerBound)...UInt32(range.upperBound)
    }

    private static func range(
        _ text: String, within limits: ClosedRange<UInt64>, _ noun: String, _ allowed: String
    ) throws(ValueProblem) -> ClosedRange<UInt64> {
        let ends = text.split(separator: "-", maxSplits: 2, omittingEmptySubsequences: false)
        let numbers = ends.compactMap { decimal($0) }
        guard numbers.count == ends.count, (1...2).contains(numbers.count),
            let first = numbers.first, let last = numbers.last
        else { throw ValueProblem("is not a \(noun) or a range of them", allowed: allowed) }
        guard limits.contains(first), limits.contains(last) else {
            throw ValueProblem("is out of range", allowed: allowed)
        }
        guard first <= last else {
            throw ValueProblem("is a range that ends before it begins", allowed: allowed)
        }
        return first...last
    }

    static func address(_ text: String) throws(ValueProblem) -> IPAddress {
        guard let address = IPAddress(text) else {
            throw ValueProblem(
                "is not an address", allowed: "an IPv4 or IPv6 address such as 10.96.0.10")
        }
        return address
    }

    static func cidr(_ text: String, _ dialect: Dialect) throws(ValueProblem) -> CIDR {
        guard let cidr = CIDR(text), hasCanonicalLength(text) else {
            throw ValueProblem("is not a network", allowed: cidrs)
        }
        let written = text.split(separator: "/").first.flatMap { IPAddress(String($0)) }
        guard dialect.allowsHostBits || written == cidr.network else {
            throw ValueProblem(
                "is an address within a network", allowed: "\(cidr) or \(text.prefix { $0 != "/" })"
            )
        }
        return cidr
    }

    /// `/08` is as doubtful as port 080.
    private static func hasCanonicalLength(_ text: String) -> Bool {
        guard let slash = text.firstIndex(of: "/") else { return true }
        return decimal(text[text.index(after: slash)...]) != nil
    }

    static func interface(_ text: String) throws(ValueProblem) -> InterfacePattern {
        // The kernel takes more, but nobody means `eth*` or `!eth0` as a name.
        let isOrdinary = text.utf8.allSatisfy { byte in
            (48...57).contains(byte) || (97...122).contains(byte) || (65...90).contains(byte)
                || Array("._-@+".utf8).contains(byte)
        }
        guard isOrdinary, let pattern = InterfacePattern(text) else {
            throw ValueProblem("is not an interface's name", allowed: interfaces)
        }
        return pattern
    }

    /// One that leads to machines within the workload, as loopback does not.
    static func virtualInterface(_ text: String) throws(ValueProblem) -> InterfacePattern {
        let pattern = try interface(text)
        guard !pattern.matches("lo") else {
            throw ValueProblem(
                "is the loopback interface too, behind which there is no machine",
                allowed: interfaces)
        }
        return pattern
    }

    static func boolean(_ text: String) throws(ValueProblem) -> Bool {
        switch text {
        case "true": true
        case "false": false
        default: throw ValueProblem("is neither true nor false", allowed: "true, false")
        }
    }

    static func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ text: String
    ) throws(ValueProblem) -> Choice {
        guard let choice = Choice(rawValue: text) else {
            let names = Choice.allCases.map(\.rawValue)
            let hint = nearest(text, among: names).map { "; did you mean \($0)?" } ?? ""
            throw ValueProblem(
                "is not one of the choices\(hint)", allowed: names.joined(separator: ", "))
        }
        return choice
    }

    /// Reads a mesh's text into the field at `path`; `quietly` where its problems are known.
    static func put(
        _ text: String, _ path: String, _ policy: inout Policy, quietly: Bool = false
    ) -> [ValueProblem] {
        guard let field = PolicyField.byPath[path] else { preconditionFailure("no field \(path)") }
        let value = text.fieldText(for: field)
        let problems = field.read(value, .mesh, &policy)
        return quietly ? [] : problems.map { $0.whole(of: value.items) }
    }
}
