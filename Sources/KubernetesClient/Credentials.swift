// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import NIOSSL
internal import Synchronization

/// The token and the authorities, read again as kubelet renews them.
final class Credentials: Sendable {
    struct Reading: Sendable {
        let token: String
        let tls: TLSConfiguration
        let at: ContinuousClock.Instant
    }

    private let server: APIServer
    private let lifetime: Duration
    private let latest = Mutex<Reading?>(nil)

    init(_ server: APIServer, lifetime: Duration = .seconds(60)) {
        self.server = server
        self.lifetime = lifetime
    }

    /// What is to be used now; read anew after a minute, or when the server no longer takes it.
    ///
    /// Files that cannot be read for the moment leave us with what they said before.
    func current(renewing: Bool = false) throws(KubernetesError) -> Reading {
        let known = latest.withLock(\.self)
        if let known, !renewing, ContinuousClock.now - known.at < lifetime { return known }
        do throws(KubernetesError) {
            let reading = try read(known)
            latest.withLock { $0 = reading }
            return reading
        } catch {
            guard let known else { throw error }
            return known
        }
    }

    private func read(_ known: Reading?) throws(KubernetesError) -> Reading {
        let token = String(try text(of: server.tokenFile).filter { !$0.isWhitespace })
        guard !token.isEmpty, token.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw .unreadable(file: server.tokenFile, because: "is no token")
        }
        let authorities = try text(of: server.authorityFile)
        let certificates: [NIOSSLCertificate]
        do {
            certificates = try NIOSSLCertificate.fromPEMBytes(Array(authorities.utf8))
        } catch {
            throw .unreadable(file: server.authorityFile, because: "has no certificate: \(error)")
        }
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .certificates(certificates)
        tls.minimumTLSVersion = .tlsv12
        return Reading(token: token, tls: tls, at: .now)
    }

    private func text(of file: String) throws(KubernetesError) -> String {
        do throws(KernelError) {
            return try readFile(file)
        } catch {
            throw .unreadable(file: file, because: "\(error)")
        }
    }
}
