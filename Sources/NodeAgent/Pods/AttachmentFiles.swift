// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import Logging
internal import OrderedJSON

/// The files in which a runtime's CNI library remembers attachments, each read once while it is the
/// same.
struct AttachmentFiles: Sendable {
    private struct File {
        let version: Directory.FileVersion
        /// What is on file, or why that is not understood.
        let content: Result<CachedAttachment, FieldError>
        var isTold = false
    }

    let directory: Directory
    private var files: [String: File] = [:]

    init(_ directory: Directory) { self.directory = directory }

    /// What is on file now, by the files' names.
    ///
    /// Throws where nobody can look: that is not the same as nothing.
    mutating func read(_ logger: Logger) throws(KernelError) -> [String: CachedAttachment] {
        let names = Set(try directory.contents())
        files = files.filter { names.contains($0.key) }
        for name in names.sorted() { try look(at: name, logger) }
        return files.compactMapValues { try? $0.content.get() }
    }

    /// Whether the attachment is still there, as far as anybody can say.
    func remembers(_ name: String) -> Bool {
        do throws(KernelError) {
            return try directory.version(of: name) != nil
        } catch { return true }
    }

    private mutating func look(at name: String, _ logger: Logger) throws(KernelError) {
        // Asked for before the file is read: whoever writes meanwhile has it read again.
        guard let version = try directory.version(of: name) else { return files[name] = nil }
        if var known = files[name], known.version == version {
            // It may have been in the middle of being written at first.
            if case .failure(let error) = known.content, !known.isTold {
                logger.warning("\(directory.path)/\(name) is not understood: \(error.message)")
                known.isTold = true
                files[name] = known
            }
            return
        }
        guard let text = try directory.read(name) else { return files[name] = nil }
        files[name] = File(version: version, content: Self.parse(text))
    }

    private static func parse(_ text: String) -> Result<CachedAttachment, FieldError> {
        do throws(FieldError) {
            guard let json = try? JSON(parsing: text) else {
                throw FieldError("the document", nil, "must be JSON")
            }
            return .success(try CachedAttachment(json))
        } catch { return .failure(error) }
    }
}
