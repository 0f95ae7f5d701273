/* SPDX-License-Identifier: MIT */
/*
 * A drive of the machine, on which the test has written a pattern: all of it is read, in pieces of many
 * sizes; some is written, flushed and read again. With "bad" one sector can't be read; "stalls" is of a drive
 * that answers the first requests and then no more.
 */
// alone: tests/system/test_drives.py gives it its drives
#include "lib/tap.h"
#include "lib/virtio.h"

#define SLOT         1u
#define PIECE_MAX    160u /* sectors; more than lintel hands over at once */
#define WRITE_SECTOR 1001u
#define WRITE_COUNT  150u
#define WORDS        (SECTOR / 8)
#define STALL_READS  8u

static struct virtio drive;
static struct ring ring;
static u64 data[PIECE_MAX * WORDS];

static u64 pattern(u64 index)
{
    return index * 0x9e3779b97f4a7c15ull;
}

static bool is_right(u64 sector, u32 count, u64 salt)
{
    for (u32 i = 0; i < count * WORDS; i++)
        if (data[i] != (pattern(sector * WORDS + i) ^ salt))
            return false;
    return true;
}

/* The drive takes some before it stalls; what it was asked for then is an error, and no hang. */
static void stall(void)
{
    u8 status = VIRTIO_BLK_S_OK;

    plan(2);
    ok(blk_do(&drive, VIRTIO_BLK_T_IN, 0, data, SECTOR, true) == VIRTIO_BLK_S_OK && is_right(0, 1, 0),
       "it answers at first");
    for (u32 i = 0; i < STALL_READS && status == VIRTIO_BLK_S_OK; i++)
        status = blk_do(&drive, VIRTIO_BLK_T_IN, 0, data, PIECE_MAX * SECTOR, true);
    ok(status == VIRTIO_BLK_S_IOERR, "a request that it does not answer is an I/O error (%u)", status);
}

void guest_main(void)
{
    bool bad = word_given("bad");
    u32 errors = 0, wrong = 0, count = 1;
    u64 sectors;

    if (!virtio_find(&drive, SLOT))
        bail_out("there is no drive");
    virtio_begin(&drive, &ring, ALL_OFFERED);
    if (word_given("stalls")) {
        stall();
        return;
    }
    sectors = blk_sectors(&drive);
    plan(4);
    for (u64 sector = 0; sector < sectors; sector += count) {
        count = count * 7 % 163; /* 1 to 160, and 161, 162 */
        count = (u32)(count > PIECE_MAX ? PIECE_MAX : count);
        count = (u32)(count > sectors - sector ? sectors - sector : count);
        if (blk_do(&drive, VIRTIO_BLK_T_IN, sector, data, count * SECTOR, true))
            errors++;
        else
            wrong += !is_right(sector, count, 0);
    }
    ok(wrong == 0 && errors == bad, "%lu sectors are read, %u wrong, %u errors", sectors, wrong, errors);
    for (u32 i = 0; i < WRITE_COUNT * WORDS; i++)
        data[i] = pattern(WRITE_SECTOR * WORDS + i) ^ ~0ull;
    ok(blk_do(&drive, VIRTIO_BLK_T_OUT, WRITE_SECTOR, data, WRITE_COUNT * SECTOR, false) == 0,
       "it is written");
    ok(blk_do(&drive, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false) == 0, "it is flushed");
    for (u32 i = 0; i < WRITE_COUNT * WORDS; i++)
        data[i] = 0;
    ok(blk_do(&drive, VIRTIO_BLK_T_IN, WRITE_SECTOR, data, WRITE_COUNT * SECTOR, true) == 0 &&
           is_right(WRITE_SECTOR, WRITE_COUNT, ~0ull),
       "it is read again");
}
