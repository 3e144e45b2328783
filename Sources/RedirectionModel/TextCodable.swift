// SPDX-License-Identifier: Apache-2.0

/// A value that is stored and sent as the text it describes itself with.
package protocol TextCodable: LosslessStringConvertible, Codable {}

extension TextCodable {
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let value = Self(text) else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "\"\(text)\" is not a valid \(Self.self)")
        }
        self = value
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

extension IPAddress: TextCodable {}
extension Endpoint: TextCodable {}
extension CIDR: TextCodable {}
extension InterfacePattern: TextCodable {}
extension RangeSet: TextCodable {}
// So that a dictionary by family is an object, and not a list of keys and values in turn.
extension AddressFamily: CodingKeyRepresentable {}
