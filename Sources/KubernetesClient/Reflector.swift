// SPDX-License-Identifier: Apache-2.0

package import Logging
internal import Synchronization

/// What has become of the objects that are watched.
package enum KubernetesChange: Hashable, Sendable {
    /// These are all there are.
    case replaced([KubernetesObject])
    case set(KubernetesObject)
    case deleted(KubernetesObject)
}

/// Keeps somebody told of a resource: lists it, watches it from there, and begins anew where that
/// fails, for as long as its task lives.
package final class Reflector: Sendable {
    /// How it goes.
    package struct Status: Hashable, Sendable {
        /// How often a watch or a list has failed.
        package var failures: UInt64 = 0
        /// How often everything has been listed.
        package var lists: UInt64 = 0
        /// When the server last said something; `nil` before everything has been listed once.
        package var lastHeard: ContinuousClock.Instant?
        /// What is wrong now.
        package var problem: KubernetesError?
    }

    package let resource: KubernetesResource
    private let client: KubernetesClient
    private let logger: Logger
    private let backoff: Backoff
    private let state = Mutex(Status())

    package init(
        _ resource: KubernetesResource, _ client: KubernetesClient, backoff: Backoff = Backoff(),
        logger: Logger
    ) {
        self.resource = resource
        self.client = client
        self.backoff = backoff
        self.logger = logger
    }

    package var status: Status { state.withLock(\.self) }

    /// Runs until its task is canceled.
    package func run(_ take: @Sendable (KubernetesChange) -> Void) async {
        var backoff = backoff
        var version: String?
        while !Task.isCancelled {
            let start = ContinuousClock.now
            do throws(KubernetesError) {
                if let known = version {
                    try await client.watch(resource, from: known) { event in
                        version = event.version
                        heard()
                        backoff.succeed()
                        switch event {
                        case .set(let object): take(.set(object))
                        case .deleted(let object): take(.deleted(object))
                        case .bookmark: break
                        }
                    }
                    heard()
                    backoff.succeed()
                    // A server that ends watches at once is not asked in a busy loop.
                    if ContinuousClock.now - start < backoff.first { await pause(backoff.first) }
                } else {
                    let (objects, listed) = try await client.list(resource)
                    state.withLock { $0.lists += 1 }
                    heard()
                    take(.replaced(objects))
                    version = listed
                }
            } catch {
                guard !Task.isCancelled else { return }
                if error.asksForList { version = nil }
                note(error)
                // To be told that one's version is too old is ordinary, but not again and again.
                await pause(backoff.fail())
            }
        }
    }

    private func heard() {
        let hadProblem = state.withLock { state in
            defer { state.problem = nil }
            state.lastHeard = .now
            return state.problem != nil
        }
        guard hadProblem else { return }
        logger.notice("the API server answers again", metadata: ["resource": "\(resource.name)"])
    }

    private func note(_ error: KubernetesError) {
        let isNews = state.withLock { state in
            defer { state.problem = error }
            state.failures += 1
            return state.problem != error
        }
        guard isNews else { return }
        logger.warning(
            "\(error); what is known stays as it is", metadata: ["resource": "\(resource.name)"])
    }

    private func pause(_ time: Duration) async { try? await Task.sleep(for: time) }
}

extension KubernetesError {
    /// Whether to go on from the same version would be to fail again, or to miss something.
    fileprivate var asksForList: Bool {
        switch self {
        case .gone, .malformed, .tooLarge: true
        // "Too large resource version": one that it has never given out, as after a restored backup.
        case .refused(let status, _): status == 400 || status == 504
        case .unreachable, .silent, .unreadable, .notInCluster, .unusable: false
        }
    }
}
