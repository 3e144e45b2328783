// SPDX-License-Identifier: Apache-2.0

/// Told of every change of the kernel before it is made.
///
/// A mechanism calls `ChangeLog.about(to:)` right before each step that a crash could leave behind.
/// The engine writes the step into its journal; tests end the process there. Outside the engine
/// nobody listens.
package struct ChangeLog: Sendable {
    @TaskLocal private static var current: ChangeLog?

    private let note: @Sendable (KernelChange) -> Void

    package init(_ note: @escaping @Sendable (KernelChange) -> Void) { self.note = note }

    /// Tells whoever listens what is about to change.
    package static func about(to part: KernelPart, _ detail: @autoclosure () -> String) {
        guard let current else { return }
        current.note(KernelChange(part: part, detail: detail()))
    }

    /// Listens to the changes that `body` makes.
    package func listening<Value: Sendable, Failure: Error>(
        to body: () async throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        let result: Result<Value, Failure> = await Self.$current.withValue(self) {
            do throws(Failure) {
                return .success(try await body())
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}

/// One step that changes the kernel.
package struct KernelChange: Hashable, Sendable, Codable {
    package let part: KernelPart
    /// What is done: `write table inet swerve`.
    package let detail: String
}
