/* SPDX-License-Identifier: Apache-2.0 */
#include "swerve_deploy_files.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

#define FILE static const unsigned char

/* The compiler writes the embedded files into this file's dependencies, so an edit rebuilds it. */
FILE chart[] = {
#embed "../../deploy/helm/swerve/Chart.yaml"
};
FILE values[] = {
#embed "../../deploy/helm/swerve/values.yaml"
};
FILE schema[] = {
#embed "../../deploy/helm/swerve/values.schema.json"
};
FILE agent[] = {
#embed "../../deploy/helm/swerve/templates/_agent.tpl"
};
FILE helpers[] = {
#embed "../../deploy/helm/swerve/templates/_helpers.tpl"
};
FILE config_map[] = {
#embed "../../deploy/helm/swerve/templates/configmap.yaml"
};
FILE daemon_set[] = {
#embed "../../deploy/helm/swerve/templates/daemonset.yaml"
};
FILE rbac[] = {
#embed "../../deploy/helm/swerve/templates/rbac.yaml"
};
FILE service_account[] = {
#embed "../../deploy/helm/swerve/templates/serviceaccount.yaml"
};
FILE unit[] = {
#embed "../../deploy/systemd/swerved.service"
};

#define ENTRY(bytes)                   \
	{                              \
		(bytes), sizeof(bytes) \
	}

static const struct {
	const unsigned char *start;
	size_t size;
} files[] = {
	[SWERVE_DEPLOY_CHART] = ENTRY(chart),
	[SWERVE_DEPLOY_VALUES] = ENTRY(values),
	[SWERVE_DEPLOY_SCHEMA] = ENTRY(schema),
	[SWERVE_DEPLOY_AGENT] = ENTRY(agent),
	[SWERVE_DEPLOY_HELPERS] = ENTRY(helpers),
	[SWERVE_DEPLOY_CONFIG_MAP] = ENTRY(config_map),
	[SWERVE_DEPLOY_DAEMON_SET] = ENTRY(daemon_set),
	[SWERVE_DEPLOY_RBAC] = ENTRY(rbac),
	[SWERVE_DEPLOY_SERVICE_ACCOUNT] = ENTRY(service_account),
	[SWERVE_DEPLOY_UNIT] = ENTRY(unit),
};

size_t swerve_deploy_size(enum swerve_deploy_file file)
{
	return files[file].size;
}

unsigned char swerve_deploy_byte(enum swerve_deploy_file file, size_t index)
{
	return files[file].start[index];
}
