/* SPDX-License-Identifier: MIT */
/*
 * The machine's virtio-blk drives: an emulator's, or a cloud's. Virtio 1.1, 4.1 and 5.2, without interrupts:
 * drive_poll.c asks for what has ended. A slot has three descriptors that are its own for ever: header, data,
 * status. All of this with the drive's lock held, or at boot.
 */
#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "arch/x86/machine/paging.h"
#include "arch/x86/machine/tsc.h"
#include "drivers/drives.h"
#include "drivers/pci.h"
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"

#define VENDOR        0x1af4
#define DEVICE        0x1042
#define DEVICE_LEGACY 0x1001 /* speaks Virtio 1.x, too, if it has the capabilities */

#define QUEUE_SIZE   32u
#define DESCRIPTORS  3u /* of a slot */
#define RESET_MS     1000u
#define READS_MOST   100u /* of a register that changes meanwhile */
#define WINDOW_MAX   0x10000u
#define STATUS_GONE  0xff /* what is read where nobody is */
#define STATUS_UNSET 0xfe /* no status that the device gives */

/* One page, which the device reads and writes. */
struct shared {
    struct vring_desc descriptors[QUEUE_SIZE];
    struct {
        u16 flags, index, ring[QUEUE_SIZE];
    } avail;
    ALIGNED(64) struct {
        u16 flags, index;
        struct vring_used_elem ring[QUEUE_SIZE];
    } used;
    ALIGNED(64) struct virtio_blk_outhdr headers[DRIVE_SLOTS];
    u8 status[DRIVE_SLOTS];
};
_Static_assert(sizeof(struct shared) <= PAGE_SIZE, "it is a page");
_Static_assert(DRIVE_SLOTS *DESCRIPTORS <= QUEUE_SIZE, "each slot has its descriptors");

struct virtio_drive {
    struct drive drive;
    u16 address;
    volatile struct virtio_pci_common_cfg *common;
    volatile struct virtio_blk_config *config;
    volatile u8 *notify_base;
    u32 notify_multiplier, notify_bytes, config_bytes;
    volatile u16 *notify;
    struct shared *shared;
    hpa_t shared_hpa;
    u16 used_seen;
};

static struct virtio_drive *of(struct drive *drive)
{
    return container_of(drive, struct virtio_drive, drive);
}

/* ---------------------------------------------------------------- requests */

static void describe(struct virtio_drive *v, u32 number, hpa_t hpa, u32 bytes, bool device_writes, bool more)
{
    v->shared->descriptors[number] = (struct vring_desc){
        .addr = hpa,
        .len = bytes,
        .flags = (u16)((device_writes ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0)),
        .next = (u16)(number + 1)};
}

/* The range into the slot's buffer. */
static u32 discard_write(const struct drive_slot *slot)
{
    struct virtio_blk_discard_write_zeroes *range = (void *)slot->data;

    *range = (struct virtio_blk_discard_write_zeroes){.sector = slot->sector,
                                                      .num_sectors = slot->bytes / BLOCK_SECTOR};
    return sizeof(*range);
}

static void virtio_start(struct drive *drive, unsigned number)
{
    static const u32 types[] = {
        [BLOCK_READ] = VIRTIO_BLK_T_IN,
        [BLOCK_WRITE] = VIRTIO_BLK_T_OUT,
        [BLOCK_FLUSH] = VIRTIO_BLK_T_FLUSH,
        [BLOCK_DISCARD] = VIRTIO_BLK_T_DISCARD,
    };
    struct virtio_drive *v = of(drive);
    const struct drive_slot *slot = &drive->slots[number];
    bool is_transfer = slot->operation == BLOCK_READ || slot->operation == BLOCK_WRITE;
    u32 bytes = is_transfer ? slot->bytes : slot->operation == BLOCK_DISCARD ? discard_write(slot) : 0;
    struct virtio_blk_outhdr *header = &v->shared->headers[number];
    u32 first = number * DESCRIPTORS, last = first + DESCRIPTORS - 1;
    u16 index = v->shared->avail.index;

    *header =
        (struct virtio_blk_outhdr){.type = types[slot->operation], .sector = is_transfer ? slot->sector : 0};
    v->shared->status[number] = STATUS_UNSET;
    describe(v, first, v->shared_hpa + ((u64)header - (u64)v->shared), sizeof(*header), false, true);
    if (bytes)
        describe(v, first + 1, slot->data_hpa, bytes, slot->operation == BLOCK_READ, true);
    else
        v->shared->descriptors[first].next = (u16)last;
    describe(v, last, v->shared_hpa + offsetof(struct shared, status) + number, 1, true, false);
    v->shared->avail.ring[index % QUEUE_SIZE] = (u16)first;
    __atomic_store_n(&v->shared->avail.index, (u16)(index + 1), __ATOMIC_RELEASE);
    *v->notify = 0;
}

