/* SPDX-License-Identifier: MIT */
/*
 * A virtio balloon whose driver writes any bytes into its rings, page numbers and statistics, while another
 * vCPU changes them behind each read, notifies, and resets the device while pages move. A turn costs no more
 * than it may, no page moves after the driver's reset has ended, and statistics are such as can be shown.
 */
// sources: guest/devices/virtio_balloon.c
// sources: guest/devices/virtio.c guest/devices/virtio_ring.c guest/devices/msix.c
// sources: guest/devices/virtio_buffers.c guest/devices/pci.c hv/run/bus.c hv/memory/frame.c
// sources: hv/memory/memory.c hv/memory/guest_map.c tests/unit/fake_memory.c tests/fuzz/hostile_machine.c
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "hv/memory/balloon.h"
#include "tests/fuzz/hostile_machine.h"
#include "tests/unit/fake_memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INFLATE, DEFLATE, STATISTICS, QUEUES };

#define COST_OF_TURN 1500u /* of virtio_balloon.c */

static struct virtio_balloon *balloon;
static u32 cost, moved, forgotten; /* of one page; in this turn; connections that have ended */
static bool moving;
static u8 meanwhile; /* what the other vCPU does while pages move */

/* ---------------------------------------------------------------- the balloon behind it */

void balloon_begin(struct guest_memory *memory)
{
    require(!spinlock_held(&balloon->virtio.pci.lock));
    spinlock_take(memory->lock);
    moving = true;
}

static enum balloon_status page_move(struct balloon_work *work, unsigned order)
{
    require(moving && order == FRAME_ORDER_4K && work->all && work->cost < COST_OF_TURN);
    work->cost += cost;
    moved++;
    return moved & 1 ? BALLOON_DONE : BALLOON_LOCKED;
}

enum balloon_status balloon_lock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                 unsigned order)
{
    require(spinlock_held(memory->lock) && gfn <= 0xffffffff && balloon->queue == INFLATE);
    return page_move(work, order);
}

enum balloon_status balloon_unlock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                   unsigned order)
{
    require(spinlock_held(memory->lock) && gfn <= 0xffffffff && balloon->queue == DEFLATE);
    return page_move(work, order);
}

void balloon_end(struct guest_memory *memory, struct balloon_work *work)
{
    u32 before = forgotten;

    (void)work;
    spinlock_release(memory->lock);
    if (meanwhile & 1)
        hostile_notify(meanwhile >> 1 & 1);
    if (meanwhile & 4)
        hostile_out(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    if (meanwhile & 8)
        virtio_balloon_work(balloon, &hostile.vcpu);
    require(forgotten == before); /* a reset waits for the pages */
    moving = false;
}

void balloon_forget(struct guest_memory *memory)
{
    require(spinlock_held(memory->lock) && !moving);
    forgotten++;
}

u64 balloon_wanted(const struct guest_memory *memory)
{
    require(spinlock_held(memory->lock));
    return 1ull << (test_now % 40);
}

/* ---------------------------------------------------------------- the driver */

static void check(void)
{
    const struct balloon_statistics *said = &hostile.vm.memory.balloon.statistics;

    require(!balloon->moving && !moving);
    require(balloon->pfn_next <= balloon->pfn_count && balloon->pfn_count <= VIRTIO_BALLOON_PFNS);
    require((said->known & ~(BIT(BALLOON_STATISTICS) - 1)) == 0);
    for (u32 i = 0; i < QUEUES; i++)
        hostile_queue_check(&balloon->virtio, i,
                            i == STATISTICS ? balloon->statistics_held
                                            : balloon->held && balloon->queue == i);
    if (!(balloon->virtio.status & VIRTIO_CONFIG_S_DRIVER_OK))
        require(!balloon->held && !balloon->statistics_held);
}

static void step(u8 what, u8 then)
{
    meanwhile = then;
    cost = (then >> 4) * 100u + 1;
    moved = 0;
    test_now += (u64)what << 25;
    hostile.full = what & 0x80 ? (what & 0x3fu) << 9 : HOSTILE_RAM;
    for (u32 i = 0; i < QUEUES; i++) {
        hostile_offer(i, what >> (2 * i) & 3);
        hostile_notify(i);
    }
    if (what & 0x40)
        virtio_balloon_ask(balloon);
    hostile_out(0x200 + (what & 7), 1u << (then & 3), then); /* its registers */
    hostile_in(0x200 + (then & 7), 1u << (what & 3));
    for (unsigned i = 0; i < 3; i++) {
        hostile_count();
        virtio_balloon_work(balloon, &hostile.vcpu);
        check();
    }
    require(moved <= 3 * VIRTIO_BALLOON_PFNS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct hostile_chain chains[] = {
        {{VRING_DESC_F_NEXT, 0}, {0x200, 0x80}},
        {{0}, {0x40}},
        {{VRING_DESC_F_NEXT, 0}, {35, 65}}, /* ten entries, one of them across both */
    };
    struct machine *m;

    if (size < 12)
        return 0;
    fake_memory_begin();
    m = hostile_machine_make();
    spinlock_init(&hostile.vm.lock, RANK_VM);
    hostile.vm.memory.lock = &hostile.vm.lock;
    moving = false;
    forgotten = 0;
    balloon = m->virtio_balloon = virtio_balloon_create(m, HOSTILE_SLOT);
    require(balloon != NULL);
    hostile.reach = 0x6000; /* rings, page numbers and statistics */
    hostile.most = 20000;
    hostile_device_begin(data[0] & 1, QUEUES);
    hostile.changes_left = MIN((size_t)data[1] * 3, (size - 12) / 2);
    hostile.changes = data + size - hostile.changes_left;
    for (u32 i = 0; i < 10; i++) /* tags of statistics */
        hostile.ram[HOSTILE_DATA + (i < 4 ? 10 * i : 0x200 + 5 + 10 * (i - 4))] = data[2 + i] % 16;
    hostile_memory_make(chains, QUEUES, data + 12, size - 12 - hostile.changes_left);
    for (unsigned i = 0; i < 5; i++)
        step(data[2 + 2 * i], data[3 + 2 * i]);
    virtio_balloon_reset(balloon);
    check();
    virtio_balloon_destroy(balloon);
    require(frame_owned(frame_owner_support(0)) == 0 && frame_promised(frame_owner_support(0)) == 0);
    free(m);
    return 0;
}
