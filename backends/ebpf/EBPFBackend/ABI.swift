// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import RedirectionModel

extension swerve_addr {
    init(_ address: IPAddress) {
        let words = (0..<4).map { index in
            address.bytes[(4 * index)..<(4 * index + 4)].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
                .bigEndian
        }
        self.init(word: (words[0], words[1], words[2], words[3]))
    }
}

extension AddressFamily {
    /// The index of the family in the ABI's two-element arrays.
    var index: Int { self == .ipv4 ? 0 : 1 }
}

extension FamilyPolicy {
    var value: UInt8 {
        switch self {
        case .pass: UInt8(SWERVE_FAMILY_PASS.rawValue)
        case .managed: UInt8(SWERVE_FAMILY_MANAGED.rawValue)
        case .drop: UInt8(SWERVE_FAMILY_DROP.rawValue)
        }
    }
}
