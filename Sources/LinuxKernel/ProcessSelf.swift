// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
package import RedirectionModel

/// Becomes another user for good: every socket opened afterwards belongs to it.
package func become(_ owner: Owner) throws(KernelError) {
    try kernel("setresuid(\(owner.uid))") { clinux_become(owner.uid, owner.gid) }
}

/// The kernel's release, `6.18.44`, as uname(2) tells it to this process.
package func kernelRelease() throws(KernelError) -> String {
    var text = [CChar](repeating: 0, count: 128)
    try kernel("uname") { unsafe clinux_kernel_release(&text, text.count) }
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}
