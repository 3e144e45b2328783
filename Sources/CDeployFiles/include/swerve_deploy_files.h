/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of deploy/ that the product carries: the chart, and the agent's unit. They are what is
 * in the tree, byte for byte; nothing is written twice.
 */
#ifndef SWERVE_DEPLOY_FILES_H
#define SWERVE_DEPLOY_FILES_H

#include <stddef.h>

enum swerve_deploy_file {
	SWERVE_DEPLOY_CHART,
	SWERVE_DEPLOY_VALUES,
	SWERVE_DEPLOY_SCHEMA,
	SWERVE_DEPLOY_AGENT,
	SWERVE_DEPLOY_HELPERS,
	SWERVE_DEPLOY_CONFIG_MAP,
	SWERVE_DEPLOY_DAEMON_SET,
	SWERVE_DEPLOY_RBAC,
	SWERVE_DEPLOY_SERVICE_ACCOUNT,
	SWERVE_DEPLOY_UNIT,
};

size_t swerve_deploy_size(enum swerve_deploy_file file);

/* A byte at a time, so that Swift needs no pointer of ours. */
unsigned char swerve_deploy_byte(enum swerve_deploy_file file, size_t index);

#endif
