// SPDX-License-Identifier: Apache-2.0

internal import CBPFObjects
internal import LibBPF

/// An object file of programs, and where on the pods' cgroup they belong.
struct ProgramPart: Sendable {
    var object: swerve_object_name
    let name: String
    /// The object for identity by attachment, where that makes a difference.
    let twin: swerve_object_name?
    /// Whether it is told what the kernel can do.
    var asksAbilities = true
    let places: [Place]

    /// A program's place: one a program and kind of hook.
    struct Place: Hashable, Sendable {
        let program: String
        let type: BPFAttachType
    }

    init(
        _ object: swerve_object_name, attached twin: swerve_object_name? = nil, _ name: String,
        asksAbilities: Bool = true, _ places: KeyValuePairs<String, BPFAttachType>
    ) {
        self.object = object
        self.twin = twin
        self.name = name
        self.asksAbilities = asksAbilities
        self.places = places.map { Place(program: $0.key, type: $0.value) }
    }
}

extension ProgramPart {
    /// The same for identity by attachment.
    var attached: ProgramPart {
        guard let twin else { return self }
        var part = self
        part.object = twin
        part.asksAbilities = false
        return part
    }

    /// Programs that read what others write: attached first, so that a connection that is
    /// redirected finds everything behind it in place.
    static let readers = origins + [peername]

    /// What tells the sidecar an origin.
    static let origins = [
        ProgramPart(
            SWERVE_OBJECT_GETSOCKOPT, "getsockopt", asksAbilities: false,
            ["swerve_getsockopt": .getsockopt]),
        ProgramPart(
            SWERVE_OBJECT_SOCKOPS, attached: SWERVE_OBJECT_SOCKOPS_ATTACHED, "sockops",
            asksAbilities: false, ["swerve_sockops": .sockOps]),
    ]

    /// What an application is told of its peer.
    static let peername = ProgramPart(
        SWERVE_OBJECT_PEERNAME, "peername",
        ["swerve_getpeername4": .getpeername4, "swerve_getpeername6": .getpeername6])

    /// Who a socket's owner is, by the credentials of its file.
    static let exactOwner = ProgramPart(
        SWERVE_OBJECT_OWNER, attached: SWERVE_OBJECT_OWNER_ATTACHED, "owner",
        [
            "swerve_adopt_connect4": .connect4, "swerve_adopt_connect6": .connect6,
            "swerve_adopt_sendmsg4": .sendmsg4, "swerve_adopt_sendmsg6": .sendmsg6,
            "swerve_sock_create": .socketCreate,
        ])

    /// The same by who called socket(2).
    static let basicOwner = ProgramPart(
        SWERVE_OBJECT_OWNER_BASIC, attached: SWERVE_OBJECT_OWNER_BASIC_ATTACHED, "owner_basic",
        ["swerve_sock_create": .socketCreate])

    /// What is left of it where nothing can be kept of a socket that is being made.
    static let multipath = ProgramPart(
        SWERVE_OBJECT_MULTIPATH, "multipath", asksAbilities: false,
        ["swerve_sock_create": .socketCreate])

    /// Programs that redirect: attached last.
    static let deciders = [
        ProgramPart(
            SWERVE_OBJECT_DNS, attached: SWERVE_OBJECT_DNS_ATTACHED, "dns",
            [
                "swerve_recvmsg4": .recvmsg4, "swerve_recvmsg6": .recvmsg6,
                "swerve_sendmsg4": .sendmsg4, "swerve_sendmsg6": .sendmsg6,
            ]),
        ProgramPart(
            SWERVE_OBJECT_CONNECT, attached: SWERVE_OBJECT_CONNECT_ATTACHED, "connect",
            ["swerve_connect4": .connect4, "swerve_connect6": .connect6]),
    ]

    /// Where programs of ours may be, each place once, those that redirect last: a node gets one of
    /// the parts that find owners.
    static let allPlaces = (readers + [exactOwner, basicOwner, multipath] + deciders)
        .flatMap(\.places)
        .reduce(into: [Place]()) { if !$0.contains($1) { $0.append($1) } }
}
