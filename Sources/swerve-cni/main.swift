// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import CNIPlugin
internal import OrderedJSON
internal import PluginSystem

/// More than any configuration, and little enough to hold.
let largestInput = 4 << 20

/// A runtime that does not finish its sentence is not waited for longer.
let inputPatience = Duration.seconds(30)

func readInput() throws(CNIError) -> [UInt8] {
    let bytes: [UInt8]
    do throws(SystemFailure) {
        bytes = try Descriptor.standardInput()
            .receiveAll(limit: largestInput, by: Deadline(in: inputPatience))
    } catch {
        throw CNIError(.inputOutput, "the network configuration cannot be read: \(error)")
    }
    guard bytes.count <= largestInput else {
        throw CNIError(
            .undecodable, "the network configuration is larger than \(largestInput) bytes")
    }
    return bytes
}

func openFile(_ attachment: Attachment, _ configuration: PluginConfiguration) -> SmallFile {
    SmallFile(
        FailedOpen.name(of: attachment),
        in: FailedOpen.directory(besides: configuration.agentSocket))
}

let world = PluginWorld(
    ask: { call, body, configuration throws(AgentFailure) in
        try Agent.ask(call, body, configuration)
    },
    record: { pod, configuration in
        do throws(SystemFailure) {
            try openFile(pod.request.attachment, configuration)
                .write(pod.json.rendered() + "\n")
            return nil
        } catch { return "\(error)" }
    },
    forget: { attachment, configuration in
        // What cannot be renamed is found by the agent, which knows which pods are gone.
        try? openFile(attachment, configuration).rename(
            to: FailedOpen.name(of: attachment) + FailedOpen.deleted)
    })

ignoreBrokenPipes()
let outcome = Plugin.run(environment, input: readInput, world)
for line in outcome.log {
    try? StandardStream.error.write("swerve-cni: " + line.map { $0.isNewline ? " " : $0 } + "\n")
}
do throws(SystemFailure) {
    try StandardStream.output.write(outcome.output)
} catch {
    leave(1)
}
leave(outcome.failed ? 1 : 0)
