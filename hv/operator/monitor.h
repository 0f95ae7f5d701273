/* SPDX-License-Identifier: MIT */
/* The operator's prompt: few regular verbs, a table of commands. Runs as sched_work on the boot CPU. */
#ifndef HV_OPERATOR_MONITOR_H
#define HV_OPERATOR_MONITOR_H

#include "hv/lib/types.h"

/* What the monitor needs from the top floor. */
struct monitor_host {
    NORETURN void (*power_off)(void);
    NORETURN void (*reset)(void);
    void (*pci_show)(void); /* the machine's PCI functions */
};
void monitor_init(const struct monitor_host *host);
/* Seconds that VMs have to switch themselves off before the machine ends; until told, none. */
void monitor_set_grace(u32 seconds);
/*
 * A VM ended: power the machine off when all have powered themselves off, else show the prompt if none
 * runs.
 */
void monitor_vm_ended(void);

#endif
