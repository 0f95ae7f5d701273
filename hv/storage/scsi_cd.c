/* SPDX-License-Identifier: MIT */
/*
 * A CD drive's commands (contract in the header). Every answer is made in the command's own buffer and then
 * cut to the length that was asked for; nothing loops longer than its table.
 */
#include "hv/storage/scsi_cd.h"

#include <linux/cdrom.h>

#include "hv/lib/errno.h"
#include "hv/lib/string.h"

/* SPC's own, which linux/cdrom.h does not have. */
#define CMD_MODE_SENSE_6 0x1a
#define CMD_REPORT_LUNS  0xa0

/* Sense key, additional sense code and its qualifier, in one number. */
#define SENSE(key, code, qualifier) ((key) << 16 | (code) << 8 | (qualifier))
#define NO_MEDIUM                   SENSE(2u, 0x3a, 0x01) /* the tray is closed */
#define NO_MEDIUM_TRAY_OPEN         SENSE(2u, 0x3a, 0x02)
#define UNREADABLE                  SENSE(3u, 0x11, 0x00)
#define UNKNOWN_COMMAND             SENSE(5u, 0x20, 0x00)
#define BEYOND_THE_END              SENSE(5u, 0x21, 0x00)
#define BAD_FIELD                   SENSE(5u, 0x24, 0x00)
#define NO_SUCH_UNIT                SENSE(5u, 0x25, 0x00)
#define NOTHING_SAVED               SENSE(5u, 0x39, 0x00)
#define REMOVAL_PREVENTED           SENSE(5u, 0x53, 0x02)
#define MEDIUM_CHANGED              SENSE(6u, 0x28, 0x00)
#define WAS_RESET                   SENSE(6u, 0x29, 0x00)

#define ATTENTION_RESET  BIT(0)
#define ATTENTION_CHANGE BIT(1)

#define EVENT_REMOVED 1u
#define EVENT_NEW     2u
#define EVENT_EJECT   4u

#define CLASS_MEDIA     4    /* of events */
#define LEAD_OUT        0xaa /* the track behind the last one */
#define DATA_TRACK      0x14 /* ADR and CONTROL */
#define PROFILE_CD      0x08
#define PROFILE_DVD     0x10
#define CD_BLOCKS       405000u /* 90 minutes; what is longer is no CD */
#define PREGAP          150u    /* blocks before block 0, which minutes and seconds count */
#define BLOCKS_PER_S    75u
#define SECTORS_PER     (SCSI_CD_BLOCK / BLOCK_SECTOR)
#define TRAY            (1 << 5) /* the loading mechanism */
#define CAN_LOCK        BIT(0)
#define CAN_EJECT       BIT(3)
#define WRITE_PROTECTED 0x80

/* ---------------------------------------------------------------- bytes and answers */

static u32 get_16(const u8 *at)
{
    return (u32)at[0] << 8 | at[1];
}

static u32 get_32(const u8 *at)
{
    return get_16(at) << 16 | get_16(at + 2);
}

static void put_16(u8 *at, u32 value)
{
    at[0] = (u8)(value >> 8);
    at[1] = (u8)value;
}

static void put_32(u8 *at, u32 value)
{
    put_16(at, value >> 16);
    put_16(at + 2, value);
}

static void answer(struct scsi_command *command, u32 bytes, u32 allocated)
{
    command->bytes = MIN(bytes, allocated);
}

/* Fixed format, current (SPC-3, 4.5.3). */
static void sense_put(u8 *at, u32 sense)
{
    memset(at, 0, SCSI_SENSE_BYTES);
    at[0] = 0x70;
    at[2] = (u8)(sense >> 16);
    at[7] = SCSI_SENSE_BYTES - 8;
    at[12] = (u8)(sense >> 8);
    at[13] = (u8)sense;
}

static void refuse(struct scsi_command *command, u32 sense)
{
    command->status = SCSI_CHECK_CONDITION;
    command->bytes = 0;
    sense_put(command->sense, sense);
}

