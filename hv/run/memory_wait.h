/* SPDX-License-Identifier: MIT */
/*
 * vCPUs that wait for a frame. A guest that is promised less memory than it sees may touch more than the host
 * has left; then the vCPU gets no turn until there is a frame for it: first come, first served over all VMs.
 * The instruction is carried out again then.
 */
#ifndef HV_RUN_MEMORY_WAIT_H
#define HV_RUN_MEMORY_WAIT_H

#include "hv/run/vm.h"

void memory_wait_init(void); /* boot, once, before any VM runs */

/*
 * The host had no memory for what this vCPU touched (-ENOMEM of guest memory): its turn ends, and RIP stays
 * where it is. Own CPU, in an exit, no lock held. device: whose work it did, at the beginning of a turn; the
 * work must be asked for already (REQUEST_DEVICE). NULL: it was an instruction of the guest's. Once more in
 * the same turn, for another device, does nothing.
 */
void memory_wait(struct vcpu *vcpu, gpa_t gpa, const char *device);
/* It waits no more, without having got anything: its VM ends or is reset. Boot CPU, as work. */
void memory_wait_cancel(struct vcpu *vcpu);

/* Does any vCPU of it wait? Any CPU. */
bool memory_wait_any(const struct vm *vm);

#endif
