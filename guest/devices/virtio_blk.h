/* SPDX-License-Identifier: MIT */
/*
 * A drive of the guest: virtio-blk in front of a block_device. Its lock is that of its PCI device. Virtio
 * 1.1, 5.2; layouts: linux/virtio_blk.h.
 */
#ifndef GUEST_DEVICES_VIRTIO_BLK_H
#define GUEST_DEVICES_VIRTIO_BLK_H

#include <linux/virtio_blk.h>

#include "guest/devices/virtio.h"
#include "hv/storage/block.h"

enum slot_state { SLOT_FREE, SLOT_IN_PROGRESS, SLOT_ENDED };

/* A request of the driver's, from its chain to its end. */
struct virtio_blk_slot {
    struct block_request request;
    struct virtio_blk *blk;
    u8 state;     /* enum slot_state */
    int result;   /* of one that has ended by itself */
    gpa_t status; /* where its last byte goes */
    u64 data;     /* bytes that the device writes, if all goes well */
    struct virtq_chain chain;
};

struct virtio_blk {
    struct virtio virtio;
    struct block_device *disk;
    struct virtio_blk_config config;
    char name[VIRTIO_BLK_ID_BYTES]; /* "disk0" */
    u32 in_progress;                /* slots, at the block_device */
    struct virtio_blk_slot slots[]; /* disk->depth */
};

/*
 * Plug a drive in that is disk `number` of the VM, and has this block_device from now on. NULL: no memory.
 * Boot CPU; no vCPU runs.
 */
struct virtio_blk *virtio_blk_create(struct machine *machine, unsigned slot, unsigned number,
                                     struct block_device *disk);
/* As after power-on; what is on the disk stays. It touches no guest memory from here on. Likewise. */
void virtio_blk_reset(struct virtio_blk *blk);
/* Give it and its block_device back; after virtio_blk_reset. */
void virtio_blk_destroy(struct virtio_blk *blk);
/* Go on with what is left to do. The vCPU that was asked for (REQUEST_DEVICE); no lock held. */
void virtio_blk_work(struct virtio_blk *blk, struct vcpu *vcpu);

#endif
