/* SPDX-License-Identifier: MIT */
/*
 * The driver of the machine's virtio-blk drives, with devices made of variables, and the core for drives:
 * what the devices are told, which are left out, and what becomes of failures, silence and nonsense. The
 * source is included; the devices go on whenever it reads what they write. Time is the test's own, in us.
 */
// sources: hv/storage/drive.c hv/storage/partition.c hv/storage/block.c hv/run/timer.c hv/lib/lock_check.c
// sources: hv/storage/drive_poll.c hv/storage/drive_open.c
// sources: hv/memory/frame.c hv/memory/memory.c hv/memory/guest_map.c arch/x86/machine/percpu.c
// sources: tests/unit/fake_memory.c tests/unit/fake_guest_ram.c hv/storage/cd_drive.c hv/storage/cd_packet.c
// sources: drivers/drives.c tests/unit/drive_world.c tests/unit/drive_user.c
// sources: hv/storage/media.c hv/storage/cd_spare.c hv/lib/string.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/drives.h"
static void hardware_go_on(void);
#define __atomic_load_n(at, order) (hardware_go_on(), *(const volatile __typeof__(*(at)) *)(at))
#include "drivers/virtio_blk.c"
#undef __atomic_load_n

#include "tests/unit/drive_user.h"
#include "tests/unit/drive_world.h"
#include "tests/unit/fake_memory.h"

#define DEVICES 11u
#define SECTORS 1024u
#define NOWHERE (~0ull)
#define BAR     4u /* and where the structures lie in it */
#define CONFIG  0x400u
#define NOTIFY  0x800u
#define WINDOW  0x1000u
#define OFFERED (BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_BLK_SIZE))

struct host_pci_function host_pci_functions[HOST_PCI_FUNCTIONS];
u32 host_pci_count = DEVICES;

/* ---------------------------------------------------------------- the hardware */

enum which {
    GOOD,
    READ_ONLY, /* without flush and discard */
    NO_CAPABILITIES,
    SMALL_QUEUE,
    FAR_NOTIFY,
    LARGE_SECTORS,
    OLD,
    SHORT_WINDOW,
    MUTE,
    ONCE_GOOD, /* until it is reset */
    NO_DISCARD_SIZE,
};

static struct device {
    u8 space[256]; /* configuration */
    ALIGNED(8) u8 window[WINDOW];
    u8 content[SECTORS * BLOCK_SECTOR];
    struct shared *ring;
    u16 seen;    /* of the available ring */
    u32 pending; /* by slot */
    u32 most;
    bool held;
    bool liar; /* it says what has ended, and more */
    bool lied; /* so what its driver believes is not its driver's fault */
    u64 bad, silent;
    u32 flushes, discards, resets;
    bool busmaster;
} devices[DEVICES];

static struct virtio_pci_common_cfg *common_of(struct device *device)
{
    return (void *)device->window;
}

static struct virtio_blk_config *config_of(struct device *device)
{
    return (void *)(device->window + CONFIG);
}

u8 host_pci_read_8(u16 address, unsigned offset)
{
    return devices[address].space[offset];
}

u32 host_pci_read_32(u16 address, unsigned offset)
{
    u32 value;

    memcpy(&value, devices[address].space + offset, 4);
    return value;
}

u8 host_pci_capability(u16 address, u8 kind, u8 behind)
{
    const u8 *space = devices[address].space;
    u8 at = space[behind ? behind + 1 : PCI_CAPABILITY_LIST];

    while (at && space[at] != kind)
        at = space[at + 1];
    return at;
}

hpa_t host_pci_bar(u16 address, unsigned bar)
{
    return bar == BAR ? (address + 1) * SIZE_1G : 0;
}

void host_pci_enable(u16 address, bool master)
{
    devices[address].busmaster = master;
}

void *paging_map_device(hpa_t hpa, u64 size, enum paging_cache cache, u64 flags)
{
    assert_true(cache == CACHE_UNCACHED && flags == MAP_WRITE && hpa % SIZE_1G + size <= WINDOW);
    return devices[hpa / SIZE_1G - 1].window + hpa % SIZE_1G;
}

void tsc_delay_us(u64 us)
{
    drive_time += us;
}

void host_ahci_start(void)
{
}

void host_ide_start(void)
{
}

static void descriptor_check(const struct vring_desc *desc, u32 bytes, bool device_writes)
{
    assert_int_equal(desc->len, bytes);
    assert_int_equal(!!(desc->flags & VRING_DESC_F_WRITE), device_writes);
}

