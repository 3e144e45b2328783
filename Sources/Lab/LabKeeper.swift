// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel

/// The lab that stays up: a process in the background that holds it.
package enum LabKeeper {
    /// What the keeper says when the lab is up; anything else is the reason why it is not.
    package static let greeting = "up\n"

    /// Starts a keeper with these arguments of `swerve`, and waits until its lab is up.
    package static func start(_ arguments: [String], executable: String) async throws {
        let keeper = Keeper()
        try await withTaskCancellationHandler {
            let words = try launch(keeper, [executable] + arguments)
            try waitForGreeting(words, from: keeper)
        } onCancel: {
            InterruptFailures.collect { () throws(LabError) in try keeper.interrupt() }
        }
    }

    /// Returns what the keeper will say.
    private static func launch(
        _ keeper: Keeper, _ command: [String]
    ) throws -> OwnedDescriptor {
        let words = try OwnedDescriptor.pipe()
        let nothing = try OwnedDescriptor.open("/dev/null")
        var birth = ChildProcess.Birth(command)
        birth.environment += LabIdentity.environment
        birth.input = nothing.rawValue
        birth.output = words.writer.rawValue
        birth.error = words.writer.rawValue
        birth.startsSession = true
        try keeper.start(birth)
        return words.takeReader()
    }

    private static func waitForGreeting(
        _ reader: borrowing OwnedDescriptor, from keeper: Keeper
    ) throws {
        var said: [UInt8] = []
        while !String(decoding: said, as: UTF8.self).hasSuffix(greeting) {
            guard try reader.waitForInput(.seconds(60)) else {
                try keeper.stop()
                throw LabError.keeperFailed("the lab is not up after a minute; it was stopped")
            }
            let more = try reader.read(upTo: 4096)
            guard !more.isEmpty else {
                try keeper.stop()
                throw LabError.keeperFailed(Self.reason(String(decoding: said, as: UTF8.self)))
            }
            said += more
        }
    }

    private static func reason(_ text: String) -> String {
        let text = text.trimmed
        guard !text.isEmpty else { return "the lab did not come up, and did not say why" }
        return text.hasPrefix("swerve: ") ? String(text.dropFirst("swerve: ".count)) : text
    }

    /// Takes the running lab down, and sweeps up after any that died; returns what was removed.
    package static func stop() throws -> [LabIdentity] {
        var stopped: [LabIdentity] = []
        for remains in LabRemains.inBaseDirectory() where remains.identity.purpose == .up {
            let owner = remains.identity.owner
            guard owner.isRunning else { continue }
            try owner.signal(.terminate)
            if try !owner.waitForEnd(within: .seconds(20)) {
                // Its guard takes over, and the sweep below waits for neither.
                try owner.signal(.kill)
                _ = try owner.waitForEnd(within: .seconds(5))
            }
            stopped.append(remains.identity)
        }
        return stopped + (try LabRemains.sweep())
    }
}
