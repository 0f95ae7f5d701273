/* SPDX-License-Identifier: MIT */
/*
 * A CD drive as SCSI knows it, without a bus: commands in, answers out, a tray with a medium or none. What
 * the guest does to its tray and what the operator does to the medium meet here. The user's lock
 * (RANK_PCI's) guards it; no guest memory is touched. SPC-3, SBC-3, MMC-5; opcodes: linux/cdrom.h.
 */
#ifndef HV_STORAGE_SCSI_CD_H
#define HV_STORAGE_SCSI_CD_H

#include "hv/storage/block.h"
#include "hv/storage/media.h"

#define SCSI_CDB_BYTES   16u
#define SCSI_SENSE_BYTES 18u
#define SCSI_DATA_MAX    128u /* of all answers but what is read from the medium */
#define SCSI_CD_BLOCK    2048u

enum scsi_status { SCSI_GOOD = 0x00, SCSI_CHECK_CONDITION = 0x02, SCSI_TASK_SET_FULL = 0x28 };

struct scsi_command {
    u8 cdb[SCSI_CDB_BYTES];

    u8 status;                   /* enum scsi_status */
    u8 sense[SCSI_SENSE_BYTES];  /* all zero unless SCSI_CHECK_CONDITION */
    u8 data[SCSI_DATA_MAX];      /* the answer */
    u32 bytes;                   /* ... and its length, cut to what was asked for */
    struct block_device *medium; /* not NULL: this is to be read from it, then comes scsi_cd_read_end */
    u64 sector, sectors;
    u32 generation;
};

struct scsi_cd {
    struct media media;          /* name and vm are the user's */
    struct block_device *medium; /* what lies in the tray, NULL: nothing */
    u32 generation;              /* of what can be read: another number behind each change */
    bool tray_open;              /* by the guest, or since the operator has taken the medium out */
    bool locked;                 /* the guest wants the medium to stay */
    u8 attentions;               /* unit attentions that wait for the next command */
    u8 events;                   /* for GET EVENT STATUS NOTIFICATION */
};

/* media: name, vm, ops, poll_ms are set. Boot CPU; media_add comes behind it. */
void scsi_cd_init(struct scsi_cd *cd, struct block_device *medium);
/* As after power-on; the medium stays in, and the tray closes. */
void scsi_cd_reset(struct scsi_cd *cd);
/* What the bus calls a reset: tray and events stay as they are. */
void scsi_cd_bus_reset(struct scsi_cd *cd);

/*
 * Carry a command out; only cdb is set. cd NULL: a logical unit that does not exist, beside `units` that do.
 */
void scsi_cd_execute(struct scsi_cd *cd, u32 units, struct scsi_command *command);
/* What was to be read was, or was not: an error of block_submit. Sets status and sense. */
void scsi_cd_read_end(struct scsi_cd *cd, struct scsi_command *command, int error);

/* Can the medium be read? What can't lies in an open tray. */
static inline bool scsi_cd_is_ready(const struct scsi_cd *cd)
{
    return cd->medium && !cd->tray_open;
}
/* What the guest sees when the operator puts a medium in, where none is ready; one that lay there is lost. */
void scsi_cd_insert(struct scsi_cd *cd, struct block_device *medium);
/*
 * Take the medium out; what was begun with it never ends well. -ENOENT; -EAGAIN: it is locked in, and the
 * guest finds an eject request.
 */
int scsi_cd_eject(struct scsi_cd *cd, bool force);
/* Somebody has pressed the drive's button: the guest finds an eject request, if there is a medium. */
void scsi_cd_ask_eject(struct scsi_cd *cd);

#endif
