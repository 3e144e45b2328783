// SPDX-License-Identifier: Apache-2.0

internal import CNIPlugin
internal import KernelTestSupport
package import LinuxKernel
package import OrderedJSON
package import Testing

/// A plugin, started as a runtime does: variables and a configuration in, an answer out.
package struct PluginProcess {
    /// The plugin of this build, beside the tests.
    package static let ours = BuiltProgram.path("swerve-cni")

    /// How it ended.
    package struct Answer {
        package let status: Int
        package let output: String
        package let log: [String]

        package func json() throws -> JSON { try JSON(parsing: output) }
    }

    /// A container as a runtime names it.
    package static let container = String(repeating: "4f1c", count: 16)

    package var program = ours
    package var namespace: NetworkNamespace?
    package var variables: [String: String]

    /// A command for a pod, everything said that containerd says.
    package init(_ command: String) {
        variables = [
            "CNI_COMMAND": command, "CNI_CONTAINERID": Self.container,
            "CNI_NETNS": "/var/run/netns/cni-0c51", "CNI_IFNAME": "eth0",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_UID=0c21-7;K8S_POD_NAMESPACE=shop;"
                + "K8S_POD_INFRA_CONTAINER_ID=\(Self.container);K8S_POD_NAME=web-0",
            "CNI_PATH": "/opt/cni/bin",
        ]
    }

    package func with(_ name: String, _ value: String?) -> PluginProcess {
        var copy = self
        copy.variables[name] = value
        return copy
    }

    /// Runs it; the input is in a file, so that it may be of any size.
    package func run(_ input: some Collection<UInt8>) throws -> Answer {
        let file = TemporaryFile()
        try OwnedDescriptor.open(file.path, .replace).write(input)
        return try run(reading: OwnedDescriptor.open(file.path))
    }

    package func run(_ input: JSON) throws -> Answer { try run(input.rendered().utf8) }

    package func run(reading input: borrowing OwnedDescriptor) throws -> Answer {
        let output = try OwnedDescriptor.pipe()
        let complaint = TemporaryFile()
        let error = try OwnedDescriptor.open(complaint.path, .replace)
        var birth = ChildProcess.Birth([program])
        birth.environment += variables.map { "\($0.key)=\($0.value)" }
        birth.namespace = namespace
        birth.input = input.rawValue
        birth.output = output.writer.rawValue
        birth.error = error.rawValue
        let child = try ChildProcess.start(birth)
        let text = try output.takeReader().readAll()
        let status = try #require(try child.waitForExit(within: .seconds(60)))
        return Answer(
            status: status, output: String(decoding: text, as: UTF8.self),
            log: try readFile(complaint.path).split(separator: "\n").map(String.init))
    }
}

extension PluginProcess.Answer {
    /// Checks that this is an error as CNI has it, and returns its code and message.
    package func error(sourceLocation: SourceLocation = #_sourceLocation) throws -> (
        code: Int, message: String, details: String
    ) {
        let json = try #require(try? json(), "\(output)", sourceLocation: sourceLocation)
        #expect(status == 1, sourceLocation: sourceLocation)
        #expect(log.count == 1, "one line for the log", sourceLocation: sourceLocation)
        let version = json["cniVersion"]?.text.flatMap(CNIVersion.init)
        #expect(version != nil, sourceLocation: sourceLocation)
        let code = try #require(json["code"]?.integer, sourceLocation: sourceLocation)
        let message = try #require(json["msg"]?.text, sourceLocation: sourceLocation)
        return (code, message, json["details"]?.text ?? "")
    }
}
