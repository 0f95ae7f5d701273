/* SPDX-License-Identifier: MIT */
/*
 * Disks as everybody above sees them: so many sectors, and requests that end some time. A device has one
 * user (a guest's virtual drive), whose lock guards it: no two calls for a device at once.
 */
#ifndef HV_STORAGE_BLOCK_H
#define HV_STORAGE_BLOCK_H

#include "hv/memory/frame.h"
#include "hv/memory/guest_memory.h"
#include "hv/run/vm_config.h"

#define BLOCK_SECTOR 512u /* bytes; all positions and lengths are in sectors */

enum block_operation {
    BLOCK_READ,    /* from the device into the segments */
    BLOCK_WRITE,   /* from the segments to the device */
    BLOCK_FLUSH,   /* all writes that have ended are safe when it ends; no range */
    BLOCK_DISCARD, /* the contents of the range are not wanted any more; no segments */
};

struct block_request {
    enum block_operation operation;
    u64 sector, sectors;
    struct guest_memory *memory;
    const struct guest_segment
        *segments; /* as many bytes in all as the sectors have; the user's until the end */
    u32 segment_count;
    /* Of a request that was in progress: it has ended. Any CPU, no lock held, never within block_submit. */
    void (*done)(struct block_request *request, int status);
};

struct block_device;

struct block_ops {
    int (*submit)(struct block_device *device, struct block_request *request); /* checked by block_submit */
    /* End all that is in progress, each by its done, before it returns. NULL: nothing ever is. */
    void (*abort)(struct block_device *device);
    void (*close)(struct block_device *device);
};

struct block_device {
    const struct block_ops *ops;
    const char *name; /* stable: the same at each boot with the same configuration */
    u64 sectors;
    u32 depth;           /* so many requests may be in progress at once, at least 1 */
    u32 discard_sectors; /* what is discarded in pieces of so many aligned sectors; 0: nothing is */
    bool read_only;
};

/*
 * 0: done. -EINPROGRESS: request->done will tell. -EINVAL: the range is not of the device, or the segments do
 * not fit it; -EROFS; -ENOTSUP; -EFAULT: a segment is not all RAM, nothing was done; -EIO, -ENOMEM: the drive
 * failed, a part may have been done; -ENOMEDIUM: what lay in it has gone. Any CPU; the user's lock, which is
 * below RANK_VM.
 */
int block_submit(struct block_device *device, struct block_request *request);
/* No request is in progress any more. Boot CPU, no lock held. */
void block_abort(struct block_device *device);
/* Give it back. Nothing is in progress. */
void block_close(struct block_device *device);

/*
 * A disk in memory: of `base`, whose bytes stay as they are (what is written goes to pages of its own), or,
 * where base->start is NULL, of `bytes` zeros. All pages that it may ever need are promised to owner now.
 * -ENOMEM; -EINVAL: no byte, or more than 2^46. Boot CPU.
 */
int block_ram_create(const struct boot_file *base, u64 bytes, frame_owner_t owner,
                     struct block_device **device);
/*
 * A medium that can only be read, so that nothing is promised, and zeros cost no memory: whole blocks of 2048
 * bytes. Likewise.
 */
int block_rom_create(const struct boot_file *base, u64 bytes, frame_owner_t owner,
                     struct block_device **device);

#endif
