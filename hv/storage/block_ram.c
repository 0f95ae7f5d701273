/* SPDX-License-Identifier: MIT */
/*
 * Disks in memory: a file that GRUB has loaded, which is never written (what a guest writes goes to pages
 * beside it), or nothing but zeros. A request ends at once, by one copy between guest and page. Pages come
 * out of a promise at their first write and go back to it when they are discarded, so that a write never
 * fails. The user's lock, as block.h says.
 */
#include "arch/x86/machine/paging.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/storage/block.h"

#define LEAF_ENTRIES 512u
#define BYTES_MAX    BIT(46)
#define ROM_BLOCK    2048u
/* What an entry says instead of a page's address. */
#define ENTRY_BASE 0 /* never written: the file, or zeros behind its end */
#define ENTRY_ZERO 1 /* discarded */

struct ram_leaf {
    u64 entries[LEAF_ENTRIES]; /* ENTRY_*, or the host-physical address of a page of the disk's own */
};
_Static_assert(sizeof(struct ram_leaf) == PAGE_SIZE, "a leaf is a page");

struct ram_disk {
    struct block_device device;
    const u8 *base;
    u64 base_bytes;
    u64 promised, leaf_count; /* frames; leaves, of what is never written none */
    frame_owner_t owner;
    struct ram_leaf *leaves[]; /* NULL: ENTRY_BASE throughout */
};

static struct ram_disk *ram_of(struct block_device *device)
{
    return container_of(device, struct ram_disk, device);
}

static u64 bytes_in_page(u64 position, u64 bytes)
{
    return MIN(bytes, PAGE_SIZE - (position & ~PAGE_MASK));
}

static u64 entry_get(const struct ram_disk *ram, u64 page)
{
    u64 number = page / LEAF_ENTRIES;
    const struct ram_leaf *leaf = number < ram->leaf_count ? ram->leaves[number] : NULL;

    return leaf ? leaf->entries[page % LEAF_ENTRIES] : ENTRY_BASE;
}

/* Its entry, for a change; NULL: no memory, which the promise rules out. */
static u64 *entry_at(struct ram_disk *ram, u64 page)
{
    struct ram_leaf **leaf = &ram->leaves[page / LEAF_ENTRIES];

    if (!*leaf) {
        mfn_t mfn = frame_alloc_promised(FRAME_ORDER_4K, ram->owner);

        if (mfn == MFN_INVALID)
            return NULL;
        *leaf = phys_to_virt(mfn << PAGE_SHIFT);
    }
    return &(*leaf)->entries[page % LEAF_ENTRIES];
}

/* ---------------------------------------------------------------- reading */

/*
 * What stands at a position, of which at most *bytes are wanted, in one page: where, and how many of them;
 * NULL: zeros.
 */
static const u8 *content_at(const struct ram_disk *ram, u64 position, u64 *bytes)
{
    u64 entry = entry_get(ram, position / PAGE_SIZE);

    *bytes = bytes_in_page(position, *bytes);
    if (entry > ENTRY_ZERO)
        return (const u8 *)phys_to_virt(entry) + (position & ~PAGE_MASK);
    if (entry == ENTRY_ZERO || position >= ram->base_bytes)
        return NULL;
    *bytes = MIN(*bytes, ram->base_bytes - position);
    return ram->base + position;
}

static int segment_read(const struct ram_disk *ram, u64 position, struct guest_memory *memory,
                        const struct guest_segment *segment)
{
    u64 part;

    for (u64 at = 0; at < segment->bytes; at += part) {
        const u8 *from;
        int error;

        part = segment->bytes - at;
        from = content_at(ram, position + at, &part);
        error = from ? guest_memory_write(memory, segment->gpa + at, from, part)
                     : guest_memory_zero(memory, segment->gpa + at, part);
        if (error)
            return error;
    }
    return 0;
}

/* ---------------------------------------------------------------- writing */

/* A page of the disk's own, with what stood there unless all of it is about to be written. */
static int page_own(struct ram_disk *ram, u64 page, bool whole, u8 **at)
{
    u64 *entry = entry_at(ram, page), position = page * PAGE_SIZE;
    mfn_t mfn;

    if (!entry)
        return -ENOMEM;
    if (*entry <= ENTRY_ZERO) {
        mfn = frame_alloc_promised(FRAME_ORDER_4K, ram->owner);
        if (mfn == MFN_INVALID)
            return -ENOMEM;
        if (!whole && *entry == ENTRY_BASE && position < ram->base_bytes)
            memcpy(phys_to_virt(mfn << PAGE_SHIFT), ram->base + position,
                   MIN(PAGE_SIZE, ram->base_bytes - position));
        *entry = mfn << PAGE_SHIFT;
    }
    *at = phys_to_virt(*entry);
    return 0;
}

static int segment_write(struct ram_disk *ram, u64 position, struct guest_memory *memory,
                         const struct guest_segment *segment)
{
    u64 part;

    for (u64 at = 0; at < segment->bytes; at += part) {
        u64 to = position + at;
        u8 *page;
        int error;

        part = bytes_in_page(to, segment->bytes - at);
        error = page_own(ram, to / PAGE_SIZE, part == PAGE_SIZE, &page);
        if (!error)
            error = guest_memory_read(memory, segment->gpa + at, page + (to & ~PAGE_MASK), part);
        if (error)
            return error;
    }
    return 0;
}

