// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel
internal import SystemPackage

/// Questions about the kernel, answered by doing and never by its version.
package enum BPFProbe {
    /// What came of a question; only the first two are conclusive.
    package enum Answer: Hashable, Sendable {
        case yes
        case no(String)
        case unknown(KernelError)
    }

    /// Whether the kernel takes the smallest program of this type, for this hook.
    package static func program(
        _ type: BPFProgramType, _ attachType: BPFAttachType = .none
    ) -> Answer {
        answer { () throws(KernelError) in
            _ = try BPFProgram.load(type, attachType, instructions: [.returnValue(1), .exit])
        }
    }

    /// Whether programs of this type may call `helper`.
    ///
    /// The call comes without arguments, so the verifier refuses it either way; what counts is
    /// whether it objects to the function or to the arguments. libbpf's own probe takes a lack
    /// of privilege for a yes, and does not know the words of newer kernels.
    package static func helper(
        _ helper: BPFHelper, in type: BPFProgramType, _ attachType: BPFAttachType = .none
    ) -> Answer {
        do throws(KernelError) {
            _ = try BPFProgram.load(
                type, attachType, instructions: [.call(helper), .returnValue(1), .exit])
            return .yes
        } catch {
            guard let words = error.detail else { return .unknown(error) }
            let refusals = ["unknown func", "invalid func", "cannot use helper"]
            return refusals.contains(where: words.contains) ? .no(words) : .yes
        }
    }

    /// Whether the kernel has the system call, and lets us make it.
    package static func systemCall() -> Answer {
        do throws(KernelError) {
            _ = try BPFMap.createArray(name: "swerve_probe", valueSize: 4, entries: 1)
            return .yes
        } catch {
            // Built without it; a filter that feigns that is as conclusive.
            return error.errno == .noFunction ? .no(error.description) : .unknown(error)
        }
    }

    /// Whether the kernel makes maps of this type.
    package static func map(_ type: BPFMapType) -> Answer {
        // libbpf takes every failure for a no; an array tells a lack of privilege apart.
        let first = systemCall()
        guard first == .yes else { return first }
        let call = "libbpf_probe_bpf_map_type(\(type.value))"
        let result = libbpf_probe_bpf_map_type(type.raw, nil)
        if result < 0 { return .unknown(KernelError(call, Errno(rawValue: -result))) }
        return result > 0 ? .yes : .no("the kernel makes no maps of type \(type.value)")
    }

    /// Sorts a failure: EINVAL is how the kernel says that it does not know a type.
    package static func answer(_ attempt: () throws(KernelError) -> Void) -> Answer {
        do throws(KernelError) {
            try attempt()
            return .yes
        } catch {
            // ENOTSUPP (524) never leaves the kernel's own headers.
            let refusals = [Errno.invalidArgument.rawValue, Errno.notSupported.rawValue, 524]
            guard refusals.contains(error.errno.rawValue) else { return .unknown(error) }
            return .no(error.description)
        }
    }
}
