/* SPDX-License-Identifier: MIT */
/*
 * Random numbers of guests (contract in the header). Bytes come from the CPU in the exit that asks for them,
 * a share of them; further turns of the same vCPU carry the rest. What the CPU did not deliver is not given:
 * a chain gets fewer bytes than it has room for, which drivers know, and one for which there are none stops
 * the device.
 */
#include "guest/devices/virtio_rng.h"

#include <linux/virtio_ids.h>

#include "arch/x86/machine/random.h"
#include "guest/devices/virtio_buffers.h"
#include "guest/machine.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"

#define QUEUE 0

#define CLASS_RANDOM 0x00ff /* of no other class */
#define CHAIN_WORDS  32u    /* that one chain gets at most, however much room it has */
#define SHARE_CHAINS 4u     /* that one exit, or the beginning of one turn, fills */

static struct virtio_rng *rng_of(struct virtio *virtio)
{
    return container_of(virtio, struct virtio_rng, virtio);
}

static struct guest_memory *memory_of(const struct virtio_rng *rng)
{
    return &rng->virtio.pci.machine->vm->memory;
}

static struct spinlock *lock_of(struct virtio_rng *rng)
{
    return &rng->virtio.pci.lock;
}

/* As many of these bytes as the CPU delivers now. */
static u64 words_get(u64 *words, u64 bytes)
{
    u64 got = 0;

    while (got < bytes && random_word(&words[got / sizeof(*words)]))
        got += sizeof(*words);
    return MIN(got, bytes);
}

static void chain_fill(struct virtio_rng *rng)
{
    struct virtio *virtio = &rng->virtio;
    const struct buffers in = {rng->chain.buffers + rng->chain.readable, rng->chain.writable};
    u64 words[CHAIN_WORDS], room = buffers_bytes(&in), bytes;
    int error;

    if (rng->chain.readable || !room) {
        virtio_fail(virtio, "offered a buffer to be read, or no room, for random numbers");
        return;
    }
    bytes = words_get(words, MIN(room, sizeof(words)));
    if (!bytes) {
        virtio_break(virtio, "the CPU's generator delivers nothing any more");
        return;
    }
    error = buffers_fill(&in, memory_of(rng), words, bytes);
    if (!error)
        error = virtq_give(&virtio->queues[QUEUE], memory_of(rng), rng->chain.head, (u32)bytes);
    if (error)
        virtio_fail_write(virtio, error, "wants random numbers, or has a used ring, where no RAM is");
}

static void serve(struct virtio_rng *rng)
{
    u32 chains = 0;

    while (chains < SHARE_CHAINS && virtio_take(&rng->virtio, QUEUE, &rng->chain)) {
        chain_fill(rng);
        chains++;
    }
    if (!virtio_is_usable(&rng->virtio, QUEUE))
        return;
    virtio_show(&rng->virtio, QUEUE);
    if (chains == SHARE_CHAINS)
        virtio_work_want(&rng->virtio);
}

void virtio_rng_work(struct virtio_rng *rng, struct vcpu *vcpu)
{
    if (!virtio_work_is_for(&rng->virtio, vcpu))
        return;
    spinlock_take(lock_of(rng));
    rng->virtio.worker.work = false;
    serve(rng);
    virtio_turn_end(&rng->virtio, vcpu);
}

static void notified(struct virtio *virtio, unsigned queue)
{
    (void)queue;
    serve(rng_of(virtio));
}

/* Nothing ever goes on behind an exit. */
static bool driver_reset(struct virtio *virtio)
{
    (void)virtio;
    return true;
}

static const struct virtio_ops rng_ops = {
    .type = VIRTIO_ID_RNG,
    .class = CLASS_RANDOM,
    .queue_count = 1,
    .answer_bytes = CHAIN_WORDS * sizeof(u64),
    .notify = notified,
    .reset = driver_reset,
};

int virtio_rng_create(struct machine *m, unsigned slot, struct virtio_rng **rng)
{
    *rng = NULL;
    if (!random_available()) {
        log_warning("VM %s: is offered no virtio.rng: this CPU has no generator of random numbers (RDSEED, "
                    "RDRAND) that works",
                    m->vm->name);
        return 0;
    }
    *rng = memory_alloc(sizeof(**rng), frame_owner_support(m->vm->index));
    if (!*rng)
        return -ENOMEM;
    (*rng)->virtio.name = "its random number generator";
    virtio_init(&(*rng)->virtio, m, slot, &rng_ops);
    return 0;
}

void virtio_rng_reset(struct virtio_rng *rng)
{
    spinlock_take(lock_of(rng));
    memset(&rng->chain, 0, sizeof(rng->chain));
    virtio_power_on(&rng->virtio);
    spinlock_release(lock_of(rng));
}

void virtio_rng_destroy(struct virtio_rng *rng)
{
    memory_free(rng, sizeof(*rng), frame_owner_support(rng->virtio.pci.machine->vm->index));
}
