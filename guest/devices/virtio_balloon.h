/* SPDX-License-Identifier: MIT */
/*
 * A virtio balloon, which speaks for the guest with hv/memory/balloon.c, as the VMware balloon's port does in
 * other VMs. Its lock is that of its PCI device. Virtio 1.1, 5.5; layouts: linux/virtio_balloon.h.
 */
#ifndef GUEST_DEVICES_VIRTIO_BALLOON_H
#define GUEST_DEVICES_VIRTIO_BALLOON_H

#include <linux/virtio_balloon.h>

#include "guest/devices/virtio.h"
#include "guest/devices/virtio_buffers.h"

#define VIRTIO_BALLOON_PFNS 128u /* read at once */

struct virtio_balloon {
    struct virtio virtio;
    struct virtio_balloon_config config;
    /* Pages are moved without the lock, by one vCPU at a time; nobody else touches what follows meanwhile. */
    bool moving;
    bool held; /* a chain of page numbers was taken and is not given back yet */
    u8 queue;  /* whose it is */
    u64 bytes; /* of it that were not read yet */
    struct buffers left;
    struct virtq_chain chain;
    u32 pfn_next, pfn_count;
    __le32 pfns[VIRTIO_BALLOON_PFNS];
    /* The driver's latest statistics came in a chain that it gets back when new ones are wanted. */
    bool statistics_held, statistics_wanted;
    u16 statistics_head;
    struct virtq_chain statistics;
    /* How fast pages move: since when, and how many had been moved then. */
    u64 rate_at, rate_moved;
};

/* Plug it in. NULL: no memory. Boot CPU; no vCPU runs. */
struct virtio_balloon *virtio_balloon_create(struct machine *machine, unsigned slot);
/* As after power-on; it touches no guest memory from here on. Likewise. */
void virtio_balloon_reset(struct virtio_balloon *balloon);
/* After virtio_balloon_reset. */
void virtio_balloon_destroy(struct virtio_balloon *balloon);
/* Go on with what is left to do. The vCPU that was asked for (REQUEST_DEVICE); no lock held. */
void virtio_balloon_work(struct virtio_balloon *balloon, struct vcpu *vcpu);
/* Tell the driver of the target, and ask for its statistics. False: there is none. Boot CPU, no lock held. */
bool virtio_balloon_ask(struct virtio_balloon *balloon);

#endif
