// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel
internal import SystemPackage

/// A map in the kernel: what programs and user space share.
///
/// Keys and values are the structs of the C header, copied byte for byte. A type of another
/// size than the map's is a programming error and traps, for the kernel would read or write
/// past it.
package final class BPFMap: Sendable {
    private let descriptor: OwnedDescriptor
    package let name: String
    package let id: UInt32
    package let type: BPFMapType
    package let keySize: Int
    package let valueSize: Int
    package let maxEntries: Int
    /// How it was made: `BPF_F_NO_PREALLOC` and the like.
    package let flags: UInt32

    /// The number of the descriptor, for a system call that only looks at it.
    package var rawDescriptor: CInt { descriptor.rawValue }

    /// Takes over a descriptor of a map; `name` where the kernel's 15 letters do not reach.
    init(taking descriptor: consuming OwnedDescriptor, name: String? = nil) throws(KernelError) {
        var info = bpf_map_info()
        var size = UInt32(MemoryLayout<bpf_map_info>.size)
        try kernel("bpf_obj_get_info_by_fd(\(name ?? "a map"))") { [number = descriptor.rawValue] in
            unsafe bpf_obj_get_info_by_fd(number, &info, &size)
        }
        self.name =
            unsafe name
            ?? withUnsafeBytes(of: info.name) { bytes in
                unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
        id = info.id
        type = BPFMapType(value: info.type)
        keySize = Int(info.key_size)
        valueSize = Int(info.value_size)
        maxEntries = Int(info.max_entries)
        flags = info.map_flags
        self.descriptor = descriptor
    }

    /// Makes a map that no object file declares; a map of maps holds maps made like `inner`.
    package static func create(
        _ type: BPFMapType, name: String, keySize: Int, valueSize: Int, maxEntries: Int,
        flags: UInt32 = 0, inner: BPFMap? = nil
    ) throws(KernelError) -> BPFMap {
        Library.prepare()
        var options = bpf_map_create_opts()
        options.sz = clibbpf_bpf_map_create_opts_size()
        options.map_flags = flags
        if let inner { options.inner_map_fd = UInt32(inner.rawDescriptor) }
        let created = try kernel("bpf(BPF_MAP_CREATE, \(name))") {
            unsafe bpf_map_create(
                type.raw, name, UInt32(keySize), UInt32(valueSize), UInt32(maxEntries), &options)
        }
        return try BPFMap(taking: OwnedDescriptor(taking: created), name: name)
    }

    /// Opens a map that is in the kernel by its id, which is what a map of maps tells.
    ///
    /// Without a `name` it has the kernel's, which is cut to 15 bytes.
    package static func open(id: UInt32, name: String? = nil) throws(KernelError) -> BPFMap {
        let descriptor = try kernel("bpf_map_get_fd_by_id(\(id))") { bpf_map_get_fd_by_id(id) }
        return try BPFMap(taking: OwnedDescriptor(taking: descriptor), name: name)
    }

    /// Makes an array of `entries` zeroed values.
    package static func createArray(
        name: String, valueSize: Int, entries: Int
    ) throws(KernelError) -> BPFMap {
        try create(.array, name: name, keySize: 4, valueSize: valueSize, maxEntries: entries)
    }

    /// Makes a longest-prefix-match map; its entries are allocated as they come.
    package static func createLPM(
        name: String, keySize: Int, valueSize: Int, maxEntries: Int
    ) throws(KernelError) -> BPFMap {
        try create(
            .longestPrefix, name: name, keySize: keySize, valueSize: valueSize,
            maxEntries: maxEntries, flags: UInt32(BPF_F_NO_PREALLOC))
    }

    // MARK: Entries

    /// What `update` does when the key is there, or is not.
    package struct UpdateRule: Hashable, Sendable {
        let flags: UInt64
        package static let any = UpdateRule(flags: UInt64(BPF_ANY))
        /// Fails with `fileExists` when the key is there.
        package static let noExist = UpdateRule(flags: UInt64(BPF_NOEXIST))
        /// Fails with `noSuchFileOrDirectory` when the key is not there.
        package static let exist = UpdateRule(flags: UInt64(BPF_EXIST))
    }

    /// Returns the value of `key`; in a map of maps, the id of the inner map.
    package func lookup<Key: BitwiseCopyable, Value: BitwiseCopyable>(
        _ key: Key, as _: Value.Type = Value.self
    ) throws(KernelError) -> Value? {
        checkKey(Key.self)
        checkSize(of: Value.self)
        return try perhaps("lookup") { () throws(KernelError) in
            try unsafe withReader("lookup", valueSize) { room in
                unsafe withUnsafeBytes(of: key) { keyBytes in
                    unsafe bpf_map_lookup_elem(
                        descriptor.rawValue, keyBytes.baseAddress, room.baseAddress)
                }
            } convert: {
                unsafe $0.loadUnaligned(as: Value.self)
            }
        }
    }

    package func update<Key: BitwiseCopyable, Value: BitwiseCopyable>(
        _ key: Key, _ value: Value, _ rule: UpdateRule = .any
    ) throws(KernelError) {
        checkKey(Key.self)
        checkSize(of: Value.self)
        try kernel("bpf_map_update_elem(\(name))") {
            unsafe withUnsafeBytes(of: key) { keyBytes in
                unsafe withUnsafeBytes(of: value) { bytes in
                    unsafe bpf_map_update_elem(
                        descriptor.rawValue, keyBytes.baseAddress, bytes.baseAddress, rule.flags)
                }
            }
        }
    }

    /// Puts a socket into a socket map, or a map into a map of maps.
    ///
    /// The kernel keeps its own reference, so the descriptor may be closed afterwards.
    package func update<Key: BitwiseCopyable>(
        _ key: Key, descriptor: CInt, _ rule: UpdateRule = .any
    ) throws(KernelError) {
        // A socket map's value is as wide as its C file wants: room for a cookie on reading.
        if valueSize == 8 {
            try update(key, UInt64(descriptor), rule)
        } else {
            try update(key, UInt32(descriptor), rule)
        }
    }

    /// Removes `key`; false if it was not there.
    @discardableResult
    package func delete<Key: BitwiseCopyable>(_ key: Key) throws(KernelError) -> Bool {
        checkKey(Key.self)
        let result = unsafe withUnsafeBytes(of: key) {
            unsafe bpf_map_delete_elem(descriptor.rawValue, $0.baseAddress)
        }
        if result == -Errno.noSuchFileOrDirectory.rawValue { return false }
        try kernel("bpf_map_delete_elem(\(name))") { result }
        return true
    }

    /// Returns the value of `key` on each possible CPU.
    package func perCPU<Key: BitwiseCopyable, Value: BitwiseCopyable>(
        _ key: Key, as _: Value.Type = Value.self
    ) throws(KernelError) -> [Value] {
        precondition(type.isPerCPU, "\(name) has one value for all CPUs")
        precondition(MemoryLayout<Value>.size == valueSize, "\(name) has other values")
        checkKey(Key.self)
        let cpus = Int(try kernel("libbpf_num_possible_cpus") { libbpf_num_possible_cpus() })
        // The kernel rounds each CPU's value up to eight bytes.
        let stride = (valueSize + 7) & ~7
        return try unsafe withReader("lookup", stride * cpus) { room in
            unsafe withUnsafeBytes(of: key) { keyBytes in
                unsafe bpf_map_lookup_elem(
                    descriptor.rawValue, keyBytes.baseAddress, room.baseAddress)
            }
        } convert: { bytes in
            (0..<cpus).map {
                unsafe bytes.loadUnaligned(fromByteOffset: $0 * stride, as: Value.self)
            }
        }
    }

    /// Sets the value of `key` on each possible CPU; values are multiples of eight bytes.
    package func setPerCPU<Key: BitwiseCopyable, Value: BitwiseCopyable>(
        _ key: Key, _ values: [Value]
    ) throws(KernelError) {
        precondition(type.isPerCPU && valueSize % 8 == 0, "\(name) has other values")
        precondition(MemoryLayout<Value>.stride == valueSize, "\(name) has other values")
        checkKey(Key.self)
        let cpus = try kernel("libbpf_num_possible_cpus") { libbpf_num_possible_cpus() }
        precondition(values.count == cpus, "\(values.count) values for \(cpus) CPUs")
        try kernel("bpf_map_update_elem(\(name))") {
            unsafe withUnsafeBytes(of: key) { keyBytes in
                unsafe values.withUnsafeBytes { bytes in
                    unsafe bpf_map_update_elem(
                        descriptor.rawValue, keyBytes.baseAddress, bytes.baseAddress, 0)
                }
            }
        }
    }

    /// Sets `key` to the same on each CPU.
    package func setPerCPU<Key: BitwiseCopyable, Value: BitwiseCopyable>(
        _ key: Key, all value: Value
    ) throws(KernelError) {
        let cpus = Int(try kernel("libbpf_num_possible_cpus") { libbpf_num_possible_cpus() })
        try setPerCPU(key, [Value](repeating: value, count: cpus))
    }

    /// Adds up counters that each CPU keeps for itself, `valueSize / 8` of them; `nil` without `key`.
    package func sums<Key: BitwiseCopyable>(_ key: Key) throws(KernelError) -> [UInt64]? {
        precondition(type.isPerCPU && valueSize % 8 == 0, "\(name) has other values")
        checkKey(Key.self)
        let cpus = Int(try kernel("libbpf_num_possible_cpus") { libbpf_num_possible_cpus() })
        let count = valueSize / 8
        return try perhaps("lookup") { () throws(KernelError) in
            try unsafe withReader("lookup", valueSize * cpus) { room in
                unsafe withUnsafeBytes(of: key) { keyBytes in
                    unsafe bpf_map_lookup_elem(
                        descriptor.rawValue, keyBytes.baseAddress, room.baseAddress)
                }
            } convert: { bytes in
                let words = unsafe bytes.bindMemory(to: UInt64.self)
                return (0..<count).map { word in
                    (0..<cpus).reduce(0) { unsafe $0 &+ words[$1 * count + word] }
                }
            }
        }
    }

    /// Adds up a counter that each CPU keeps for itself.
    package func sum(at index: UInt32) throws(KernelError) -> UInt64 {
        try perCPU(index, as: UInt64.self).reduce(0, &+)
    }
}

// MARK: All entries

extension BPFMap {
    /// Returns the keys, in no order.
    ///
    /// Entries that others add or remove meanwhile may be missed, or seen twice: the kernel
    /// starts over when the key it stands on is gone. The walk is bounded all the same.
    package func keys<Key: BitwiseCopyable>(as _: Key.Type = Key.self) throws(KernelError) -> [Key]
    {
        checkKey(Key.self)
        return try unsafe walk { unsafe $0.loadUnaligned(as: Key.self) }
    }

    /// Returns how many entries there are; of an array, how many it has room for.
    package func count() throws(KernelError) -> Int { try unsafe walk { _ in () }.count }

    private func walk<Key>(
        _ convert: (UnsafeRawBufferPointer) -> Key
    ) throws(KernelError) -> [Key] {
        var keys: [Key] = []
        var current = [UInt8](repeating: 0, count: keySize)
        var next = current
        while keys.count < maxEntries {
            // NULL asks for the first key.
            let result =
                unsafe keys.isEmpty
                ? bpf_map_get_next_key(rawDescriptor, nil, &next)
                : bpf_map_get_next_key(rawDescriptor, current, &next)
            if result == -Errno.noSuchFileOrDirectory.rawValue { break }
            try kernel("bpf_map_get_next_key(\(name))") { result }
            unsafe next.withUnsafeBytes { unsafe keys.append(convert($0)) }
            swap(&current, &next)
        }
        return keys
    }

    /// Writes many entries, by one system call where the kernel can do that to this map.
    ///
    /// Not atomic: readers may see some of the entries before the others.
    package func update<Key: BitwiseCopyable, Value: BitwiseCopyable>(
        keys: [Key], values: [Value]
    ) throws(KernelError) {
        precondition(keys.count == values.count, "\(keys.count) keys, \(values.count) values")
        checkKey(Key.self)
        checkSize(of: Value.self)
        guard !keys.isEmpty else { return }
        let result = updateBatch(keys, values)
        // ENOTSUPP (524) is the kernel's own word, EINVAL what it says before Linux 5.6.
        let lacksBatches = [Errno.invalidArgument.rawValue, 524].contains(-result)
        guard lacksBatches else {
            try kernel("bpf_map_update_batch(\(name))") { result }
            return
        }
        for (key, value) in zip(keys, values) { try update(key, value) }
    }

    private func updateBatch<Key: BitwiseCopyable, Value: BitwiseCopyable>(
        _ keys: [Key], _ values: [Value]
    ) -> CInt {
        var options = bpf_map_batch_opts()
        options.sz = clibbpf_bpf_map_batch_opts_size()
        var count = UInt32(keys.count)
        return unsafe keys.withUnsafeBytes { keyBytes in
            unsafe values.withUnsafeBytes { valueBytes in
                unsafe bpf_map_update_batch(
                    rawDescriptor, keyBytes.baseAddress, valueBytes.baseAddress, &count, &options)
            }
        }
    }
}

// MARK: Many at a time

extension BPFMap {
    /// The values of an array, in order; by one system call where the kernel can do that (5.6).
    package func elements<Value: BitwiseCopyable>(
        as _: Value.Type = Value.self
    ) throws(KernelError) -> [Value] {
        checkKey(UInt32.self)
        checkSize(of: Value.self)
        var keys = [UInt32](repeating: 0, count: maxEntries)
        var bytes = [UInt8](repeating: 0, count: maxEntries * valueSize)
        var options = bpf_map_batch_opts()
        options.sz = clibbpf_bpf_map_batch_opts_size()
        var next: UInt32 = 0
        var count = UInt32(maxEntries)
        let result = unsafe bpf_map_lookup_batch(
            rawDescriptor, nil, &next, &keys, &bytes, &count, &options)
        guard result >= 0, Int(count) == maxEntries else {
            return try (0..<UInt32(maxEntries)).map { index throws(KernelError) in
                guard let value = try lookup(index, as: Value.self) else {
                    throw KernelError("read \(name)[\(index)]", .noSuchFileOrDirectory)
                }
                return value
            }
        }
        return unsafe bytes.withUnsafeBytes { bytes in
            (0..<maxEntries).map {
                unsafe bytes.loadUnaligned(fromByteOffset: $0 * valueSize, as: Value.self)
            }
        }
    }
}

// MARK: Sizes

extension BPFMap {
    private func checkKey<Key>(_: Key.Type) {
        precondition(
            MemoryLayout<Key>.stride == keySize,
            "\(name) has keys of \(keySize) bytes, \(Key.self) has \(MemoryLayout<Key>.stride)")
    }

    private func checkSize<Value>(of _: Value.Type) {
        precondition(!type.isPerCPU, "\(name) has a value for each CPU")
        precondition(
            MemoryLayout<Value>.stride == valueSize,
            "\(name) has values of \(valueSize) bytes, "
                + "\(Value.self) has \(MemoryLayout<Value>.stride)")
    }

    /// Lends `size` bytes to `fill`, and what it wrote to `convert`.
    private func withReader<Value>(
        _ call: String, _ size: Int,
        fill: (UnsafeMutableRawBufferPointer) -> CInt,
        convert: (UnsafeRawBufferPointer) -> Value
    ) throws(KernelError) -> Value {
        var bytes = [UInt8](repeating: 0, count: size)
        try kernel("bpf_map_\(call)_elem(\(name))") {
            unsafe bytes.withUnsafeMutableBytes { unsafe fill($0) }
        }
        return unsafe bytes.withUnsafeBytes { unsafe convert($0) }
    }

    /// Turns "no such key" into `nil`.
    private func perhaps<Value>(
        _ call: String, _ body: () throws(KernelError) -> Value
    ) throws(KernelError) -> Value? {
        do throws(KernelError) {
            return try body()
        } catch  where error.errno == .noSuchFileOrDirectory {
            return nil
        }
    }
}