/* The device's word for which has ended is checked here and by drive_slot_ended. */
static void virtio_poll(struct drive *drive)
{
    struct virtio_drive *v = of(drive);

    for (u32 i = 0; i < QUEUE_SIZE; i++) {
        u32 id;

        if (__atomic_load_n(&v->shared->used.index, __ATOMIC_ACQUIRE) == v->used_seen)
            return;
        id = READ_ONCE(v->shared->used.ring[v->used_seen++ % QUEUE_SIZE].id);
        if (id % DESCRIPTORS == 0 && id / DESCRIPTORS < DRIVE_SLOTS)
            drive_slot_ended(drive, id / DESCRIPTORS,
                             READ_ONCE(v->shared->status[id / DESCRIPTORS]) == VIRTIO_BLK_S_OK ? 0 : -EIO);
    }
}

/* ---------------------------------------------------------------- the device */

static void status_add(struct virtio_drive *v, u8 bits)
{
    v->common->device_status = (u8)(v->common->device_status | bits);
}

static u64 features_read(struct virtio_drive *v)
{
    u64 features;

    v->common->device_feature_select = 0;
    features = v->common->device_feature;
    v->common->device_feature_select = 1;
    return features | (u64)v->common->device_feature << 32;
}

static void features_write(struct virtio_drive *v, u64 features)
{
    v->common->guest_feature_select = 0;
    v->common->guest_feature = (u32)features;
    v->common->guest_feature_select = 1;
    v->common->guest_feature = (u32)(features >> 32);
}

static int queue_start(struct virtio_drive *v)
{
    volatile struct virtio_pci_common_cfg *common = v->common;
    const hpa_t avail = v->shared_hpa + offsetof(struct shared, avail);
    const hpa_t used = v->shared_hpa + offsetof(struct shared, used);
    u64 notify;

    common->msix_config = VIRTIO_MSI_NO_VECTOR;
    common->queue_select = 0;
    if (common->queue_size < QUEUE_SIZE)
        return -ENOTSUP;
    notify = (u64)common->queue_notify_off * v->notify_multiplier;
    if (notify > v->notify_bytes - sizeof(*v->notify))
        return -ENOTSUP;
    v->notify = (volatile u16 *)(v->notify_base + notify);
    common->queue_size = QUEUE_SIZE;
    common->queue_msix_vector = VIRTIO_MSI_NO_VECTOR;
    common->queue_desc_lo = (u32)v->shared_hpa;
    common->queue_desc_hi = (u32)(v->shared_hpa >> 32);
    common->queue_avail_lo = (u32)avail;
    common->queue_avail_hi = (u32)(avail >> 32);
    common->queue_used_lo = (u32)used;
    common->queue_used_hi = (u32)(used >> 32);
    v->shared->avail.flags = VRING_AVAIL_F_NO_INTERRUPT;
    v->shared->avail.index = 0;
    v->shared->used.index = 0;
    v->used_seen = 0;
    common->queue_enable = 1;
    return 0;
}

/* How much it discards at once, and in which pieces. */
static void discard_find(struct virtio_drive *v)
{
    u32 most, piece;

    if (v->config_bytes < offsetof(struct virtio_blk_config, max_write_zeroes_sectors))
        return;
    most = v->config->max_discard_sectors;
    piece = v->config->discard_sector_alignment;
    if (!most || !v->config->max_discard_seg)
        return;
    v->drive.discard_most = MIN(most, DRIVE_DISCARD_MOST);
    v->drive.discard_sectors = MAX(piece, 1u);
}

/* From its reset on; the features are the same each time. -ENOTSUP */
static int device_start(struct virtio_drive *v)
{
    const u64 wanted = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM) | BIT(VIRTIO_BLK_F_FLUSH) |
                       BIT(VIRTIO_BLK_F_RO) | BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_DISCARD);
    u64 features;
    int error;

    status_add(v, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    features = features_read(v) & wanted;
    if (!(features & BIT(VIRTIO_F_VERSION_1)))
        return -ENOTSUP;
    features_write(v, features);
    status_add(v, VIRTIO_CONFIG_S_FEATURES_OK);
    if (!(v->common->device_status & VIRTIO_CONFIG_S_FEATURES_OK))
        return -ENOTSUP;
    if (features & BIT(VIRTIO_BLK_F_BLK_SIZE) && v->config->blk_size != BLOCK_SECTOR)
        return -ENOTSUP;
    v->drive.has_flush = features & BIT(VIRTIO_BLK_F_FLUSH);
    v->drive.read_only = features & BIT(VIRTIO_BLK_F_RO);
    if (features & BIT(VIRTIO_BLK_F_DISCARD))
        discard_find(v);
    error = queue_start(v);
    if (!error)
        status_add(v, VIRTIO_CONFIG_S_DRIVER_OK);
    return error;
}

