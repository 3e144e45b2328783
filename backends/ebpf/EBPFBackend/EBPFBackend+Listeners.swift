// SPDX-License-Identifier: Apache-2.0

internal import CSwerveABI
internal import LibBPF
internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage

extension EBPFBackend {
    /// Records the sidecar's listeners that were there before the programs could see them.
    func adoptListeners(
        on port: UInt16, _ key: UInt64, _ workload: Workload
    ) throws(KernelError) {
        guard inbound == .socketLookup, workload.scope == .namespace,
            let listening = node.listening
        else { return }
        for listener in try workload.namespace.listeningSockets(on: port) {
            guard !listener.isOnLoopback else { continue }
            try listening.update(listener.rawDescriptor, UInt32(port))
            try record(listener, key, port)
        }
    }

    /// Puts the listener into the first free slot, unless it has one.
    private func record(
        _ listener: ListeningSocket, _ key: UInt64, _ port: UInt16
    ) throws(KernelError) {
        guard let listeners = node.listeners else { return }
        var free: [swerve_listener_key] = []
        for slot in Self.slots(key, port, listener.family) {
            let cookie = try listeners.lookup(slot, as: UInt64.self)
            if cookie == listener.cookie { return }
            if cookie == nil { free.append(slot) }
        }
        for slot in free {
            do throws(KernelError) {
                try listeners.update(slot, descriptor: listener.rawDescriptor, .noExist)
                return
            } catch {
                // The programs have just filled it with another; there may be a next one.
                guard error.errno == .fileExists else { throw error }
            }
        }
    }

    private static func slots(
        _ pod: UInt64, _ port: UInt16, _ family: AddressFamily
    ) -> [swerve_listener_key] {
        (0..<UInt16(SWERVE_LISTENER_SLOTS)).map {
            swerve_listener_key(pod: pod, family: UInt32(family.domain), port: port, slot: $0)
        }
    }

    func forgetListeners(_ key: UInt64, _ port: UInt16) throws(KernelError) {
        for family in AddressFamily.allCases {
            for slot in Self.slots(key, port, family) { try node.listeners?.delete(slot) }
        }
    }

    /// Forgets the pod's listeners on all ports but one.
    func forgetListeners(_ pod: UInt64, sparing port: UInt16? = nil) throws(KernelError) {
        guard let listeners = node.listeners else { return }
        for key in try listeners.keys(as: swerve_listener_key.self)
        where key.pod == pod && key.port != port {
            try listeners.delete(key)
        }
    }
}
