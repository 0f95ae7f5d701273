/* SPDX-License-Identifier: MIT */
/*
 * What disks (ide.c) and CD drives (ide_packet.c) on legacy IDE channels share: the channel, which belongs to
 * who has a command under way, and its registers. With the drive's lock held, or at boot.
 */
#ifndef DRIVERS_IDE_H
#define DRIVERS_IDE_H

#include "drivers/ata.h"
#include "drivers/drives.h"

enum ide_port_offset {
    IDE_DATA,
    IDE_FEATURE,
    IDE_COUNT,
    IDE_LOW,
    IDE_MIDDLE,
    IDE_HIGH,
    IDE_DEVICE,
    IDE_COMMAND
};
#define IDE_ERROR         IDE_FEATURE /* when it is read */
#define IDE_DEVICE_ALWAYS 0xa0
#define IDE_SPINS         32u /* about four microseconds of an old bus each */

struct ide_channel {
    u16 port, control;
    struct spinlock lock;     /* RANK_CHANNEL: the two below */
    struct ide_drive *owner;  /* has a command under way, or makes a reset */
    struct ide_drive *waiter; /* gets it next: the other one of the two */
};

struct ide_drive {
    struct drive drive;
    struct ide_channel *channel;
    u8 device; /* which of the two, as the device register says it */
    bool lba48;
    bool waits;       /* for the channel, or for its device to be at rest */
    u32 moved, total; /* sectors of what is under way; of a CD drive bytes */
    bool sent;        /* of a CD drive: the packet */
    u8 stage;         /* of a reset */
    u64 stage_since;
};

static inline struct ide_drive *ide_of(struct drive *drive)
{
    return container_of(drive, struct ide_drive, drive);
}

/* The status, without a side effect; reading it takes the time that a device may need. */
u8 ide_status(const struct ide_channel *channel);
/*
 * The same, when the device is not at work, or what it says when *spins, which all waiting of one look takes
 * from, is used up.
 */
u8 ide_status_wait(const struct ide_channel *channel, u32 *spins);
/* Have the channel for what is to be begun, and the device selected. False: not yet, and it waits. */
bool ide_enter(struct ide_drive *ide);
/* What was under way has ended so: the channel is the other one's, if that waits. */
void ide_end(struct ide_drive *ide, int status);
/* The device says that it has failed, by this status. It is reset if it wants to get rid of data besides. */
void ide_fail(struct ide_drive *ide, u8 device_status, int status);
int ide_reset(struct drive *drive, bool first);

/* A drive that takes packets. */
extern const struct drive_ops ide_packet_ops;

#endif
