// SPDX-License-Identifier: Apache-2.0

internal import LibBPF
internal import LinuxKernel
internal import RedirectionEngine

extension NodeBuilder {
    /// What somebody has detached or unpinned.
    func flaws(_ pins: PinDirectory?) throws(KernelError) -> [Drift] {
        var flaws: [Drift] = []
        for place in places {
            if try !isAttached(place) {
                flaws.append(
                    Drift(
                        .missing, .program, "\(place.program) is not attached to \(cgroup.path)"))
            } else if let pins, !pins.has(link: place.program) {
                flaws.append(Drift(.missing, .pin, "\(pins.path)/links/\(place.program) is gone"))
            }
        }
        guard let pins else { return flaws }
        // Which maps there are depends on how sockets are known.
        let maps = Self.mapNames.filter { loader.maps[$0] != nil }
        return flaws
            + maps.sorted().filter { !pins.has(map: $0) }.map {
                Drift(.missing, .pin, "\(pins.path)/maps/\($0) is gone")
            }
    }

    /// Attaches and pins it again, the programs that are read from first.
    mutating func repair(_ pins: PinDirectory?) throws(KernelError) {
        if let pins {
            for (name, map) in loader.maps
            where Self.mapNames.contains(name) && !pins.has(map: name) { try pins.pin(map, name) }
        }
        for place in places {
            if try !isAttached(place) {
                try attachAgain(place, pins)
            } else if let pins, !pins.has(link: place.program), let link = links[place.program] {
                try pins.pin(link, place.program)
            }
        }
    }

    private func isAttached(_ place: ProgramPart.Place) throws(KernelError) -> Bool {
        try links[place.program]?.isAttached(to: cgroup, place.type) ?? false
    }

    private mutating func attachAgain(
        _ place: ProgramPart.Place, _ pins: PinDirectory?
    ) throws(KernelError) {
        // A link that was detached still holds the program.
        guard let program = try links[place.program]?.program(named: place.program) else { return }
        try attach(program, place, pins)
    }
}
