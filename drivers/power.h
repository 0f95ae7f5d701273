/* SPDX-License-Identifier: MIT */
/* The end of the machine: off, or anew. The last line of the log tells which, before anything is done. */
#ifndef DRIVERS_POWER_H
#define DRIVERS_POWER_H

#include "drivers/acpi.h"

/* Keep what ACPI says about power; until then a power-off can only halt. Boot CPU. */
void power_init(const struct acpi_info *acpi);

/*
 * Both: any CPU, the others keep still or are halted; the log line is flushed first. When it does not work: a
 * line, halt.
 */
NORETURN void power_off(void);
NORETURN void machine_reset(void);

#endif