/* ---------------------------------------------------------------- the medium */

static u32 blocks_of(const struct scsi_cd *cd)
{
    return scsi_cd_is_ready(cd) ? (u32)MIN(cd->medium->sectors / SECTORS_PER, 0xffffffffu) : 0;
}

static u32 not_ready(const struct scsi_cd *cd)
{
    return cd->tray_open ? NO_MEDIUM_TRAY_OPEN : NO_MEDIUM;
}

static void event_add(struct scsi_cd *cd, u8 event)
{
    cd->events |= event;
    media_notify(&cd->media, event == EVENT_EJECT ? MEDIA_EJECT_REQUEST : MEDIA_CHANGE);
}

/* A medium can be read from now on. */
static void came(struct scsi_cd *cd)
{
    cd->generation++;
    cd->attentions |= ATTENTION_CHANGE;
    event_add(cd, EVENT_NEW);
}

/* And now no more: what was to be told of it is void, as is the wish to have it out. */
static void went(struct scsi_cd *cd)
{
    cd->generation++;
    cd->attentions &= (u8)~ATTENTION_CHANGE;
    cd->events &= (u8) ~(EVENT_NEW | EVENT_EJECT);
    media_seen(&cd->media, MEDIA_EJECT_REQUEST);
    event_add(cd, EVENT_REMOVED);
}

static void tray_move(struct scsi_cd *cd, bool open)
{
    bool was_ready = scsi_cd_is_ready(cd);

    cd->tray_open = open;
    if (was_ready && open)
        went(cd);
    if (!was_ready && scsi_cd_is_ready(cd))
        came(cd);
}

void scsi_cd_insert(struct scsi_cd *cd, struct block_device *medium)
{
    cd->medium = medium;
    cd->tray_open = false;
    came(cd);
}

void scsi_cd_ask_eject(struct scsi_cd *cd)
{
    if (scsi_cd_is_ready(cd))
        event_add(cd, EVENT_EJECT);
}

int scsi_cd_eject(struct scsi_cd *cd, bool force)
{
    if (!cd->medium)
        return -ENOENT;
    if (scsi_cd_is_ready(cd) && cd->locked && !force) {
        scsi_cd_ask_eject(cd);
        return -EAGAIN;
    }
    tray_move(cd, true);
    cd->medium = NULL;
    return 0;
}

/* ---------------------------------------------------------------- who it is */

static u32 text_put(u8 *at, const char *text, u32 width)
{
    u32 length = (u32)strlen(text);

    memset(at, ' ', width);
    memcpy(at, text, MIN(length, width));
    return width;
}

/* Vital product data: which pages there are, its serial number, its identity (SPC-3, 7.6). */
static void inquire_page(const struct scsi_cd *cd, struct scsi_command *command)
{
    u8 *data = command->data;
    u32 bytes = 4;

    data[1] = command->cdb[2];
    switch (command->cdb[2]) {
    case 0x00:
        data[5] = 0x80;
        data[6] = 0x83;
        bytes += 3;
        break;
    case 0x80: bytes += text_put(data + 4, cd->media.name, MEDIA_NAME_MAX); break;
    case 0x83:
        data[4] = 2; /* ASCII, of this logical unit, which its vendor's name begins */
        data[5] = 1;
        data[7] = 8 + MEDIA_NAME_MAX;
        bytes += 4 + text_put(data + 8, "lintel", 8) + text_put(data + 16, cd->media.name, MEDIA_NAME_MAX);
        break;
    default: refuse(command, BAD_FIELD); return;
    }
    data[3] = (u8)(bytes - 4);
    answer(command, bytes, get_16(command->cdb + 3));
}

