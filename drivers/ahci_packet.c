/* SPDX-License-Identifier: MIT */
/*
 * CD drives behind AHCI controllers: packet commands, one at a time, whose data the controller moves. One
 * that fails, as many do whenever a medium has changed, stops the port; it is started again, and the link is
 * reset only if the drive does not come to rest by that. AHCI 1.3.1, 5.3.13 and 6.2.2.1.
 */
#include "drivers/ahci.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"

#define FIS_LIMIT 0xfffeu /* bytes at a time, for a drive that does not move them by DMA */

static void packet_start(struct drive *drive, unsigned number)
{
    struct ahci_drive *a = ahci_of(drive);
    const struct drive_slot *slot = &drive->slots[number];
    u8 feature = slot->bytes ? ATAPI_DMA | (a->wants_direction ? ATAPI_DMA_TO_HOST : 0) : 0;
    const u8 fis[AHCI_FIS_BYTES] = {FIS_COMMAND, FIS_IS_COMMAND, ATA_PACKET,    feature,
                                    0,           (u8)FIS_LIMIT,  FIS_LIMIT >> 8};

    memcpy(a->shared->tables[number].packet, slot->packet, CD_PACKET_BYTES);
    ahci_command_write(a, number, fis, slot->bytes, AHCI_HEADER_ATAPI);
    a->issued = 1;
    ahci_reg_set(a->port, P_ISSUE, 1);
}

/* Stop the port, and go on when it has stopped. What does not come from the drive takes a reset. */
static void failure_take(struct ahci_drive *a)
{
    u32 task = ahci_reg(a->port, P_TASK);

    a->failure = task & ATA_STATUS_ERROR ? cd_error_judge((u8)(task >> 8)) : 0;
    a->stopping = true;
    ahci_reg_set(a->port, P_CMD, ahci_reg(a->port, P_CMD) & ~P_CMD_START);
}

static void failure_end(struct ahci_drive *a)
{
    if (ahci_reg(a->port, P_CMD) & P_CMD_RUNS)
        return;
    a->stopping = false;
    if (!a->failure || ahci_reg(a->port, P_TASK) & (ATA_STATUS_BUSY | ATA_STATUS_DATA)) {
        drive_failed(&a->drive);
        return;
    }
    a->issued = 0;
    ahci_port_run(a);
    drive_slot_ended(&a->drive, 0, a->failure);
}

/* Whoever reads less than it wanted has read nothing. */
static int end_status(const struct ahci_drive *a)
{
    const struct drive_slot *slot = &a->drive.slots[0];

    return slot->own || READ_ONCE(a->shared->list[0].bytes_done) == slot->bytes ? 0 : -EIO;
}

/* The order of the two looks matters, as in ahci.c. */
static void packet_poll(struct drive *drive)
{
    struct ahci_drive *a = ahci_of(drive);
    bool gone = a->issued && !(ahci_reg(a->port, P_ISSUE) & 1);

    if (!a->stopping && ahci_reg(a->port, P_IS) & P_IS_ERRORS)
        failure_take(a);
    if (a->stopping) {
        failure_end(a);
        return;
    }
    if (!gone)
        return;
    a->issued = 0;
    drive_slot_ended(drive, 0, end_status(a));
}

const struct drive_ops ahci_packet_ops = {.start = packet_start, .poll = packet_poll, .reset = ahci_reset};
