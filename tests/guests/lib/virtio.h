/* SPDX-License-Identifier: MIT */
/*
 * The driver's side of PCI and virtio: registers by configuration space and BAR 0, one split ring, drives.
 * Everything is open to the guest, so that it can do wrong as well as right. One vCPU at a time.
 */
#ifndef GUESTS_LIB_VIRTIO_H
#define GUESTS_LIB_VIRTIO_H

#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "lib/apic.h"

#define PCI_NOBODY  0xffffffffu
#define RING_SIZE   128u
#define SECTOR      512u
#define NO_ANSWER   0xee /* what a request's status is before the device has written it */
#define ALL_OFFERED (~0ull)

/* Configuration space of 00:slot.0. */
u32 pci_read(unsigned slot, unsigned offset);
void pci_write(unsigned slot, unsigned offset, u32 value);

struct ring {
    struct vring_desc desc[RING_SIZE] ALIGNED(4096);
    struct {
        u16 flags, idx, ring[RING_SIZE], used_event;
    } avail ALIGNED(4096);
    struct {
        u16 flags, idx;
        struct vring_used_elem ring[RING_SIZE];
        u16 avail_event;
    } used ALIGNED(4096);
};

struct virtio {
    unsigned slot;
    u64 bar;
    u8 msix;          /* its capability */
    u32 where[8];     /* of each kind of structure (VIRTIO_PCI_CAP_*), in BAR 0 */
    u8 capability[8]; /* where that stands in configuration space; 0: there is none */
    u64 features;     /* accepted */
    u16 queue;        /* that of the ring */
    struct ring *ring;
    u16 taken; /* used entries that were looked at */
};

/* The device in this slot; false: it is no virtio device. Memory and bus mastering are switched on. */
bool virtio_find(struct virtio *v, unsigned slot);

u32 common_read(const struct virtio *v, unsigned offset);
void common_write(const struct virtio *v, unsigned offset, unsigned size, u32 value);
u8 virtio_status(const struct virtio *v);
u64 virtio_offered(const struct virtio *v);

/* Reset, and take these of the offered features; false: the device refuses them. */
bool virtio_negotiate(struct virtio *v, u64 features);
/* Describe and enable queue v->queue, with this ring. */
void virtio_queue(struct virtio *v, struct ring *ring);
/* All three, to DRIVER_OK, or the guest ends. */
void virtio_begin(struct virtio *v, struct ring *ring, u64 features);

/* Put a head on the available ring; tell the device (always). */
void ring_offer(struct virtio *v, u16 head);
void ring_notify(const struct virtio *v);
/* Wait for the next used entry; false: the device needs a reset. If none comes at all, the guest ends. */
bool ring_wait(struct virtio *v, struct vring_used_elem *used);

/* One entry of the MSI-X table: vector to local APIC 0. */
void msix_route(const struct virtio *v, unsigned entry, u8 vector, bool masked);
void msix_enable(const struct virtio *v, bool on);

/* A request in descriptors `first` and the next two; data NULL: none. in: the device writes the data. */
struct blk_request {
    struct virtio_blk_outhdr header;
    volatile u8 status;
};
void blk_describe(struct virtio *v, u16 first, struct blk_request *request, u32 type, u64 sector, void *data,
                  u32 bytes, bool in);
/* The same, offered and waited for; the status, NO_ANSWER: the device needs a reset. */
u8 blk_do(struct virtio *v, u32 type, u64 sector, void *data, u32 bytes, bool in);
u64 blk_sectors(const struct virtio *v);

#endif
