// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel
package import RedirectionModel

/// The mechanisms as the engine sees them: who chooses one, and who carries plans out.
///
/// The engine knows no backend by name; what is built in is told to it.
package protocol MechanismSource: Sendable {
    /// The mechanism to use for the plan in this workload, and why.
    func choose(
        _ wish: Wish, for plan: RedirectionPlan, in workload: Workload
    ) async throws(EngineError) -> Choice

    /// The node's instance of a mechanism, made when it is first asked for.
    func backend(
        _ mechanism: Mechanism
    ) async throws(RedirectionError) -> any RedirectionBackend

    /// Told that other processes may change workloads from now on: what backends of this one
    /// remember of the kernel would be old when they are asked next.
    func letGo() async

    /// Told that these are all the workloads on record: what is kept for others, whose namespaces
    /// or cgroups are gone, goes.
    ///
    /// Returns what is kept for others that are there, who would be redirected no more: it stays.
    func forget(allBut workloads: [Workload]) async throws(RedirectionError) -> [String]

    /// What the mechanisms tell of themselves on this node, of as many as can be asked.
    func gauges() async -> [MechanismGauge]
}

extension MechanismSource {
    package func gauges() async -> [MechanismGauge] { [] }
}

/// Why the engine did not do what it was asked to; the workload is as it was, or on its way there.
package enum EngineError: Error, Hashable {
    case choice(ChoiceError)
    case redirection(RedirectionError)
    case state(StateError)
    /// Nobody has told the engine of such a workload.
    case unknown(Workload.ID, known: [Workload.ID])
    /// Its namespace or cgroup cannot be opened.
    case unreachable(Workload.ID, KernelError)
    /// The id belongs to another workload, which is still there.
    case taken(Workload.ID, by: WorkloadPlace)
    /// The workload shares sockets with another one, which is there.
    case overlapping(Workload.ID, with: Workload.ID, because: String)
    /// Another process is changing workloads, and does not come to an end.
    case busy(lock: String)
    case failed(String)
}

extension EngineError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .choice(let error): "\(error)"
        case .redirection(let error): "\(error)"
        case .state(let error): "\(error)"
        case .unknown(let id, let known):
            "there is no workload \"\(id)\"; "
                + (known.isEmpty
                    ? "nothing is redirected (swerve apply --name \(id))"
                    : "there are \(known.joined(separator: ", "))")
        case .unreachable(let id, let error): "\(id) cannot be reached: \(error)"
        case .taken(let id, let place):
            "\"\(id)\" is the workload in \(place.cgroup ?? place.namespace) already: give another "
                + "--name, or `swerve remove \(id)` first"
        case .overlapping(let id, let other, let how):
            "\(id) has connections in common with the workload \"\(other)\": \(how). Each is redirected "
                + "by one plan: `swerve remove \(other)` first, or name a workload beside it"
        case .busy(let lock):
            "another process is changing workloads (it has the lock \(lock)): try again"
        case .failed(let reason): reason
        }
    }
}

/// Runs what a mechanism does.
func backend<Value>(
    _ body: () async throws(RedirectionError) -> Value
) async throws(EngineError) -> Value {
    do throws(RedirectionError) {
        return try await body()
    } catch {
        throw .redirection(error)
    }
}

/// Runs what reads or writes the state.
func state<Value>(_ body: () throws(StateError) -> Value) throws(EngineError) -> Value {
    do throws(StateError) {
        return try body()
    } catch {
        throw .state(error)
    }
}
