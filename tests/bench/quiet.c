/* SPDX-License-Identifier: MIT */
/*
 * What drives cost that nobody asks for anything. Each disk is read once; then the guest counts down, which
 * takes two ticks of the TSC (one instruction each, see exits.c) a count and no exit. Prints "bench quiet"
 * and the ticks that were not its own, twice. With "polls" it looks at the clock instead, and tells what each
 * of lintel's polls has taken, which begin 20 ms apart.
 */
#include "lib/tap.h"
#include "lib/virtio.h"

#define DISKS_MAX 8u
#define SETTLE    60000000ull /* 120 ms of this clock: what was printed is on the screen then */
#define COUNTS    30000000ull
#define TURN      150ull     /* more than a turn of the loop that looks at the clock */
#define APART     5000000ull /* ticks; what lies closer is of one poll */
#define POLLS     5u

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

/* The least and the mean that a poll takes. */
static void polls_measure(void)
{
    u64 least = ~0ull, all = 0, one = 0, ended = rdtsc(), last = ended;
    u32 polls = 0;

    while (polls <= POLLS) {
        u64 now = rdtsc(), turn = now - last;

        if (turn > TURN) {
            one += turn;
            ended = now;
        } else if (one && now - ended > APART) {
            if (polls++) { /* the first one may have begun before */
                all += one;
                least = one < least ? one : least;
            }
            one = 0;
        }
        last = now;
    }
    say("bench media_poll_host %lu %lu", least, all / POLLS);
}

void guest_main(void)
{
    u64 ticks;

    disks_read();
    count_down(SETTLE);
    if (word_given("polls")) {
        polls_measure();
        return;
    }
    ticks = count_down(COUNTS) - 2 * COUNTS;
    say("bench quiet %lu %lu", ticks, ticks);
}
