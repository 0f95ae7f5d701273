/* SPDX-License-Identifier: MIT */
/*
 * What drives cost that nobody asks for anything. Each disk is read once; then the guest counts down, which
 * takes two ticks of the TSC (one instruction each, see exits.c) a count and no exit. Prints "bench quiet"
 * and the ticks that were not its own, twice.
 */
#include "lib/tap.h"
#include "lib/virtio.h"

#define DISKS_MAX 8u
#define SETTLE    60000000ull /* 120 ms of this clock: what was printed is on the screen then */
#define COUNTS    30000000ull

static struct virtio drive;
static struct ring ring;
static u8 data[SECTOR];

static void disks_read(void)
{
    u32 disks = 0;

    for (unsigned slot = 1; slot <= DISKS_MAX; slot++) {
        if (!virtio_find(&drive, slot))
            continue;
        virtio_begin(&drive, &ring, ALL_OFFERED);
        if (blk_do(&drive, VIRTIO_BLK_T_IN, 0, data, SECTOR, true) != VIRTIO_BLK_S_OK)
            bail_out("a disk does not read");
        disks++;
    }
    say("%u disks are read", disks);
}

static u64 count_down(u64 counts)
{
    u64 start = rdtsc();

    asm volatile("1:\tdecq %0\n\tjnz 1b" : "+r"(counts) : : "cc");
    return rdtsc() - start;
}

void guest_main(void)
{
    u64 ticks;

    disks_read();
    count_down(SETTLE);
    ticks = count_down(COUNTS) - 2 * COUNTS;
    say("bench quiet %lu %lu", ticks, ticks);
}