/* A command's end, with this status. */
static void slot_end(struct device *device, u32 slot, u8 status)
{
    struct shared *ring = device->ring;

    ring->status[slot] = status;
    ring->used.ring[ring->used.index++ % QUEUE_SIZE] = (struct vring_used_elem){slot * DESCRIPTORS, 0xabcdef};
    device->pending &= ~(u32)BIT(slot);
}

static void transfer(struct device *device, u32 slot, const struct virtio_blk_outhdr *header, bool write)
{
    const struct vring_desc *desc = &device->ring->descriptors[slot * DESCRIPTORS + 1];
    u8 *data = phys_to_virt(desc->addr), *content = device->content + header->sector * BLOCK_SECTOR;

    descriptor_check(desc, desc->len, !write);
    assert_true(desc->len > 0 && header->sector + desc->len / BLOCK_SECTOR <= SECTORS);
    if (device->silent >= header->sector && device->silent < header->sector + desc->len / BLOCK_SECTOR)
        return;
    if (device->bad >= header->sector && device->bad < header->sector + desc->len / BLOCK_SECTOR) {
        slot_end(device, slot, VIRTIO_BLK_S_IOERR);
        return;
    }
    memcpy(write ? content : data, write ? data : content, desc->len);
    slot_end(device, slot, VIRTIO_BLK_S_OK);
}

static void discard(struct device *device, u32 slot)
{
    const struct vring_desc *desc = &device->ring->descriptors[slot * DESCRIPTORS + 1];
    const struct virtio_blk_discard_write_zeroes *range = phys_to_virt(desc->addr);

    descriptor_check(desc, sizeof(*range), false);
    assert_int_equal(range->flags, 0);
    memset(device->content + range->sector * BLOCK_SECTOR, 0, range->num_sectors * BLOCK_SECTOR);
    device->discards++;
    slot_end(device, slot, VIRTIO_BLK_S_OK);
}

static void serve(struct device *device, u32 slot)
{
    const struct vring_desc *first = &device->ring->descriptors[slot * DESCRIPTORS];
    const struct virtio_blk_outhdr *header = phys_to_virt(first->addr);
    const struct vring_desc *last = first + DESCRIPTORS - 1;

    descriptor_check(first, sizeof(*header), false);
    descriptor_check(last, 1, true);
    assert_int_equal(last->flags & VRING_DESC_F_NEXT, 0);
    assert_ptr_equal(phys_to_virt(last->addr), &device->ring->status[slot]);
    if (header->type == VIRTIO_BLK_T_FLUSH) {
        assert_int_equal(first->next, slot * DESCRIPTORS + DESCRIPTORS - 1);
        device->flushes++;
        slot_end(device, slot, VIRTIO_BLK_S_OK);
        return;
    }
    assert_int_equal(first->next, slot * DESCRIPTORS + 1);
    assert_int_equal(first[1].flags & VRING_DESC_F_NEXT, VRING_DESC_F_NEXT);
    if (header->type == VIRTIO_BLK_T_DISCARD)
        discard(device, slot);
    else
        transfer(device, slot, header, header->type == VIRTIO_BLK_T_OUT);
}

/* Begun anew: what was told before is forgotten. */
static void adopt(struct device *device)
{
    struct virtio_pci_common_cfg *common = common_of(device);

    if (common->queue_enable != 1)
        return;
    common->queue_enable = 2;
    assert_int_equal(common->queue_size, QUEUE_SIZE);
    device->ring = phys_to_virt(common->queue_desc_lo | (u64)common->queue_desc_hi << 32);
    assert_ptr_equal(phys_to_virt(common->queue_avail_lo | (u64)common->queue_avail_hi << 32),
                     &device->ring->avail);
    assert_ptr_equal(phys_to_virt(common->queue_used_lo | (u64)common->queue_used_hi << 32),
                     &device->ring->used);
    device->seen = 0;
    device->pending = 0;
    device->resets++;
}

/* What it says besides the truth. */
static void lie(struct device *device)
{
    static const u32 ids[] = {1, 3 * DRIVE_SLOTS, 999, ~0u, 3 * (DRIVE_SLOTS - 1), 0};
    struct shared *ring = device->ring;

    for (u32 i = 0; i < ARRAY_SIZE(ids); i++)
        if (!(ids[i] % DESCRIPTORS == 0 && ids[i] / DESCRIPTORS < DRIVE_SLOTS &&
              device->pending & BIT(ids[i] / DESCRIPTORS)))
            ring->used.ring[ring->used.index++ % QUEUE_SIZE] = (struct vring_used_elem){ids[i], ~0u};
}

