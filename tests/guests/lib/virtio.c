/* SPDX-License-Identifier: MIT */
/* A driver for virtio 1.x on PCI, polled (contract in the header). Virtio 1.1, 3.1 and 4.1. */
#include "lib/virtio.h"

#include "lib/tap.h"

#define ADDRESS       0xcf8
#define DATA          0xcfc
#define VIRTIO_VENDOR 0x1af4
#define PATIENCE_US   60000000u /* more than lintel has with a drive: 10 s for a piece, 10 s for a reset */
#define BARRIER()     __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* ---------------------------------------------------------------- PCI */

u32 pci_read(unsigned slot, unsigned offset)
{
    out32(ADDRESS, 0x80000000u | slot << 11 | (offset & 0xfc));
    return in32(DATA) >> (offset & 3) * 8;
}

void pci_write(unsigned slot, unsigned offset, u32 value)
{
    out32(ADDRESS, 0x80000000u | slot << 11 | (offset & 0xfc));
    out32(DATA, value);
}

bool virtio_find(struct virtio *v, unsigned slot)
{
    u8 at;

    *v = (struct virtio){.slot = slot};
    if ((pci_read(slot, PCI_VENDOR_ID) & 0xffff) != VIRTIO_VENDOR)
        return false;
    v->bar = pci_read(slot, PCI_BASE_ADDRESS_0) & ~0xfu;
    for (at = (u8)pci_read(slot, PCI_CAPABILITY_LIST); at; at = (u8)pci_read(slot, at + 1u)) {
        u8 id = (u8)pci_read(slot, at), type = (u8)pci_read(slot, at + 3u);

        if (id == PCI_CAP_ID_MSIX)
            v->msix = at;
        if (id != PCI_CAP_ID_VNDR || type >= 8)
            continue;
        v->capability[type] = at;
        v->where[type] = pci_read(slot, at + 8u);
    }
    pci_write(slot, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    return true;
}

void msix_route(const struct virtio *v, unsigned entry, u8 vector, bool masked)
{
    u64 at = v->bar + (pci_read(v->slot, v->msix + 4u) & ~7u) + 16 * entry;

    mmio_write(at, 0xfee00000);
    mmio_write(at + 4, 0);
    mmio_write(at + 8, vector);
    mmio_write(at + 12, masked);
}

void msix_enable(const struct virtio *v, bool on)
{
    pci_write(v->slot, v->msix, on ? (u32)PCI_MSIX_FLAGS_ENABLE << 16 : 0);
}

/* ---------------------------------------------------------------- registers */

static u64 common_at(const struct virtio *v, unsigned offset)
{
    return v->bar + v->where[VIRTIO_PCI_CAP_COMMON_CFG] + offset;
}

u32 common_read(const struct virtio *v, unsigned offset)
{
    return mmio_read(common_at(v, offset));
}

void common_write(const struct virtio *v, unsigned offset, unsigned size, u32 value)
{
    if (size == 1)
        asm volatile("movb %1, %0" : "=m"(*(volatile u8 *)common_at(v, offset)) : "q"((u8)value));
    else if (size == 2)
        asm volatile("movw %1, %0" : "=m"(*(volatile u16 *)common_at(v, offset)) : "r"((u16)value));
    else
        mmio_write(common_at(v, offset), value);
}

u8 virtio_status(const struct virtio *v)
{
    return (u8)common_read(v, VIRTIO_PCI_COMMON_STATUS);
}

static void status_add(const struct virtio *v, u8 bits)
{
    common_write(v, VIRTIO_PCI_COMMON_STATUS, 1, virtio_status(v) | bits);
}

u64 virtio_offered(const struct virtio *v)
{
    u64 features;

    common_write(v, VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
    features = (u64)common_read(v, VIRTIO_PCI_COMMON_DF) << 32;
    common_write(v, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
    return features | common_read(v, VIRTIO_PCI_COMMON_DF);
}

bool virtio_negotiate(struct virtio *v, u64 features)
{
    common_write(v, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    if (virtio_status(v) != 0)
        return false;
    status_add(v, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    v->features = features;
    for (u32 half = 0; half < 2; half++) {
        common_write(v, VIRTIO_PCI_COMMON_GFSELECT, 4, half);
        common_write(v, VIRTIO_PCI_COMMON_GF, 4, (u32)(features >> (32 * half)));
    }
    status_add(v, VIRTIO_CONFIG_S_FEATURES_OK);
    return virtio_status(v) & VIRTIO_CONFIG_S_FEATURES_OK;
}

void virtio_queue(struct virtio *v, struct ring *ring)
{
    const u64 places[] = {(u64)ring->desc, (u64)&ring->avail, (u64)&ring->used};

    *ring = (struct ring){0};
    v->ring = ring;
    v->taken = 0;
    common_write(v, VIRTIO_PCI_COMMON_Q_SELECT, 2, v->queue);
    common_write(v, VIRTIO_PCI_COMMON_Q_SIZE, 2, RING_SIZE);
    for (unsigned i = 0; i < 3; i++) {
        common_write(v, VIRTIO_PCI_COMMON_Q_DESCLO + 8 * i, 4, (u32)places[i]);
        common_write(v, VIRTIO_PCI_COMMON_Q_DESCHI + 8 * i, 4, (u32)(places[i] >> 32));
    }
    common_write(v, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

void virtio_begin(struct virtio *v, struct ring *ring, u64 features)
{
    if (!virtio_negotiate(v, virtio_offered(v) & features))
        bail_out("the device refuses features %lx", features);
    virtio_queue(v, ring);
    status_add(v, VIRTIO_CONFIG_S_DRIVER_OK);
}

/* ---------------------------------------------------------------- the ring */

void ring_offer(struct virtio *v, u16 head)
{
    struct ring *ring = v->ring;

    ring->avail.ring[ring->avail.idx % RING_SIZE] = head;
    BARRIER();
    WRITE_ONCE(ring->avail.idx, (u16)(ring->avail.idx + 1));
}

void ring_notify(const struct virtio *v)
{
    BARRIER();
    mmio_write(v->bar + v->where[VIRTIO_PCI_CAP_NOTIFY_CFG] + 4 * v->queue, v->queue);
}

bool ring_wait(struct virtio *v, struct vring_used_elem *used)
{
    struct ring *ring = v->ring;

    for (u32 us = 0; READ_ONCE(ring->used.idx) == v->taken; us += 10) {
        if (virtio_status(v) & VIRTIO_CONFIG_S_NEEDS_RESET)
            return false;
        if (us >= PATIENCE_US) /* its buffers are the device's still, so nothing right can follow */
            bail_out("a request has not ended for %u s", PATIENCE_US / 1000000);
        delay_us(10);
    }
    BARRIER();
    *used = ring->used.ring[v->taken++ % RING_SIZE];
    return true;
}

/* ---------------------------------------------------------------- drives */

void blk_describe(struct virtio *v, u16 first, struct blk_request *request, u32 type, u64 sector, void *data,
                  u32 bytes, bool in)
{
    struct vring_desc *desc = &v->ring->desc[first];
    u16 last = (u16)(first + (data ? 2 : 1));

    request->header = (struct virtio_blk_outhdr){.type = type, .sector = sector};
    request->status = NO_ANSWER;
    desc[0] = (struct vring_desc){(u64)&request->header, sizeof(request->header), VRING_DESC_F_NEXT,
                                  (u16)(first + 1)};
    if (data)
        desc[1] =
            (struct vring_desc){(u64)data, bytes, VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0), last};
    desc[last - first] = (struct vring_desc){(u64)&request->status, 1, VRING_DESC_F_WRITE, 0};
}

u8 blk_do(struct virtio *v, u32 type, u64 sector, void *data, u32 bytes, bool in)
{
    static struct blk_request request;
    struct vring_used_elem used;

    blk_describe(v, 0, &request, type, sector, data, bytes, in);
    ring_offer(v, 0);
    ring_notify(v);
    if (!ring_wait(v, &used) || used.id != 0)
        return NO_ANSWER;
    return request.status;
}

u64 blk_sectors(const struct virtio *v)
{
    u64 at = v->bar + v->where[VIRTIO_PCI_CAP_DEVICE_CFG];

    return mmio_read(at) | (u64)mmio_read(at + 4) << 32;
}
