/* SPDX-License-Identifier: MIT */
/*
 * Drives of guests (contract in the header). Notifications come from exits with the device's lock held. One
 * exit carries a share of the requests that wait, further turns of the same vCPU the rest, so that a guest
 * with a full queue pays for it and keeps no CPU from others for long. The end of a request that was in
 * progress is noted by the drive's own interrupt, and told to the guest in a turn of a vCPU, too: only there
 * may guest memory be touched without the VM's lock (hv/run/vm_flush.h).
 */
#include "guest/devices/virtio_blk.h"

#include <linux/virtio_ids.h>

#include "guest/devices/virtio_buffers.h"
#include "guest/machine.h"
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

#define QUEUE 0

#define CLASS_STORAGE 0x0180 /* mass storage, other */
/* Header and status take a buffer each of the longest chain. */
#define SEGMENTS_MAX    (VIRTQ_SIZE_MAX - 2)
#define SEGMENT_BYTES   0x8000u
#define REQUEST_BYTES   ((u64)SEGMENTS_MAX * SEGMENT_BYTES)
#define DISCARD_SECTORS 0x10000u
/* What one exit, or the beginning of one turn, may carry. */
#define SHARE_REQUESTS 64u
#define SHARE_BYTES    (1u << 20)

_Static_assert(sizeof(struct virtio_blk_outhdr) == 16, "Virtio 1.1, 5.2.6");
_Static_assert(sizeof(struct virtio_blk_discard_write_zeroes) == 16, "Virtio 1.1, 5.2.6");
_Static_assert(offsetof(struct virtio_blk_config, max_discard_sectors) == 36, "Virtio 1.1, 5.2.4");

static struct virtio_blk *blk_of(struct virtio *virtio)
{
    return container_of(virtio, struct virtio_blk, virtio);
}

static struct guest_memory *memory_of(const struct virtio_blk *blk)
{
    return &blk->virtio.pci.machine->vm->memory;
}

static struct spinlock *lock_of(struct virtio_blk *blk)
{
    return &blk->virtio.pci.lock;
}

/* ---------------------------------------------------------------- requests */