static void device_go_on(struct device *device)
{
    const struct shared *ring;
    bool news;

    adopt(device);
    ring = device->ring;
    if (!ring || !(common_of(device)->device_status & VIRTIO_CONFIG_S_DRIVER_OK))
        return;
    news = device->seen != ring->avail.index;
    for (; device->seen != ring->avail.index; device->seen++) {
        u32 head = ring->avail.ring[device->seen % QUEUE_SIZE];

        assert_true(head % DESCRIPTORS == 0 && head / DESCRIPTORS < DRIVE_SLOTS);
        assert_true(device->lied ||
                    !(device->pending & BIT(head / DESCRIPTORS))); /* free when it has ended */
        device->pending |= BIT(head / DESCRIPTORS);
        device->most = MAX(device->most, (u32)__builtin_popcount(device->pending));
    }
    if (device->liar && news)
        lie(device);
    for (u32 slot = DRIVE_SLOTS; slot-- > 0 && !device->held && device != &devices[MUTE];)
        if (device->pending & BIT(slot))
            serve(device, slot);
}

static void hardware_go_on(void)
{
    drive_time++;
    for (u32 i = 0; i < DEVICES; i++)
        device_go_on(&devices[i]);
}

/* ---------------------------------------------------------------- around the tests */

static u8 capability_add(struct device *device, u8 at, u8 type, u32 offset, u32 length)
{
    struct virtio_pci_notify_cap cap = {
        .cap = {PCI_CAP_ID_VNDR, (u8)(at + sizeof(cap)), sizeof(cap), type, BAR, 0, {0, 0}, offset, length},
        .notify_off_multiplier = 4};

    memcpy(device->space + at, &cap, sizeof(cap));
    return (u8)(at + sizeof(cap));
}

static void power_on(struct device *device, enum which which)
{
    struct virtio_pci_common_cfg *common = common_of(device);
    struct virtio_blk_config *config = config_of(device);
    u8 at = PCI_STD_HEADER_SIZEOF;

    host_pci_functions[which] = (struct host_pci_function){
        .address = (u16)which, .vendor = VENDOR, .device = which % 2 ? DEVICE : DEVICE_LEGACY};
    if (which != NO_CAPABILITIES)
        device->space[PCI_CAPABILITY_LIST] = at;
    at = capability_add(device, at, VIRTIO_PCI_CAP_COMMON_CFG, 0, which == SHORT_WINDOW ? 55 : 56);
    at = capability_add(device, at, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY, 0x100);
    at = capability_add(device, at, VIRTIO_PCI_CAP_DEVICE_CFG, CONFIG, sizeof(*config));
    device->space[at - sizeof(struct virtio_pci_notify_cap) + 1] = 0;
    /* Both halves of the features are one register here; what is of the other half is nothing wanted. */
    common->device_feature = (u32)(which == READ_ONLY ? BIT(VIRTIO_BLK_F_RO) : OFFERED);
    common->device_feature |= which == OLD ? 0 : (u32)(BIT(VIRTIO_F_VERSION_1) >> 32);
    common->queue_size = which == SMALL_QUEUE ? 16 : 256;
    common->queue_notify_off = which == FAR_NOTIFY ? 0x40 : 0x3f;
    config->capacity = SECTORS;
    config->blk_size = which == LARGE_SECTORS ? 4096 : BLOCK_SECTOR;
    config->max_discard_sectors = which == NO_DISCARD_SIZE ? 0 : ~0u;
    config->max_discard_seg = 1;
    config->discard_sector_alignment = 8;
    device->bad = device->silent = NOWHERE;
    for (u32 i = BLOCK_SECTOR; i < sizeof(device->content); i++)
        device->content[i] = (u8)(i * (which + 5) + (i >> 9));
}

static int group_setup(void **state)
{
    (void)state;
    for (u32 i = 0; i < DEVICES; i++)
        power_on(&devices[i], (enum which)i);
    fake_memory_begin();
    drive_world_timers();
    host_virtio_blk_start();
    return 0;
}

static int setup(void **state)
{
    (void)state;
    fake_memory_begin();
    user_begin();
    said[0] = '\0';
    for (u32 i = 0; i < DEVICES; i++)
        devices[i].most = devices[i].flushes = devices[i].discards = devices[i].resets = 0;
    return 0;
}

static struct block_device *disk_open(u32 number, bool write)
{
    struct block_device *disk = NULL;
    char name[16], why[200];

    snprintf(name, sizeof(name), "virtio:%u", number);
    return drive_open(name, write, USER_OWNER, &disk, why, sizeof(why)) == 0 ? disk : NULL;
}

static void disk_close(struct block_device *disk)
{
    block_close(disk);
    assert_int_equal(frame_owned(USER_OWNER), 0);
}

