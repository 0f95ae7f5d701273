/* SPDX-License-Identifier: MIT */
/*
 * The machine's IOAPICs: inputs stay masked until somebody routes them to a vector of the boot CPU. Boot CPU.
 */
#ifndef ARCH_X86_MACHINE_IOAPIC_H
#define ARCH_X86_MACHINE_IOAPIC_H

#include "hv/lib/types.h"

struct ioapic_description {
    hpa_t address;
    u32 gsi_base;
};

int host_ioapic_init(const struct ioapic_description *descriptions, unsigned count);
/* Route a global system interrupt; -ENODEV when no IOAPIC has it. */
int host_ioapic_route(u32 gsi, u8 vector, u32 apic_id, bool level_triggered, bool active_low);

#endif
