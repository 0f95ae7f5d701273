/* SPDX-License-Identifier: MIT */
/*
 * Virtio balloons (contract in the header). An exit notes that there is something to do; a turn of the vCPU
 * does a part of it, the next turn the next one. Frames that leave the guest are given back behind a flush
 * that nobody may wait for with a lock (hv/run/vm_flush.h), so a turn has three steps: with the lock it reads
 * page numbers; without it they are locked or unlocked; with it the chain is given back. A reset in between
 * ends when the second step has.
 *
 * The driver is never told that a page was refused, as the protocol has no word for it. A page that can't be
 * taken stays where it is, with what is on it, and is counted; when it is wanted back there is nothing to do.
 */
#include "guest/devices/virtio_balloon.h"

#include <linux/virtio_ids.h>

#include "guest/machine.h"
#include "hv/lib/string.h"
#include "hv/memory/balloon.h"

enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_STATISTICS, QUEUES };

#define CLASS_MEMORY 0x00ff /* of no other class */
/* Registers end where features begin that are not offered. */
#define CONFIG_BYTES offsetof(struct virtio_balloon_config, free_page_hint_cmd_id)
/* Of work->cost, for one turn: as a batch of the VMware balloon's (vmw_balloon.c). */
#define COST_OF_TURN 1500u
/* Chains without a page number, and statistics, that one turn may carry. */
#define SHARE_CHAINS    16u
#define STATISTICS_MOST 32u /* entries of a chain that are looked at */

_Static_assert(sizeof(struct virtio_balloon_stat) == 10 && CONFIG_BYTES == 8,
               "Virtio 1.1, 5.5.4 and 5.5.6.3");
_Static_assert(VIRTIO_BALLOON_PFN_SHIFT == PAGE_SHIFT, "a page number is a guest frame number");
_Static_assert(VIRTIO_BALLOON_S_CACHES == BALLOON_STATISTICS - 1, "what is shown of statistics");

static struct virtio_balloon *balloon_of(struct virtio *virtio)
{
    return container_of(virtio, struct virtio_balloon, virtio);
}

static struct guest_memory *memory_of(const struct virtio_balloon *balloon)
{
    return &balloon->virtio.pci.machine->vm->memory;
}

static struct spinlock *lock_of(struct virtio_balloon *balloon)
{
    return &balloon->virtio.pci.lock;
}

static void chain_give(struct virtio_balloon *balloon, unsigned queue, u16 head)
{
    int error = virtq_give(&balloon->virtio.queues[queue], memory_of(balloon), head, 0);

    if (error)
        virtio_fail_write(&balloon->virtio, error, "has a used ring where no RAM is");
    else
        virtio_show(&balloon->virtio, queue);
}

/* ---------------------------------------------------------------- pages */

static bool pages_are_usable(const struct virtio_balloon *balloon)
{
    return balloon->held && virtio_is_usable(&balloon->virtio, balloon->queue);
}

/* The next chain of either queue. */
static bool chain_take(struct virtio_balloon *balloon)
{
    struct virtq_chain *chain = &balloon->chain;

    balloon->queue = QUEUE_INFLATE;
    if (!virtio_take(&balloon->virtio, QUEUE_INFLATE, chain)) {
        balloon->queue = QUEUE_DEFLATE;
        if (!virtio_take(&balloon->virtio, QUEUE_DEFLATE, chain))
            return false;
    }
    balloon->left = (struct buffers){chain->buffers, chain->readable};
    balloon->bytes = buffers_bytes(&balloon->left);
    balloon->held = true;
    if (!chain->writable && balloon->bytes % sizeof(*balloon->pfns) == 0)
        return true;
    virtio_fail(&balloon->virtio, "gave a part of a page's number, or a buffer to be written");
    return false;
}

/* Page numbers to be worked on, if there are any: those that are left, or new ones. */
static bool pfns_get(struct virtio_balloon *balloon)
{
    u64 bytes;

    for (u32 i = 0; i < SHARE_CHAINS; i++) {
        if (!balloon->held && !chain_take(balloon))
            return false;
        if (!pages_are_usable(balloon))
            return false;
        if (balloon->pfn_next < balloon->pfn_count)
            return true;
        bytes = MIN(balloon->bytes, (u64)sizeof(balloon->pfns));
        if (buffers_take(&balloon->left, memory_of(balloon), balloon->pfns, bytes)) {
            virtio_fail(&balloon->virtio, "has numbers of pages where no RAM is");
            return false;
        }
        balloon->bytes -= bytes;
        balloon->pfn_next = 0;
        balloon->pfn_count = (u32)(bytes / sizeof(*balloon->pfns));
        if (balloon->pfn_count)
            return true;
        balloon->held = false;
        chain_give(balloon, balloon->queue, balloon->chain.head);
    }
    virtio_work_want(&balloon->virtio);
    return false;
}

