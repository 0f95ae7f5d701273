/* SPDX-License-Identifier: MIT */
/*
 * ACPI's fixed hardware: PM1a event and control blocks, the PM timer, the power button. There is no SMI:
 * ACPI mode is always on. Device lock. ACPI 6.5, 4.8.3.
 */
#ifndef GUEST_DEVICES_ACPI_PM_H
#define GUEST_DEVICES_ACPI_PM_H

#include "guest/devices/clock.h"
#include "hv/run/timer.h"

#define ACPI_PM_TIMER_HZ   3579545
#define ACPI_PM_TIMER_BITS 32 /* FADT flag TMR_VAL_EXT */
#define ACPI_PM_SLEEP_S5   5  /* SLP_TYPa that the DSDT's _S5 must name */
/* Offsets from MACHINE_PM_BASE, for the FADT. */
#define ACPI_PM_EVENT   0 /* status and enable, 4 bytes */
#define ACPI_PM_CONTROL 4 /* 2 bytes */
#define ACPI_PM_TIMER   8 /* 4 bytes */

struct machine;

struct acpi_pm {
    struct machine *machine;
    struct device_clock clock;
    struct timer timer; /* the PM timer's carry, only while its interrupt is enabled */
    u64 start;          /* TSC at which the PM timer was 0 */
    u64 carries_seen;   /* changes of its highest bit that status has shown */
    u16 status, enable, control;
};

int acpi_pm_init(struct acpi_pm *pm, struct machine *machine);
void acpi_pm_reset(struct acpi_pm *pm);

/* The operator presses the power button: the guest may shut down. Takes the device lock. */
void acpi_pm_power_button(struct acpi_pm *pm);

#endif