static void inquiry(struct scsi_cd *cd, struct scsi_command *command)
{
    u8 *data = command->data;

    data[0] = 0x05; /* a CD drive */
    if (command->cdb[1] & 1) {
        inquire_page(cd, command);
        return;
    }
    if (command->cdb[2]) {
        refuse(command, BAD_FIELD);
        return;
    }
    data[1] = 0x80; /* whose medium can be removed */
    data[2] = 5;    /* SPC-3 */
    data[3] = 2;
    data[4] = 36 - 5;
    text_put(data + 8, "lintel", 8);
    text_put(data + 16, "virtual CD-ROM", 16);
    text_put(data + 32, LINTEL_VERSION, 4);
    answer(command, 36, get_16(command->cdb + 3));
}

static u32 attention_take(struct scsi_cd *cd)
{
    u32 which = cd->attentions & ATTENTION_RESET ? ATTENTION_RESET : cd->attentions;

    cd->attentions &= (u8)~which;
    if (which == ATTENTION_RESET)
        return WAS_RESET;
    return which ? MEDIUM_CHANGED : 0;
}

/* What would end the next command; it is told here instead. */
static void request_sense(struct scsi_cd *cd, struct scsi_command *command)
{
    if (command->cdb[1] & 1) { /* the other format */
        refuse(command, BAD_FIELD);
        return;
    }
    sense_put(command->data, attention_take(cd));
    answer(command, SCSI_SENSE_BYTES, command->cdb[4]);
}

static void report_luns(u32 units, struct scsi_command *command)
{
    u32 allocated = get_32(command->cdb + 6), bytes = 8;

    if (allocated < 16 || command->cdb[2] > 2) {
        refuse(command, BAD_FIELD);
        return;
    }
    /* 1: only well-known ones, of which there are none */
    for (u32 i = 0; i < units && command->cdb[2] != 1 && bytes + 8 <= SCSI_DATA_MAX; i++) {
        command->data[bytes + 1] = (u8)i;
        bytes += 8;
    }
    put_32(command->data, bytes - 8);
    answer(command, bytes, allocated);
}

/* ---------------------------------------------------------------- what it can */

/* Read error recovery: as it pleases. Capabilities: CDs and DVDs, a tray (MMC-5, 7.3 and annex E). */
static u32 mode_pages_put(const struct scsi_cd *cd, u8 *at, u8 page, bool changeable)
{
    u32 bytes = 0;

    if (page == GPMODE_R_W_ERROR_PAGE || page == GPMODE_ALL_PAGES) {
        at[0] = GPMODE_R_W_ERROR_PAGE;
        at[1] = 10;
        bytes += 12;
    }
    if (page == GPMODE_CAPABILITIES_PAGE || page == GPMODE_ALL_PAGES) {
        at += bytes;
        at[0] = GPMODE_CAPABILITIES_PAGE;
        at[1] = 20;
        bytes += 22;
        if (changeable)
            return bytes;
        at[2] = 0x0b; /* CD-R, CD-RW, DVD-ROM */
        at[6] = (u8)(TRAY | CAN_EJECT | CAN_LOCK | (cd->locked ? 2 : 0));
        put_16(at + 8, 8467); /* kB/s */
        put_16(at + 14, 8467);
    }
    return bytes;
}

static void mode_sense(struct scsi_cd *cd, struct scsi_command *command)
{
    bool small = command->cdb[0] == CMD_MODE_SENSE_6;
    u32 head = small ? 4 : 8, control = command->cdb[2] >> 6, bytes;
    u8 *data = command->data;

    bytes = mode_pages_put(cd, data + head, command->cdb[2] & 0x3f, control == 1);
    if (!bytes || control == 3) {
        refuse(command, bytes ? NOTHING_SAVED : BAD_FIELD);
        return;
    }
    bytes += head;
    if (small) {
        data[0] = (u8)(bytes - 1);
        data[2] = WRITE_PROTECTED;
        answer(command, bytes, command->cdb[4]);
    } else {
        put_16(data, bytes - 2);
        data[3] = WRITE_PROTECTED;
        answer(command, bytes, get_16(command->cdb + 7));
    }
}

static u8 profile_of(const struct scsi_cd *cd)
{
    u32 blocks = blocks_of(cd);

    return !blocks ? 0 : blocks <= CD_BLOCKS ? PROFILE_CD : PROFILE_DVD;
}

