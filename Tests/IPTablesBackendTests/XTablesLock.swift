// SPDX-License-Identifier: Apache-2.0

import LinuxKernel
import XTables

/// A lock held by somebody else.
final class XTablesLock: Sendable {
    private let descriptor: OwnedDescriptor

    private init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    static func hold(_ path: String) async throws -> XTablesLock {
        XTablesLock(try await XTables.lock(path, waiting: .zero))
    }
}
