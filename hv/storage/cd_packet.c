/* SPDX-License-Identifier: MIT */
/* Packet commands of CD drives, and their answers (contract in the header). */
#include "hv/storage/cd_packet.h"

#include <linux/cdrom.h>

#include "hv/lib/errno.h"
#include "hv/lib/string.h"

#define POLLED      1
#define CLASS_MEDIA 4
#define NO_EVENT    BIT(7) /* of the class: none of those that were asked for is supported */
#define IMMEDIATE   1
#define TRAY_OPEN   2
#define TRAY_CLOSE  3

#define KEY_NOT_READY 2
#define KEY_ILLEGAL   5
#define KEY_ATTENTION 6

enum event_code { EVENT_NONE, EVENT_EJECT_REQUEST, EVENT_NEW_MEDIUM, EVENT_REMOVAL, EVENT_MEDIUM_CHANGED };
#define STATUS_OPEN    BIT(0)
#define STATUS_PRESENT BIT(1)

static void packet_begin(u8 *packet, u8 opcode)
{
    memset(packet, 0, CD_PACKET_BYTES);
    packet[0] = opcode;
}

static u32 get_32(const u8 *at)
{
    return (u32)at[0] << 24 | (u32)at[1] << 16 | (u32)at[2] << 8 | at[3];
}

void cd_packet_test_ready(u8 *packet)
{
    packet_begin(packet, GPCMD_TEST_UNIT_READY);
}

void cd_packet_request_sense(u8 *packet)
{
    packet_begin(packet, GPCMD_REQUEST_SENSE);
    packet[4] = CD_SENSE_BYTES;
}

void cd_packet_get_events(u8 *packet)
{
    packet_begin(packet, GPCMD_GET_EVENT_STATUS_NOTIFICATION);
    packet[1] = POLLED;
    packet[4] = BIT(CLASS_MEDIA);
    packet[8] = CD_ANSWER_BYTES;
}

void cd_packet_read_capacity(u8 *packet)
{
    packet_begin(packet, GPCMD_READ_CDVD_CAPACITY);
}

void cd_packet_read(u8 *packet, u32 block, u16 blocks)
{
    packet_begin(packet, GPCMD_READ_10);
    packet[2] = (u8)(block >> 24);
    packet[3] = (u8)(block >> 16);
    packet[4] = (u8)(block >> 8);
    packet[5] = (u8)block;
    packet[7] = (u8)(blocks >> 8);
    packet[8] = (u8)blocks;
}

/*
 * Opening ends when the tray is open: until then a drive may say that its medium is there. Closing ends at
 * once, as finding out what lies in it may take longer than a command has.
 */
void cd_packet_move_tray(u8 *packet, bool open)
{
    packet_begin(packet, GPCMD_START_STOP_UNIT);
    packet[1] = open ? 0 : IMMEDIATE;
    packet[4] = open ? TRAY_OPEN : TRAY_CLOSE;
}

void cd_packet_lock_tray(u8 *packet, bool lock)
{
    packet_begin(packet, GPCMD_PREVENT_ALLOW_MEDIUM_REMOVAL);
    packet[4] = lock;
}

/* Its upper half is the sense key (ATA8-ACS, 7.24; MMC-5). */
int cd_error_judge(u8 error)
{
    switch (error >> 4) {
    case KEY_NOT_READY: return -ENOMEDIUM;
    case KEY_ILLEGAL: return -ENOTSUP;
    case KEY_ATTENTION: return -ESTALE;
    default: return -EIO;
    }
}

bool cd_events_judge(const u8 *answer, struct cd_finding *finding)
{
    u8 code = answer[4] & 0xf;

    if (answer[2] & NO_EVENT || (answer[2] & 7) != CLASS_MEDIA)
        return false;
    finding->open = answer[5] & STATUS_OPEN;
    finding->present = (answer[5] & (STATUS_OPEN | STATUS_PRESENT)) == STATUS_PRESENT;
    finding->changed = code >= EVENT_NEW_MEDIUM && code <= EVENT_MEDIUM_CHANGED;
    finding->eject_wanted = code == EVENT_EJECT_REQUEST;
    return true;
}

bool cd_ready_judge(int status, struct cd_finding *finding)
{
    *finding = (struct cd_finding){.present = status != -ENOMEDIUM, .changed = status == -ESTALE};
    return status == 0 || status == -ENOMEDIUM || status == -ESTALE;
}

u32 cd_capacity_judge(const u8 *answer)
{
    u32 last = get_32(answer);

    return get_32(answer + 4) == CD_BLOCK && last != 0xffffffff ? last + 1 : 0;
}
