/* SPDX-License-Identifier: MIT */
/* A drive of zeros on the PCI bus: how it is found, its registers, requests of every kind, interrupts. */
// conf: disk = ram:8M
#include "lib/tap.h"
#include "lib/virtio.h"

#define SLOT        1u
#define SECTORS     ((8u << 20) / SECTOR)
#define DATA_SIZE   8192u
#define VECTOR      0x51
#define LINE_VECTOR 0x61
#define PIN         17u
#define OTHER_BAR   0xd0000000u

static struct virtio drive;
static struct ring ring;
static u8 data[DATA_SIZE] ALIGNED(4096), back[DATA_SIZE] ALIGNED(4096);

static void pattern(u8 seed)
{
    for (u32 i = 0; i < DATA_SIZE; i++) {
        data[i] = (u8)(seed + 3 * i + (i >> 8));
        back[i] = 0xaa;
    }
}

static bool same(u32 bytes)
{
    for (u32 i = 0; i < bytes; i++)
        if (data[i] != back[i])
            return false;
    return true;
}

static bool all_are(u8 value, u32 bytes)
{
    for (u32 i = 0; i < bytes; i++)
        if (back[i] != value)
            return false;
    return true;
}

/* ---------------------------------------------------------------- finding it */

static void found(void)
{
    bool there = virtio_find(&drive, SLOT);

    ok(there && pci_read(SLOT, 0) == 0x10421af4 && pci_read(SLOT, PCI_CLASS_DEVICE) << 16 >> 16 == 0x0180,
       "virtio 1.x, a drive: %x", pci_read(SLOT, 0));
    ok(pci_read(SLOT + 1, 0) == PCI_NOBODY, "nothing is in the next slot");
    ok(drive.msix && drive.capability[VIRTIO_PCI_CAP_COMMON_CFG] &&
           drive.capability[VIRTIO_PCI_CAP_ISR_CFG] && drive.capability[VIRTIO_PCI_CAP_DEVICE_CFG] &&
           drive.capability[VIRTIO_PCI_CAP_NOTIFY_CFG] && drive.capability[VIRTIO_PCI_CAP_PCI_CFG],
       "every capability is there");
    ok(common_read(&drive, VIRTIO_PCI_COMMON_NUMQ) << 16 >> 16 == 1 && blk_sectors(&drive) == SECTORS,
       "one queue, %lu sectors", blk_sectors(&drive));
}

static void bar(void)
{
    u64 here = drive.bar;

    pci_write(SLOT, PCI_BASE_ADDRESS_0, ~0u);
    ok(pci_read(SLOT, PCI_BASE_ADDRESS_0) == 0xffffc000, "BAR 0 is memory of 16 KiB");
    pci_write(SLOT, PCI_BASE_ADDRESS_0, OTHER_BAR);
    drive.bar = OTHER_BAR;
    ok(blk_sectors(&drive) == SECTORS, "it answers where it was moved to");
    drive.bar = here;
    ok(blk_sectors(&drive) == ~0ull, "and no more where it was");
    pci_write(SLOT, PCI_BASE_ADDRESS_0, (u32)here);
    pci_write(SLOT, PCI_COMMAND, PCI_COMMAND_MASTER);
    ok(blk_sectors(&drive) == ~0ull, "nowhere while memory is switched off");
    pci_write(SLOT, PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
}

/* The way to BAR 0 for who can't reach memory. */
static void window(void)
{
    unsigned at = drive.capability[VIRTIO_PCI_CAP_PCI_CFG];
    u32 value;

    pci_write(SLOT, at + 8, drive.where[VIRTIO_PCI_CAP_DEVICE_CFG]);
    pci_write(SLOT, at + 12, 4);
    value = pci_read(SLOT, at + 16);
    ok(value == SECTORS, "the window in configuration space shows the capacity: %x", value);
    pci_write(SLOT, at + 8, drive.where[VIRTIO_PCI_CAP_COMMON_CFG] + VIRTIO_PCI_COMMON_Q_SELECT);
    pci_write(SLOT, at + 12, 2);
    pci_write(SLOT, at + 16, 7);
    value = common_read(&drive, VIRTIO_PCI_COMMON_Q_SELECT);
    ok((value & 0xffff) == 7, "and writes registers: %x", value);
    pci_write(SLOT, at + 8, 0x4000);
    pci_read(SLOT, at + 16);
    pci_write(SLOT, at + 16, 1);
    ok((pci_read(SLOT, PCI_VENDOR_ID) & 0xffff) == 0x1af4, "beyond BAR 0 is nothing");
}

static void features(void)
{
    u64 offered = virtio_offered(&drive);
    u64 wanted = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
                 BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_DISCARD);

    ok((offered & wanted) == wanted && !(offered & BIT(VIRTIO_BLK_F_RO)), "offered: %lx", offered);
    ok(!virtio_negotiate(&drive, offered & ~BIT(VIRTIO_F_VERSION_1)),
       "without version 1 there is no agreement");
    ok(!virtio_negotiate(&drive, offered | BIT(VIRTIO_F_RING_PACKED)), "nor with what was not offered");
    ok(virtio_negotiate(&drive, offered), "with all that was offered there is");
}

