/* SPDX-License-Identifier: MIT */
/* A virtio console beside the UART: what it sends is on the VM's console; drivers that break the rules. */
// conf: virtio.console = yes
// console: sent by virtio, in three pieces
// console: x{2000}y
#include "lib/tap.h"
#include "lib/virtio.h"

#define SLOT     11u
#define HOLE     0xd0000000ull
#define LONG     2000u
#define RECEIVE  0u
#define TRANSMIT 1u

static struct virtio hvc[2]; /* by queue */
static struct ring rings[2];
static u8 text[LONG + 2], room[64];

static void begin(void)
{
    struct virtio *v = &hvc[RECEIVE];

    if (!virtio_negotiate(v, virtio_offered(v)))
        bail_out("the device refuses its own features");
    hvc[TRANSMIT] = hvc[RECEIVE];
    for (u16 i = 0; i < 2; i++) {
        hvc[i].queue = i;
        virtio_queue(&hvc[i], &rings[i]);
    }
    common_write(v, VIRTIO_PCI_COMMON_STATUS, 1, virtio_status(v) | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void describe(unsigned queue, u16 head, const void *at, u32 bytes, u16 flags, u16 next)
{
    rings[queue].desc[head] = (struct vring_desc){(u64)at, bytes, flags, next};
}

/* The chain at descriptor 0. */
static bool sent(void)
{
    struct vring_used_elem used;

    ring_offer(&hvc[TRANSMIT], 0);
    ring_notify(&hvc[TRANSMIT]);
    return ring_wait(&hvc[TRANSMIT], &used) && used.id == 0 && used.len == 0;
}

static bool send(const void *at, u32 bytes)
{
    describe(TRANSMIT, 0, at, bytes, 0, 0);
    return sent();
}

static void output(void)
{
    begin();
    describe(TRANSMIT, 0, "sent by ", 8, VRING_DESC_F_NEXT, 2);
    describe(TRANSMIT, 2, "virtio, ", 8, VRING_DESC_F_NEXT, 1);
    describe(TRANSMIT, 1, "in three pieces\n", 16, 0, 0);
    ok(sent(), "three pieces are sent");
    ok(send("", 0), "no bytes are");
    for (u32 i = 0; i < LONG; i++)
        text[i] = 'x';
    text[LONG] = 'y';
    text[LONG + 1] = '\n';
    ok(send(text, sizeof(text)), "2002 bytes at once are");
}

/* Nothing was typed: the room stays with the device, which a reset ends. */
static void input(void)
{
    describe(RECEIVE, 0, room, sizeof(room), VRING_DESC_F_WRITE, 0);
    ring_offer(&hvc[RECEIVE], 0);
    ring_notify(&hvc[RECEIVE]);
    ok(send("", 0) && rings[RECEIVE].used.idx == 0, "room that nobody needs waits");
    begin();
    ok(send("", 0) && rings[RECEIVE].used.idx == 0, "and is forgotten with the driver");
}

/* One chain for its transmit queue, spoiled; the device stands still, and works behind a reset. */
static void attack(const char *name, u64 at, u32 bytes, u16 flags, u16 next, u16 head, u16 count)
{
    bool needs_reset;

    begin();
    describe(TRANSMIT, 0, (void *)at, bytes, flags, next);
    describe(TRANSMIT, 1, text, 1, VRING_DESC_F_WRITE, 0);
    for (u16 i = 0; i < count; i++)
        ring_offer(&hvc[TRANSMIT], head);
    ring_notify(&hvc[TRANSMIT]);
    needs_reset = virtio_status(&hvc[0]) & VIRTIO_CONFIG_S_NEEDS_RESET;
    begin();
    ok(needs_reset && send("", 0), "%s: refused, and goes on", name);
}

static void attacks(void)
{
    const u16 next = VRING_DESC_F_NEXT, table = VRING_DESC_F_INDIRECT;

    attack("a buffer to be written", (u64)text, 64, VRING_DESC_F_WRITE, 0, 0, 1);
    attack("one behind a buffer to be read", (u64)text, 0, next, 1, 0, 1);
    attack("bytes where no RAM is", HOLE, 64, 0, 0, 0, 1);
    attack("bytes at the end of all addresses", ~0ull - 7, 64, 0, 0, 0, 1);
    attack("a chain that is its own successor", (u64)text, 0, next, 0, 0, 1);
    attack("a successor that does not exist", (u64)text, 0, next, RING_SIZE, 0, 1);
    attack("a head that does not exist", (u64)text, 0, 0, 0, RING_SIZE, 1);
    attack("more chains than the queue holds", (u64)text, 0, 0, 0, 0, RING_SIZE + 1);
    attack("an indirect table of part of a descriptor", (u64)text, 8, table, 0, 0, 1);
}

void guest_main(void)
{
    bool there = virtio_find(&hvc[RECEIVE], SLOT);

    plan(15);
    ok(there && pci_read(SLOT, 0) == 0x10431af4, "virtio 1.x, a console: %x", pci_read(SLOT, 0));
    output();
    input();
    attacks();
}
