/* SPDX-License-Identifier: MIT */
/* What a driver can do wrong with a queue (contract in the header). */
#include "lib/ring_attacks.h"

#include "lib/tap.h"

#define HOLE   0xd0000000ull
#define MEMORY 0x4000000ull

static u8 data[16];
static struct vring_desc table[RING_SIZE + 1] ALIGNED(16);

static void refused(const struct ring_target *target, const char *what)
{
    struct ring *ring = target->ring;
    u16 before = ring->used.idx;
    bool refused = needs_reset(target->virtio);

    ring_offer(target->virtio, 0);
    ring_notify(target->virtio);
    ok(refused && ring->used.idx == before && target->works(), "%s", what);
}

void attack(const struct ring_target *target, const char *what)
{
    ring_offer(target->virtio, 0);
    ring_notify(target->virtio);
    refused(target, what);
}

/* ---------------------------------------------------------------- chains */

void attack_chains(const struct ring_target *target)
{
    struct ring *ring = target->ring;

    target->describe();
    ring->desc[2] = (struct vring_desc){(u64)data, 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1};
    attack(target, "a chain that is a circle");
    target->describe();
    ring->desc[0].next = 0;
    attack(target, "a descriptor that follows itself");
    target->describe();
    ring->desc[1].next = RING_SIZE;
    attack(target, "a descriptor behind the end of the table");
    target->describe();
    ring->desc[1].next = 0xffff;
    attack(target, "and far behind it");
    target->describe();
    ring->desc[2].flags = 0;
    attack(target, "a buffer to be read behind one to be written");
    target->describe();
    ring->desc[1].flags = 0;
    attack(target, "no place for the answer");
    target->describe();
    ring->desc[0].len = 15;
    ring->desc[1].flags = VRING_DESC_F_NEXT | VRING_DESC_F_WRITE;
    attack(target, "a header that is too short");
    target->describe();
    ring->desc[0].addr = HOLE;
    attack(target, "a header where no RAM is");
    target->describe();
    ring->desc[target->answer].addr = HOLE;
    attack(target, "an answer where no RAM is");
    target->describe();
    ring->desc[target->answer].addr = ~0ull;
    attack(target, "an answer at the end of all addresses");
    target->describe();
    ring->desc[target->answer].addr = ~0ull;
    ring->desc[target->answer].len = ~0u;
    attack(target, "an answer behind the end of all addresses");
}

static void indirect(struct ring *ring, u64 at, u32 bytes, u16 flags)
{
    ring->desc[0] = (struct vring_desc){at, bytes, VRING_DESC_F_INDIRECT | flags, 1};
}

void attack_tables(const struct ring_target *target)
{
    struct ring *ring = target->ring;

    target->describe();
    table[0] = (struct vring_desc){(u64)table, 16, VRING_DESC_F_INDIRECT, 0};
    indirect(ring, (u64)table, 16, 0);
    attack(target, "an indirect table in an indirect table");
    target->describe();
    indirect(ring, (u64)table, 32, VRING_DESC_F_NEXT);
    attack(target, "an indirect table that is not the end");
    target->describe();
    indirect(ring, (u64)table, 0, 0);
    attack(target, "an indirect table of nothing");
    target->describe();
    indirect(ring, (u64)table, 17, 0);
    attack(target, "an indirect table of one descriptor and a bit");
    target->describe();
    indirect(ring, (u64)table, 16 * (RING_SIZE + 1), 0);
    attack(target, "an indirect table that is too long");
    target->describe();
    indirect(ring, (u64)table, 0xfffffff0, 0);
    attack(target, "an indirect table of 4 GiB");
    target->describe();
    indirect(ring, HOLE, 48, 0);
    attack(target, "an indirect table where no RAM is");
    target->describe();
    indirect(ring, MEMORY - 16, 48, 0);
    table[0] = (struct vring_desc){(u64)data, 16, VRING_DESC_F_NEXT, 1};
    *(struct vring_desc *)(MEMORY - 16) = table[0];
    attack(target, "an indirect table across the end of RAM");
    target->describe();
    indirect(ring, ~0ull - 15, 48, 0);
    attack(target, "an indirect table across the end of all addresses");
    target->describe();
    for (u16 i = 0; i < RING_SIZE; i++)
        table[i] = (struct vring_desc){(u64)data, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
                                       (u16)((i + 1) % RING_SIZE)};
    indirect(ring, (u64)table, 16 * RING_SIZE, 0);
    attack(target, "an indirect table that is a circle");
}

/* ---------------------------------------------------------------- rings */

void attack_rings(const struct ring_target *target)
{
    struct ring *ring = target->ring;

    target->describe();
    WRITE_ONCE(ring->avail.idx, RING_SIZE + 1);
    ring_notify(target->virtio);
    refused(target, "an available index that jumps too far");
    target->describe();
    WRITE_ONCE(ring->avail.idx, 0xffff);
    ring_notify(target->virtio);
    refused(target, "and one that goes back");
    target->describe();
    ring->avail.ring[0] = RING_SIZE;
    WRITE_ONCE(ring->avail.idx, 1);
    ring_notify(target->virtio);
    refused(target, "a head that does not exist");
    target->describe();
    ring->used.idx = 0x1234;
    ring_offer(target->virtio, 0);
    ring_notify(target->virtio);
    delay_us(100);
    ok(ring->used.idx == 1 && !needs_reset(target->virtio),
       "what the driver writes to the used index does not count");
}

struct row {
    const char *name;
    u32 size;
    u64 desc, avail, used;
};

void attack_places(const struct ring_target *target)
{
    const struct ring *ring = target->ring;
    const u64 d = (u64)ring->desc, a = (u64)&ring->avail, u = (u64)&ring->used;
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

        target->describe();
        virtio_negotiate(target->virtio, virtio_offered(target->virtio));
        common_write(target->virtio, VIRTIO_PCI_COMMON_Q_SELECT, 2, target->virtio->queue);
        common_write(target->virtio, VIRTIO_PCI_COMMON_Q_SIZE, 2, row->size);
        for (unsigned j = 0; j < 3; j++) {
            u64 place = j == 0 ? row->desc : j == 1 ? row->avail : row->used;

            common_write(target->virtio, VIRTIO_PCI_COMMON_Q_DESCLO + 8 * j, 4, (u32)place);
            common_write(target->virtio, VIRTIO_PCI_COMMON_Q_DESCHI + 8 * j, 4, (u32)(place >> 32));
        }
        common_write(target->virtio, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
        common_write(target->virtio, VIRTIO_PCI_COMMON_STATUS, 1,
                     virtio_status(target->virtio) | VIRTIO_CONFIG_S_DRIVER_OK);
        attack(target, row->name);
    }
}
