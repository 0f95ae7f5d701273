/* SPDX-License-Identifier: MIT */
/*
 * One virtqueue, the device's side: split ring, indirect descriptors, event index. All of it lies in the
 * guest's memory, where any vCPU may change it at any time: every word is copied once and checked, and no
 * loop is longer than VIRTQ_SIZE_MAX. The device's lock. Virtio 1.1, 2.6; layouts: linux/virtio_ring.h.
 */
#ifndef GUEST_DEVICES_VIRTIO_RING_H
#define GUEST_DEVICES_VIRTIO_RING_H

#include "hv/memory/guest_memory.h"

#define VIRTQ_SIZE_MAX 128u /* entries of a queue, and buffers of a chain */

struct virtq {
    u16 size; /* a power of two */
    bool enabled;
    bool event_index;        /* VIRTIO_RING_F_EVENT_IDX was accepted */
    bool used_is_there;      /* the used ring has memory, or the driver has given it away since */
    u16 vector;              /* MSI-X */
    gpa_t desc, avail, used; /* as the driver wrote them, aligned */
    u16 next;                /* available entries that were taken, counted without end */
    u16 seen;                /* the driver's count of them, when it was looked at last */
    u16 ended;               /* used entries written */
    u16 told;                /* ... and shown to the driver */
};

/* What the driver hands over at once: first the buffers to be read, then those to be written. */
struct virtq_chain {
    u16 head; /* its name on the used ring */
    u16 readable, writable;
    struct guest_segment buffers[VIRTQ_SIZE_MAX];
};

/*
 * Take the next chain. 1; 0: there is none; negative: the driver broke the rules that *why names (or its
 * queue is in no RAM), and the queue can't be used any more.
 */
int virtq_take(struct virtq *queue, struct guest_memory *memory, struct virtq_chain *chain, const char **why);
/* The chain that was taken last is the next one again. */
static inline void virtq_leave(struct virtq *queue)
{
    queue->next--;
}
/* Of the used ring, all that is ever written. At most 4 KiB. */
u32 virtq_used_bytes(const struct virtq *queue);
/* Give a chain back, `bytes` of it written; virtq_show lets the driver see it. -EFAULT, -ENOMEM. */
int virtq_give(struct virtq *queue, struct guest_memory *memory, u16 head, u32 bytes);
/* Show what was given. *interrupt: the driver wants one for it. -EFAULT, -ENOMEM. */
int virtq_show(struct virtq *queue, struct guest_memory *memory, bool *interrupt);
/* Ask for a notification of the next chain. *more: one has come meanwhile, take it. -EFAULT, -ENOMEM. */
int virtq_listen(struct virtq *queue, struct guest_memory *memory, bool *more);

#endif