static int virtio_reset(struct drive *drive, bool begin)
{
    struct virtio_drive *v = of(drive);
    u8 status;

    if (begin)
        v->common->device_status = 0;
    status = v->common->device_status;
    if (status == STATUS_GONE)
        return -EIO;
    return status ? -EINPROGRESS : device_start(v);
}

static const struct drive_ops virtio_ops = {
    .start = virtio_start, .poll = virtio_poll, .reset = virtio_reset};

/* ---------------------------------------------------------------- finding it */

/* The registers that a capability of this type tells of, at least so many bytes; NULL: there are none. */
static void *window_map(u16 address, u8 type, u32 *bytes, u32 *multiplier)
{
    for (u8 at = host_pci_capability(address, PCI_CAP_ID_VNDR, 0); at;
         at = host_pci_capability(address, PCI_CAP_ID_VNDR, at)) {
        u32 offset = host_pci_read_32(address, at + offsetof(struct virtio_pci_cap, offset));
        u32 length = host_pci_read_32(address, at + offsetof(struct virtio_pci_cap, length));
        hpa_t bar;

        if (host_pci_read_8(address, at + offsetof(struct virtio_pci_cap, cfg_type)) != type)
            continue;
        bar = host_pci_bar(address, host_pci_read_8(address, at + offsetof(struct virtio_pci_cap, bar)));
        if (!bar || length < *bytes)
            return NULL;
        *bytes = MIN(length, WINDOW_MAX);
        if (multiplier)
            *multiplier =
                host_pci_read_32(address, at + offsetof(struct virtio_pci_notify_cap, notify_off_multiplier));
        return paging_map_device(bar + offset, *bytes, CACHE_UNCACHED, MAP_WRITE);
    }
    return NULL;
}

static int windows_map(struct virtio_drive *v)
{
    u32 common = sizeof(*v->common);

    v->config_bytes = offsetof(struct virtio_blk_config, physical_block_exp);
    v->notify_bytes = sizeof(u16);
    v->common = window_map(v->address, VIRTIO_PCI_CAP_COMMON_CFG, &common, NULL);
    v->config = window_map(v->address, VIRTIO_PCI_CAP_DEVICE_CFG, &v->config_bytes, NULL);
    v->notify_base =
        window_map(v->address, VIRTIO_PCI_CAP_NOTIFY_CFG, &v->notify_bytes, &v->notify_multiplier);
    return v->common && v->config && v->notify_base ? 0 : -ENOTSUP;
}

_Static_assert(offsetof(struct virtio_blk_config, capacity) == 0, "what capacity_read reads");

/* In halves, as no register is read in more than 32 bits, of one state of the device (4.1.3.1, 2.4.1). */
static u64 capacity_read(const struct virtio_drive *v)
{
    const volatile u32 *halves = (const volatile u32 *)v->config;
    u64 capacity = 0;

    for (u32 i = 0; i < READS_MOST; i++) {
        u8 generation = v->common->config_generation;

        capacity = halves[0];
        capacity |= (u64)halves[1] << 32;
        if (v->common->config_generation == generation)
            break;
    }
    return capacity;
}

static int drive_start(struct virtio_drive *v)
{
    int error = windows_map(v);

    if (error)
        return error;
    v->shared = host_drive_page(0, &v->shared_hpa);
    if (!v->shared)
        return -ENOMEM;
    host_pci_enable(v->address, true);
    error = virtio_reset(&v->drive, true);
    for (u32 ms = 0; ms < RESET_MS && error == -EINPROGRESS; ms++) {
        tsc_delay_us(1000);
        error = virtio_reset(&v->drive, false);
    }
    if (error)
        return error;
    v->drive.sectors = capacity_read(v);
    return drive_register(&v->drive);
}

static void function_start(u16 address, u32 number)
{
    struct virtio_drive *v = memory_alloc(sizeof(*v), FRAME_OWNER_HYPERVISOR);

    if (!v)
        return;
    v->address = address;
    v->drive.ops = &virtio_ops;
    v->drive.slot_count = DRIVE_SLOTS;
    snprintf(v->drive.name, sizeof(v->drive.name), "virtio:%u", number);
    if (drive_start(v) == 0)
        return;
    log_warning("drive %s: is left out: Virtio 1.x with a queue of %u and sectors of 512 bytes is expected",
                v->drive.name, QUEUE_SIZE);
    host_pci_enable(address, false); /* what it was told is not looked at any more; its page is kept */
}

void host_virtio_blk_start(void)
{
    u32 number = 0;

    for (u32 i = 0; i < host_pci_count; i++) {
        const struct host_pci_function *function = &host_pci_functions[i];

        if (function->vendor == VENDOR && (function->device == DEVICE || function->device == DEVICE_LEGACY))
            function_start(function->address, number++);
    }
}
