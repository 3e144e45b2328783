// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import LinuxKernel
internal import Logging
internal import OrderedJSON

/// Pods that a plugin has started without us, because it could not have us and may do that: counted,
/// and taken in.
struct FailedOpenPods: Sendable {
    /// How many are added at a time: pods that start now come first.
    private static let width = 2

    let directory: Directory
    let logger: Logger

    init(besides socket: String, _ logger: Logger) {
        directory = Directory(path: FailedOpen.directory(besides: socket))
        self.logger = logger
    }

    /// Adds those that can be added by now, and counts the others.
    ///
    /// Connections that they have made so far stay as they are; new ones are redirected.
    func takeIn(_ keeper: PodKeeper) async {
        // The plugin has made the directory, if there is one.
        let files = directory.names().filter { !$0.hasPrefix(".") && !$0.hasSuffix(".new") }
        let gone = files.filter { $0.hasSuffix(FailedOpen.deleted) }
        let names = Set(files).subtracting(gone)
        keeper.metrics.noteFailedOpen(
            names.union(gone.map { String($0.dropLast(FailedOpen.deleted.count)) }))
        for name in gone { remove(name) }
        var left = names
        await withTaskGroup(of: String?.self) { group in
            for (number, name) in names.enumerated() {
                if number >= Self.width, case let done?? = await group.next() { left.remove(done) }
                // Whoever is not begun with stays, and is counted.
                guard !Task.isCancelled else { break }
                group.addTask { await isDone(name, keeper) ? name : nil }
            }
            for await case let done? in group { left.remove(done) }
        }
        keeper.metrics.noteFailedOpen(left)
    }

    /// A file that stays would be counted again, and is tried again.
    private func remove(_ name: String) {
        do throws(KernelError) {
            try directory.remove(name)
        } catch { logger.error("\(directory.path)/\(name) cannot be removed: \(error)") }
    }

    /// Whether nothing has to be done for the pod any more.
    private func isDone(_ name: String, _ keeper: PodKeeper) async -> Bool {
        do {
            guard let text = try directory.read(name) else {
                // Deleted since it was counted.
                remove(name + FailedOpen.deleted)
                return true
            }
            let pod = try FailedOpen(JSON(parsing: text)).request
            do throws(AgentRefusal) {
                let answer = try await keeper.add(pod)
                logger.notice(
                    "\(pod.name) was started without redirection, and is taken in now",
                    metadata: [
                        "workload": "\(pod.id)", "mechanism": "\(answer.mechanism ?? "none")",
                    ])
            } catch {
                guard pod.isGone else { throw error }
            }
            // Whoever was deleted meanwhile has been counted by its name.
            for done in [name, name + FailedOpen.deleted] { remove(done) }
            return true
        } catch {
            logger.error("\(name) runs WITHOUT redirection: \(Self.text(of: error))")
            return false
        }
    }

    private static func text(of error: any Error) -> String {
        if let refusal = error as? AgentRefusal { return refusal.error.message }
        if let field = error as? FieldError { return field.message }
        return "\(error)"
    }
}

extension PodRequest {
    /// Whether its namespace is.
    var isGone: Bool {
        guard let path = namespacePath else { return true }
        do throws(KernelError) {
            _ = try NetworkNamespace.open(path)
            return false
        } catch { return error.saysGone }
    }
}
