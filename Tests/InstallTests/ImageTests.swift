// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel
import OrderedJSON
import Testing

/// `scripts/image`, with the programs of this build.
@Suite(.requiresKernel, .timeLimit(.minutes(5))) struct ImageTests {
    private static let script = ChartTests.repository + "/scripts/image"

    /// A directory of the test's own.
    private func inDirectory(_ body: (String) throws -> Void) throws {
        let directory = "/tmp/swerve-image-\(UInt32.random(in: 0 ... .max))"
        let files = FileManager.default
        try files.createDirectory(atPath: directory, withIntermediateDirectories: false)
        defer { try? files.removeItem(atPath: directory) }
        try body(directory)
    }

    @Test func `the same programs give the same bytes, at another time and in another place`()
        throws
    {
        try inDirectory { directory in
            var images: [Data] = []
            for (name, time) in [("one", "2001-01-01"), ("two", "2002-02-02")] {
                let programs = "\(directory)/\(name)"
                try FileManager.default.createDirectory(
                    atPath: programs, withIntermediateDirectories: false)
                for program in ["swerve", "swerved", "swerve-cni"] {
                    let path = programs + "/" + program
                    try FileManager.default.copyItem(atPath: "/bin/cat", toPath: path)
                    #expect(try tool(["touch", "-d", time, path]).status == 0)
                }
                let made = try tool([Self.script, programs, "\(directory)/out/\(name).tar"])
                try #require(made.status == 0, "\(made.output)")
                images.append(try Data(contentsOf: URL(filePath: "\(directory)/out/\(name).tar")))
            }
            #expect(images[0] == images[1])
            let wrong = try tool([Self.script, directory + "/none", directory + "/x.tar"])
            #expect(wrong.status == 2 && wrong.output.contains("usage"))
            let missing = try tool([Self.script, directory, directory + "/x.tar"])
            #expect(missing.status != 0)
            #expect(!FileManager.default.fileExists(atPath: directory + "/x.tar"))
        }
    }

    @Test func `the programs of this build run in the image, with nothing else`() throws {
        try inDirectory { directory in
            let image = directory + "/image.tar"
            let made = try tool([Self.script, BuiltProgram.path(""), image, "-1"])
            try #require(made.status == 0, "\(made.output)")
            #expect(try tool(["tar", "-xf", image, "-C", directory]).status == 0)
            try FileManager.default.removeItem(atPath: image)
            try runPrograms(in: directory)
        }
    }

    private func runPrograms(in directory: String) throws {
        let layer = try checkedLayer(directory)
        let root = directory + "/root"
        try FileManager.default.createDirectory(
            atPath: root, withIntermediateDirectories: false)
        #expect(try tool(["tar", "-xzf", layer, "-C", root]).status == 0)
        for (words, text) in [
            ("swerve version", "kernel"), ("swerved --help", "USAGE: swerved"),
            ("swerved --version", "swerved "),
            ("swerve node install --help", "--program-only"),
            ("swerve-cni", "supportedVersions"),
        ] {
            let result = try inside(root, words)
            #expect(result.status == 0 && result.output.contains(text), "\(result.output)")
        }
    }

    /// Every blob is what its name says; the layer is the greatest of them.
    private func checkedLayer(_ directory: String) throws -> String {
        let text = { (path: String) in try JSON(parsing: try readFile(path)) }
        let blobs = directory + "/blobs/sha256/"
        func blob(_ descriptor: JSON?) throws -> String {
            let digest = try #require(descriptor?["digest"]?.text).dropFirst("sha256:".count)
            let sum = try tool(["sha256sum", blobs + digest]).output
            #expect(sum.hasPrefix(digest))
            let size = try FileManager.default.attributesOfItem(atPath: blobs + digest)[.size]
            #expect(size as? Int == descriptor?["size"]?.integer)
            return blobs + digest
        }
        let index = try text(directory + "/index.json")
        let manifest = try text(try blob(index["manifests"]?.elements?.first))
        let config = try text(try blob(manifest["config"]))
        let layer = try blob(manifest["layers"]?.elements?.first)
        let unpacked = try tool(["sh", "-c", "gzip -dc \(layer) | sha256sum"]).output
        let difference = config["rootfs"]?["diff_ids"]?.elements?.first?.text ?? ""
        #expect(difference == "sha256:" + unpacked.prefix(64))
        let labels = config["config"]?["Labels"]
        #expect(labels?["org.opencontainers.image.version"]?.text?.isEmpty == false)
        #expect(try text(directory + "/oci-layout")["imageLayoutVersion"]?.text == "1.0.0")
        return layer
    }

    /// As a runtime would, with nothing but /proc.
    private func inside(_ root: String, _ words: String) throws -> StockTool.Result {
        let script =
            "mount -t proc proc \(root)/proc && exec env -i PATH=/usr/local/bin:/usr/sbin "
            + "CNI_COMMAND=VERSION /usr/sbin/chroot \(root) \(words)"
        return try tool(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            input: #"{"cniVersion": "1.0.0"}"#)
    }
}
