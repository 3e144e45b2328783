// SPDX-License-Identifier: Apache-2.0

internal import CDeployFiles

/// A file of deploy/ that this program carries.
package struct DeployFile: Sendable {
    package let name: String
    package let text: String

    private init(_ name: String, _ file: swerve_deploy_file) {
        self.name = name
        let bytes = (0..<swerve_deploy_size(file)).map { swerve_deploy_byte(file, $0) }
        text = String(decoding: bytes, as: UTF8.self)
    }

    static var chart: DeployFile { DeployFile("Chart.yaml", SWERVE_DEPLOY_CHART) }
    static var values: DeployFile { DeployFile("values.yaml", SWERVE_DEPLOY_VALUES) }
    static var schema: DeployFile { DeployFile("values.schema.json", SWERVE_DEPLOY_SCHEMA) }
    /// The agent's unit, for systemd.
    package static var unit: DeployFile { DeployFile("swerved.service", SWERVE_DEPLOY_UNIT) }

    static var templates: [DeployFile] {
        [
            DeployFile("_agent.tpl", SWERVE_DEPLOY_AGENT),
            DeployFile("_helpers.tpl", SWERVE_DEPLOY_HELPERS),
            DeployFile("configmap.yaml", SWERVE_DEPLOY_CONFIG_MAP),
            DeployFile("daemonset.yaml", SWERVE_DEPLOY_DAEMON_SET),
            DeployFile("rbac.yaml", SWERVE_DEPLOY_RBAC),
            DeployFile("serviceaccount.yaml", SWERVE_DEPLOY_SERVICE_ACCOUNT),
        ]
    }
}
