/* SPDX-License-Identifier: MIT */
/* The monitor's commands about guests' memory; rows of the table in hv/operator/monitor.c. Boot CPU. */
#ifndef HV_OPERATOR_MONITOR_MEMORY_H
#define HV_OPERATOR_MONITOR_MEMORY_H

struct vm;

void p2m_dump_command(struct vm *vm, char *const *more);
void p2m_audit_command(struct vm *vm, char *const *more);

#endif
