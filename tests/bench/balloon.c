/* SPDX-License-Identifier: MIT */
/*
 * What giving memory away and getting it back costs, in TSC ticks per page: under QEMU -icount one tick is
 * one instruction. With `pages=4k` on the command line all memory is in small pages, and single ones are
 * measured; else those of 2 MiB. And the longest batches there are. "bench NAME MINIMUM MEDIAN", as exits.c.
 */
#include "lib/balloon.h"
#include "lib/io.h"
#include "lib/tap.h"

#define ROUNDS 9
#define SMALL  0x4000ull /* 64 MiB: no part of this guest lies there */
#define LARGE  32u       /* pages of 2 MiB */
/* Large pages that one call of guest/devices/vmw_balloon.c takes and still has time for another one */
#define BEFORE 16u

static u64 batch[512] ALIGNED(4096);
static u64 samples[ROUNDS], wrong;

static void report(const char *name)
{
    for (unsigned i = 1; i < ROUNDS; i++)
        for (unsigned j = i; j > 0 && samples[j] < samples[j - 1]; j--) {
            u64 swap = samples[j];

            samples[j] = samples[j - 1];
            samples[j - 1] = swap;
        }
    say("bench %s %lu %lu", name, samples[0], samples[ROUNDS / 2]);
}

/* Ticks of the whole instruction. */
static u64 batch_time(u64 command, u64 first, u64 step, u64 count)
{
    u64 before, ticks;

    for (u64 i = 0; i < count; i++)
        batch[i] = (first + i * step) << 12;
    before = rdtsc();
    wrong |= balloon_status(command, (u64)batch >> 12, count);
    ticks = rdtsc() - before;
    for (u64 i = 0; i < count; i++)
        wrong |= batch[i] & 0x1f;
    return ticks;
}

static void touch(u64 first, u64 step, u64 count)
{
    for (u64 i = 0; i < count; i++)
        *(volatile u8 *)((first + i * step) << 12) = 1;
}

static void measure_small(void)
{
    u64 back[ROUNDS];

    touch(SMALL, 1, 512);
    for (unsigned i = 0; i < ROUNDS; i++) {
        samples[i] = batch_time(BALLOON_BATCHED_LOCK, SMALL, 1, 512) / 512;
        back[i] = batch_time(BALLOON_BATCHED_UNLOCK, SMALL, 1, 512) / 512;
    }
    report("balloon_lock_4k");
    for (unsigned i = 0; i < ROUNDS; i++)
        samples[i] = back[i];
    report("balloon_unlock_4k");
}

/*
 * The longest exit: two calls (the light way's and the full one's) that take as many large pages as they may
 * and then one that goes in 512 pieces, since a small page of it went and came back. One IN, not repeated.
 */
static void measure_longest(void)
{
    const u64 half = BEFORE + 1;

    for (unsigned i = 0; i < ROUNDS; i++) {
        touch(SMALL, 512, 2 * half);
        batch_time(BALLOON_BATCHED_LOCK, SMALL + 512 * BEFORE, 512 * half, 2);
        batch_time(BALLOON_BATCHED_UNLOCK, SMALL + 512 * BEFORE, 512 * half, 2);
        samples[i] = batch_time(BALLOON_BATCHED_2M_LOCK, SMALL, 512, 2 * half);
        batch_time(BALLOON_BATCHED_2M_UNLOCK, SMALL, 512, 2 * half);
    }
    report("balloon_longest_exit");
}

static void measure_large(void)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        touch(SMALL, 512, LARGE);
        samples[i] = batch_time(BALLOON_BATCHED_2M_LOCK, SMALL, 512, LARGE) / LARGE;
        batch_time(BALLOON_BATCHED_2M_UNLOCK, SMALL, 512, LARGE);
    }
    report("balloon_lock_2m");
    /* The dearest single page: one that splits a large one. */
    for (unsigned i = 0; i < ROUNDS; i++) {
        touch(SMALL, 512, LARGE);
        samples[i] = batch_time(BALLOON_BATCHED_LOCK, SMALL + 7, 512, LARGE) / LARGE;
        batch_time(BALLOON_BATCHED_UNLOCK, SMALL + 7, 512, LARGE);
        batch_time(BALLOON_BATCHED_2M_LOCK, SMALL, 512, LARGE);
        batch_time(BALLOON_BATCHED_2M_UNLOCK, SMALL, 512, LARGE);
    }
    report("balloon_lock_split");
}

void guest_main(void)
{
    plan(1);
    balloon_call(BALLOON_START, BALLOON_CAN_ALL, 0);
    balloon_call(BALLOON_GET_TARGET, 0x10000, 0);
    if (word_given("pages=4k")) {
        measure_small();
    } else {
        measure_large();
        measure_longest();
    }
    ok(!wrong, "measured (%lx)", wrong);
}
