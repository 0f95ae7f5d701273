/* SPDX-License-Identifier: MIT */
/*
 * Guest memory for host tests of loaders: flat, sparse, with the regions of a real VM. Link
 * fake_guest_ram.c in place of hv/memory/guest_memory.c.
 */
#ifndef TESTS_UNIT_FAKE_GUEST_RAM_H
#define TESTS_UNIT_FAKE_GUEST_RAM_H

#include "hv/memory/guest_memory.h"

/* So many bytes of zeroed RAM, at most 5 GiB; lays out memory's regions. */
void fake_guest_ram_reset(struct guest_memory *memory, u64 bytes);

/* The byte behind gpa, for tests to look at. */
u8 *fake_guest_ram_at(gpa_t gpa);

/* How many pins hold the frame of gpa; a pin in vain fails with -ENOSPC while this is true. */
unsigned fake_guest_ram_pins(gpa_t gpa);
extern bool fake_guest_ram_no_pins;

/* From now on writes at or above gpa fail with -ENOMEM; ~0: none. */
extern gpa_t fake_guest_ram_full;

#endif
