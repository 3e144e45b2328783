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
    }

    let directory: Directory
    private var files: [String: File] = [:]
    /// What has been wrong with which file at the last look, and what has been told of it.
    private var problems: [String: String] = [:]
    private var told: [String: String] = [:]

    init(_ directory: Directory) { self.directory = directory }

    /// What is on file now, by the files' names.
    ///
    /// Throws where nobody can look: that is not the same as nothing.
    mutating func read(_ logger: Logger) throws(KernelError) -> [String: CachedAttachment] {
        let names = Set(try directory.contents())
        files = files.filter { names.contains($0.key) }
        var problems: [String: String] = [:]
        for name in names {
            do throws(KernelError) {
                problems[name] = try look(at: name)
            } catch { problems[name] = "\(error)" }
        }
        tell(problems, logger)
        return files.compactMapValues { try? $0.content.get() }
    }

    /// Whether the attachment is still there, as far as anybody can say.
    func remembers(_ name: String) -> Bool {
        do throws(KernelError) {
            return try directory.version(of: name) != nil
        } catch { return true }
    }

    /// Returns what is wrong with the file.
    private mutating func look(at name: String) throws(KernelError) -> String? {
        // Asked for before the file is read: whoever writes meanwhile has it read again.
        guard let version = try directory.version(of: name) else {
            files[name] = nil
            return nil
        }
        if files[name]?.version != version {
            files[name] = nil
            guard let text = try directory.read(name) else { return nil }
            files[name] = File(version: version, content: Self.parse(text))
        }
        if case .failure(let error) = files[name]?.content { return error.message }
        return nil
    }

    /// Tells what is wrong at a second look, too: at the first, a file may be being written.
    private mutating func tell(_ problems: [String: String], _ logger: Logger) {
        for (name, problem) in problems
        where self.problems[name] == problem && told[name] != problem {
            logger.warning("\(directory.path)/\(name) is not understood: \(problem)")
            told[name] = problem
        }
        self.problems = problems
        told = told.filter { problems[$0.key] != nil }
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
