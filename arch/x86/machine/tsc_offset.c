/* SPDX-License-Identifier: MIT */
/*
 * Contract in the header. One exchange at a time, between the boot CPU, which asks, and the CPU that it is
 * starting: each writes words of its own, so there is no lock.
 */
#include "arch/x86/machine/tsc_offset.h"

#include "arch/x86/machine/tsc.h"
#include "hv/lib/errno.h"

#define ROUNDS_MOST  64
#define ROUNDS_LEAST 4
#define MEASURE_US \
    20000 /* no further questions then, but for ROUNDS_LEAST: CPUs may share one of an emulator */

#define QUESTION_NONE 0u
#define QUESTION_LAST ~0u /* there is nothing more to answer */

static struct {
    u32 question ALIGNED(64); /* written by the boot CPU: the number of the round */
    u32 answer ALIGNED(64);   /* by the other one: the round that `there` belongs to */
    u64 there;
} exchange;

void tsc_offset_round(struct tsc_offset *best, u64 before, u64 there, u64 after)
{
    u64 error = (after - before + 1) / 2;

    if (best->rounds++ > 0 && error >= best->error)
        return;
    best->error = error;
    best->ticks = (s64)(before + (after - before) / 2 - there);
}

bool tsc_offset_synchronised(const struct tsc_offset *offset)
{
    u64 distance = (u64)(offset->ticks < 0 ? -offset->ticks : offset->ticks);

    return distance <= offset->error;
}

/* Not before what stands above it, nor after what follows. */
static u64 read_tsc_ordered(void)
{
    u64 now;

    asm volatile("lfence" : : : "memory");
    now = read_tsc();
    asm volatile("lfence" : : : "memory");
    return now;
}

void tsc_offset_prepare(void)
{
    exchange.answer = QUESTION_NONE;
    __atomic_store_n(&exchange.question, QUESTION_NONE, __ATOMIC_RELEASE);
}

void tsc_offset_answer(void)
{
    u32 answered = QUESTION_NONE, question;

    while ((question = __atomic_load_n(&exchange.question, __ATOMIC_ACQUIRE)) != QUESTION_LAST) {
        if (question == answered) {
            cpu_pause();
            continue;
        }
        exchange.there = read_tsc_ordered();
        __atomic_store_n(&exchange.answer, question, __ATOMIC_RELEASE);
        answered = question;
    }
}

int tsc_offset_measure(struct tsc_offset *offset, u64 give_up)
{
    u64 start = read_tsc(), before, after = start;

    *offset = (struct tsc_offset){0};
    for (u32 round = 1; round <= ROUNDS_MOST; round++) {
        if (round > ROUNDS_LEAST && after - start > tsc_from_us(MEASURE_US))
            break;
        before = read_tsc_ordered();
        __atomic_store_n(&exchange.question, round, __ATOMIC_RELEASE);
        while (__atomic_load_n(&exchange.answer, __ATOMIC_ACQUIRE) != round) {
            if (read_tsc() - before > give_up)
                return -EIO;
            cpu_pause();
        }
        after = read_tsc_ordered();
        tsc_offset_round(offset, before, exchange.there, after);
    }
    return 0;
}

void tsc_offset_finish(void)
{
    __atomic_store_n(&exchange.question, QUESTION_LAST, __ATOMIC_RELEASE);
}