/* MMC-5, 5.3: code, how long it is, when it is current (profile; 0: always), version. */
static const struct feature {
    u16 code;
    u8 bytes, profile, version;
    u8 data[8];
} features[] = {
    {0x00, 8, 0, 0, {0, PROFILE_DVD, 0, 0, 0, PROFILE_CD}}, /* profiles */
    {0x01, 8, 0, 2, {0, 0, 0, 1}},                          /* core: by SCSI */
    {0x02, 4, 0, 1, {0}},                                   /* tells of what the operator wants */
    {0x03, 4, 0, 0, {TRAY | CAN_EJECT | CAN_LOCK}},         /* removable medium */
    {0x10, 8, PROFILE_CD | PROFILE_DVD, 0, {0, 0, SCSI_CD_BLOCK >> 8, 0, 0, 1}}, /* random reading */
    {0x1e, 4, PROFILE_CD, 2, {0}},
    {0x1f, 4, PROFILE_DVD, 1, {0}},
};

static void get_configuration(struct scsi_cd *cd, struct scsi_command *command)
{
    u32 which = command->cdb[1] & 3, start = get_16(command->cdb + 2), bytes = 8;
    u8 profile = profile_of(cd), *data = command->data;

    if (which == 3) {
        refuse(command, BAD_FIELD);
        return;
    }
    for (u32 i = 0; i < ARRAY_SIZE(features); i++) {
        const struct feature *feature = &features[i];
        bool current = !feature->profile || (feature->profile & profile);

        if (which == 2 ? feature->code != start : feature->code < start || (which == 1 && !current))
            continue;
        put_16(data + bytes, feature->code);
        data[bytes + 2] = (u8)(feature->version << 2 | (feature->profile ? 0 : 2) | current);
        data[bytes + 3] = feature->bytes;
        memcpy(data + bytes + 4, feature->data, feature->bytes);
        if (feature->code == 0 && profile) /* which of the two is current */
            data[bytes + (profile == PROFILE_DVD ? 6 : 10)] = 1;
        bytes += 4 + feature->bytes;
    }
    put_32(data, bytes - 4);
    data[7] = profile;
    answer(command, bytes, get_16(command->cdb + 7));
}

/* ---------------------------------------------------------------- tray and events */

static void test_unit_ready(struct scsi_cd *cd, struct scsi_command *command)
{
    (void)cd, (void)command; /* the row says that it wants a medium */
}

/* Oldest first; what was told is not told again. The code: MMC-5, table 270. */
static u8 event_take(struct scsi_cd *cd)
{
    static const u8 order[][2] = {{EVENT_REMOVED, 3}, {EVENT_NEW, 2}, {EVENT_EJECT, 1}};

    for (u32 i = 0; i < ARRAY_SIZE(order); i++) {
        if (!(cd->events & order[i][0]))
            continue;
        cd->events &= (u8)~order[i][0];
        media_seen(&cd->media, (cd->events & (EVENT_REMOVED | EVENT_NEW) ? 0 : MEDIA_CHANGE) |
                                   (cd->events & EVENT_EJECT ? 0 : MEDIA_EJECT_REQUEST));
        return order[i][1];
    }
    return 0;
}

static void get_event_status(struct scsi_cd *cd, struct scsi_command *command)
{
    u32 allocated = get_16(command->cdb + 7);
    u8 *data = command->data;

    if (!(command->cdb[1] & 1)) { /* not polled: it would have to wait for an event */
        refuse(command, BAD_FIELD);
        return;
    }
    data[3] = BIT(CLASS_MEDIA);
    if (!(command->cdb[4] & BIT(CLASS_MEDIA))) {
        put_16(data, 2);
        data[2] = 0x80; /* of those classes there is none */
        answer(command, 4, allocated);
        return;
    }
    put_16(data, 6);
    data[2] = CLASS_MEDIA;
    data[4] = allocated > 4 ? event_take(cd) : 0;
    data[5] = (u8)(cd->tray_open | (scsi_cd_is_ready(cd) ? 2 : 0));
    answer(command, 8, allocated);
}

