/* SPDX-License-Identifier: MIT */
/*
 * How far another CPU's time stamp counter is from the boot CPU's: questions and answers through shared
 * memory, of which the one that took least counts. Between boot CPU and the CPU that it starts (smp.c).
 */
#ifndef ARCH_X86_MACHINE_TSC_OFFSET_H
#define ARCH_X86_MACHINE_TSC_OFFSET_H

#include "hv/lib/types.h"

struct tsc_offset {
    s64 ticks;  /* the boot CPU's counter less the other one's */
    u64 error;  /* the truth is at most so far from that */
    u32 rounds; /* questions answered so far; 0: nothing is known yet */
};

/*
 * One question: the other CPU read `there` while the boot CPU's counter went from before to after. Keeps the
 * tightest.
 */
void tsc_offset_round(struct tsc_offset *best, u64 before, u64 there, u64 after);

/* No difference was found that the measurement could not have made up. */
bool tsc_offset_synchronised(const struct tsc_offset *offset);

/* Before the other CPU is started. */
void tsc_offset_prepare(void);
/* On the other CPU: answer until tsc_offset_finish. */
void tsc_offset_answer(void);
/* On the boot CPU, while the other one answers: 0, or -EIO when it stops doing so for give_up ticks. */
int tsc_offset_measure(struct tsc_offset *offset, u64 give_up);
void tsc_offset_finish(void);

#endif
