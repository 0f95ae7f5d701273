/* SPDX-License-Identifier: MIT */
/* The monitor's command about balloons; a row of the table in hv/operator/monitor.c. Boot CPU. */
#ifndef HV_OPERATOR_MONITOR_BALLOON_H
#define HV_OPERATOR_MONITOR_BALLOON_H

struct vm;

/* vm NULL: all of them; more[0] NULL: show, else set. */
void balloon_command(struct vm *vm, char *const *more);

#endif
