/* SPDX-License-Identifier: MIT */
/*
 * The monitor's commands about one VM's vCPUs. vm is the one that was named; more: the words behind its name,
 * as many as the command takes. Sched_work on the boot CPU, no lock held.
 */
#ifndef HV_OPERATOR_MONITOR_VCPU_H
#define HV_OPERATOR_MONITOR_VCPU_H

#include "hv/run/vm.h"

void vcpu_list_command(struct vm *vm, char *const *more);  /* every state */
void vcpu_stop_command(struct vm *vm, char *const *more);  /* N */
void vcpu_start_command(struct vm *vm, char *const *more); /* N */
void vcpu_set_command(struct vm *vm, char *const *more);   /* N STATE */
void vcpu_show_command(struct vm *vm, char *const *more);  /* N; monitor_state.c, as the next */
void vcpu_audit_command(struct vm *vm, char *const *more); /* all of them */

/* The vCPU whose number the word is; else a sentence, and NULL. */
struct vcpu *monitor_vcpu_numbered(struct vm *vm, const char *word);

#endif
