// SPDX-License-Identifier: Apache-2.0

internal import RedirectionModel

extension Trial {
    /// Finds a smallest trial that still fails, by leaving out what it can.
    ///
    /// `fails` is asked at most `limit` times.
    package func shrunk(
        limit: Int = 150, whileFailing fails: (Trial) async throws -> Bool
    ) async rethrows -> Trial {
        var smallest = self
        var asked = 0
        var hasChanged = true
        while hasChanged {
            hasChanged = false
            for simplify in Self.simplifications {
                // One simplification may apply many times over, a list's item each time.
                var candidates = Self.candidates(simplify, smallest)
                while !candidates.isEmpty, asked < limit {
                    let candidate = candidates.removeFirst()
                    asked += 1
                    guard try await fails(candidate) else { continue }
                    smallest = candidate
                    hasChanged = true
                    candidates = Self.candidates(simplify, smallest)
                }
            }
        }
        return smallest
    }

    private static func candidates(_ simplify: Simplification, _ trial: Trial) -> [Trial] {
        simplify(trial).filter { $0 != trial && $0.isPossible }
    }

    /// Whether the world that the plan makes has what the attempts need.
    ///
    /// Captured twice from one port, a lookup is one connection to who tracks them, and counts once.
    private var isPossible: Bool {
        let captured = attempts.map(\.flow).filter { flow in
            flow.source.port != 0 && plan.verdict(for: flow).reason == .dns
        }
        guard captured.count <= 1 else { return false }
        return attempts.allSatisfy { attempt in
            let ends = [attempt.flow.source.address, attempt.flow.destination.address]
            return ends.allSatisfy { end in
                plan.ownAddresses.contains(end) || !World.secondAddresses.has(end)
            }
                && (attempt.origin != .guest || !plan.virtualInterfaces.isEmpty)
                && ends.allSatisfy { end in
                    plan.sidecar.passthroughSources.contains(end)
                        || end != World.passthroughSources.ipv6
                }
        }
    }

    /// How many things the trial says beyond the simplest plan: what a reader must weigh.
    package var size: Int { plan.peculiarities.count + attempts.count }

    // MARK: Simplifications

    private typealias Simplification = (Trial) -> [Trial]

    private static var simplifications: [Simplification] {
        [
            fewerAttempts, plainerPlans, plainerAttempts, fewerItems,
        ]
    }

    private static func fewerAttempts(_ trial: Trial) -> [Trial] {
        guard trial.attempts.count > 1 else { return [] }
        // Some mistakes need two: what one leaves behind, the other meets.
        return (shorter(trial.attempts) + trial.attempts.map { [$0] }).map { attempts in
            var simpler = trial
            simpler.attempts = attempts
            return simpler
        }
    }

    private static func plainerAttempts(_ trial: Trial) -> [Trial] {
        let changes: [(inout Attempt) -> Void] = [
            { $0.isMapped = false }, { $0.isNonBlocking = false }, { $0.isConnected = false },
            { $0.connector = nil },
            { $0.flow.owner = $0.flow.owner.map { Owner(uid: $0.uid, gid: 10_001) } },
            { $0.flow.owner = $0.flow.owner.map { Owner(uid: 10_001, gid: $0.gid) } },
        ]
        let plain = changes.map { change in
            var simpler = trial
            for index in simpler.attempts.indices { change(&simpler.attempts[index]) }
            return simpler
        }
        var late = trial
        late.listensFirst = false
        return plain + [late]
    }

    private static func plainerPlans(_ trial: Trial) -> [Trial] {
        PlanPart.all.map { part in
            var simpler = trial
            part.reset(&simpler.plan)
            return simpler
        }
    }
}

// MARK: Lists

/// Trials with half of a list, or one item of it, missing.
private func fewerItems(_ trial: Trial) -> [Trial] {
    func with(_ change: (inout RedirectionPlan) -> Void) -> Trial {
        var simpler = trial
        change(&simpler.plan)
        return simpler
    }
    func ports(_ path: WritableKeyPath<RedirectionPlan, PortSet>) -> [Trial] {
        shorter(trial.plan[keyPath: path].ranges).map { ranges in
            with { $0[keyPath: path] = PortSet(ranges) }
        }
    }
    func ids(_ path: WritableKeyPath<RedirectionPlan, IDSet>) -> [Trial] {
        shorter(trial.plan[keyPath: path].ranges).map { ranges in
            with { $0[keyPath: path] = IDSet(ranges) }
        }
    }
    func networks(_ path: WritableKeyPath<RedirectionPlan, Set<CIDR>>) -> [Trial] {
        shorter(trial.plan[keyPath: path].sorted()).map { networks in
            with { $0[keyPath: path] = Set(networks) }
        }
    }
    let selections: [WritableKeyPath<RedirectionPlan, Selection>] = [\.outbound, \.inbound]
    return selections.flatMap { selection in
        let included = trial.plan[keyPath: selection].includedPorts.map { shorter($0.ranges) } ?? []
        let sources = trial.plan[keyPath: selection].includedNetworks.map { shorter($0.sorted()) }
        return ports(selection.appending(path: \.excludedPorts))
            + networks(selection.appending(path: \.excludedNetworks))
            + included.map { ranges in
                with { $0[keyPath: selection].includedPorts = PortSet(ranges) }
            }
            + (sources ?? []).map { networks in
                with { $0[keyPath: selection].includedNetworks = Set(networks) }
            }
    } + ids(\.excludedUIDs) + ids(\.excludedGIDs) + ids(\.sidecar.uids) + ids(\.sidecar.gids)
        + ports(\.sidecar.ownPorts)
}

/// The list without its first or second half, or without one item when it is short.
private func shorter<Element>(_ items: [Element]) -> [[Element]] {
    guard items.count > 1 else { return [] }
    let half = items.count / 2
    var lists = [Array(items[..<half]), Array(items[half...])]
    if items.count <= 6 {
        lists += items.indices.map { index in
            Array(items[..<index] + items[(index + 1)...])
        }
    }
    return lists
}
