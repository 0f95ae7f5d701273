/* SPDX-License-Identifier: MIT */
/*
 * A drive that is a file, this guest's own kernel: its bytes, what is written beside them, and that it is
 * there behind a reset.
 */
// conf: disk = virtio_image.elf
#include "lib/tap.h"
#include "lib/virtio.h"

#define SLOT         1u
#define MARK_SECTOR  17u
#define OTHER_SECTOR 18u /* on the same page */
#define RESET_PORT   0xcf9
#define RESET_HARD   6

static struct virtio drive;
static struct ring ring;
static u8 data[SECTOR], before[8 * SECTOR], after[8 * SECTOR];

static const char mark[] = "written before the reset";

static bool same(const void *a, const void *b, u32 bytes)
{
    for (u32 i = 0; i < bytes; i++)
        if (((const u8 *)a)[i] != ((const u8 *)b)[i])
            return false;
    return true;
}

static u8 move(u32 type, u64 sector, void *at, u32 bytes)
{
    return blk_do(&drive, type, sector, at, bytes, type == VIRTIO_BLK_T_IN);
}

static void first_life(void)
{
    for (u32 i = 0; i < sizeof(mark); i++)
        data[i] = (u8)mark[i];
    if (move(VIRTIO_BLK_T_OUT, MARK_SECTOR, data, SECTOR) ||
        blk_do(&drive, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false))
        bail_out("the mark can't be written");
    out8(RESET_PORT, RESET_HARD);
    for (;;)
        asm volatile("hlt");
}

void guest_main(void)
{
    struct virtio_blk_discard_write_zeroes range = {.sector = 16, .num_sectors = 8};
    u64 sectors;

    if (!virtio_find(&drive, SLOT))
        bail_out("there is no drive");
    virtio_begin(&drive, &ring, ALL_OFFERED);
    if (move(VIRTIO_BLK_T_IN, MARK_SECTOR, data, SECTOR) || !same(data, mark, sizeof(mark)))
        first_life();
    plan(8);
    ok(true, "what was written is there behind a reset");
    ok(move(VIRTIO_BLK_T_IN, 0, data, SECTOR) == 0 && same(data,
                                                           "\x7f"
                                                           "ELF",
                                                           4),
       "the file's first bytes");
    move(VIRTIO_BLK_T_IN, 16, before, sizeof(before));
    ok(move(VIRTIO_BLK_T_OUT, OTHER_SECTOR, data, SECTOR) == 0 &&
           move(VIRTIO_BLK_T_IN, 16, after, sizeof(after)) == 0,
       "a sector of a page is written");
    ok(same(after, before, 2 * SECTOR) && same(after + 2 * SECTOR, data, SECTOR) &&
           same(after + 3 * SECTOR, before + 3 * SECTOR, 5 * SECTOR),
       "those around it are as they were");
    ok(blk_do(&drive, VIRTIO_BLK_T_DISCARD, 0, &range, sizeof(range), false) == 0 &&
           move(VIRTIO_BLK_T_IN, 16, after, sizeof(after)) == 0,
       "the page is discarded");
    for (u32 i = 0; i < sizeof(before); i++)
        before[i] = 0;
    ok(same(after, before, sizeof(before)), "it is zero, not the file's bytes again");
    sectors = blk_sectors(&drive);
    ok(sectors > 64 && move(VIRTIO_BLK_T_IN, sectors - 1, data, SECTOR) == 0, "the last of %lu sectors",
       sectors);
    ok(move(VIRTIO_BLK_T_IN, sectors, data, SECTOR) == VIRTIO_BLK_S_IOERR, "behind it is nothing");
}
