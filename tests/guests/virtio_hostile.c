/* SPDX-License-Identifier: MIT */
/*
 * A driver that breaks every rule of rings and requests, alone and from a second vCPU at the same time: the
 * device refuses, waits for a reset, and works behind it.
 */
// conf: vcpus = 2
// conf: disk = ram:1M
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
static struct vring_desc table[RING_SIZE + 1] ALIGNED(16);

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

static bool needs_reset(void)
{
    return virtio_status(&drive) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* Behind whatever was done: the device stands still until it is reset, then it works. */
static bool works_again(void)
{
    begin();
    return blk_do(&drive, VIRTIO_BLK_T_IN, 0, data, sizeof(data), true) == VIRTIO_BLK_S_OK;
}

static void refused(const char *what)
{
    u16 before = ring.used.idx;
    bool refused = needs_reset();

    ring_offer(&drive, 0);
    ring_notify(&drive);
    ok(refused && ring.used.idx == before && works_again(), "%s", what);
}

static void attack(const char *what)
{
    ring_offer(&drive, 0);
    ring_notify(&drive);
    refused(what);
}

/* ---------------------------------------------------------------- chains */

static void chains(void)
{
    describe();
    ring.desc[2] = (struct vring_desc){(u64)data, 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1};
    attack("a chain that is a circle");
    describe();
    ring.desc[0].next = 0;
    attack("a descriptor that follows itself");
    describe();
    ring.desc[1].next = RING_SIZE;
    attack("a descriptor behind the end of the table");
    describe();
    ring.desc[1].next = 0xffff;
    attack("and far behind it");
    describe();
    ring.desc[2].flags = 0;
    attack("a buffer to be read behind one to be written");
    describe();
    ring.desc[1].flags = 0;
    attack("no place for the status");
    describe();
    ring.desc[0].len = 15;
    ring.desc[1].flags = VRING_DESC_F_NEXT | VRING_DESC_F_WRITE;
    attack("a header that is too short");
    describe();
    ring.desc[0].addr = HOLE;
    attack("a header where no RAM is");
    describe();
    ring.desc[2].addr = HOLE;
    attack("a status where no RAM is");
    describe();
    ring.desc[2].addr = ~0ull;
    attack("a status at the end of all addresses");
    describe();
    ring.desc[2].addr = ~0ull;
    ring.desc[2].len = ~0u;
    attack("a status behind the end of all addresses");
}

static void indirect(u64 at, u32 bytes, u16 flags)
{
    ring.desc[0] = (struct vring_desc){at, bytes, VRING_DESC_F_INDIRECT | flags, 1};
}

static void tables(void)
{
    describe();
    table[0] = (struct vring_desc){(u64)table, 16, VRING_DESC_F_INDIRECT, 0};
    indirect((u64)table, 16, 0);
    attack("an indirect table in an indirect table");
    describe();
    indirect((u64)table, 32, VRING_DESC_F_NEXT);
    attack("an indirect table that is not the end");
    describe();
    indirect((u64)table, 0, 0);
    attack("an indirect table of nothing");
    describe();
    indirect((u64)table, 17, 0);
    attack("an indirect table of one descriptor and a bit");
    describe();
    indirect((u64)table, 16 * (RING_SIZE + 1), 0);
    attack("an indirect table that is too long");
    describe();
    indirect((u64)table, 0xfffffff0, 0);
    attack("an indirect table of 4 GiB");
    describe();
    indirect(HOLE, 48, 0);
    attack("an indirect table where no RAM is");
    describe();
    indirect(MEMORY - 16, 48, 0);
    table[0] = (struct vring_desc){(u64)data, 16, VRING_DESC_F_NEXT, 1};
    *(struct vring_desc *)(MEMORY - 16) = table[0];
    attack("an indirect table across the end of RAM");
    describe();
    indirect(~0ull - 15, 48, 0);
    attack("an indirect table across the end of all addresses");
    describe();
    for (u16 i = 0; i < RING_SIZE; i++)
        table[i] = (struct vring_desc){(u64)data, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
                                       (u16)((i + 1) % RING_SIZE)};
    indirect((u64)table, 16 * RING_SIZE, 0);
    attack("an indirect table that is a circle");
}

/* ---------------------------------------------------------------- rings */

static void rings(void)
{
    describe();
    WRITE_ONCE(ring.avail.idx, RING_SIZE + 1);
    ring_notify(&drive);
    refused("an available index that jumps too far");
    describe();
    WRITE_ONCE(ring.avail.idx, 0xffff);
    ring_notify(&drive);
    refused("and one that goes back");
    describe();
    ring.avail.ring[0] = RING_SIZE;
    WRITE_ONCE(ring.avail.idx, 1);
    ring_notify(&drive);
    refused("a head that does not exist");
    describe();
    ring.used.idx = 0x1234;
    ring_offer(&drive, 0);
    ring_notify(&drive);
    delay_us(100);
    ok(ring.used.idx == 1 && !needs_reset(), "what the driver writes to the used index does not count");
}

struct row {
    const char *name;
    u32 size;
    u64 desc, avail, used;
};

static void places(void)
{
    const u64 d = (u64)ring.desc, a = (u64)&ring.avail, u = (u64)&ring.used;
    const struct row rows[] = {
        {"a queue of nothing", 0, d, a, u},
        {"a queue of three", 3, d, a, u},
        {"a queue of more than there are", 256, d, a, u},
        {"descriptors at an odd place", RING_SIZE, d + 8, a, u},
        {"an available ring at an odd place", RING_SIZE, d, a + 1, u},
        {"a used ring at an odd place", RING_SIZE, d, a, u + 2},
        {"descriptors where no RAM is", RING_SIZE, HOLE, a, u},
        {"an available ring where no RAM is", RING_SIZE, d, HOLE, u},
        {"a used ring where no RAM is", RING_SIZE, d, a, HOLE},
        {"descriptors across the end of all addresses", RING_SIZE, ~0ull - 15, a, u},
        {"an available ring at the end of all addresses", RING_SIZE, d, ~0ull - 1, u},
        {"a used ring at the end of all addresses", RING_SIZE, d, a, ~0ull - 3},
        {"a used ring across the end of RAM", RING_SIZE, d, a, MEMORY - 4},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *row = &rows[i];

        describe();
        virtio_negotiate(&drive, virtio_offered(&drive));
        common_write(&drive, VIRTIO_PCI_COMMON_Q_SIZE, 2, row->size);
        for (unsigned j = 0; j < 3; j++) {
            u64 place = j == 0 ? row->desc : j == 1 ? row->avail : row->used;

            common_write(&drive, VIRTIO_PCI_COMMON_Q_DESCLO + 8 * j, 4, (u32)place);
            common_write(&drive, VIRTIO_PCI_COMMON_Q_DESCHI + 8 * j, 4, (u32)(place >> 32));
        }
        common_write(&drive, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
        common_write(&drive, VIRTIO_PCI_COMMON_STATUS, 1, virtio_status(&drive) | VIRTIO_CONFIG_S_DRIVER_OK);
        attack(row->name);
    }
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
    ok(!needs_reset() && works_again(), "the device goes on behind them");
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
        resets += needs_reset();
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    smp_wait(1);
    say("%u of %u rounds ended in a refusal", resets, STORM);
    ok(works_again(), "descriptors that another vCPU rewrites");
}

void guest_main(void)
{
    plan(45);
    smp_setup();
    smp_start_all();
    if (!virtio_find(&drive, SLOT))
        bail_out("there is no drive");
    chains();
    tables();
    rings();
    places();
    lengths();
    garbage();
    storm();
}
