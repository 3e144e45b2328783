// SPDX-License-Identifier: Apache-2.0

package import AgentProtocol
internal import LinuxKernel
internal import OrderedJSON
internal import PolicyFile
internal import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage

/// Why a request is not carried out, and the status that says it to programs.
package struct AgentRefusal: Error, Hashable, Sendable {
    package let status: Int
    package let error: AgentError

    init(_ status: Int, _ error: AgentError) {
        self.status = status
        self.error = error
    }

    /// A request that is not what it should be.
    init(malformed problem: String, field: String? = nil, value: String? = nil) {
        self.init(400, AgentError(problem, field: field, value: value, retryable: false))
    }

    init(_ error: FieldError) {
        self.init(malformed: error.problem, field: error.field, value: error.value)
    }

    // MARK: What policies say

    init(_ errors: PolicyErrors) {
        let first = errors.errors.first
        self.init(
            422,
            AgentError(
                "\(errors)", field: first?.field, value: first?.value,
                remedy: "correct what is named (docs/policy.md has all that can be said)",
                retryable: false))
    }

    init(_ conflicts: PolicyConflicts) {
        self.init(
            422,
            AgentError(
                "\(conflicts)", field: conflicts.conflicts.first?.field,
                remedy: "correct what is named (docs/policy.md has all that can be said)",
                retryable: false))
    }

    // MARK: What the engine says

    /// `mode` is what was asked for, for errors about that.
    init(_ error: EngineError, mode: PolicyMode? = nil) {
        let text = "\(error)"
        switch error {
        case .choice(let choice): self.init(choice, mode)
        case .redirection(let reason): self.init(reason)
        case .state(.invalidID(let id, _)):
            self.init(400, AgentError(text, field: "id", value: id, retryable: false))
        case .state(.kernel(let reason)): self.init(503, Self.disk(reason, text))
        case .state:
            self.init(500, AgentError(text, remedy: "see swerve status", retryable: false))
        case .unknown(let id, _):
            self.init(404, AgentError(text, field: "id", value: id, retryable: false))
        case .unreachable(_, let reason) where reason.saysShortage:
            self.init(
                503,
                AgentError(
                    text, remedy: "see how many files swerved may open, and what memory there is",
                    retryable: true))
        case .unreachable(_, let reason):
            self.init(
                422,
                AgentError(
                    text, field: "namespacePath",
                    remedy: reason.saysGone
                        ? "the namespace is gone: a retry of the pod gets a new one"
                        : "see whether swerved may open it",
                    retryable: false))
        case .taken(let id, _), .overlapping(let id, _, _):
            self.init(409, AgentError(text, field: "id", value: id, retryable: false))
        case .busy:
            self.init(503, AgentError(text, remedy: "try again", retryable: true))
        case .failed:
            self.init(500, AgentError(text, remedy: "see swerved's log", retryable: true))
        }
    }

    private static func disk(_ error: KernelError, _ text: String) -> AgentError {
        let isFull = [.noSpace, .diskQuotaExceeded].contains(error.errno)
        return AgentError(
            text,
            remedy: isFull
                ? "free some space where swerved keeps its state (--state-dir)"
                : "see whether swerved can write where it keeps its state (--state-dir)",
            retryable: true)
    }

    private init(_ error: ChoiceError, _ mode: PolicyMode?) {
        let retryable =
            if case .nothingFits(let obstacles) = error {
                obstacles.contains { $0.cause == .unknown }
            } else { false }
        self.init(
            422,
            AgentError(
                "\(error)", field: "mode", value: mode?.rawValue,
                remedy: "swerve probe shows what this node can do; mode auto takes the best of it",
                retryable: retryable))
    }

    private init(_ error: RedirectionError) {
        let text = "\(error)"
        switch error {
        case .kernel:
            self.init(503, AgentError(text, remedy: "see swerved's log", retryable: true))
        case .ownNamespace:
            self.init(
                422,
                AgentError(
                    text, field: "namespacePath", remedy: "a pod with hostNetwork has no sidecar",
                    retryable: false))
        case .limit, .newerState, .unsupported, .inexpressible, .ownCgroup:
            self.init(422, AgentError(text, field: "mode", retryable: false))
        }
    }
}

extension KernelError {
    /// It is for want of what there may be more of later, and says nothing about what was asked for.
    fileprivate var saysShortage: Bool {
        [.tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory, .resourceTemporarilyUnavailable]
            .contains(errno)
    }
}