/* ---------------------------------------------------------------- requests */

static void transfers(const char *how)
{
    pattern(1);
    ok(blk_do(&drive, VIRTIO_BLK_T_IN, 16, back, DATA_SIZE, true) == 0 && all_are(0, DATA_SIZE),
       "%s: what was never written is zero", how);
    ok(blk_do(&drive, VIRTIO_BLK_T_OUT, 3, data, DATA_SIZE, false) == 0, "%s: 8 KiB are written", how);
    ok(blk_do(&drive, VIRTIO_BLK_T_IN, 3, back, DATA_SIZE, true) == 0 && same(DATA_SIZE), "%s: and read",
       how);
    ok(blk_do(&drive, VIRTIO_BLK_T_OUT, SECTORS - 1, data, SECTOR, false) == 0, "%s: the last sector", how);
    ok(blk_do(&drive, VIRTIO_BLK_T_OUT, SECTORS - 1, data, 2 * SECTOR, false) == VIRTIO_BLK_S_IOERR,
       "%s: behind it is an error", how);
    ok(blk_do(&drive, VIRTIO_BLK_T_IN, ~0ull, back, SECTOR, true) == VIRTIO_BLK_S_IOERR,
       "%s: and at the end of all numbers", how);
    ok(blk_do(&drive, VIRTIO_BLK_T_IN, 0, back, SECTOR + 1, true) == VIRTIO_BLK_S_IOERR,
       "%s: a part of a sector is none", how);
    ok(blk_do(&drive, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false) == 0, "%s: flush", how);
    ok(blk_do(&drive, 0x77, 0, NULL, 0, false) == VIRTIO_BLK_S_UNSUPP, "%s: a type that is none", how);
}

static void discards(void)
{
    struct virtio_blk_discard_write_zeroes range = {.sector = 9, .num_sectors = 16};

    pattern(2);
    blk_do(&drive, VIRTIO_BLK_T_OUT, 8, data, DATA_SIZE, false);
    blk_do(&drive, VIRTIO_BLK_T_OUT, 24, data, DATA_SIZE, false);
    ok(blk_do(&drive, VIRTIO_BLK_T_DISCARD, 0, &range, sizeof(range), false) == 0, "discard");
    blk_do(&drive, VIRTIO_BLK_T_IN, 16, back, 4096, true);
    ok(all_are(0, 4096), "whole pages are zero behind it");
    blk_do(&drive, VIRTIO_BLK_T_IN, 8, back, 4096, true);
    ok(same(4096), "the others are as they were");
    range.sector = SECTORS - 8;
    ok(blk_do(&drive, VIRTIO_BLK_T_DISCARD, 0, &range, sizeof(range), false) == VIRTIO_BLK_S_IOERR,
       "discard beyond the end is an error");
    range = (struct virtio_blk_discard_write_zeroes){.num_sectors = 0x10001};
    ok(blk_do(&drive, VIRTIO_BLK_T_DISCARD, 0, &range, sizeof(range), false) == VIRTIO_BLK_S_IOERR,
       "and of more than the device said");
    range = (struct virtio_blk_discard_write_zeroes){.num_sectors = 8, .flags = 1};
    ok(blk_do(&drive, VIRTIO_BLK_T_DISCARD, 0, &range, sizeof(range), false) == VIRTIO_BLK_S_UNSUPP,
       "flags are not known");
    ok(blk_do(&drive, VIRTIO_BLK_T_DISCARD, 0, &range, 15, false) == VIRTIO_BLK_S_IOERR,
       "15 bytes are no range");
}