/* No lock is held, and `moving` is set. */
static void pages_move(struct virtio_balloon *balloon)
{
    struct guest_memory *memory = memory_of(balloon);
    struct balloon_work work = {.all = true};

    balloon_begin(memory);
    while (balloon->pfn_next < balloon->pfn_count && work.cost < COST_OF_TURN) {
        gfn_t gfn = balloon->pfns[balloon->pfn_next++];

        if (balloon->queue == QUEUE_INFLATE)
            balloon_lock(memory, &work, gfn, FRAME_ORDER_4K);
        else
            balloon_unlock(memory, &work, gfn, FRAME_ORDER_4K);
    }
    balloon_end(memory, &work);
}

/* Pages of a second and more tell the rate. */
static void rate_update(struct virtio_balloon *balloon)
{
    struct guest_memory *memory = memory_of(balloon);
    u64 now = device_now(), passed = now - balloon->rate_at;

    if (balloon->rate_at && passed < tsc_khz * 1000)
        return;
    spinlock_take(memory->lock);
    if (balloon->rate_at)
        memory->balloon.rate = (memory->balloon.moved - balloon->rate_moved) * tsc_khz * 1000 / passed;
    balloon->rate_moved = memory->balloon.moved;
    spinlock_release(memory->lock);
    balloon->rate_at = now;
}

static void pages_end(struct virtio_balloon *balloon)
{
    rate_update(balloon);
    virtio_work_want(&balloon->virtio); /* of this chain, of the next one, or nothing */
    if (!pages_are_usable(balloon))
        return;
    if (balloon->pfn_next == balloon->pfn_count && !balloon->bytes) {
        balloon->held = false;
        chain_give(balloon, balloon->queue, balloon->chain.head);
    }
}

/* ---------------------------------------------------------------- statistics */

static void statistics_read(struct virtio_balloon *balloon)
{
    struct guest_memory *memory = memory_of(balloon);
    struct buffers said = {balloon->statistics.buffers, balloon->statistics.readable};
    struct balloon_statistics statistics = {.at = device_now()};
    struct virtio_balloon_stat entry;

    for (u32 i = 0; i < STATISTICS_MOST && !buffers_take(&said, memory, &entry, sizeof(entry)); i++) {
        if (entry.tag >= BALLOON_STATISTICS)
            continue;
        statistics.known |= BIT(entry.tag);
        statistics.values[entry.tag] = entry.val;
    }
    spinlock_take(memory->lock);
    memory->balloon.statistics = statistics;
    spinlock_release(memory->lock);
}

/* Take what the driver says, and give it back when it is to say something new. */
static void statistics_serve(struct virtio_balloon *balloon)
{
    struct virtio *virtio = &balloon->virtio;

    if (!balloon->statistics_held && virtio_take(virtio, QUEUE_STATISTICS, &balloon->statistics)) {
        statistics_read(balloon);
        balloon->statistics_head = balloon->statistics.head;
        balloon->statistics_held = true;
    }
    if (!balloon->statistics_held || !balloon->statistics_wanted ||
        !virtio_is_usable(virtio, QUEUE_STATISTICS))
        return;
    balloon->statistics_held = balloon->statistics_wanted = false;
    chain_give(balloon, QUEUE_STATISTICS, balloon->statistics_head);
}

/* ---------------------------------------------------------------- turns */

static void driver_forget(struct virtio_balloon *balloon)
{
    balloon->config = (struct virtio_balloon_config){0};
    balloon->held = balloon->statistics_held = balloon->statistics_wanted = false;
    balloon->pfn_next = balloon->pfn_count = 0;
}

/* A driver that begins has given nothing, whatever one before it had: as the VMware balloon's START. */
static bool driver_reset(struct virtio *virtio)
{
    struct virtio_balloon *balloon = balloon_of(virtio);
    struct guest_memory *memory = memory_of(balloon);

    if (balloon->moving)
        return false;
    driver_forget(balloon);
    spinlock_take(memory->lock);
    balloon_forget(memory);
    spinlock_release(memory->lock);
    return true;
}

