/* SPDX-License-Identifier: MIT */
/*
 * One vCPU gives pages away while another writes to them: it finds a new page each time, and nothing that it
 * writes by an old translation is ever seen in a page that is new to somebody.
 */
// conf: memory = 128M
// conf: balloon.max = 64M
// conf: vcpus = 2
#include "lib/balloon.h"
#include "lib/smp.h"
#include "lib/tap.h"

#define RACED  0x4000ull /* 64 MiB */
#define FRESH  0x5000ull
#define PAGES  16
#define ROUNDS 300
#define CANARY 0x0dd5ull

static u64 batch[512] ALIGNED(4096);
static bool over;
static u64 writes;

static volatile u64 *page_at(u64 page)
{
    return (volatile u64 *)(page << 12);
}

static void writer(void)
{
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        for (unsigned i = 0; i < PAGES; i++)
            page_at(RACED + i)[writes % 512] = CANARY;
        __atomic_add_fetch(&writes, 1, __ATOMIC_RELEASE);
        if (writes % 64 == 0)
            smp_yield();
    }
}

static u64 batch_call(u64 command, u64 page)
{
    u64 statuses = 0;

    for (unsigned i = 0; i < PAGES; i++)
        batch[i] = (page + i) << 12;
    statuses = balloon_status(command, (u64)batch >> 12, PAGES);
    for (unsigned i = 0; i < PAGES; i++)
        statuses |= batch[i] & 0x1f;
    return statuses;
}

/* Pages that were never touched, or given back: nobody has written there. */
static u64 foreign_words(u64 page)
{
    u64 count = 0;

    for (unsigned i = 0; i < PAGES; i++)
        for (unsigned k = 0; k < 512; k++)
            count += page_at(page + i)[k] != 0;
    return count;
}

void guest_main(void)
{
    u64 foreign = 0, refused = 0, done = 0;

    smp_setup();
    plan(4);
    balloon_call(BALLOON_START, BALLOON_CAN_ALL, 0);
    ok(balloon_call(BALLOON_GET_TARGET, 0x8000, 0).rbx == 0x4000, "the host wants half of it");
    smp_start_all();
    smp_run(1, writer);
    while (__atomic_load_n(&writes, __ATOMIC_ACQUIRE) < 10)
        smp_yield();
    for (unsigned round = 0; round < ROUNDS; round++) {
        u64 locked = batch_call(BALLOON_BATCHED_LOCK, RACED);

        refused += batch_call(BALLOON_BATCHED_LOCK, FRESH) != STATUS_SUCCESS;
        done += locked == STATUS_SUCCESS;
        refused += batch_call(BALLOON_BATCHED_UNLOCK, FRESH) != STATUS_SUCCESS;
        foreign += foreign_words(FRESH);
        if (round % 8 == 0)
            smp_yield();
    }
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    smp_wait(1);
    ok(done > 0, "pages go while they are written (%lu of %u times all at once, %lu writes)", done, ROUNDS,
       writes);
    ok(!refused, "those that nobody touches come and go (%lu)", refused);
    ok(!foreign, "and nobody's words are in them (%lu)", foreign);
}