static u8 status_of(int error)
{
    if (error == 0)
        return VIRTIO_BLK_S_OK;
    return error == -ENOTSUP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

/* A request has ended: status byte and used entry. The length tells of data that is there for sure. */
static void slot_end(struct virtio_blk_slot *slot, int error)
{
    struct virtio_blk *blk = slot->blk;
    u8 status = status_of(error);
    u32 bytes = error && slot->data ? 0 : (u32)slot->data + 1;
    int failed = guest_memory_write(memory_of(blk), slot->status, &status, sizeof(status));

    if (error == -ENOMEM)
        virtio_tell_no_memory(&blk->virtio);
    if (failed) {
        virtio_fail_write(&blk->virtio, failed, "gave a request's status a place where no RAM is");
        return;
    }
    failed = virtq_give(&blk->virtio.queues[QUEUE], memory_of(blk), slot->chain.head, bytes);
    if (failed)
        virtio_fail_write(&blk->virtio, failed, "has a used ring where no RAM is");
}

static int submit(struct virtio_blk_slot *slot, enum block_operation operation, u64 sector, u64 sectors,
                  const struct buffers *data)
{
    struct block_request *request = &slot->request;

    request->operation = operation;
    request->sector = sector;
    request->sectors = sectors;
    request->segments = data->at;
    request->segment_count = data->count;
    return block_submit(slot->blk->disk, request);
}

static int transfer(struct virtio_blk_slot *slot, enum block_operation operation, u64 sector,
                    const struct buffers *data)
{
    u64 bytes = buffers_bytes(data);

    if (bytes > REQUEST_BYTES)
        return -EINVAL;
    return submit(slot, operation, sector, bytes / BLOCK_SECTOR, data);
}

static int discard(struct virtio_blk_slot *slot, struct buffers *data)
{
    struct virtio_blk_discard_write_zeroes range;
    int error = buffers_take(data, memory_of(slot->blk), &range, sizeof(range));

    if (error || data->count > 0 || range.num_sectors > DISCARD_SECTORS)
        return -EINVAL;
    if (range.flags)
        return -ENOTSUP;
    return submit(slot, BLOCK_DISCARD, range.sector, range.num_sectors, data);
}

static int identify(const struct virtio_blk_slot *slot, const struct buffers *data)
{
    const struct virtio_blk *blk = slot->blk;

    return buffers_fill(data, memory_of(blk), blk->name, sizeof(blk->name));
}

/* Carry a request out. 0 or an error: it has ended; -EINPROGRESS: slot_done will tell. */
static int carry_out(struct virtio_blk_slot *slot, const struct virtio_blk_outhdr *header,
                     struct buffers *out, struct buffers *in)
{
    switch (header->type) {
    case VIRTIO_BLK_T_IN: return transfer(slot, BLOCK_READ, header->sector, in);
    case VIRTIO_BLK_T_OUT: return transfer(slot, BLOCK_WRITE, header->sector, out);
    case VIRTIO_BLK_T_FLUSH: return submit(slot, BLOCK_FLUSH, 0, 0, &(struct buffers){0});
    case VIRTIO_BLK_T_GET_ID: return identify(slot, in);
    case VIRTIO_BLK_T_DISCARD: return discard(slot, out);
    default: return -ENOTSUP;
    }
}

/* Begin what a chain asks for; the bytes it has moved, as the share counts them. */
static u64 slot_begin(struct virtio_blk_slot *slot)
{
    struct virtio_blk *blk = slot->blk;
    struct virtq_chain *chain = &slot->chain;
    struct buffers out = {chain->buffers, chain->readable},
                   in = {chain->buffers + chain->readable, chain->writable};
    struct virtio_blk_outhdr header;
    u64 out_bytes;
    int error;

    if (!buffers_cut_last(&in, &slot->status)) {
        virtio_fail(&blk->virtio, "made a request without a place for its status");
        return 0;
    }
    if (buffers_take(&out, memory_of(blk), &header, sizeof(header))) {
        virtio_fail(&blk->virtio, "made a request without a header");
        return 0;
    }
    slot->data = buffers_bytes(&in);
    out_bytes = buffers_bytes(&out);
    error = carry_out(slot, &header, &out, &in);
    if (error == -EINPROGRESS) {
        slot->state = SLOT_IN_PROGRESS;
        blk->in_progress++;
        return 0;
    }
    slot_end(slot, error);
    if (slot->request.operation == BLOCK_DISCARD)
        return SHARE_BYTES; /* thousands of pages */
    return error ? 0 : slot->data + out_bytes;
}

static struct virtio_blk_slot *slot_free(struct virtio_blk *blk)
{
    for (u32 i = 0; i < blk->disk->depth; i++)
        if (blk->slots[i].state == SLOT_FREE)
            return &blk->slots[i];
    return NULL;
}

/* ---------------------------------------------------------------- the queue */

static void serve(struct virtio_blk *blk)
{
    u64 bytes = 0;
    u32 requests = 0;
    bool more = true;

    while (more && requests < SHARE_REQUESTS && bytes < SHARE_BYTES) {
        struct virtio_blk_slot *slot = slot_free(blk);

        more = slot && virtio_take(&blk->virtio, QUEUE, &slot->chain);
        if (more)
            bytes += slot_begin(slot);
        requests++;
    }
    if (!virtio_is_usable(&blk->virtio, QUEUE))
        return;
    virtio_show(&blk->virtio, QUEUE);
    if (more)
        virtio_work_want(&blk->virtio);
}

/* The drive is done with it; the guest is told by virtio_blk_work. */
static void slot_done(struct block_request *request, int status)
{
    struct virtio_blk_slot *slot = container_of(request, struct virtio_blk_slot, request);
    struct virtio_blk *blk = slot->blk;

    spinlock_take(lock_of(blk));
    slot->state = blk->virtio.resetting ? SLOT_FREE : SLOT_ENDED;
    slot->result = status;
    blk->in_progress--;
    if (blk->in_progress == 0)
        virtio_reset_end(&blk->virtio);
    virtio_work_want(&blk->virtio);
    spinlock_release(lock_of(blk));
}

static void ends_tell(struct virtio_blk *blk, bool usable)
{
    for (u32 i = 0; i < blk->disk->depth; i++) {
        struct virtio_blk_slot *slot = &blk->slots[i];

        if (slot->state != SLOT_ENDED)
            continue;
        slot->state = SLOT_FREE;
        if (usable)
            slot_end(slot, slot->result);
    }
}

/* An exit or the beginning of a turn: tell what has ended, begin what is new. */
static void carry_on(struct virtio_blk *blk)
{
    if (blk->virtio.worker.work)
        ends_tell(blk, virtio_is_usable(&blk->virtio, QUEUE));
    blk->virtio.worker.work = false;
    if (virtio_is_usable(&blk->virtio, QUEUE))
        serve(blk);
}

void virtio_blk_work(struct virtio_blk *blk, struct vcpu *vcpu)
{
    if (!virtio_work_is_for(&blk->virtio, vcpu))
        return;
    spinlock_take(lock_of(blk));
    carry_on(blk);
    virtio_turn_end(&blk->virtio, vcpu);
}

/* What another vCPU was asked to carry on is this one's now. */
static void notified(struct virtio *virtio, unsigned queue)
{
    (void)queue;
    carry_on(blk_of(virtio));
}

/* What has ended, and was not told, is nobody's any more. */
static bool driver_reset(struct virtio *virtio)
{
    struct virtio_blk *blk = blk_of(virtio);

    ends_tell(blk, false);
    return blk->in_progress == 0;
}

/* ---------------------------------------------------------------- life */

static const struct virtio_ops blk_ops = {
    .type = VIRTIO_ID_BLOCK,
    .class = CLASS_STORAGE,
    .features = BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
                BIT(VIRTIO_BLK_F_FLUSH),
    .queue_count = 1,
    .answer_bytes = 1, /* the status */
    .answer_is_last = true,
    .notify = notified,
    .reset = driver_reset,
};

static void config_fill(struct virtio_blk *blk)
{
    const struct block_device *disk = blk->disk;

    blk->config = (struct virtio_blk_config){
        .capacity = disk->sectors,
        .size_max = SEGMENT_BYTES,
        .seg_max = SEGMENTS_MAX,
        .blk_size = BLOCK_SECTOR,
    };
    if (disk->read_only)
        blk->virtio.offered |= BIT(VIRTIO_BLK_F_RO);
    if (!disk->discard_sectors)
        return;
    blk->virtio.offered |= BIT(VIRTIO_BLK_F_DISCARD);
    blk->config.max_discard_sectors = DISCARD_SECTORS;
    blk->config.max_discard_seg = 1;
    blk->config.discard_sector_alignment = disk->discard_sectors;
}

static u64 blk_bytes(const struct block_device *disk)
{
    return sizeof(struct virtio_blk) + disk->depth * sizeof(struct virtio_blk_slot);
}

struct virtio_blk *virtio_blk_create(struct machine *m, unsigned slot, unsigned number,
                                     struct block_device *disk)
{
    struct virtio_blk *blk = memory_alloc(blk_bytes(disk), frame_owner_support(m->vm->index));

    if (!blk)
        return NULL;
    blk->disk = disk;
    snprintf(blk->name, sizeof(blk->name), "disk%u", number);
    for (u32 i = 0; i < disk->depth; i++) {
        blk->slots[i].blk = blk;
        blk->slots[i].request.memory = &m->vm->memory;
        blk->slots[i].request.done = slot_done;
    }
    blk->virtio.name = blk->name;
    blk->virtio.config = &blk->config;
    blk->virtio.config_size = sizeof(blk->config);
    virtio_init(&blk->virtio, m, slot, &blk_ops);
    config_fill(blk);
    return blk;
}

void virtio_blk_reset(struct virtio_blk *blk)
{
    block_abort(blk->disk);
    spinlock_take(lock_of(blk));
    ends_tell(blk, false);
    virtio_power_on(&blk->virtio);
    spinlock_release(lock_of(blk));
}

void virtio_blk_destroy(struct virtio_blk *blk)
{
    struct block_device *disk = blk->disk;
    u64 bytes = blk_bytes(disk);

    memory_free(blk, bytes, frame_owner_support(blk->virtio.pci.machine->vm->index));
    block_close(disk);
}
