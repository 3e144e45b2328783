// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
internal import SystemPackage

/// A file descriptor with one owner, closed when the owner goes.
package struct OwnedDescriptor: ~Copyable, Sendable {
    /// The number, for a call that only looks at it.
    package let rawValue: CInt

    /// Takes over a descriptor nobody else will close.
    package init(taking rawValue: CInt) { self.rawValue = rawValue }

    /// Makes a second descriptor for what `borrowed` refers to.
    package init(duplicating borrowed: CInt) throws(KernelError) {
        rawValue = try kernel("fcntl(F_DUPFD_CLOEXEC)") { clinux_duplicate(borrowed) }
    }

    deinit {
        // EBADF here means that somebody closed a number we own, and perhaps reused it.
        let status = clinux_close(rawValue)
        precondition(status != -9, "descriptor \(rawValue) was closed behind its owner's back")
    }
}

extension OwnedDescriptor {
    /// How a file is opened: open(2)'s flags, those the project needs.
    package struct Access: Sendable {
        let flags: CInt
        package static let read = Access(flags: 0)
        /// The flags `O_RDONLY|O_NONBLOCK`: does not wait for the other end of a FIFO.
        package static let readNow = Access(flags: 0o4000)
        package static let write = Access(flags: 1)
        /// The flags `O_WRONLY|O_CREAT|O_APPEND`.
        package static let append = Access(flags: 0o2101)
        /// The flags `O_WRONLY|O_CREAT|O_TRUNC`.
        package static let replace = Access(flags: 0o1101)
        /// The flags `O_RDONLY|O_DIRECTORY`.
        package static let directory = Access(flags: 0o200000)
    }

    /// Opens `path`; a file it creates gets `mode`.
    package static func open(
        _ path: String, _ access: Access = .read, mode: UInt32 = 0o644
    ) throws(KernelError) -> OwnedDescriptor {
        OwnedDescriptor(
            taking: try kernel("open(\(path))") { unsafe clinux_open(path, access.flags, mode) })
    }

    /// Returns both ends of a pipe: what is written to the second is read from the first.
    package static func pipe() throws(KernelError) -> Pipe {
        var reader: CInt = -1
        var writer: CInt = -1
        try kernel("pipe2") { unsafe clinux_pipe(&reader, &writer) }
        return Pipe(
            reader: OwnedDescriptor(taking: reader), writer: OwnedDescriptor(taking: writer))
    }

    package struct Pipe: ~Copyable {
        package let reader: OwnedDescriptor
        package let writer: OwnedDescriptor

        /// Keeps the reading end and closes the other.
        package consuming func takeReader() -> OwnedDescriptor { reader }
        /// Keeps the writing end and closes the other.
        package consuming func takeWriter() -> OwnedDescriptor { writer }
    }

    /// The inode number of what is open; a namespace's identity.
    package func inode() throws(KernelError) -> UInt64 {
        var inode: UInt64 = 0
        try kernel("fstat") { unsafe clinux_inode(rawValue, &inode) }
        return inode
    }

    /// Reads up to `count` bytes; an empty array is the end.
    package func read(upTo count: Int) throws(KernelError) -> [UInt8] {
        var failure: Int = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, size in
            guard let base = buffer.baseAddress else { return }
            let result = unsafe clinux_read(rawValue, base, count)
            size = max(0, result)
            failure = min(0, result)
        }
        try kernel("read") { failure }
        return bytes
    }

    /// Reads to the end.
    package func readAll() throws(KernelError) -> [UInt8] {
        var all: [UInt8] = []
        while true {
            let chunk = try read(upTo: 65536)
            if chunk.isEmpty { return all }
            all += chunk
        }
    }

    /// Writes all of `bytes`.
    package func write(_ bytes: some Collection<UInt8>) throws(KernelError) {
        var rest = Array(bytes)[...]
        while !rest.isEmpty {
            let written = try kernel("write") {
                unsafe rest.withUnsafeBytes { buffer in
                    guard let base = buffer.baseAddress else { return 0 }
                    return unsafe clinux_write(rawValue, base, buffer.count)
                }
            }
            rest = rest.dropFirst(written)
        }
    }

    package func write(_ text: String) throws(KernelError) { try write(Array(text.utf8)) }

    /// Waits until there is something to read, or the other end is gone; false on timeout.
    package func waitForInput(_ limit: Duration) throws(KernelError) -> Bool {
        // poll(2) knows whole milliseconds, and none below zero but for ever; a short wait must
        // not become a busy loop, nor a long one an overflow.
        let wish = (limit / .milliseconds(1)).rounded(.up)
        let milliseconds = CInt(min(max(wish, 0), Double(CInt.max)))
        return try kernel("poll") { clinux_poll_input(rawValue, milliseconds) } != 0
    }
}

/// Reads a whole file.
package func readFile(_ path: String) throws(KernelError) -> String {
    String(decoding: try OwnedDescriptor.open(path).readAll(), as: UTF8.self)
}