static void identity(void)
{
    ok(blk_do(&drive, VIRTIO_BLK_T_GET_ID, 0, back, VIRTIO_BLK_ID_BYTES, true) == 0 && back[0] == 'd' &&
           back[4] == '0' && back[5] == 0,
       "its serial is disk0");
}

/* A header in three pieces, data in odd pieces, the status behind data in one buffer: any layout is right. */
static void layouts(void)
{
    static struct virtio_blk_outhdr header;
    static struct vring_desc table[6];
    struct vring_used_elem used = {0};
    u8 *at = (u8 *)&header;

    pattern(3);
    blk_do(&drive, VIRTIO_BLK_T_OUT, 64, data, 4096, false);
    header = (struct virtio_blk_outhdr){.type = VIRTIO_BLK_T_IN, .sector = 64};
    table[0] = (struct vring_desc){(u64)at, 1, VRING_DESC_F_NEXT, 3};
    table[3] = (struct vring_desc){(u64)(at + 1), 8, VRING_DESC_F_NEXT, 1};
    table[1] = (struct vring_desc){(u64)(at + 9), 7, VRING_DESC_F_NEXT, 2};
    table[2] = (struct vring_desc){(u64)back, 1000, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 5};
    table[5] = (struct vring_desc){(u64)back, 0, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 4};
    table[4] = (struct vring_desc){(u64)(back + 1000), 4096 - 1000 + 1, VRING_DESC_F_WRITE, 0};
    back[4096] = NO_ANSWER;
    ring.desc[7] = (struct vring_desc){(u64)table, sizeof(table), VRING_DESC_F_INDIRECT, 0};
    ring_offer(&drive, 7);
    ring_notify(&drive);
    ok(ring_wait(&drive, &used) && used.id == 7 && back[4096] == 0 && same(4096), "buffers in odd pieces");
    ok(used.len == 4097, "as many bytes were written as it says: %u", used.len);
}

/* More requests than one exit carries. */
static void full_queue(void)
{
    static struct blk_request requests[RING_SIZE / 2];
    struct vring_used_elem used;
    u32 good = 0;

    pattern(4);
    blk_do(&drive, VIRTIO_BLK_T_OUT, 0, data, SECTOR, false);
    for (u32 round = 0; round < 3; round++) {
        for (u16 i = 0; i < RING_SIZE / 2; i++) {
            blk_describe(&drive, (u16)(2 * i), &requests[i], VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false);
            ring_offer(&drive, (u16)(2 * i));
        }
        /* The same chains again: as many as the queue has entries. */
        for (u16 i = 0; i < RING_SIZE / 2; i++)
            ring_offer(&drive, (u16)(2 * i));
        ring_notify(&drive);
        for (u32 i = 0; i < RING_SIZE; i++)
            good += ring_wait(&drive, &used) && requests[used.id / 2].status == 0;
    }
    ok(good == 3 * RING_SIZE, "%u of 384 requests, 128 at once, have ended", good);
}

/* ---------------------------------------------------------------- interrupts */

static void interrupt_end(struct frame *frame)
{
    (void)frame;
    lapic_eoi();
}

static u32 interrupts_of_one(u8 vector)
{
    u32 before = interrupts[vector];

    blk_do(&drive, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false);
    interrupt_window();
    return interrupts[vector] - before;
}

