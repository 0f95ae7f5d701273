/* SPDX-License-Identifier: MIT */
/*
 * What VMware's guests ask at boot, by personality vmware: port 0x5658 (Linux: cpu/vmware.c). The vCPU's own
 * CPU, no lock.
 */
#ifndef GUEST_POLICY_VMWARE_H
#define GUEST_POLICY_VMWARE_H

struct machine;

/* Put the port on the machine's bus, if this is its personality. -EEXIST, -ENOSPC. */
int vmware_init(struct machine *m);

#endif
