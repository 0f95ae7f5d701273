/* SPDX-License-Identifier: MIT */
/*
 * A virtio balloon: what is to be given, pages that go and come back zeroed, pages that lintel keeps,
 * statistics, resets, and drivers that break the rules. The VMware balloon's port is not there.
 */
// conf: balloon = virtio
// conf: memory = 80M
// conf: balloon.max = 64M
#include <linux/virtio_balloon.h>

#include "lib/balloon.h"
#include "lib/tap.h"
#include "lib/virtio.h"

#define SLOT       12u
#define HOLE       0xd0000000ull
#define PAGES      600u
#define POOL       0x2000000ull /* so many pages, of no other use */
#define INFLATE    0u
#define DEFLATE    1u
#define STATISTICS 2u
#define QUEUES     3u
#define WANTED     4096u /* pages of memory less balloon.max */

#define PAGE_OF(i)      ((volatile u64 *)(POOL + 4096ull * (i)))
#define MSR_SYSTEM_TIME 0x4b564d01u

static struct virtio balloon[QUEUES]; /* by queue */
static struct ring rings[QUEUES];
static u32 pfns[PAGES];

static u64 register_at(u32 offset)
{
    return balloon[0].bar + balloon[0].where[VIRTIO_PCI_CAP_DEVICE_CFG] + offset;
}