static void prevent_removal(struct scsi_cd *cd, struct scsi_command *command)
{
    cd->locked = command->cdb[4] & 1;
}

static void start_stop(struct scsi_cd *cd, struct scsi_command *command)
{
    bool start = command->cdb[4] & 1, move = command->cdb[4] & 2;

    if (command->cdb[4] >> 4 || !move) /* power conditions, or the motor alone: it has none */
        return;
    if (!start && cd->locked)
        refuse(command, REMOVAL_PREVENTED);
    else
        tray_move(cd, !start);
}

/* ---------------------------------------------------------------- what is on the medium */

static void read_capacity(struct scsi_cd *cd, struct scsi_command *command)
{
    put_32(command->data, blocks_of(cd) - 1);
    put_32(command->data + 4, SCSI_CD_BLOCK);
    answer(command, 8, 8);
}

static void address_put(u8 *at, u32 block, bool minutes)
{
    if (!minutes) {
        put_32(at, block);
        return;
    }
    block += PREGAP;
    at[1] = (u8)MIN(block / BLOCKS_PER_S / 60, 255u);
    at[2] = (u8)(block / BLOCKS_PER_S % 60);
    at[3] = (u8)(block % BLOCKS_PER_S);
}

static u8 *track_put(u8 *at, u8 track, u32 block, bool minutes)
{
    at[1] = DATA_TRACK;
    at[2] = track;
    address_put(at + 4, block, minutes);
    return at + 8;
}

/* One session with one track. Format 1, the last session, may be asked for in the old place, too. */
static void read_toc(struct scsi_cd *cd, struct scsi_command *command)
{
    u8 format = command->cdb[2] & 0xf, from = command->cdb[6], *data = command->data, *at = data + 4;
    bool minutes = command->cdb[1] & 2;

    if (!format)
        format = command->cdb[9] >> 6;
    if (format > 1 || (format == 0 && from > 1 && from != LEAD_OUT)) {
        refuse(command, BAD_FIELD);
        return;
    }
    data[2] = data[3] = 1;
    if (format == 1 || from <= 1)
        at = track_put(at, 1, 0, minutes);
    if (format == 0)
        at = track_put(at, LEAD_OUT, blocks_of(cd), minutes);
    put_16(data, (u32)(at - data) - 2);
    answer(command, (u32)(at - data), get_16(command->cdb + 7));
}

static void read_disc_information(struct scsi_cd *cd, struct scsi_command *command)
{
    u8 *data = command->data;

    (void)cd;
    if (command->cdb[1] & 7) {
        refuse(command, BAD_FIELD);
        return;
    }
    put_16(data, 32);
    data[2] = 0x0e;                            /* complete, and its last session is, too */
    data[3] = data[4] = data[5] = data[6] = 1; /* tracks and sessions */
    data[7] = 0x20;                            /* for any use */
    memset(data + 16, 0xff, 8);                /* nothing can be added */
    answer(command, 34, get_16(command->cdb + 7));
}

static void read(struct scsi_cd *cd, struct scsi_command *command)
{
    u32 block = get_32(command->cdb + 2), blocks = blocks_of(cd);
    u32 count = command->cdb[0] == GPCMD_READ_10 ? get_16(command->cdb + 7) : get_32(command->cdb + 6);

    if (block > blocks || count > blocks - block) {
        refuse(command, BEYOND_THE_END);
        return;
    }
    if (!count)
        return;
    command->medium = cd->medium;
    command->sector = (u64)block * SECTORS_PER;
    command->sectors = (u64)count * SECTORS_PER;
    command->generation = cd->generation;
}

