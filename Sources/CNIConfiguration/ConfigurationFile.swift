// SPDX-License-Identifier: Apache-2.0

internal import CNIPlugin
internal import FoundationEssentials
internal import LinuxKernel
internal import OrderedJSON

/// A file that a runtime may take for a network configuration.
struct ConfigurationFile {
    let directory: String
    let name: String
    let content: FileContent
    let json: JSON

    /// Why a runtime cannot use a file, or we cannot change it.
    struct Unusable: Error {
        let problem: String
    }

    var path: String { directory + "/" + name }

    /// A list of plugins, or one plugin alone.
    var isList: Bool { name.hasSuffix(".conflist") }

    /// Names that runtimes look at, in the order they do.
    static func names(in directory: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        return names.filter(isCandidate)
            .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    static func isCandidate(_ name: String) -> Bool {
        name.hasSuffix(".conf") || name.hasSuffix(".conflist") || name.hasSuffix(".json")
    }

    /// Names of files that we have put there, and no runtime looks at.
    static func leftovers(in directory: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        return names.filter {
            $0.hasSuffix(ConfigurationChain.saved)
                || $0.hasPrefix(".") && $0.hasSuffix(FileReplacement.asideSuffix)
        }
    }

    /// Reads a file and judges it as kubelet does.
    init(_ name: String, in directory: String) throws(Unusable) {
        self.directory = directory
        self.name = name
        do throws(KernelError) {
            content = try FileContent.read(Self.followed(directory + "/" + name))
        } catch { throw Unusable(problem: "\(error)") }
        do throws(JSONError) {
            json = try JSON(parsing: content.bytes)
        } catch { throw Unusable(problem: "\(error)") }
        if name.hasSuffix(".conflist") { try checkList() } else { try Self.checkPlugin(json) }
    }

    private func checkList() throws(Unusable) {
        guard let name = json["name"]?.text, !name.isEmpty else {
            throw Unusable(problem: "the list has no name")
        }
        guard let plugins = json["plugins"]?.elements, !plugins.isEmpty else {
            throw Unusable(problem: "the list has no plugins")
        }
        for plugin in plugins { try Self.checkPlugin(plugin) }
    }

    private static func checkPlugin(_ json: JSON) throws(Unusable) {
        guard let type = json["type"]?.text, !type.isEmpty else {
            throw Unusable(problem: "a plugin has no type")
        }
    }

    /// What we need of a valid file: chains exist since 0.3.0.
    func checkVersion() throws(Unusable) {
        guard let version = json["cniVersion"]?.text, CNIVersion(rawValue: version) != nil else {
            let spelled = json["cniVersion"]?.rendered() ?? "none, which means 0.1.0"
            throw Unusable(
                problem: "cniVersion is \(spelled); a chain needs one of \(CNIVersion.list)")
        }
    }

    /// The path of what a symbolic link leads to, so that the link stays one.
    static func followed(_ path: String) -> String {
        var path = path
        for _ in 0..<8 {
            guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: path)
            else { return path }
            let directory = path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
            path = target.hasPrefix("/") ? target : directory + "/" + target
        }
        return path
    }
}
