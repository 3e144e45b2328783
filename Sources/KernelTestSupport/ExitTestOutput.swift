// SPDX-License-Identifier: Apache-2.0

package import Testing

extension ExitTest.Result {
    /// What the process has printed, of a test that observes its standard output.
    package var output: String { String(decoding: standardOutputContent, as: UTF8.self) }
}
