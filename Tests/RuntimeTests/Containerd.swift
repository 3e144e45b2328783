// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import Testing

/// A containerd of the node's own, spoken to as kubelet does.
final class Containerd: Sendable {
    let node: RuntimeNode
    private let client: Piped
    private let process: LeashedProcess

    private var socket: String { node.directory + "/containerd.sock" }

    init(_ node: RuntimeNode) async throws {
        self.node = node
        let directory = node.directory
        try node.write(
            "containerd.toml",
            """
            version = 2
            root = "\(directory)/containerd"
            state = "\(directory)/containerd.run"
            [grpc]
              address = "\(directory)/containerd.sock"
            [plugins."io.containerd.grpc.v1.cri"]
              sandbox_image = "\(RuntimeNode.image)"
              disable_apparmor = true
              restrict_oom_score_adj = true
              [plugins."io.containerd.grpc.v1.cri".containerd]
                snapshotter = "native"
              [plugins."io.containerd.grpc.v1.cri".cni]
                bin_dir = "\(directory)/bin"
                conf_dir = "\(directory)/net.d"
            """)
        process = try node.start(
            ["containerd", "-c", directory + "/containerd.toml"], log: "containerd.log")
        let tools = Repository.tools + "/cri"
        client = try Piped(
            [tools + "/python", RuntimeNode.rig("cri.py"), directory + "/containerd.sock"],
            ["PYTHONPATH": tools], in: node.cgroup.child("node"))
        try node.makeImage()
        try await waitUntil {
            try #require(try process.program != nil, "containerd has ended")
            return try ctr("version").status == 0
        }
        for namespace in ["k8s.io", "default"] {
            let load = try ctr(
                "-n", namespace, "images", "import", "--snapshotter", "native",
                directory + "/image.tar")
            try #require(load.status == 0, "\(load.output)")
        }
    }

    /// Runs containerd's own tool.
    func ctr(_ words: String...) throws -> StockTool.Result {
        try node.run(["ctr", "--address", socket] + words)
    }

    struct Answer {
        /// What went wrong, in the runtime's words.
        let error: String?
        let json: JSON
    }

    /// Makes calls, all at once.
    func call(_ calls: [(String, JSON)]) throws -> [Answer] {
        try begin(calls)
        return try finish()
    }

    /// The same, when something is to be done meanwhile.
    func begin(_ calls: [(String, JSON)]) throws {
        try client.say(
            JSON.array(calls.map { .array([.string($0.0), $0.1]) }).rendered())
    }

    func finish() throws -> [Answer] {
        let line = try #require(try client.line(), "no answer from the client of the CRI")
        return try #require(try JSON(parsing: line).elements).compactMap(\.elements).map {
            Answer(error: $0[0].text, json: $0[1])
        }
    }

    /// Makes a call that must succeed.
    @discardableResult
    func ask(_ name: String, _ request: JSON) throws -> JSON {
        let answers = try call([(name, request)])
        try #require(answers[0].error == nil, "\(name): \(answers[0].error ?? "")")
        return answers[0].json
    }
}

extension RuntimeNode {
    /// The image that pods are made of, as `image.tar`.
    func makeImage() throws {
        let made = try run([Self.rig("image"), Self.image, directory + "/image.tar"])
        try #require(made.status == 0, "\(made.output)")
    }
}
