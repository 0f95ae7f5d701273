/* SPDX-License-Identifier: MIT */
/* What holds for every disk: a request that reaches a driver is right (contract in block.h). */
#include "hv/storage/block.h"

#include "hv/lib/errno.h"

static bool is_on_device(const struct block_device *device, const struct block_request *request)
{
    return request->sector <= device->sectors && request->sectors <= device->sectors - request->sector;
}

/* Do the segments lie in RAM and hold the sectors exactly? They are few, and shorter than guest memory. */
static int segments_check(const struct block_request *request)
{
    u64 bytes = 0;

    for (u32 i = 0; i < request->segment_count; i++) {
        const struct guest_segment *segment = &request->segments[i];

        if (!guest_memory_is_backed(request->memory, segment->gpa, segment->bytes))
            return -EFAULT;
        bytes += segment->bytes;
    }
    return bytes % BLOCK_SECTOR == 0 && bytes / BLOCK_SECTOR == request->sectors ? 0 : -EINVAL;
}

static int request_check(const struct block_device *device, const struct block_request *request)
{
    if (request->operation == BLOCK_FLUSH)
        return 0;
    if (!is_on_device(device, request))
        return -EINVAL;
    if (request->operation == BLOCK_READ)
        return segments_check(request);
    if (device->read_only)
        return -EROFS;
    if (request->operation == BLOCK_WRITE)
        return segments_check(request);
    return device->discard_sectors != 0 ? 0 : -ENOTSUP;
}

int block_submit(struct block_device *device, struct block_request *request)
{
    int error = request_check(device, request);

    return error ? error : device->ops->submit(device, request);
}

void block_abort(struct block_device *device)
{
    if (device->ops->abort)
        device->ops->abort(device);
}

void block_close(struct block_device *device)
{
    device->ops->close(device);
}