void scsi_cd_read_end(struct scsi_cd *cd, struct scsi_command *command, int error)
{
    if (command->generation != cd->generation) { /* it read another medium than is there now */
        if (scsi_cd_is_ready(cd)) {
            cd->attentions &= (u8)~ATTENTION_CHANGE;
            refuse(command, MEDIUM_CHANGED);
        } else {
            refuse(command, not_ready(cd));
        }
    } else if (error) {
        refuse(command, error == -ENOMEDIUM ? NO_MEDIUM : UNREADABLE);
    }
}

/* ---------------------------------------------------------------- commands */

#define QUIET  BIT(0) /* does not tell of unit attentions, which wait for a command that does */
#define MEDIUM BIT(1) /* wants one */

static const struct {
    u8 opcode, flags;
    void (*run)(struct scsi_cd *cd, struct scsi_command *command);
} commands[] = {
    {GPCMD_TEST_UNIT_READY, MEDIUM, test_unit_ready},
    {GPCMD_REQUEST_SENSE, QUIET, request_sense},
    {GPCMD_INQUIRY, QUIET, inquiry},
    {CMD_MODE_SENSE_6, 0, mode_sense},
    {GPCMD_START_STOP_UNIT, 0, start_stop},
    {GPCMD_PREVENT_ALLOW_MEDIUM_REMOVAL, 0, prevent_removal},
    {GPCMD_READ_CDVD_CAPACITY, MEDIUM, read_capacity},
    {GPCMD_READ_10, MEDIUM, read},
    {GPCMD_READ_TOC_PMA_ATIP, MEDIUM, read_toc},
    {GPCMD_GET_CONFIGURATION, QUIET, get_configuration},
    {GPCMD_GET_EVENT_STATUS_NOTIFICATION, QUIET, get_event_status},
    {GPCMD_READ_DISC_INFO, MEDIUM, read_disc_information},
    {GPCMD_MODE_SENSE_10, 0, mode_sense},
    {GPCMD_READ_12, MEDIUM, read},
};

static void command_run(struct scsi_cd *cd, u32 row, struct scsi_command *command)
{
    u32 attention = commands[row].flags & QUIET ? 0 : attention_take(cd);

    if (attention)
        refuse(command, attention);
    else if (commands[row].flags & MEDIUM && !scsi_cd_is_ready(cd))
        refuse(command, not_ready(cd));
    else
        commands[row].run(cd, command);
}

static void no_unit(struct scsi_command *command)
{
    if (command->cdb[0] != GPCMD_INQUIRY) {
        refuse(command, NO_SUCH_UNIT);
        return;
    }
    command->data[0] = 0x7f; /* nothing here, nor can there be */
    command->data[4] = 36 - 5;
    answer(command, 36, get_16(command->cdb + 3));
}

void scsi_cd_execute(struct scsi_cd *cd, u32 units, struct scsi_command *command)
{
    u8 opcode = command->cdb[0];

    memset(&command->status, 0, sizeof(*command) - offsetof(struct scsi_command, status));
    if (opcode == CMD_REPORT_LUNS) {
        report_luns(units, command);
        return;
    }
    if (!cd) {
        no_unit(command);
        return;
    }
    for (u32 i = 0; i < ARRAY_SIZE(commands); i++)
        if (commands[i].opcode == opcode) {
            command_run(cd, i, command);
            return;
        }
    refuse(command, UNKNOWN_COMMAND);
}

/* ---------------------------------------------------------------- life */

void scsi_cd_init(struct scsi_cd *cd, struct block_device *medium)
{
    cd->media.supported = cd->media.by_itself = MEDIA_EVENTS;
    cd->medium = medium;
    scsi_cd_reset(cd);
}

void scsi_cd_reset(struct scsi_cd *cd)
{
    cd->generation++;
    cd->tray_open = false;
    cd->attentions = cd->events = 0;
    media_seen(&cd->media, MEDIA_EVENTS);
    scsi_cd_bus_reset(cd);
}

void scsi_cd_bus_reset(struct scsi_cd *cd)
{
    cd->locked = false;
    cd->attentions |= ATTENTION_RESET;
}
