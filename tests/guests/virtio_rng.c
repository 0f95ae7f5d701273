/* SPDX-License-Identifier: MIT */
/*
 * Random numbers by virtio: as many bytes as are said, not the same twice, and drivers that break the rules.
 */
// conf: virtio.rng = yes
#include "lib/tap.h"
#include "lib/virtio.h"

#define SLOT  10u
#define ROOM  4096u
#define EMPTY 0xee
#define HOLE  0xd0000000ull

static struct virtio rng;
static struct ring ring;
static u8 data[ROOM], before[64];

static void begin(void)
{
    virtio_begin(&rng, &ring, ALL_OFFERED);
}

static void describe(u16 head, void *at, u32 bytes, u16 flags, u16 next)
{
    ring.desc[head] = (struct vring_desc){(u64)at, bytes, flags, next};
}

/* Ask for so many bytes, in two pieces; how many came, 0: none. */
static u32 ask(u32 bytes)
{
    struct vring_used_elem used;

    for (u32 i = 0; i < ROOM; i++)
        data[i] = EMPTY;
    describe(0, data, bytes / 3, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
    describe(1, data + bytes / 3, bytes - bytes / 3, VRING_DESC_F_WRITE, 0);
    ring_offer(&rng, 0);
    ring_notify(&rng);
    return ring_wait(&rng, &used) && used.id == 0 ? used.len : 0;
}

static bool all_are(u32 from, u32 to, u8 value)
{
    for (u32 i = from; i < to; i++)
        if (data[i] != value)
            return false;
    return true;
}

static u32 bits_set(u32 bytes)
{
    u32 bits = 0;

    for (u32 i = 0; i < 8 * bytes; i++)
        bits += data[i / 8] >> i % 8 & 1;
    return bits;
}

static void numbers(void)
{
    bool same = true;
    u32 bytes = ask(64), bits = 0;

    ok(bytes == 64 && !all_are(0, 64, EMPTY) && all_are(64, ROOM, EMPTY), "64 bytes");
    for (u32 i = 0; i < 64; i++)
        before[i] = data[i];
    ask(64);
    for (u32 i = 0; i < 64; i++)
        same &= before[i] == data[i];
    ok(!same, "and other ones the next time");
    bytes = ask(13);
    ok(bytes == 13 && all_are(13, ROOM, EMPTY), "13 bytes: %u", bytes);
    bytes = ask(ROOM);
    ok(bytes >= 1 && bytes <= ROOM && all_are(bytes, ROOM, EMPTY), "%u bytes where 4096 have room", bytes);
    for (u32 i = 0; i < 16; i++) {
        ask(64);
        bits += bits_set(64);
    }
    ok(bits > 3700 && bits < 4492, "%u of 8192 bits are set", bits);
}

/* More chains than one exit fills, and more than the queue has room for twice over. */
static void full_queue(void)
{
    struct vring_used_elem used;
    u32 good = 0;

    for (u32 round = 0; round < 2; round++) {
        for (u16 i = 0; i < RING_SIZE; i++) {
            describe(i, data + 16 * i, 16, VRING_DESC_F_WRITE, 0);
            ring_offer(&rng, i);
        }
        ring_notify(&rng);
        for (u32 i = 0; i < RING_SIZE; i++)
            good += ring_wait(&rng, &used) && used.len == 16;
    }
    ok(good == 2 * RING_SIZE, "%u of 256 chains were filled", good);
}

/* One chain, which is spoiled; the device stands still, and works behind a reset. */
static void attack(const char *name, u64 at, u32 bytes, u16 flags, u16 next, u16 head, u16 count)
{
    struct vring_used_elem used;
    bool answered;

    begin();
    ring.desc[0] = (struct vring_desc){at, bytes, flags, next};
    ring.desc[1] = (struct vring_desc){(u64)data, 16, 0, 0};
    for (u16 i = 0; i < count; i++)
        ring_offer(&rng, head);
    ring_notify(&rng);
    answered = ring_wait(&rng, &used);
    ok(!answered && (virtio_status(&rng) & VIRTIO_CONFIG_S_NEEDS_RESET), "%s: refused", name);
    begin();
    ok(ask(64) == 64, "%s: and goes on", name);
}

static void attacks(void)
{
    const u16 write = VRING_DESC_F_WRITE, next = VRING_DESC_F_NEXT, table = VRING_DESC_F_INDIRECT;

    attack("a buffer to be read", (u64)data, 64, 0, 0, 0, 1);
    attack("a buffer to be read behind one to be written", (u64)data, 64, write | next, 1, 0, 1);
    attack("no room", (u64)data, 0, write, 0, 0, 1);
    attack("room where no RAM is", HOLE, 64, write, 0, 0, 1);
    attack("room at the end of all addresses", ~0ull - 7, 64, write, 0, 0, 1);
    attack("a chain that is its own successor", (u64)data, 64, write | next, 0, 0, 1);
    attack("a successor that does not exist", (u64)data, 64, write | next, RING_SIZE, 0, 1);
    attack("a head that does not exist", (u64)data, 64, write, 0, RING_SIZE, 1);
    attack("more chains than the queue holds", (u64)data, 64, write, 0, 0, RING_SIZE + 1);
    attack("an indirect table of no bytes", (u64)data, 0, table, 0, 0, 1);
    attack("an indirect table where no RAM is", HOLE, 16, table, 0, 0, 1);
}

void guest_main(void)
{
    bool there = virtio_find(&rng, SLOT);

    if (word_given("absent")) { /* as tests/system/test_virtio.py says */
        plan(1);
        ok(!there && pci_read(SLOT, 0) == PCI_NOBODY, "the slot is empty");
        return;
    }
    plan(29);
    ok(there && pci_read(SLOT, 0) == 0x10441af4 && !rng.capability[VIRTIO_PCI_CAP_DEVICE_CFG],
       "virtio 1.x, random numbers, no registers of its own: %x", pci_read(SLOT, 0));
    begin();
    numbers();
    full_queue();
    attacks();
}