static int ram_transfer(struct ram_disk *ram, const struct block_request *request)
{
    u64 position = request->sector * BLOCK_SECTOR;
    int error = 0;

    for (u32 i = 0; i < request->segment_count && !error; i++) {
        const struct guest_segment *segment = &request->segments[i];

        error = request->operation == BLOCK_READ ? segment_read(ram, position, request->memory, segment)
                                                 : segment_write(ram, position, request->memory, segment);
        position += segment->bytes;
    }
    return error;
}

/* ---------------------------------------------------------------- discarding */

static void page_free(const struct ram_disk *ram, u64 entry)
{
    if (entry > ENTRY_ZERO)
        frame_free_promised(entry >> PAGE_SHIFT, FRAME_ORDER_4K, ram->owner);
}

/* Zeros from now on. What was never written and has no file behind it needs no entry for that. */
static int page_discard(struct ram_disk *ram, u64 page)
{
    u64 *entry;

    if (entry_get(ram, page) == ENTRY_BASE && page * PAGE_SIZE >= ram->base_bytes)
        return 0;
    entry = entry_at(ram, page);
    if (!entry)
        return -ENOMEM;
    page_free(ram, *entry);
    *entry = ENTRY_ZERO;
    return 0;
}

/* Whole pages alone: of others, a part is still wanted. */
static int ram_discard(struct ram_disk *ram, const struct block_request *request)
{
    const u64 per_page = PAGE_SIZE / BLOCK_SECTOR;
    u64 end = (request->sector + request->sectors) / per_page;
    int error = 0;

    for (u64 page = (request->sector + per_page - 1) / per_page; page < end && !error; page++)
        error = page_discard(ram, page);
    return error;
}

static int ram_submit(struct block_device *device, struct block_request *request)
{
    struct ram_disk *ram = ram_of(device);

    switch (request->operation) {
    case BLOCK_FLUSH: return 0; /* there is nothing safer than this memory */
    case BLOCK_DISCARD: return ram_discard(ram, request);
    case BLOCK_READ:
    case BLOCK_WRITE: break;
    }
    return ram_transfer(ram, request);
}

/* ---------------------------------------------------------------- life */

static u64 object_bytes(u64 leaf_count)
{
    return sizeof(struct ram_disk) + leaf_count * sizeof(struct ram_leaf *);
}

static void ram_close(struct block_device *device)
{
    struct ram_disk *ram = ram_of(device);
    frame_owner_t owner = ram->owner;

    for (u64 i = 0; i < ram->leaf_count; i++) {
        struct ram_leaf *leaf = ram->leaves[i];

        for (unsigned j = 0; leaf && j < LEAF_ENTRIES; j++)
            page_free(ram, leaf->entries[j]);
        if (leaf)
            frame_free_promised(virt_to_phys(leaf) >> PAGE_SHIFT, FRAME_ORDER_4K, owner);
    }
    frame_unpromise(ram->promised, owner);
    memory_free(ram, object_bytes(ram->leaf_count), owner);
}

static const struct block_ops ram_ops = {.submit = ram_submit, .close = ram_close};

/* What both kinds have: so many pages may be written, and are promised. */
static int create(const struct boot_file *base, u64 size, u64 pages, frame_owner_t owner,
                  struct ram_disk **ram)
{
    u64 leaf_count = (pages + LEAF_ENTRIES - 1) / LEAF_ENTRIES, promised = pages + leaf_count;
    int error;

    if (size == 0 || size > BYTES_MAX)
        return -EINVAL;
    error = frame_promise(promised, owner);
    if (error)
        return error;
    *ram = memory_alloc(object_bytes(leaf_count), owner);
    if (!*ram) {
        frame_unpromise(promised, owner);
        return -ENOMEM;
    }
    (*ram)->device = (struct block_device){
        .ops = &ram_ops,
        .name = base->start ? base->name : "ram",
        .sectors = (size + BLOCK_SECTOR - 1) / BLOCK_SECTOR,
        .depth = 1,
        .discard_sectors = PAGE_SIZE / BLOCK_SECTOR,
    };
    if (base->start) {
        (*ram)->base = base->start;
        (*ram)->base_bytes = base->size;
    }
    (*ram)->promised = promised;
    (*ram)->leaf_count = leaf_count;
    (*ram)->owner = owner;
    return 0;
}

int block_ram_create(const struct boot_file *base, u64 bytes, frame_owner_t owner,
                     struct block_device **device)
{
    u64 size = base->start ? base->size : bytes;
    struct ram_disk *ram;
    int error = create(base, size, ALIGN_UP(size, PAGE_SIZE) / PAGE_SIZE, owner, &ram);

    if (!error)
        *device = &ram->device;
    return error;
}

int block_rom_create(const struct boot_file *base, u64 bytes, frame_owner_t owner,
                     struct block_device **device)
{
    u64 size = base->start ? base->size : bytes;
    struct ram_disk *ram;
    int error = create(base, ALIGN_UP(size, ROM_BLOCK), 0, owner, &ram);

    if (error)
        return error;
    ram->device.discard_sectors = 0;
    ram->device.read_only = true;
    *device = &ram->device;
    return 0;
}
