/* SPDX-License-Identifier: MIT */
/*
 * A debug build's proof that a reset forgets everything: what the VM was after its creation is kept, and
 * compared, byte for byte, with what it is after each reset: every device, every vCPU's snapshot, RAM. What
 * may differ is a table (reset_proof.c). A difference is an error in the log. Boot CPU, no vCPU runs.
 */
#ifndef GUEST_RESET_PROOF_H
#define GUEST_RESET_PROOF_H

#include "hv/lib/types.h"

struct machine;

#ifdef LINTEL_DEBUG
void reset_proof_begin(struct machine *m); /* it has been created */
void reset_proof_end(struct machine *m);   /* it is about to go */
void reset_proof_check(struct machine *m); /* it has been reset */
#else
static inline void reset_proof_begin(struct machine *m)
{
    (void)m;
}

static inline void reset_proof_end(struct machine *m)
{
    (void)m;
}

static inline void reset_proof_check(struct machine *m)
{
    (void)m;
}
#endif

#endif
