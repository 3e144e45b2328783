// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// The line that a proxy of the tests writes about a connection.
package enum ProxyRecord {
    /// Reads `record ADDRESS PORT ADDRESS PORT ADDRESS PORT`; `nil` is another line.
    package static func ends(in line: Substring) -> (Endpoint, Endpoint, Endpoint)? {
        let words = line.split(separator: " ")
        guard words.count == 7, words[0] == "record" else { return nil }
        let ends = stride(from: 1, to: 7, by: 2).compactMap { index -> Endpoint? in
            guard let address = IPAddress(String(words[index])),
                let port = UInt16(words[index + 1])
            else { return nil }
            return Endpoint(address, port)
        }
        return ends.count == 3 ? (ends[0], ends[1], ends[2]) : nil
    }
}
