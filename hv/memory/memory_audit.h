/* SPDX-License-Identifier: MIT */
/*
 * The proof that everything lintel says about a guest's memory says the same: p2m, nested tables, owners of
 * frames, the tree. The monitor's `p2m audit`; a debug build asks after what changes much. Takes the VM's
 * lock.
 */
#ifndef HV_MEMORY_MEMORY_AUDIT_H
#define HV_MEMORY_MEMORY_AUDIT_H

#include "hv/memory/guest_memory.h"

/*
 * 0: every nested entry equals its p2m entry (nested tables may lack entries, and show a window), every frame
 * of the p2m has this VM as owner and stands there once, in RAM of the memory map, every frame the VM owns
 * stands there or is just leaving, no locked one has a frame, the VM's due is its target at least, identity
 * ranges have no RAM of anybody else's, the tree agrees. -EINVAL: a sentence in why.
 */
int guest_memory_audit(struct guest_memory *memory, char *why, size_t size);

/*
 * The same in a debug build, where a difference is a panic; and behind every operation on these addresses,
 * VM's lock held: all of it where the guest has 8 MiB at most, else at every 2nd, 3rd ... operation, so that
 * one proves 8 MiB on the average, and each time what concerns the 2 MiB around each address, and how many
 * frames there are. And a number that stands for all that is in RAM, whichever frames are there: those that
 * are zero count as those that were never given. No vCPU runs.
 */
#ifdef LINTEL_DEBUG
void guest_memory_prove(struct guest_memory *memory);
void guest_memory_prove_at(const struct guest_memory *memory, gpa_t gpa, u64 bytes);
u64 guest_memory_digest(const struct guest_memory *memory);
#else
static inline void guest_memory_prove(struct guest_memory *memory)
{
    (void)memory;
}

static inline void guest_memory_prove_at(const struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    (void)memory;
    (void)gpa;
    (void)bytes;
}
#endif

#endif
