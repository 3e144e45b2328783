// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// Keeps our entry in a node's configuration, whoever else writes there.
///
/// It blocks, so it wants a thread of its own.
package struct ChainKeeper {
    private let chain: ConfigurationChain

    package init(_ chain: ConfigurationChain) { self.chain = chain }

    /// How long a stop, or a directory that does not exist yet, may go unnoticed.
    private static let patience = Duration.milliseconds(500)

    /// Installs, and again after every change in the directory, until `isOver`.
    ///
    /// `tell` hears what is the case whenever that is something new, and what went wrong.
    package func run(
        until isOver: () -> Bool, _ tell: (Result<ChainReport, KernelError>) -> Void
    ) {
        var last: Result<ChainReport, KernelError>?
        func lookAndTell() {
            let result = look()
            if result != last { tell(result) }
            last = result
        }
        while !isOver() {
            // The watch is there before the look, so that no change falls between them.
            guard let watch = try? FileWatch.open(directory: chain.directory) else {
                lookAndTell()
                pause(Self.patience)
                continue
            }
            lookAndTell()
            // A directory that has gone wakes its watch, and is opened anew.
            while !isOver(), (try? watch.waitForChange(Self.patience)) == false {
                if case .failure? = last { break }
            }
        }
    }

    private func look() -> Result<ChainReport, KernelError> {
        do throws(KernelError) { return .success(try chain.install()) } catch {
            return .failure(error)
        }
    }
}
