/* SPDX-License-Identifier: MIT */
/* The monitor's commands about removable media; rows of the table in hv/operator/monitor.c. Boot CPU. */
#ifndef HV_OPERATOR_MONITOR_MEDIA_H
#define HV_OPERATOR_MONITOR_MEDIA_H

#include "hv/run/vm_config.h"

struct vm;

void media_list_command(struct vm *none, char *const *more);
void media_events_command(struct vm *none, char *const *more);
/* more: the drive, and what to put in; --force; an interval. */
void media_insert_command(struct vm *vm, char *const *more);
void media_eject_command(struct vm *vm, char *const *more);
void media_poll_command(struct vm *vm, char *const *more);

/* Where `media insert` looks for files. */
void monitor_set_files(const struct boot_file *files, unsigned count);

#endif