static void messages(void)
{
    u64 pending = drive.bar + (pci_read(SLOT, drive.msix + 8u) & ~7u);

    interrupt_handle(VECTOR, interrupt_end);
    virtio_begin(&drive, &ring, ALL_OFFERED & ~BIT(VIRTIO_RING_F_EVENT_IDX));
    msix_enable(&drive, true);
    msix_route(&drive, 1, VECTOR, false);
    common_write(&drive, VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
    ok(common_read(&drive, VIRTIO_PCI_COMMON_Q_MSIX) << 16 >> 16 == VIRTIO_MSI_NO_VECTOR,
       "a vector that does not exist is refused");
    ok(interrupts_of_one(VECTOR) == 0, "without a vector there is no message");
    common_write(&drive, VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
    ok(interrupts_of_one(VECTOR) == 1, "a message is an interrupt");
    ring.avail.flags = VRING_AVAIL_F_NO_INTERRUPT;
    ok(interrupts_of_one(VECTOR) == 0, "and none, if the driver wants none");
    ring.avail.flags = 0;
    msix_route(&drive, 1, VECTOR, true);
    ok(interrupts_of_one(VECTOR) == 0 && mmio_read(pending) == 2, "masked, it waits");
    msix_route(&drive, 1, VECTOR, false);
    interrupt_window();
    ok(interrupts[VECTOR] == 2 && mmio_read(pending) == 0, "and comes then");
    pci_write(SLOT, drive.msix, (u32)(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) << 16);
    ok(interrupts_of_one(VECTOR) == 0 && mmio_read(pending) == 2, "so it is when all are masked");
    msix_enable(&drive, true);
    interrupt_window();
    ok(interrupts[VECTOR] == 3, "until they are not");
    msix_enable(&drive, false);
}

static void event_index(void)
{
    virtio_begin(&drive, &ring, ALL_OFFERED);
    msix_enable(&drive, true);
    msix_route(&drive, 1, VECTOR, false);
    common_write(&drive, VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
    ring.avail.used_event = 1;
    ok(interrupts_of_one(VECTOR) == 0, "event index: the first used entry is not the one that is waited for");
    ok(interrupts_of_one(VECTOR) == 1, "event index: the second is");
    ok(interrupts_of_one(VECTOR) == 0 && ring.used.avail_event == 3, "event index: the third is not: %u",
       ring.used.avail_event);
    msix_enable(&drive, false);
}

static volatile u8 statuses[2]; /* what the status register said, and said again */

static void line_end(struct frame *frame)
{
    u64 isr = drive.bar + drive.where[VIRTIO_PCI_CAP_ISR_CFG];

    (void)frame;
    statuses[0] = *(volatile u8 *)isr;
    statuses[1] = *(volatile u8 *)isr;
    lapic_eoi();
}

/* INTA: a level that reading the status register ends; if it did not, the handler would never be left. */
static void line(void)
{
    interrupt_handle(LINE_VECTOR, line_end);
    virtio_begin(&drive, &ring, ALL_OFFERED & ~BIT(VIRTIO_RING_F_EVENT_IDX));
    ok((pci_read(SLOT, PCI_INTERRUPT_LINE) & 0xffff) == (1 << 8 | PIN), "INTA, pin %u", PIN);
    ioapic_route(PIN, LINE_VECTOR | (u32)(IOAPIC_LEVEL | IOAPIC_LOW));
    ok(interrupts_of_one(LINE_VECTOR) == 1, "it reaches the IOAPIC");
    ok(statuses[0] == 1 && statuses[1] == 0, "the status register tells once");
    pci_write(SLOT, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
    ok(interrupts_of_one(LINE_VECTOR) == 0 && (pci_read(SLOT, PCI_STATUS) & PCI_STATUS_INTERRUPT),
       "the command register gates it; the status shows it");
    pci_write(SLOT, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    interrupt_window();
    ok(interrupts[LINE_VECTOR] == 2 && !(pci_read(SLOT, PCI_STATUS) & PCI_STATUS_INTERRUPT),
       "and lets it through again");
    ioapic_route(PIN, (u32)IOAPIC_MASKED);
}

static void end(void)
{
    static struct blk_request request;

    pci_write(SLOT, PCI_COMMAND, PCI_COMMAND_MEMORY);
    blk_describe(&drive, 0, &request, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false);
    ring_offer(&drive, 0);
    ring_notify(&drive);
    delay_us(1000);
    ok(request.status == NO_ANSWER && READ_ONCE(ring.used.idx) == drive.taken,
       "a device that may not touch memory does nothing");
    pci_write(SLOT, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    common_write(&drive, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    ok(virtio_status(&drive) == 0 && common_read(&drive, VIRTIO_PCI_COMMON_Q_ENABLE) << 16 == 0,
       "a reset forgets the queue");
}

void guest_main(void)
{
    plan(53);
    pic_setup(0x20, 0x28);
    lapic_setup();
    found();
    bar();
    window();
    features();
    virtio_begin(&drive, &ring, BIT(VIRTIO_F_VERSION_1));
    transfers("bare");
    virtio_begin(&drive, &ring, ALL_OFFERED);
    discards();
    identity();
    layouts();
    full_queue();
    messages();
    event_index();
    line();
    end();
}