static bool reads_right(const struct device *device, u32 n, u64 sector, u64 sectors)
{
    return user_requests[n].status == 0 &&
           memcmp(user_data(n), device->content + sector * BLOCK_SECTOR, sectors * BLOCK_SECTOR) == 0;
}

/* ---------------------------------------------------------------- tests */

/* Names are places; whoever can't be driven is left out, and may touch memory no more. */
static void test_found(void **state)
{
    (void)state;
    for (u32 i = 0; i < DEVICES; i++) {
        bool right = i == GOOD || i == READ_ONLY || i == ONCE_GOOD || i == NO_DISCARD_SIZE;
        struct block_device *disk = disk_open(i, false);

        assert_int_equal(disk != NULL, right);
        assert_int_equal(devices[i].busmaster, right);
        if (!disk)
            continue;
        assert_int_equal(disk->sectors, SECTORS);
        disk_close(disk);
    }
    assert_null(disk_open(READ_ONLY, true));
}

static void test_commands(void **state)
{
    struct device *device = &devices[GOOD];
    struct block_device *disk = disk_open(GOOD, true);

    (void)state;
    assert_int_equal(disk->discard_sectors, 8);
    user_send(0, disk, BLOCK_READ, 5, 128);
    user_send(1, disk, BLOCK_READ, 900, 124);
    user_pass(SECOND);
    assert_true(reads_right(device, 0, 5, 128) && reads_right(device, 1, 900, 124));
    memset(user_data(2), 0x5a, 50 * BLOCK_SECTOR);
    user_send(2, disk, BLOCK_WRITE, 100, 50);
    user_pass(SECOND);
    user_send(3, disk, BLOCK_FLUSH, 0, 0);
    user_send(4, disk, BLOCK_DISCARD, 120, 8);
    user_pass(SECOND);
    user_send(5, disk, BLOCK_READ, 99, 52);
    user_pass(SECOND);
    assert_true(user_requests[2].status == 0 && user_requests[3].status == 0 && user_requests[4].status == 0);
    assert_true(reads_right(device, 5, 99, 52));
    assert_int_equal(user_data(5)[BLOCK_SECTOR], 0x5a);
    assert_int_equal(user_data(5)[22 * BLOCK_SECTOR], 0);
    assert_true(device->flushes == 1 && device->discards == 1);
    disk_close(disk);
    disk = disk_open(READ_ONLY, false);
    assert_int_equal(user_submit(0, disk, BLOCK_FLUSH, 0, 0), 0); /* there is no such command, nor need */
    assert_int_equal(user_submit(0, disk, BLOCK_WRITE, 0, 1), -EROFS);
    disk_close(disk);
    disk = disk_open(NO_DISCARD_SIZE, true);
    assert_int_equal(user_submit(0, disk, BLOCK_DISCARD, 0, 8), -ENOTSUP);
    disk_close(disk);
}

/* All slots at once; those that have ended first are used again, the others not before they have. */
static void test_in_flight(void **state)
{
    struct device *device = &devices[GOOD];
    struct block_device *disk = disk_open(GOOD, true);

    (void)state;
    device->held = true;
    for (u32 n = 0; n < 12; n++)
        user_send(n, disk, BLOCK_READ, 20 * n, 1 + n);
    user_pass(SECOND / 10);
    assert_int_equal(device->pending, 0xff);
    serve(device, 5);
    serve(device, 2);
    user_pass(SECOND / 10);
    assert_int_equal(device->pending, 0xff);
    for (u32 n = 0; n < 12; n++)
        assert_int_equal(user_requests[n].status, n == 2 || n == 5 ? 0 : NOT_DONE);
    device->held = false;
    user_pass(SECOND);
    for (u32 n = 0; n < 12; n++)
        assert_true(reads_right(device, n, 20 * n, 1 + n));
    assert_int_equal(device->most, DRIVE_SLOTS);
    for (u32 round = 0; round < 2 * 65536 / 12; round++) { /* the indices wrap */
        for (u32 n = 0; n < 12; n++)
            user_send(n, disk, BLOCK_READ, 20 * n, 1);
        user_pass(SECOND / 10);
        for (u32 n = 0; n < 12; n++)
            assert_true(reads_right(device, n, 20 * n, 1));
    }
    disk_close(disk);
}

