// SPDX-License-Identifier: Apache-2.0

/// An interface by its name, or by how its name begins: `eth0`, `br+`.
///
/// The trailing `+` is iptables(8)'s. A name has 1 to 15 bytes, none of them `/` or a space (Linux,
/// `dev_valid_name`).
package struct InterfacePattern: Hashable, Sendable {
    /// The name, or its beginning.
    package let name: String
    /// Whether longer names that begin so match too.
    package let isPrefix: Bool

    package func matches(_ interface: String) -> Bool {
        isPrefix ? interface.hasPrefix(name) : interface == name
    }
}

extension InterfacePattern: LosslessStringConvertible {
    package var description: String { isPrefix ? name + "+" : name }

    package init?(_ text: String) {
        isPrefix = text.hasSuffix("+")
        name = isPrefix ? String(text.dropLast()) : text
        let isValid = name.utf8.allSatisfy { byte in
            byte > 0x20 && byte != 0x7f && ![UInt8(ascii: "/"), UInt8(ascii: ":")].contains(byte)
        }
        guard isValid, (1...15).contains(name.utf8.count), name != ".", name != ".." else {
            return nil
        }
    }
}

extension InterfacePattern: ExpressibleByStringLiteral {
    /// For names in source text, which are right; a name from elsewhere is read by `init?`.
    package init(stringLiteral text: StaticString) {
        guard let pattern = InterfacePattern("\(text)") else {
            preconditionFailure("\(text) is no interface name")
        }
        self = pattern
    }
}

extension InterfacePattern: Comparable {
    package static func < (one: InterfacePattern, other: InterfacePattern) -> Bool {
        one.description < other.description
    }
}

extension Set<InterfacePattern> {
    package func matches(_ interface: String) -> Bool { contains { $0.matches(interface) } }
}
