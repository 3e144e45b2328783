// SPDX-License-Identifier: Apache-2.0

internal import CLibIPTC
internal import LinuxKernel
internal import RedirectionModel

extension XTable {
    /// The rules of a chain, in order, in our own words; `nil` for one that has others.
    package func readRules(of chain: String) -> [XTRule?] {
        var rules: [XTRule?] = []
        var next = unsafe clibiptc_first_entry(table, chain)
        while let entry = unsafe next {
            unsafe rules.append(read(entry))
            unsafe next = clibiptc_next_entry(table, entry)
        }
        return rules
    }

    private func read(_ entry: UnsafeRawPointer) -> XTRule? {
        let view = unsafe clibiptc_read(table.is_ipv6, entry)
        let name = unsafe String(cString: clibiptc_target(table, entry))
        guard unsafe view.is_ours, let target = unsafe target(name, view) else { return nil }
        var rule = XTRule(target)
        unsafe rule.source = network(view.source, view.source_mask)
        unsafe rule.destination = network(view.destination, view.destination_mask)
        unsafe rule.inInterface = pattern(view.in, view.in_is_prefix)
        unsafe rule.outInterface = pattern(view.out, view.out_is_prefix)
        rule.transport = unsafe XTRule.Transport(rawValue: UInt8(clamping: view.protocol))
        if unsafe view.has_ports {
            rule.segment = unsafe segment(view.segment)
            rule.sourcePorts = unsafe ports(view.source_ports)
            rule.destinationPorts = unsafe ports(view.destination_ports)
            // A match of all ports is a match still.
            if !rule.looksIntoTransport { rule.destinationPorts = 0...UInt16.max }
        }
        if unsafe view.owner != 0 {
            let ids = unsafe view.first_owner...max(view.first_owner, view.last_owner)
            rule.owner = unsafe view.owner == UInt8(XT_OWNER_UID) ? .uids(ids) : .gids(ids)
        }
        if unsafe view.mark != 0 { unsafe rule.connectionMark = view.mark }
        let comment = unsafe clibiptc_comment(table.is_ipv6, entry)
        rule.comment = unsafe comment.map { unsafe String(cString: $0) }
        return rule
    }

    private func target(_ name: String, _ view: clibiptc_view) -> XTRule.Target? {
        switch name {
        case "RETURN": .return
        case "DROP": .drop
        case "REDIRECT": unsafe .redirect(port: view.port)
        case "TPROXY": unsafe .assign(port: view.port)
        case "CONNMARK": unsafe .remember(view.target_mark)
        case "CT": unsafe .zone(view.zone)
        default: unsafe view.is_goto ? .goto(name) : .jump(name)
        }
    }

    private func segment(_ segment: clibiptc_segment) -> XTRule.Segment? {
        switch segment {
        case CLIBIPTC_FIRST: .first
        case CLIBIPTC_LATER: .later
        default: nil
        }
    }

    /// All ports are as good as none named.
    private func ports(_ pair: (UInt16, UInt16)) -> ClosedRange<UInt16>? {
        pair.0 <= pair.1 && (pair.0, pair.1) != (0, .max) ? pair.0...pair.1 : nil
    }

    private func network(
        _ address: UnsafePointer<UInt8>, _ mask: UnsafePointer<UInt8>
    ) -> CIDR? {
        let size = family == .ipv4 ? 4 : 16
        let bytes = unsafe Array(UnsafeBufferPointer(start: address, count: size))
        let bits = unsafe UnsafeBufferPointer(start: mask, count: size)
            .reduce(0) { $0 + $1.nonzeroBitCount }
        guard bits > 0 else { return nil }
        return IPAddress(wireBytes: bytes).flatMap { CIDR($0, prefixLength: bits) }
    }

    private func pattern<Name>(_ name: Name, _ isPrefix: Bool) -> InterfacePattern? {
        let text = unsafe withUnsafeBytes(of: name) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return InterfacePattern(isPrefix ? text + "+" : text)
    }
}