/* An error is of one request alone, and needs no reset. */
static void test_failures(void **state)
{
    struct device *device = &devices[GOOD];
    struct block_device *disk = disk_open(GOOD, true);

    (void)state;
    device->bad = 203;
    for (u32 n = 0; n < 8; n++)
        user_send(n, disk, BLOCK_READ, 100 * n, 64);
    user_pass(SECOND);
    for (u32 n = 0; n < 8; n++)
        assert_true(n == 2 ? user_requests[n].status == -EIO : reads_right(device, n, 100 * n, 64));
    assert_int_equal(device->resets, 0);
    device->bad = NOWHERE;
    disk_close(disk);
}

static void test_silence(void **state)
{
    struct device *device = &devices[GOOD];
    struct block_device *disk = disk_open(GOOD, true);

    (void)state;
    device->silent = 410;
    user_send(0, disk, BLOCK_READ, 400, 64);
    user_send(1, disk, BLOCK_READ, 500, 64);
    user_pass(9 * SECOND);
    assert_true(user_requests[0].status == NOT_DONE && reads_right(device, 1, 500, 64));
    user_pass(2 * SECOND);
    assert_int_equal(user_requests[0].status, -EIO);
    device->silent = NOWHERE;
    device->held = true; /* what has ended before the reset ends no command behind it */
    user_send(0, disk, BLOCK_READ, 400, 64);
    user_pass(SECOND / 10);
    assert_int_equal(user_requests[0].status, NOT_DONE);
    device->held = false;
    user_pass(SECOND);
    assert_true(reads_right(device, 0, 400, 64));
    assert_int_equal(device->resets, 1);
    disk_close(disk);
}

/* It is silent, and behind the reset another one than before: lost. */
static void test_lost(void **state)
{
    struct device *device = &devices[ONCE_GOOD];
    struct block_device *disk = disk_open(ONCE_GOOD, true);

    (void)state;
    device->held = true;
    for (u32 n = 0; n < 12; n++)
        user_send(n, disk, BLOCK_READ, 20 * n, 1 + n);
    common_of(device)->device_feature = 0;
    user_pass(25 * SECOND);
    for (u32 n = 0; n < 12; n++)
        assert_int_equal(user_requests[n].status, -EIO);
    assert_non_null(strstr(said, "is lost"));
    assert_int_equal(user_submit(0, disk, BLOCK_READ, 0, 8), -EIO);
    disk_close(disk);
}

/* Ends of what nobody asked for, or of what can't be; an index from nowhere; a status that there is not. */
static void test_nonsense(void **state)
{
    struct device *device = &devices[GOOD];
    struct block_device *disk = disk_open(GOOD, true);

    (void)state;
    device->liar = true;
    for (u32 n = 0; n < 12; n++)
        user_send(n, disk, BLOCK_READ, 20 * n, 1 + n);
    user_pass(SECOND);
    device->liar = false;
    user_pass(30 * SECOND);
    for (u32 n = 0; n < 12; n++)
        assert_true(user_requests[n].status == -EIO || reads_right(device, n, 20 * n, 1 + n));
    device->held = true;
    user_send(0, disk, BLOCK_READ, 5, 8);
    user_pass(SECOND / 10);
    slot_end(device, (u32)__builtin_ctz(device->pending), 7);
    user_pass(SECOND / 10);
    assert_int_equal(user_requests[0].status, -EIO);
    for (u32 n = 0; n < 12; n++)
        user_send(n, disk, BLOCK_READ, 20 * n, 1 + n);
    device->lied = true; /* of what has ended once, that it has again */
    device->ring->used.index = (u16)(device->ring->used.index + 0x7abc);
    user_pass(SECOND);
    device->held = false;
    user_pass(60 * SECOND);
    for (u32 n = 0; n < 12; n++)
        assert_int_not_equal(user_requests[n].status, NOT_DONE);
    device->silent = 5;
    for (u32 round = 0; round < 3000 && !device->resets; round++) { /* a reset makes it honest */
        user_send(0, disk, BLOCK_READ, 5, 8);
        user_pass(12 * SECOND);
    }
    assert_int_equal(device->resets, 1);
    device->silent = NOWHERE;
    device->lied = false;
    for (u32 n = 0; n < 12; n++)
        user_send(n, disk, BLOCK_READ, 20 * n, 1 + n);
    user_pass(SECOND);
    for (u32 n = 0; n < 12; n++)
        assert_true(reads_right(device, n, 20 * n, 1 + n));
    disk_close(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_found, setup),     cmocka_unit_test_setup(test_commands, setup),
        cmocka_unit_test_setup(test_in_flight, setup), cmocka_unit_test_setup(test_failures, setup),
        cmocka_unit_test_setup(test_silence, setup),   cmocka_unit_test_setup(test_lost, setup),
        cmocka_unit_test_setup(test_nonsense, setup),
    };

    return cmocka_run_group_tests(tests, group_setup, NULL);
}
