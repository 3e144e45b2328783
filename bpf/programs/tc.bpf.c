// SPDX-License-Identifier: GPL-2.0-only
#include "swerve_flow.h"
char LICENSE[] SEC("license") = "GPL";
