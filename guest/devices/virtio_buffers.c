/* SPDX-License-Identifier: MIT */
/* The parts of a chain (contract in the header). */
#include "guest/devices/virtio_buffers.h"

#include "hv/lib/errno.h"

u64 buffers_bytes(const struct buffers *buffers)
{
    u64 bytes = 0;

    for (u32 i = 0; i < buffers->count; i++)
        bytes += buffers->at[i].bytes;
    return bytes;
}

int buffers_take(struct buffers *buffers, struct guest_memory *memory, void *to, u64 bytes)
{
    u8 *at = to;

    while (bytes > 0 && buffers->count > 0) {
        u64 part = MIN(bytes, buffers->at->bytes);

        if (guest_memory_read(memory, buffers->at->gpa, at, part))
            return -EFAULT;
        at += part;
        bytes -= part;
        buffers->at->gpa += part;
        buffers->at->bytes -= part;
        if (buffers->at->bytes == 0) {
            buffers->at++;
            buffers->count--;
        }
    }
    return bytes ? -EINVAL : 0;
}

int buffers_fill(const struct buffers *buffers, struct guest_memory *memory, const void *from, u64 bytes)
{
    const u8 *at = from;
    int error = 0;

    for (u32 i = 0; i < buffers->count && bytes > 0 && !error; i++) {
        u64 part = MIN(bytes, buffers->at[i].bytes);

        error = guest_memory_write(memory, buffers->at[i].gpa, at, part);
        at += part;
        bytes -= part;
    }
    return error;
}

bool buffers_cut_last(struct buffers *buffers, gpa_t *last)
{
    struct guest_segment *segment;

    while (buffers->count > 0 && buffers->at[buffers->count - 1].bytes == 0)
        buffers->count--;
    if (buffers->count == 0)
        return false;
    segment = &buffers->at[buffers->count - 1];
    segment->bytes--;
    *last = segment->gpa + segment->bytes;
    return true;
}
