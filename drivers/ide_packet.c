/* SPDX-License-Identifier: MIT */
/*
 * CD drives on legacy IDE channels: packet commands, whose data goes through the data port in as many bytes
 * at a time as the drive likes, at most so many as each command allows. The drive says when it wants what;
 * a look answers once. ATA/ATAPI-7 V2; SFF-8020i.
 */
#include "arch/x86/machine/cpu.h"
#include "drivers/ide.h"
#include "hv/lib/errno.h"

#define BYTES_A_TIME CD_BLOCK /* what one look moves at most: about a millisecond of an old bus */
#define SCRATCH      256u

/* The channel is ours, and what went before on it is over. */
static void command_write(struct ide_drive *ide)
{
    u16 port = ide->channel->port;

    out8((u16)(port + IDE_FEATURE), 0); /* by this port, not by DMA */
    out8((u16)(port + IDE_MIDDLE), (u8)BYTES_A_TIME);
    out8((u16)(port + IDE_HIGH), (u8)(BYTES_A_TIME >> 8));
    ide->moved = 0;
    ide->total = ide->drive.slots[0].bytes;
    ide->sent = false;
    out8((u16)(port + IDE_COMMAND), ATA_PACKET);
}

static void begin(struct ide_drive *ide)
{
    if (ide_enter(ide))
        command_write(ide);
}

static void packet_start(struct drive *drive, unsigned slot)
{
    (void)slot; /* there is one */
    begin(ide_of(drive));
}

/* As much as it gives: what is not wanted is read, too, as it waits for that. */
static void bytes_take(struct ide_drive *ide, u32 bytes)
{
    u32 wanted = MIN(bytes, ide->total - ide->moved) & ~1u;
    u8 surplus[SCRATCH];

    in16_many(ide->channel->port, ide->drive.slots[0].data + ide->moved, wanted / 2);
    ide->moved += wanted;
    for (bytes -= wanted; bytes; bytes -= MIN(bytes, SCRATCH))
        in16_many(ide->channel->port, surplus, MIN(bytes, SCRATCH) / 2);
}

/* It wants the packet, or has data; anything else is not what was asked for, and ends by its time-out. */
static void data_move(struct ide_drive *ide)
{
    u16 port = ide->channel->port;
    u32 bytes = in8((u16)(port + IDE_MIDDLE)) | (u32)in8((u16)(port + IDE_HIGH)) << 8;

    switch (in8((u16)(port + IDE_COUNT)) & (ATAPI_IS_COMMAND | ATAPI_TO_HOST)) {
    case ATAPI_IS_COMMAND:
        if (ide->sent)
            return;
        ide->sent = true;
        out16_many(port, ide->drive.slots[0].packet, CD_PACKET_BYTES / 2);
        break;
    case ATAPI_TO_HOST:
        if (!ide->sent || !bytes)
            return;
        if (bytes > BYTES_A_TIME) { /* more than the command allows */
            drive_failed(&ide->drive);
            return;
        }
        bytes_take(ide, ALIGN_UP(bytes, 2u));
        break;
    default: return;
    }
    drive_moved(&ide->drive);
}

static void packet_poll(struct drive *drive)
{
    struct ide_drive *ide = ide_of(drive);
    u32 spins = IDE_SPINS;
    u8 status;

    if (ide->waits) {
        begin(ide);
        return;
    }
    status = ide_status_wait(ide->channel, &spins);
    if (status & ATA_STATUS_BUSY)
        return;
    if (status & ATA_STATUS_ERROR)
        ide_fail(ide, status, cd_error_judge(in8((u16)(ide->channel->port + IDE_ERROR))));
    else if (status & ATA_STATUS_DATA)
        data_move(ide);
    else if (ide->sent) /* a read that gives less than it should has failed; an answer may be shorter */
        ide_end(ide, drive->slots[0].own || ide->moved == ide->total ? 0 : -EIO);
}

const struct drive_ops ide_packet_ops = {.start = packet_start, .poll = packet_poll, .reset = ide_reset};
