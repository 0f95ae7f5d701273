/* SPDX-License-Identifier: MIT */
/*
 * What drives cost that nobody asks for anything. Each disk is read once; then the guest counts down, which
 * takes two ticks of the TSC (one instruction each, see exits.c) a count and no exit. Prints "bench quiet"
 * and the ticks that were not its own, twice. With "polls" it looks at the clock instead, and tells what each
 * of lintel's polls has taken, which begin 20 ms apart; with "looks" it does so while its disk reads as much
 * as lintel asks for at once, and tells what each of lintel's looks at that has taken.
 */
#include "lib/tap.h"
#include "lib/virtio.h"

#define DISKS_MAX 8u
#define SETTLE    60000000ull /* 120 ms of this clock: what was printed is on the screen then */
#define COUNTS    30000000ull
#define TURN      150ull     /* more than a turn of the loop that looks at the clock */
#define APART     5000000ull /* ticks; what lies closer is of one poll */
#define POLLS     5u
#define READ      (64u << 10) /* DRIVE_SLOT_BYTES */

static struct virtio drive;
static struct ring ring;
static u8 data[READ];

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

/* The interrupt's exits are of the end's look, which may be the dearest. */
static void looks_measure(void)
{
    static struct blk_request request;
    const volatile u16 *ended = &ring.used.idx;
    u64 least = ~0ull, most = 0, all = 0, looks = 0, last;
    u16 before;

    if (!virtio_find(&drive, 1))
        bail_out("there is no disk");
    virtio_begin(&drive, &ring, ALL_OFFERED);
    before = *ended;
    blk_describe(&drive, 0, &request, VIRTIO_BLK_T_IN, 0, data, READ, true);
    ring_offer(&drive, 0);
    ring_notify(&drive);
    last = rdtsc();
    while (*ended == before) {
        u64 now = rdtsc(), turn = now - last;

        if (turn > TURN) {
            least = turn < least ? turn : least;
            most = turn > most ? turn : most;
            all += turn;
            looks++;
        }
        last = now;
    }
    say("%lu looks until the read has ended: %x", looks, request.status);
    say("bench ide_look %lu %lu", least, all / looks);
    say("bench ide_look_longest %lu %lu", most, most);
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
    if (word_given("looks")) {
        looks_measure();
        return;
    }
    ticks = count_down(COUNTS) - 2 * COUNTS;
    say("bench quiet %lu %lu", ticks, ticks);
}
