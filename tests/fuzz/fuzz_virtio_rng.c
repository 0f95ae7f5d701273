/* SPDX-License-Identifier: MIT */
/*
 * A random number generator whose driver writes any bytes into its ring, while another vCPU changes them
 * behind each read and memory comes and goes. One notification, or turn, takes 128 words of the CPU's at
 * most.
 */
// sources: guest/devices/virtio_rng.c
// sources: guest/devices/virtio.c guest/devices/virtio_ring.c guest/devices/msix.c
// sources: guest/devices/virtio_buffers.c guest/devices/pci.c hv/run/bus.c hv/memory/frame.c
// sources: hv/memory/memory.c hv/memory/guest_map.c tests/unit/fake_memory.c tests/fuzz/hostile_machine.c
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_ring.h>

#include "arch/x86/machine/random.h"
#include "tests/fuzz/hostile_machine.h"
#include "tests/unit/fake_memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WORDS_AT_ONCE 128u

static u32 words, words_most; /* delivered, in all; how many the CPU has */

bool random_available(void)
{
    return true;
}

bool random_word(u64 *word)
{
    if (words == words_most)
        return false;
    *word = 0x0101010101010101ull * (words++ & 0x7f);
    return true;
}

static void step(struct virtio_rng *rng, bool by_driver)
{
    u32 before = words;

    hostile_count();
    if (by_driver)
        hostile_notify(0);
    else
        virtio_rng_work(rng, &hostile.vcpu);
    require(words - before <= WORDS_AT_ONCE);
    hostile_queue_check(&rng->virtio, 0, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct hostile_chain chain = {{VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, VRING_DESC_F_WRITE},
                                               {0x180, 0x40}};
    struct machine *m;

    if (size < 8)
        return 0;
    fake_memory_begin();
    m = hostile_machine_make();
    require(virtio_rng_create(m, HOSTILE_SLOT, &m->rng) == 0);
    hostile.reach = 0x1000; /* the ring */
    hostile.most = 20000;
    words = 0;
    words_most = data[2] & 0x80 ? data[2] & 0x7fu : ~0u;
    hostile_device_begin(data[0] & 1, 1);
    hostile.changes_left = MIN((size_t)data[1] * 3, (size - 8) / 2);
    hostile.changes = data + size - hostile.changes_left;
    hostile_memory_make(&chain, 1, data + 8, size - 8 - hostile.changes_left);
    for (unsigned i = 0; i < 5; i++) {
        hostile.full = data[3 + i] & 0x80 ? (data[3 + i] & 0x3fu) << 9 : HOSTILE_RAM;
        hostile_offer(0, data[3 + i] >> 4 & 7);
        step(m->rng, data[3 + i] & 1);
        step(m->rng, false);
    }
    virtio_rng_reset(m->rng);
    virtio_rng_destroy(m->rng);
    require(frame_owned(frame_owner_support(0)) == 0 && frame_promised(frame_owner_support(0)) == 0);
    free(m);
    return 0;
}