void virtio_balloon_work(struct virtio_balloon *balloon, struct vcpu *vcpu)
{
    if (!virtio_work_is_for(&balloon->virtio, vcpu))
        return;
    spinlock_take(lock_of(balloon));
    if (balloon->moving) { /* another vCPU is at it, and will see that there is more */
        spinlock_release(lock_of(balloon));
        return;
    }
    balloon->virtio.worker.work = false;
    statistics_serve(balloon);
    balloon->moving = pfns_get(balloon);
    if (balloon->moving) {
        spinlock_release(lock_of(balloon));
        pages_move(balloon);
        spinlock_take(lock_of(balloon));
        balloon->moving = false;
        if (balloon->virtio.resetting && driver_reset(&balloon->virtio))
            virtio_reset_end(&balloon->virtio);
        else
            pages_end(balloon);
    }
    virtio_turn_end(&balloon->virtio, vcpu);
}

static void notified(struct virtio *virtio, unsigned queue)
{
    (void)queue;
    virtio_work_want(virtio);
}

/* ---------------------------------------------------------------- registers and the operator */

static void config_look(struct virtio *virtio)
{
    struct virtio_balloon *balloon = balloon_of(virtio);
    struct guest_memory *memory = memory_of(balloon);

    spinlock_take(memory->lock);
    balloon->config.num_pages = (u32)MIN(balloon_wanted(memory), 0xffffffffull);
    spinlock_release(memory->lock);
}

static void config_write(struct virtio *virtio, u32 offset, unsigned size, u32 value)
{
    if (offset == offsetof(struct virtio_balloon_config, actual) && size == sizeof(u32))
        balloon_of(virtio)->config.actual = value;
}

bool virtio_balloon_ask(struct virtio_balloon *balloon)
{
    bool told;

    spinlock_take(lock_of(balloon));
    rate_update(balloon);
    told = virtio_is_usable(&balloon->virtio, QUEUE_INFLATE);
    if (told) {
        virtio_config_changed(&balloon->virtio);
        balloon->statistics_wanted = true;
        virtio_work_want(&balloon->virtio);
    }
    spinlock_release(lock_of(balloon));
    return told;
}

/* ---------------------------------------------------------------- life */

/* Not MUST_TELL_HOST: a page that the guest touches untold comes back by itself. */
static const struct virtio_ops balloon_ops = {
    .type = VIRTIO_ID_BALLOON,
    .class = CLASS_MEMORY,
    .features = BIT(VIRTIO_BALLOON_F_STATS_VQ) | BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM),
    .queue_count = QUEUES,
    .notify = notified,
    .config_look = config_look,
    .config_write = config_write,
    .reset = driver_reset,
};

struct virtio_balloon *virtio_balloon_create(struct machine *m, unsigned slot)
{
    struct virtio_balloon *balloon = memory_alloc(sizeof(*balloon), frame_owner_support(m->vm->index));

    if (!balloon)
        return NULL;
    balloon->virtio.name = "its virtio balloon";
    balloon->virtio.config = &balloon->config;
    balloon->virtio.config_size = CONFIG_BYTES;
    virtio_init(&balloon->virtio, m, slot, &balloon_ops);
    return balloon;
}

/* What the guest has given comes back with its memory (guest_memory_reset). */
void virtio_balloon_reset(struct virtio_balloon *balloon)
{
    spinlock_take(lock_of(balloon));
    driver_forget(balloon);
    balloon->queue = 0;
    balloon->bytes = 0;
    balloon->left = (struct buffers){0};
    balloon->statistics_head = 0;
    balloon->rate_at = balloon->rate_moved = 0;
    memset(&balloon->chain, 0, sizeof(balloon->chain));
    memset(&balloon->statistics, 0, sizeof(balloon->statistics));
    memset(balloon->pfns, 0, sizeof(balloon->pfns));
    virtio_power_on(&balloon->virtio);
    spinlock_release(lock_of(balloon));
}

void virtio_balloon_destroy(struct virtio_balloon *balloon)
{
    memory_free(balloon, sizeof(*balloon), frame_owner_support(balloon->virtio.pci.machine->vm->index));
}
