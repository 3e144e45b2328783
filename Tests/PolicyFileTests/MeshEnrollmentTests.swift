// SPDX-License-Identifier: Apache-2.0

import PolicyFile
import RedirectionModel
import Testing

@Suite struct MeshEnrollmentTests {
    private func read(
        _ preset: Preset.Name, labels: [String: String] = [:], annotations: [String: String] = [:],
        namespace: Metadata = Metadata()
    ) throws(PolicyErrors) -> MeshEnrollment {
        try MeshEnrollment(
            of: Metadata(labels: labels, annotations: annotations), in: namespace, preset: preset,
            object: "pod a/b")
    }

    /// What the injector of each mesh leaves.
    private static let marks: [(Preset.Name, Metadata)] = [
        (.fsm, Metadata(labels: ["fsm-proxy-uuid": "5f"])),
        (.osm, Metadata(labels: ["osm-proxy-uuid": "5f"])),
        (.istio, Metadata(annotations: ["sidecar.istio.io/status": "{}"])),
        (.linkerd, Metadata(annotations: ["linkerd.io/proxy-version": "edge"])),
        (.kuma, Metadata(annotations: ["kuma.io/sidecar-injected": "true"])),
        (
            .consul,
            Metadata(annotations: ["consul.hashicorp.com/connect-inject-status": "injected"])
        ),
    ]

    private static let namespace = Metadata(labels: [
        "flomesh.io/monitored-by": "fsm", "openservicemesh.io/monitored-by": "osm",
    ])

    @Test(arguments: 0..<6)
    func `a pod with the injector's mark is the mesh's, and one without is not`(
        _ number: Int
    ) throws {
        let (preset, mark) = Self.marks[number]
        let marked = try read(
            preset, labels: mark.labels, annotations: mark.annotations, namespace: Self.namespace)
        #expect(marked == .enrolled)
        guard case .outside(let why) = try read(preset, namespace: Self.namespace) else {
            Issue.record("\(preset) without a mark")
            return
        }
        #expect(why.contains("no sidecar"))
    }

    @Test func `labels are asked for only where they can change the answer`() {
        func depends(
            _ preset: Preset.Name, _ annotations: [String: String] = [:], in namespace: Metadata
        ) -> Bool {
            MeshEnrollment.depends(onLabelsOf: annotations, in: namespace, preset: preset)
        }
        // The mark is a label there.
        #expect(depends(.fsm, in: Self.namespace) && depends(.osm, in: Self.namespace))
        #expect(!depends(.fsm, in: Metadata()) && !depends(.osm, in: Metadata()))
        // Where it is an annotation, labels can still be the switch.
        for (preset, mark) in Self.marks.dropFirst(2) {
            #expect(!depends(preset, in: Self.namespace), "\(preset)")
            #expect(depends(preset, mark.annotations, in: Self.namespace), "\(preset)")
        }
        // A word that is an error, unless a label says better.
        let slip = ["flomesh.io/sidecar-injection": "perhaps"]
        #expect(depends(.fsm, slip, in: Self.namespace))
    }

    @Test func `the mesh's switch is the pod's, or else the namespace's`() throws {
        let switched = ["flomesh.io/sidecar-injection": "disabled"]
        let off = Metadata(labels: Self.namespace.labels, annotations: switched)
        let mark = ["fsm-proxy-uuid": "5f"]
        let said = try read(.fsm, labels: mark, annotations: switched, namespace: Self.namespace)
        #expect(said == .outside("flomesh.io/sidecar-injection says no"))
        #expect(try read(.fsm, labels: mark, namespace: off) == said)
        let on = ["flomesh.io/sidecar-injection": "Enabled"]
        #expect(try read(.fsm, labels: mark, annotations: on, namespace: off) == .enrolled)
        // Where a mesh has its switch among labels, too.
        let istio = try read(
            .istio, labels: ["sidecar.istio.io/inject": "false"],
            annotations: ["sidecar.istio.io/status": "{}"])
        #expect(istio == .outside("sidecar.istio.io/inject says no"))
    }

    @Test func `a namespace that is not the mesh's has no pods of the mesh's`() throws {
        let outside = try read(.fsm, labels: ["fsm-proxy-uuid": "5f"])
        #expect(outside == .outside("its namespace has no label flomesh.io/monitored-by"))
        // Another mesh's mark is none.
        #expect(
            try read(.osm, labels: ["fsm-proxy-uuid": "5f"], namespace: Self.namespace)
                != .enrolled)
    }

    @Test func `a switch that says neither is an error that names it`() {
        #expect {
            _ = try read(.fsm, annotations: ["flomesh.io/sidecar-injection": "maybe"])
        } throws: { error in
            "\(error)".contains("pod a/b: flomesh.io/sidecar-injection: \"maybe\"")
        }
    }
}
