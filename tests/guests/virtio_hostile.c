/* SPDX-License-Identifier: MIT */
/*
 * A driver that breaks every rule of rings and requests, alone and from a second vCPU at the same time: the
 * device refuses, waits for a reset, and works behind it.
 */
// conf: vcpus = 2
// conf: disk = ram:1M
#include "lib/ring_attacks.h"
#include "lib/smp.h"
#include "lib/tap.h"
#include "lib/virtio.h"

#define SLOT        1u
#define HOLE        0xd0000000ull
#define MEMORY      0x4000000ull
#define STORM       200u
#define STORM_ROUND 32u

static struct virtio drive;
static struct ring ring;
static u8 data[8192] ALIGNED(4096);
static struct blk_request request;
static struct vring_desc table[4] ALIGNED(16);

static void begin(void)
{
    virtio_begin(&drive, &ring, ALL_OFFERED);
}

/* A right request, for each attack to spoil. */
static void describe(void)
{
    begin();
    blk_describe(&drive, 0, &request, VIRTIO_BLK_T_IN, 0, data, sizeof(data), true);
}

/* Behind whatever was done. */
static bool works_again(void)
{
    begin();
    return blk_do(&drive, VIRTIO_BLK_T_IN, 0, data, sizeof(data), true) == VIRTIO_BLK_S_OK;
}

/* ---------------------------------------------------------------- requests that are only errors */

static void lengths(void)
{
    begin();
    ok(blk_do(&drive, VIRTIO_BLK_T_IN, 0, data, ~0u, true) == VIRTIO_BLK_S_IOERR,
       "4 GiB at once is an error");
    ok(blk_do(&drive, VIRTIO_BLK_T_OUT, 0, (void *)HOLE, 512, false) == VIRTIO_BLK_S_IOERR,
       "data where no RAM is, too");
    ok(blk_do(&drive, VIRTIO_BLK_T_IN, 0, (void *)(MEMORY - 512), 1024, true) == VIRTIO_BLK_S_IOERR,
       "and data across the end of RAM");
    ok(blk_do(&drive, VIRTIO_BLK_T_IN, 0, (void *)~0ull, 512, true) == VIRTIO_BLK_S_IOERR,
       "and at the end of all addresses");
    ok(!needs_reset(&drive) && works_again(), "the device goes on behind them");
}

/* Everything that a driver may write, with whatever comes to mind. */
static void garbage(void)
{
    u64 seed = 1;

    begin();
    for (u32 i = 0; i < 3000; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        mmio_write(drive.bar + (seed >> 20 & 0x3ffc), (u32)(seed >> 32));
        mmio_read(drive.bar + (seed >> 40 & 0x3ffc));
        if (i % 8 == 0)
            pci_write(SLOT, 0x40 + (seed >> 50) % 0x70, (u32)seed);
    }
    pci_write(SLOT, drive.msix, 0);
    pci_write(SLOT, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    ok(works_again(), "3000 registers of garbage");
}

/* ---------------------------------------------------------------- a second vCPU */

static u32 over;

/* Change whatever the device may be reading: lengths, addresses, flags, successors, the header, the rings. */
static void rewrite(void)
{
    u64 seed = 7;

    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        struct vring_desc *desc;

        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        desc = seed & 1 ? &table[seed >> 33 & 3] : &ring.desc[seed >> 33 & 3];
        switch (seed >> 60 & 7) {
        case 0: WRITE_ONCE(desc->len, seed & 2 ? 1u << (seed >> 40 & 31) : 16); break;
        case 1: WRITE_ONCE(desc->addr, seed & 2 ? HOLE : (u64)data); break;
        case 2: WRITE_ONCE(desc->next, (u16)(seed >> 44 & 3)); break;
        case 3: WRITE_ONCE(desc->flags, (u16)(seed >> 44 & 7)); break;
        case 4: WRITE_ONCE(request.header.type, (u32)(seed >> 44 & 15)); break;
        case 5: WRITE_ONCE(request.header.sector, seed & 2 ? seed : 0); break;
        case 6: WRITE_ONCE(ring.avail.ring[seed >> 40 & 31], (u16)(seed >> 48 & 3)); break;
        default: WRITE_ONCE(ring.avail.flags, (u16)(seed >> 48)); break;
        }
    }
}

static void storm(void)
{
    u32 resets = 0;

    smp_run(1, rewrite);
    for (u32 round = 0; round < STORM; round++) {
        describe();
        table[0] = ring.desc[0];
        table[1] = ring.desc[1];
        table[2] = ring.desc[2];
        ring.desc[3] = (struct vring_desc){(u64)table, 48, VRING_DESC_F_INDIRECT, 0};
        for (u32 i = 0; i < STORM_ROUND; i++)
            ring_offer(&drive, i % 2 ? 3 : 0);
        if (round % 2)
            smp_yield(); /* where both have one CPU, it is the other one's now */
        ring_notify(&drive);
        resets += needs_reset(&drive);
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    smp_wait(1);
    say("%u of %u rounds ended in a refusal", resets, STORM);
    ok(works_again(), "descriptors that another vCPU rewrites");
}

void guest_main(void)
{
    static const struct ring_target target = {&drive, &ring, describe, 2, works_again};

    plan(ATTACKS_ALL + 7);
    smp_setup();
    smp_start_all();
    if (!virtio_find(&drive, SLOT))
        bail_out("there is no drive");
    attack_chains(&target);
    attack_tables(&target);
    attack_rings(&target);
    attack_places(&target);
    lengths();
    garbage();
    storm();
}
