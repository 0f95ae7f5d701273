/* SPDX-License-Identifier: MIT */
/*
 * Random numbers, console and balloon while a second vCPU rewrites all that they may be reading: descriptors,
 * available rings, tables, numbers of pages. Each refuses or serves, and works behind a reset.
 */
// conf: vcpus = 2
// conf: balloon = virtio
// conf: virtio.rng = yes
// conf: virtio.console = yes
#include "lib/smp.h"
#include "lib/tap.h"
#include "lib/virtio.h"

#define QUEUES      3u
#define HOLE        0xd0000000ull
#define POOL        0x2000000ull /* pages of no other use, which the balloon may have */
#define STORM       60u
#define STORM_ROUND 16u

static struct virtio queues[QUEUES]; /* of the device that is attacked */
static struct ring rings[QUEUES];
static struct vring_desc table[4] ALIGNED(16);
static u32 data[64];
static u32 over;

static void begin(u32 count)
{
    struct virtio *v = &queues[0];

    if (!virtio_negotiate(v, virtio_offered(v)))
        bail_out("the device refuses its own features");
    for (u16 i = (u16)count; i-- > 0;) {
        queues[i] = *v;
        queues[i].queue = i;
        virtio_queue(&queues[i], &rings[i]);
    }
    common_write(v, VIRTIO_PCI_COMMON_STATUS, 1, virtio_status(v) | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void rewrite(void)
{
    u64 seed = 7;

    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        struct vring_desc *desc;
        struct ring *ring;

        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        ring = &rings[(seed >> 36) % QUEUES];
        desc = seed & 1 ? &table[seed >> 33 & 3] : &ring->desc[seed >> 33 & 3];
        switch (seed >> 60 & 7) {
        case 0: WRITE_ONCE(desc->len, seed & 2 ? 1u << (seed >> 40 & 7) : 16); break;
        case 1: WRITE_ONCE(desc->addr, seed & 2 ? HOLE : (u64)data); break;
        case 2: WRITE_ONCE(desc->next, (u16)(seed >> 44 & 3)); break;
        case 3: WRITE_ONCE(desc->flags, (u16)(seed >> 44 & 7)); break;
        case 4: WRITE_ONCE(data[seed >> 40 & 63], (u32)(POOL / 4096) + (u32)(seed >> 50 & 63)); break;
        case 5: WRITE_ONCE(data[seed >> 40 & 63], (u32)(seed >> 20) | 0x80000000u); break; /* no RAM */
        case 6: WRITE_ONCE(ring->avail.ring[seed >> 40 & 31], (u16)(seed >> 48 & 3)); break;
        default: WRITE_ONCE(ring->avail.flags, (u16)(seed >> 48)); break;
        }
        if ((seed >> 52 & 31) == 0) /* where both have one CPU, the driver's turn comes, too */
            smp_yield();
    }
}

/* Chains on each queue, some of them by way of the table. */
static u32 storm_round(u32 count)
{
    begin(count);
    for (u32 i = 0; i < 4; i++)
        table[i] = (struct vring_desc){(u64)data, 16, i % 2 ? VRING_DESC_F_WRITE : 0, 0};
    for (u32 i = 0; i < count; i++) {
        for (u32 j = 0; j < 3; j++)
            rings[i].desc[j] = table[j];
        rings[i].desc[3] = (struct vring_desc){(u64)table, 32, VRING_DESC_F_INDIRECT, 0};
        for (u32 j = 0; j < STORM_ROUND; j++)
            ring_offer(&queues[i], (u16)(j & 3));
        smp_yield();
        ring_notify(&queues[i]);
    }
    return virtio_status(&queues[0]) & VIRTIO_CONFIG_S_NEEDS_RESET ? 1 : 0;
}

/* One chain that is right. */
static bool works(u32 count, unsigned queue, u32 bytes, u16 flags)
{
    struct vring_used_elem used;

    begin(count);
    rings[queue].desc[0] = (struct vring_desc){(u64)data, bytes, flags, 0};
    ring_offer(&queues[queue], 0);
    ring_notify(&queues[queue]);
    return ring_wait(&queues[queue], &used) && used.id == 0;
}

static void storm(const char *name, unsigned slot, u32 count, unsigned queue, u32 bytes, u16 flags)
{
    u32 refused = 0;

    if (!virtio_find(&queues[0], slot))
        bail_out("there is no %s", name);
    begin(count);
    __atomic_store_n(&over, 0, __ATOMIC_RELEASE);
    smp_run(1, rewrite);
    for (u32 round = 0; round < STORM; round++)
        refused += storm_round(count);
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    smp_wait(1);
    say("%s: %u of %u rounds ended in a refusal", name, refused, STORM);
    ok(works(count, queue, bytes, flags), "%s: works behind all that", name);
}

void guest_main(void)
{
    plan(3);
    smp_setup();
    smp_start_all();
    storm("random numbers", 10, 1, 0, 64, VRING_DESC_F_WRITE);
    storm("console", 11, 2, 1, 0, 0);
    storm("balloon", 12, 3, 1, 64, 0);
}
