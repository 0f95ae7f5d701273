/* SPDX-License-Identifier: MIT */
/*
 * The packet commands that lintel itself sends to a CD drive of the machine, and what their answers mean. No
 * state, no hardware: how a packet reaches the drive is its driver's matter, when it is sent cd_drive.c's.
 * MMC-5, SPC-3; opcodes: linux/cdrom.h.
 */
#ifndef HV_STORAGE_CD_PACKET_H
#define HV_STORAGE_CD_PACKET_H

#include "hv/lib/types.h"

#define CD_PACKET_BYTES 12u
#define CD_ANSWER_BYTES 8u /* of GET EVENT STATUS NOTIFICATION and READ CAPACITY */
#define CD_SENSE_BYTES  18u
#define CD_BLOCK        2048u

/* Each fills all CD_PACKET_BYTES. */
void cd_packet_test_ready(u8 *packet);
void cd_packet_request_sense(u8 *packet);
void cd_packet_get_events(u8 *packet); /* of the media class, polled */
void cd_packet_read_capacity(u8 *packet);
void cd_packet_read(u8 *packet, u32 block, u16 blocks);
void cd_packet_move_tray(u8 *packet, bool open);
void cd_packet_lock_tray(u8 *packet, bool lock);

/*
 * How a command has ended, by the error register of a drive that says so: -ENOMEDIUM: it is not ready;
 * -ESTALE: a unit attention, so the medium may be another one; -ENOTSUP: it does not know the command;
 * -EIO.
 */
int cd_error_judge(u8 error);

struct cd_finding {
    bool present; /* a medium lies in the closed tray */
    bool changed; /* ... another one than before, maybe */
    bool open;
    bool eject_wanted; /* somebody has pressed the button */
};
/*
 * The answer about events, by its code and its status: QEMU's drive never tells a removal by the code.
 * False: it says nothing about media.
 */
bool cd_events_judge(const u8 *answer, struct cd_finding *finding);
/* How TEST UNIT READY ended, of a drive that does not tell events. False: one can't tell. */
bool cd_ready_judge(int status, struct cd_finding *finding);
/* How many blocks the medium has; 0: none that can be read. */
u32 cd_capacity_judge(const u8 *answer);

#endif
