/* SPDX-License-Identifier: MIT */
/*
 * The CPU's own random numbers: RDSEED, and RDRAND while that has none. SDM 1, 7.3.17; APM 3, RDRAND. Any
 * CPU, no lock.
 */
#ifndef ARCH_X86_MACHINE_RANDOM_H
#define ARCH_X86_MACHINE_RANDOM_H

#include "hv/lib/types.h"

/* Does the CPU deliver any? A generator that says the same again and again is none. */
bool random_available(void);
/* One word, as the CPU delivered it, which has random_available; false: it delivers none now. */
bool random_word(u64 *word);

#endif
