// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON
internal import PolicyFile

/// The chart in deploy/helm, as this program carries it: what Helm would make of it, without Helm.
package struct Chart: Sendable {
    /// The chart's own values.
    package let values: JSON
    private let about: JSON
    private let schema: JSON
    /// Templates by their files' names.
    private let templates: [(name: String, body: [Template])]

    /// Where and as what it is installed.
    package struct Release: Sendable {
        package var name: String
        package var namespace: String

        package init(name: String = "swerve", namespace: String = "swerve-system") {
            self.name = name
            self.namespace = namespace
        }
    }

    /// The chart of this build.
    package init() throws {
        about = try YAMLText.parse(DeployFile.chart.text, named: "Chart.yaml")
        values = try YAMLText.parse(DeployFile.values.text, named: "values.yaml")
        schema = try JSON(parsing: DeployFile.schema.text)
        var templates: [(name: String, body: [Template])] = []
        for file in DeployFile.templates {
            templates.append((file.name, try TemplateReader.read(file.text, named: file.name)))
        }
        self.templates = templates
    }

    package var version: String { about["appVersion"]?.text ?? "" }

    /// The manifests for these values, in the order in which they are to be applied.
    package func manifests(
        _ overrides: ChartValues = ChartValues(), as release: Release = Release()
    ) throws -> [String] {
        try check(overrides)
        let root = root(overrides, release)
        return try Self.order.map { name in
            guard let template = templates.first(where: { $0.name == name }) else {
                throw TemplateError(file: name, problem: "is not there")
            }
            return try run(name, root).text(of: template.body, root)
        }
    }

    private static let order = [
        "serviceaccount.yaml", "rbac.yaml", "configmap.yaml", "daemonset.yaml",
    ]

    /// Refuses what the schema does not allow, and a policy that cannot be read.
    package func check(_ overrides: ChartValues) throws {
        try ValuesSchema(schema).check(overrides.over(values))
        try ValuesSchema(schema).check(overrides.overrides)
        let root = root(overrides, Release())
        let policy = try run("_helpers.tpl", root).text(
            of: [.output(.init(calls: [Self.policyCall]))], root)
        _ = try PolicyFile.parse(Array(policy.utf8), named: "policy")
    }

    private static let policyCall = Template.Call(
        function: .include,
        arguments: [.literal(.string("swerve.policy")), .path(isRoot: true, [])])

    private func run(_ file: String, _ root: JSON) -> TemplateRun {
        var definitions: [String: [Template]] = [:]
        for case .definition(let name, let body) in templates.flatMap(\.body) {
            definitions[name] = body
        }
        return TemplateRun(file: file, root: root, definitions: definitions)
    }

    /// What Helm gives to templates.
    private func root(_ overrides: ChartValues, _ release: Release) -> JSON {
        JSON(members: [
            "Values": overrides.over(values),
            "Chart": JSON(members: [
                "Name": about["name"], "Version": about["version"],
                "AppVersion": about["appVersion"],
            ]),
            "Release": JSON(members: [
                "Name": .string(release.name), "Namespace": .string(release.namespace),
                "Service": .string("swerve"),
            ]),
        ])
    }
}
