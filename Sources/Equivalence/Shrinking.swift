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
    private var isPossible: Bool {
        attempts.allSatisfy { attempt in
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

    /// How many things the trial says beyond the simplest plan and flow: what a reader must weigh.
    package var size: Int {
        let simplest = Self.plainPlan
        let differences = Self.parts.count { part in
            var other = plan
            part(&other, simplest)
            return other != plan
        }
        return differences + attempts.count
    }

    /// The plan that says nothing beyond what every plan must.
    private static let plainPlan = RedirectionPlan(
        sidecar: Sidecar(
            uids: [], outboundPort: 15001, inboundPort: 15003, ownPorts: []),
        ownAddresses: World.podAddresses.both)

    // MARK: Simplifications

    private typealias Simplification = (Trial) -> [Trial]

    private static var simplifications: [Simplification] {
        [
            fewerAttempts, { trial in parts.map { part in trial.changingPlan { part(&$0, plainPlan) } } },
            plainerAttempts, fewerItems,
        ]
    }

    private static func fewerAttempts(_ trial: Trial) -> [Trial] {
        guard trial.attempts.count > 1 else { return [] }
        return trial.attempts.indices.map { index in
            var simpler = trial
            simpler.attempts = [trial.attempts[index]]
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

    private func changingPlan(_ change: (inout RedirectionPlan) -> Void) -> Trial {
        var simpler = self
        change(&simpler.plan)
        return simpler
    }

    /// Each part of a plan on its own, set to what another plan says.
    private static var parts: [(inout RedirectionPlan, RedirectionPlan) -> Void] {
        [
            { $0.dns = $1.dns }, { $0.virtualInterfaces = $1.virtualInterfaces },
            { $0.inboundMode = $1.inboundMode },
            { $0.ownerPortExclusions = $1.ownerPortExclusions },
            { $0.excludedUIDs = $1.excludedUIDs }, { $0.excludedGIDs = $1.excludedGIDs },
            { $0.passesOwnAddresses = $1.passesOwnAddresses },
            { $0.ownAddresses = $1.ownAddresses }, { $0.families[.ipv4] = $1.families[.ipv4] },
            { $0.families[.ipv6] = $1.families[.ipv6] }, { $0.isEnabled = $1.isEnabled },
            { $0.sidecar.passthroughSources = $1.sidecar.passthroughSources },
            { $0.sidecar.tunnelPorts = $1.sidecar.tunnelPorts },
            { $0.sidecar.redirectsSelfCalls = $1.sidecar.redirectsSelfCalls },
            { $0.sidecar.ownPorts = $1.sidecar.ownPorts }, { $0.sidecar.gids = $1.sidecar.gids },
            { $0.sidecar.uids = $1.sidecar.uids },
            { $0.sidecar.outboundPort = $1.sidecar.outboundPort },
            { $0.sidecar.inboundPort = $1.sidecar.inboundPort },
        ] + parts(of: \.outbound) + parts(of: \.inbound)
    }

    private static func parts(
        of selection: WritableKeyPath<RedirectionPlan, Selection>
    ) -> [(inout RedirectionPlan, RedirectionPlan) -> Void] {
        [
            { $0[keyPath: selection].excludedInterfaces = $1[keyPath: selection].excludedInterfaces },
            { $0[keyPath: selection].excludedNetworks = $1[keyPath: selection].excludedNetworks },
            { $0[keyPath: selection].excludedPorts = $1[keyPath: selection].excludedPorts },
            { $0[keyPath: selection].includedNetworks = $1[keyPath: selection].includedNetworks },
            { $0[keyPath: selection].includedPorts = $1[keyPath: selection].includedPorts },
            { $0[keyPath: selection].combination = $1[keyPath: selection].combination },
        ]
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
