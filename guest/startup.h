/* SPDX-License-Identifier: MIT */
/* How vCPUs begin beside the first: the machine_ops behind hv/run/power.c. Own CPU, state in memory. */
#ifndef GUEST_STARTUP_H
#define GUEST_STARTUP_H

#include "hv/run/vcpu.h"

/* As INIT leaves a processor. 0, or -EINVAL when the engine does not take it. */
int startup_init(struct vcpu *vcpu);
/* Behind startup_init: at a SIPI's vector, or as a PVH entry where CPU_ON said. The same results. */
int startup_begin(struct vcpu *vcpu, const struct power_begin *begin);

#endif
