/* SPDX-License-Identifier: MIT */
/*
 * An IOAPIC with 24 pins (Intel 82093AA data sheet; version 0x20 with its EOI register as in ICH). Device
 * lock; takes local APICs' locks.
 */
#ifndef GUEST_DEVICES_IOAPIC_H
#define GUEST_DEVICES_IOAPIC_H

#include "hv/lib/types.h"

#define IOAPIC_PINS 24
#define IOAPIC_ID   0

struct machine;

struct ioapic {
    struct machine *machine;
    u64 redirection[IOAPIC_PINS];
    u32 asserted; /* pins, by bit */
    u8 select;
    u8 id;
};

/* Register the MMIO window at MACHINE_IOAPIC_BASE; 0 or what the bus says. */
int ioapic_init(struct ioapic *ioapic, struct machine *machine);
void ioapic_reset(struct ioapic *ioapic);

/* A pin's line is asserted or not; the caller speaks of assertion, not of voltage. */
void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool asserted);

/* A local APIC ended a level-triggered interrupt with this vector. */
void ioapic_eoi(struct ioapic *ioapic, u8 vector);

#endif
