// SPDX-License-Identifier: Apache-2.0

internal import CBPFObjects
internal import LibBPF

/// An object file of programs, and where on the pods' cgroup they belong.
struct ProgramPart: Sendable {
    private(set) var object: swerve_object_name
    let name: String
    /// The same compiled for others.
    private let twins: Twins
    /// Whether it is told what the kernel can do.
    private(set) var asksAbilities: Bool
    let places: [Place]

    /// A program's place: one a program and kind of hook.
    struct Place: Hashable, Sendable {
        let program: String
        let type: BPFAttachType
    }

    /// What an object is compiled as, besides, where that makes a difference.
    struct Twins: Sendable {
        /// For identity by attachment.
        var attached: swerve_object_name?
        /// For kernels whose own types are known.
        var typed: swerve_object_name?
        /// For both.
        var attachedTyped: swerve_object_name?
    }

    init(
        _ object: swerve_object_name, _ name: String, twins: Twins = Twins(),
        asksAbilities: Bool = true, _ places: KeyValuePairs<String, BPFAttachType>
    ) {
        self.object = object
        self.name = name
        self.twins = twins
        self.asksAbilities = asksAbilities
        self.places = places.map { Place(program: $0.key, type: $0.value) }
    }
}

extension ProgramPart {
    /// The same for identity by attachment.
    var attached: ProgramPart {
        guard let twin = twins.attached else { return self }
        return with(twin, asksAbilities: false)
    }

    /// The same for kernels whose own types are known.
    var typed: ProgramPart {
        guard let twin = twins.typed else { return self }
        return with(twin, asksAbilities: asksAbilities)
    }

    /// The same for both.
    var attachedTyped: ProgramPart {
        guard let twin = twins.attachedTyped else { return attached }
        return with(twin, asksAbilities: false)
    }

    private func with(_ object: swerve_object_name, asksAbilities: Bool) -> ProgramPart {
        var part = self
        part.object = object
        part.asksAbilities = asksAbilities
        return part
    }

    /// Programs that read what others write: attached first, so that a connection that is
    /// redirected finds everything behind it in place.
    static let readers = origins + [peername]

    /// What tells the sidecar an origin.
    static let origins = [
        ProgramPart(
            SWERVE_OBJECT_GETSOCKOPT, "getsockopt",
            twins: Twins(typed: SWERVE_OBJECT_GETSOCKOPT_TYPED),
            asksAbilities: false, ["swerve_getsockopt": .getsockopt]),
        ProgramPart(
            SWERVE_OBJECT_SOCKOPS, "sockops",
            twins: Twins(
                attached: SWERVE_OBJECT_SOCKOPS_ATTACHED, typed: SWERVE_OBJECT_SOCKOPS_TYPED),
            asksAbilities: false, ["swerve_sockops": .sockOps]),
    ]

    /// What an application is told of its peer.
    static let peername = ProgramPart(
        SWERVE_OBJECT_PEERNAME, "peername",
        ["swerve_getpeername4": .getpeername4, "swerve_getpeername6": .getpeername6])

    /// Who a socket's owner is, by the credentials of its file; of those without a record, `typed`
    /// deciders ask.
    static let exactOwner = ProgramPart(
        SWERVE_OBJECT_OWNER, "owner", twins: Twins(attached: SWERVE_OBJECT_OWNER_ATTACHED),
        ["swerve_sock_owner": .socketCreate])

    /// The same by who called socket(2).
    static let basicOwner = ProgramPart(
        SWERVE_OBJECT_OWNER_BASIC, "owner_basic",
        twins: Twins(attached: SWERVE_OBJECT_OWNER_BASIC_ATTACHED),
        ["swerve_sock_create": .socketCreate])

    /// What is left of it where nothing can be kept of a socket that is being made.
    static let multipath = ProgramPart(
        SWERVE_OBJECT_MULTIPATH, "multipath", asksAbilities: false,
        ["swerve_sock_create": .socketCreate])

    /// Programs that redirect: attached last.
    static let deciders = [
        ProgramPart(
            SWERVE_OBJECT_DNS, "dns",
            twins: Twins(
                attached: SWERVE_OBJECT_DNS_ATTACHED, typed: SWERVE_OBJECT_DNS_TYPED,
                attachedTyped: SWERVE_OBJECT_DNS_ATTACHED_TYPED),
            [
                "swerve_recvmsg4": .recvmsg4, "swerve_recvmsg6": .recvmsg6,
                "swerve_sendmsg4": .sendmsg4, "swerve_sendmsg6": .sendmsg6,
            ]),
        ProgramPart(
            SWERVE_OBJECT_CONNECT, "connect",
            twins: Twins(
                attached: SWERVE_OBJECT_CONNECT_ATTACHED, typed: SWERVE_OBJECT_CONNECT_TYPED,
                attachedTyped: SWERVE_OBJECT_CONNECT_ATTACHED_TYPED),
            ["swerve_connect4": .connect4, "swerve_connect6": .connect6]),
    ]

    /// All of a node's, in the order in which they are attached, where the kernel's own types are
    /// known: some of them write what the others read, so it is these or `untypedAll`.
    static let typedAll = readers.map(\.typed) + [exactOwner] + deciders.map(\.typed)
    static let untypedAll = readers + [basicOwner] + deciders

    /// Where programs of ours may be, each place once, those that redirect last: a node gets one of
    /// the parts that find owners.
    static let allPlaces = (readers + [exactOwner, basicOwner, multipath] + deciders)
        .flatMap(\.places)
        .reduce(into: [Place]()) { if !$0.contains($1) { $0.append($1) } }
}