static void begin(void)
{
    struct virtio *v = &balloon[0];

    if (!virtio_negotiate(v, virtio_offered(v)))
        bail_out("the device refuses its own features");
    for (u16 i = QUEUES; i-- > 0;) {
        balloon[i] = *v;
        balloon[i].queue = i;
        virtio_queue(&balloon[i], &rings[i]);
    }
    common_write(v, VIRTIO_PCI_COMMON_STATUS, 1, virtio_status(v) | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void offer(unsigned queue, u64 at, u32 bytes, u16 flags)
{
    rings[queue].desc[0] = (struct vring_desc){at, bytes, flags, 0};
    ring_offer(&balloon[queue], 0);
    ring_notify(&balloon[queue]);
}

static bool pages(unsigned queue, u32 count)
{
    struct vring_used_elem used;

    offer(queue, (u64)pfns, 4 * count, 0);
    return ring_wait(&balloon[queue], &used) && used.id == 0;
}

/* The pool is full of its own numbers. */
static void fill(void)
{
    for (u32 i = 0; i < PAGES; i++) {
        pfns[i] = (u32)(POOL / 4096) + i;
        for (u32 j = 0; j < 512; j++)
            PAGE_OF(i)[j] = i + 1;
    }
}

/* How many pages hold this number in each word; ~0: their own. */
static u32 pages_with(u32 first, u32 count, u64 word)
{
    u32 found = 0;

    for (u32 i = first; i < first + count; i++) {
        u64 right = word == ~0ull ? i + 1 : word;
        u32 same = 0;

        for (u32 j = 0; j < 512; j++)
            same += PAGE_OF(i)[j] == right;
        found += same == 512;
    }
    return found;
}

/* ---------------------------------------------------------------- pages */

static void give_and_take(void)
{
    begin();
    fill();
    ok(pages(INFLATE, PAGES), "600 pages are given at once");
    ok(pages(DEFLATE, PAGES), "and taken back");
    ok(pages_with(0, PAGES, 0) == PAGES, "zeroed");
    fill();
    pages(INFLATE, 100);
    pages(INFLATE, 100);
    ok(pages_with(0, 100, 0) == 100 && pages_with(100, 500, ~0ull) == 500,
       "a page that is touched comes back, zeroed, without a word; others are not touched");
    ok(pages(DEFLATE, 100) && pages_with(0, 100, 0) == 100, "the word for it may still come");
    fill();
    pages(DEFLATE, PAGES);
    ok(pages_with(0, PAGES, ~0ull) == PAGES, "pages that were never given stay as they are");
}

static void kept(void)
{
    fill();
    wrmsr(MSR_SYSTEM_TIME, POOL | 1); /* lintel writes kvm-clock's record there */
    pfns[1] = 0xd0000;                /* a hole */
    pfns[2] = 0xffffffff;
    pfns[3] = 0xfee00; /* the local APIC */
    ok(pages(INFLATE, 6), "pages that can't be taken have no answer of their own");
    ok(PAGE_OF(0)[511] == 1 && pages_with(1, 3, ~0ull) == 3, "they stay as they are");
    ok(pages_with(4, 2, 0) == 2, "those behind them have gone");
    ok(pages(DEFLATE, 6) && PAGE_OF(0)[511] == 1, "and can be taken back");
    wrmsr(MSR_SYSTEM_TIME, 0);
}

static void resets(void)
{
    fill();
    pages(INFLATE, PAGES);
    begin();
    ok(pages_with(0, PAGES, 0) == PAGES, "a driver that begins has given nothing");
    fill();
    offer(INFLATE, (u64)pfns, sizeof(pfns), 0);
    begin();
    ok(pages_with(0, PAGES, 0) + pages_with(0, PAGES, ~0ull) == PAGES, "also if it came in between");
}

/* ---------------------------------------------------------------- what else it says */

static void statistics(void)
{
    static struct virtio_balloon_stat said[2] = {{VIRTIO_BALLOON_S_MEMTOT, 80 << 20},
                                                 {VIRTIO_BALLOON_S_MEMFREE, 1}};

    begin();
    offer(STATISTICS, (u64)said, sizeof(said), 0);
    pages(INFLATE, 0);
    ok(rings[STATISTICS].used.idx == 0, "statistics stay with the device until others are wanted");
}

static void port(void)
{
    ok((u32)balloon_status(BALLOON_START, BALLOON_CAN_ALL, 0) == ~0u,
       "the VMware balloon's port is not there");
}

/* ---------------------------------------------------------------- broken rules */

static void attack(const char *name, unsigned queue, u64 at, u32 bytes, u16 flags, u16 head, u16 count)
{
    struct vring_used_elem used;
    bool answered;

    begin();
    fill();
    rings[queue].desc[0] = (struct vring_desc){at, bytes, flags, 0};
    for (u16 i = 0; i < count; i++)
        ring_offer(&balloon[queue], head);
    ring_notify(&balloon[queue]);
    answered = ring_wait(&balloon[queue], &used);
    ok(!answered && (virtio_status(&balloon[0]) & VIRTIO_CONFIG_S_NEEDS_RESET), "%s: refused", name);
    begin();
    ok(pages(INFLATE, 1) && pages(DEFLATE, 1) && pages_with(0, 1, 0) == 1, "%s: and goes on", name);
}

static void attacks(void)
{
    const u16 write = VRING_DESC_F_WRITE, next = VRING_DESC_F_NEXT, table = VRING_DESC_F_INDIRECT;

    attack("a part of a number", INFLATE, (u64)pfns, 7, 0, 0, 1);
    attack("a buffer to be written", DEFLATE, (u64)pfns, 8, write, 0, 1);
    attack("numbers where no RAM is", INFLATE, HOLE, 8, 0, 0, 1);
    attack("numbers at the end of all addresses", DEFLATE, ~0ull - 3, 8, 0, 0, 1);
    attack("a chain that is its own successor", INFLATE, (u64)pfns, 0, next, 0, 1);
    attack("a head that does not exist", DEFLATE, (u64)pfns, 0, 0, RING_SIZE, 1);
    attack("more chains than the queue holds", INFLATE, (u64)pfns, 0, 0, 0, RING_SIZE + 1);
    attack("an indirect table where no RAM is", STATISTICS, HOLE, 16, table, 0, 1);
}

void guest_main(void)
{
    bool there = virtio_find(&balloon[0], SLOT);
    u32 wanted;

    plan(33);
    ok(there && pci_read(SLOT, 0) == 0x10451af4, "virtio 1.x, a balloon: %x", pci_read(SLOT, 0));
    wanted = mmio_read(register_at(0));
    ok(wanted == WANTED, "it is to give 16 MiB: %u pages", wanted);
    mmio_write(register_at(0), 1);
    mmio_write(register_at(4), 7);
    ok(mmio_read(register_at(0)) == WANTED && mmio_read(register_at(4)) == 7, "what is given it says itself");
    port();
    give_and_take();
    kept();
    resets();
    statistics();
    attacks();
}
