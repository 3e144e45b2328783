// SPDX-License-Identifier: Apache-2.0

internal import KubernetesClient

extension MetricsText {
    /// How it goes with the cluster.
    mutating func add(_ cluster: Cluster) {
        let counts = cluster.view.counts
        let resources = [
            (cluster.pods.resource.name, cluster.pods.status, counts.pods),
            (cluster.namespaces.resource.name, cluster.namespaces.status, counts.namespaces),
        ]
        add(
            "swerve_kubernetes_objects", .gauge,
            "Pods of this node, and namespaces, that are known.",
            resources.map { name, _, count in .init(count, ["resource": name]) })
        add(
            "swerve_kubernetes_failures_total", .counter,
            "Lists and watches that have failed, and were begun anew.",
            resources.map { name, status, _ in .init(status.failures, ["resource": name]) })
        add(
            "swerve_kubernetes_lists_total", .counter, "How often everything has been listed.",
            resources.map { name, status, _ in .init(status.lists, ["resource": name]) })
        let now = ContinuousClock.now
        add(
            "swerve_kubernetes_silence_seconds", .gauge,
            "Time since the API server last said something of them; missing until they are listed.",
            resources.compactMap { name, status, _ in
                status.lastHeard.map { .init((now - $0) / .seconds(1), ["resource": name]) }
            })
        let events = cluster.events.counts
        add(
            "swerve_kubernetes_events_total", .counter,
            "Events about pods that were sent, or dropped as repeated, too many or undeliverable.",
            [
                .init(events.sent, ["outcome": "sent"]),
                .init(events.dropped, ["outcome": "dropped"]),
            ])
    }
}
