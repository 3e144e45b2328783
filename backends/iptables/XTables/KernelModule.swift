// SPDX-License-Identifier: Apache-2.0

internal import CLibIPTC
internal import LinuxKernel
internal import SystemPackage

/// A module of the running kernel, found and loaded without a program.
///
/// The kernel asks for the module of a legacy table by itself, but for that of the tables as a whole it
/// does not: their socket options are not there until somebody has loaded it. iptables(8) runs
/// modprobe(8) for this.
enum KernelModule {
    /// Tries `body` again with the module when it says that there is no such protocol.
    ///
    /// That the module cannot be loaded, as in a container without the right, is no other failure: what
    /// the kernel does not have stays absent. It is noted beside it.
    static func trying(
        _ name: String, load: (String) throws(KernelError) -> Bool = load, _ body: () -> CInt
    ) -> (status: CInt, note: String?) {
        let status = body()
        guard status == -Errno.protocolNotAvailable.rawValue else { return (status, nil) }
        do throws(KernelError) {
            return (try load(name) ? body() : status, nil)
        } catch {
            return (status, "\(error)")
        }
    }

    /// Loads the module and what it needs; false where the running kernel has no such module.
    static func load(_ name: String) throws(KernelError) -> Bool {
        let folder = "/lib/modules/\(try kernelRelease())"
        guard let index = try? readFile(folder + "/modules.dep"),
            let files = files(of: name, in: index)
        else { return false }
        for file in files { try insert(folder + "/" + file) }
        return true
    }

    /// The files to load, in order, from `modules.dep`: `kernel/a.ko: kernel/b.ko kernel/c.ko`, where
    /// whatever is needed stands before what it needs.
    static func files(of name: String, in index: String) -> [String]? {
        for line in index.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard let file = parts.first, self.name(of: file) == name else { continue }
            let needed = parts.dropFirst().joined().split(separator: " ").map(String.init)
            return needed.reversed() + [String(file)]
        }
        return nil
    }

    /// `x_tables` for `kernel/net/netfilter/x_tables.ko.xz`; dashes are as good as underscores.
    private static func name(of file: Substring) -> String {
        let base = file.split(separator: "/").last ?? file
        let stem = base.split(separator: ".").first ?? base
        return String(stem.map { $0 == "-" ? "_" : $0 })
    }

    private static func insert(_ file: String) throws(KernelError) {
        let module = try OwnedDescriptor.open(file)
        let isCompressed = !file.hasSuffix(".ko")
        do throws(KernelError) {
            try kernel("finit_module(\(file))") {
                clibiptc_load_module(module.rawValue, isCompressed)
            }
        } catch  where error.errno == .fileExists {}
    }
}
