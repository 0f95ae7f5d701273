/* SPDX-License-Identifier: MIT */
/*
 * What a virtio device does with the pieces of guest memory that a chain hands over. They may be cut in any
 * way: the driver decides where one ends. As guest_memory_read and its like: an exit, or a turn of a vCPU.
 */
#ifndef GUEST_DEVICES_VIRTIO_BUFFERS_H
#define GUEST_DEVICES_VIRTIO_BUFFERS_H

#include "hv/memory/guest_memory.h"

/* The readable or the writable half of a chain, or what is left of it. */
struct buffers {
    struct guest_segment *at;
    u32 count;
};

u64 buffers_bytes(const struct buffers *buffers);
/* Copy its first bytes out, and leave what is behind them. -EFAULT; -EINVAL: there are not so many. */
int buffers_take(struct buffers *buffers, struct guest_memory *memory, void *to, u64 bytes);
/* Copy into its beginning, as much as fits. */
int buffers_fill(const struct buffers *buffers, struct guest_memory *memory, const void *from, u64 bytes);
/* Its last byte, which is left away. False: it has none. */
bool buffers_cut_last(struct buffers *buffers, gpa_t *last);

#endif
