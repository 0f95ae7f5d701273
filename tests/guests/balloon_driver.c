/* SPDX-License-Identifier: MIT */
/*
 * A balloon driver as small as one can be, for tests/system/test_balloon.py: gives memory from its end
 * downwards as it is asked to, in the largest form that was granted, and takes it back. What it gives holds
 * canaries, what it gets must be empty. With `touch` on the command line it first touches all there is.
 */
// hostile: it never ends by itself
#include "lib/balloon.h"
#include "lib/io.h"
#include "lib/tap.h"

#define CANARY 0xca7a7100000000ull
#define KEPT   0x2000ull /* below 32 MiB is the guest's own */

static u64 batch[512] ALIGNED(4096);
static u64 end, low; /* guest frames: RAM ends there, and what is given begins here */
static u64 capabilities, target, foreign;

static volatile u64 *word_at(u64 page)
{
    return (volatile u64 *)(page << 12);
}

/* The last RAM below 3 GiB, by the memory map of struct hvm_start_info. */
static void memory_find(void)
{
    const u64 *map = *(const u64 *const *)(start_info + 40);
    u32 count = *(const u32 *)(start_info + 48);

    for (u32 i = 0; i < count; i++)
        if ((u32)map[3 * i + 2] == 1 && map[3 * i] < 0xc0000000 && map[3 * i + 1])
            end = (map[3 * i] + map[3 * i + 1]) >> 12;
    low = end;
}

static void touch_all(void)
{
    for (u64 page = KEPT; page < end; page++) {
        foreign += *word_at(page) != 0;
        *word_at(page) = CANARY | page;
    }
    say("touched all %lu MiB", end >> 8);
}

/* Before a page goes and when it has come. */
static void pages_mark(u64 page, u64 count)
{
    for (u64 i = page; i < page + count; i++)
        *word_at(i) = CANARY | i;
}

static void pages_check(u64 page, u64 count)
{
    for (u64 i = page; i < page + count; i++)
        foreign += *word_at(i) != 0;
}

/* One page of `size` frames at `page`, alone or as a batch; false: refused. */
static bool page_move(u64 page, u64 size, bool give)
{
    if (size == 1 && !(capabilities & BIT(2)))
        return balloon_status(give ? BALLOON_LOCK : BALLOON_UNLOCK, page, 1) == STATUS_SUCCESS;
    batch[0] = page << 12;
    if (balloon_status((give ? 6u : 7u) + (size == 1 ? 0 : 2), (u64)batch >> 12, 1) != STATUS_SUCCESS)
        return false;
    return (batch[0] & 0x1f) == STATUS_SUCCESS;
}

static u64 size_for(u64 page, u64 wanted)
{
    return (capabilities & BIT(3)) && page % 512 == 0 && wanted >= 512 ? 512 : 1;
}

static bool give_some(void)
{
    u64 given = end - low, size = size_for(low, target - given);

    if (low - size < KEPT)
        return false;
    pages_mark(low - size, size);
    if (!page_move(low - size, size, true))
        return false;
    low -= size;
    return true;
}

static bool take_some(void)
{
    u64 given = end - low, size = size_for(low, given - target);

    if (!page_move(low, size, false))
        return false;
    pages_check(low, size);
    low += size;
    return true;
}

static void begin(void)
{
    struct balloon_call call = balloon_call(BALLOON_START, BALLOON_CAN_ALL, 0);

    capabilities = call.rax == STATUS_CAPABILITIES ? call.rcx : 2;
    low = end;
    say("begun with capabilities %lx and %lu MiB", capabilities, end >> 8);
}

void guest_main(void)
{
    u64 told = ~0ull;

    memory_find();
    if (word_given("touch"))
        touch_all();
    begin();
    for (;;) {
        struct balloon_call call = balloon_call(BALLOON_GET_TARGET, end, 0);

        if (call.rax == STATUS_RESET)
            begin();
        target = call.rbx;
        while (end - low < target && give_some())
            ;
        while (end - low > target && take_some())
            ;
        if (told != end - low)
            say("has given %lu MiB, %lu words are foreign", (end - low) >> 8, foreign);
        told = end - low;
        delay_us(20000);
    }
}
