/* SPDX-License-Identifier: MIT */
/* Random numbers (contract in the header). */
#include "arch/x86/machine/random.h"

#include "arch/x86/machine/cpu.h"

/*
 * RDRAND that fails ten times in a row does so for good (SDM 1, 7.3.17.1). RDSEED is slower than who asks,
 * and then RDRAND is asked, which was seeded by the same source.
 */
#define RDRAND_TRIES 10
#define RDSEED_TRIES 10
#define SAMPLES      8

static bool rdrand(u64 *word)
{
    bool delivered;

    asm volatile("rdrand %0" : "=r"(*word), "=@ccc"(delivered));
    return delivered;
}

static bool rdseed(u64 *word)
{
    bool delivered;

    asm volatile("rdseed %0" : "=r"(*word), "=@ccc"(delivered));
    return delivered;
}

bool random_word(u64 *word)
{
    for (unsigned i = 0; cpu_features.rdseed && i < RDSEED_TRIES; i++) {
        if (rdseed(word))
            return true;
        cpu_pause();
    }
    for (unsigned i = 0; cpu_features.rdrand && i < RDRAND_TRIES; i++)
        if (rdrand(word))
            return true;
    return false;
}

/* AMD's of families 15h and 16h say all ones, as if they had succeeded, after some suspends. */
bool random_available(void)
{
    u64 first, next;
    bool differs = false;

    if (!random_word(&first))
        return false;
    for (unsigned i = 1; i < SAMPLES; i++)
        differs |= random_word(&next) && next != first;
    return differs;
}
