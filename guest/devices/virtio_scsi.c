/* SPDX-License-Identifier: MIT */
/*
 * The CD drives' controller (contract in the header). As virtio_blk.c: notifications come from exits with the
 * device's lock held, one exit carries a share, what ends later is told in a turn of a vCPU. What a medium
 * was asked for when the operator took it out ends without data, whatever the medium says of it then.
 */
#include "guest/devices/virtio_scsi.h"

#include <linux/virtio_ids.h>

#include "guest/devices/virtio_buffers.h"
#include "guest/machine.h"
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

enum { QUEUE_CONTROL, QUEUE_EVENT, QUEUE_COMMANDS, QUEUES };

#define CLASS_SCSI    0x0100
#define SEGMENTS_MAX  (VIRTQ_SIZE_MAX - 2) /* header and response take a buffer each */
#define REQUEST_BYTES (1u << 20)
/* What one exit, or the beginning of one turn, may carry. */
#define SHARE_REQUESTS 64u
#define SHARE_BYTES    (1u << 20)

_Static_assert(sizeof(struct virtio_scsi_cmd_req) == 51 && sizeof(struct virtio_scsi_cmd_resp) == 108,
               "Virtio 1.1, 5.6.6.1, with the default sizes of CDB and sense");
_Static_assert(sizeof(struct virtio_scsi_ctrl_tmf_req) == 24 && sizeof(struct virtio_scsi_ctrl_an_req) == 16,
               "Virtio 1.1, 5.6.6.2");
_Static_assert(sizeof(struct virtio_scsi_config) == 36, "Virtio 1.1, 5.6.4");

static struct virtio_scsi *scsi_of(struct virtio *virtio)
{
    return container_of(virtio, struct virtio_scsi, virtio);
}

static struct guest_memory *memory_of(const struct virtio_scsi *scsi)
{
    return &scsi->virtio.pci.machine->vm->memory;
}

static struct spinlock *lock_of(struct virtio_scsi *scsi)
{
    return &scsi->virtio.pci.lock;
}

static struct buffers readable(struct virtq_chain *chain)
{
    return (struct buffers){chain->buffers, chain->readable};
}

static struct buffers writable(struct virtq_chain *chain)
{
    return (struct buffers){chain->buffers + chain->readable, chain->writable};
}

/* 1, the target, the logical unit in one of two forms (5.6.6.1; SAM-5, 4.6). -1: no such target. */
static int unit_of(const u8 *lun, u32 *unit)
{
    *unit = lun[2] & 0x80 ? ~0u : (lun[2] & 0x3fu) << 8 | lun[3];
    return lun[0] == 1 && lun[1] == 0 ? 0 : -1;
}

/* Give a chain back, with its response in the first bytes that the device writes. */
static void chain_end(struct virtio_scsi *scsi, unsigned queue, struct virtq_chain *chain,
                      const void *response, u64 bytes, u64 data)
{
    struct buffers in = writable(chain);
    int error = buffers_bytes(&in) < bytes ? -EFAULT : buffers_fill(&in, memory_of(scsi), response, bytes);

    if (error) {
        virtio_fail_write(&scsi->virtio, error, "gave a response no place, or one where no RAM is");
        return;
    }
    error = virtq_give(&scsi->virtio.queues[queue], memory_of(scsi), chain->head, (u32)(bytes + data));
    if (error)
        virtio_fail_write(&scsi->virtio, error, "has a used ring where no RAM is");
}

/* ---------------------------------------------------------------- commands */

static void slot_end(struct virtio_scsi_slot *slot, u8 code, u64 data)
{
    const struct scsi_command *command = &slot->command;
    struct virtio_scsi_cmd_resp response = {.response = code};

    if (code == VIRTIO_SCSI_S_OK) {
        response.status = command->status;
        response.sense_len = command->status == SCSI_CHECK_CONDITION ? SCSI_SENSE_BYTES : 0;
        memcpy(response.sense, command->sense, SCSI_SENSE_BYTES);
    }
    response.resid = (u32)MIN(slot->room - data, 0xffffffffu);
    chain_end(slot->scsi, QUEUE_COMMANDS, &slot->chain, &response, sizeof(response), data);
}

/* What was to be read has been, or not. */
static void slot_read_end(struct virtio_scsi_slot *slot, int error)
{
    struct scsi_command *command = &slot->command;

    if (error == -ENOMEM)
        virtio_tell_no_memory(&slot->scsi->virtio);
    if (slot->abort) { /* its answer has no sense data, which must be left to the next command */
        slot_end(slot, VIRTIO_SCSI_S_ABORTED, 0);
        return;
    }
    scsi_cd_read_end(&slot->scsi->units[slot->unit].cd, command, error);
    slot_end(slot, VIRTIO_SCSI_S_OK, command->status == SCSI_GOOD ? command->sectors * BLOCK_SECTOR : 0);
}

/* The pieces behind the response, bytes of them at most; how many there are in all. */
static u32 data_find(struct virtio_scsi_slot *slot, u64 skip, u64 bytes)
{
    struct buffers in = writable(&slot->chain);
    u32 count = 0;

    for (u32 i = 0; i < in.count && bytes; i++) {
        u64 skipped = MIN(skip, in.at[i].bytes), part = MIN(in.at[i].bytes - skipped, bytes);

        skip -= skipped;
        bytes -= part;
        if (part)
            slot->data[count++] = (struct guest_segment){in.at[i].gpa + skipped, part};
    }
    return count;
}

/* The bytes it has moved, as the share counts them. */
static u64 slot_read(struct virtio_scsi_slot *slot, struct virtio_scsi_unit *unit)
{
    struct scsi_command *command = &slot->command;
    struct block_request *request = &slot->request;
    u64 bytes = command->sectors * BLOCK_SECTOR;
    int error;

    if (bytes > MIN(slot->room, (u64)REQUEST_BYTES)) {
        slot_end(slot, VIRTIO_SCSI_S_OVERRUN, 0);
        return 0;
    }
    if (unit->in_progress >= command->medium->depth) {
        command->status = SCSI_TASK_SET_FULL;
        slot_end(slot, VIRTIO_SCSI_S_OK, 0);
        return 0;
    }
    request->operation = BLOCK_READ;
    request->sector = command->sector;
    request->sectors = command->sectors;
    request->segments = slot->data;
    request->segment_count = data_find(slot, sizeof(struct virtio_scsi_cmd_resp), bytes);
    error = block_submit(command->medium, request);
    if (error != -EINPROGRESS) {
        slot_read_end(slot, error);
        return bytes;
    }
    slot->state = SCSI_SLOT_IN_PROGRESS;
    unit->in_progress++;
    slot->scsi->in_progress++;
    return 0;
}

/* An answer out of the command's own buffer. */
static void slot_answer(struct virtio_scsi_slot *slot)
{
    u64 bytes = MIN(slot->command.bytes, slot->room);
    struct buffers data = {slot->data, data_find(slot, sizeof(struct virtio_scsi_cmd_resp), bytes)};
    int error = buffers_fill(&data, memory_of(slot->scsi), slot->command.data, bytes);

    if (error == -ENOMEM)
        virtio_tell_no_memory(&slot->scsi->virtio);
    if (error)
        slot_end(slot, VIRTIO_SCSI_S_FAILURE, 0);
    else
        slot_end(slot, VIRTIO_SCSI_S_OK, bytes);
}

/*
 * What the guest did to its tray happens to the machine's; what lies in that can't be read any more. A guest
 * locks what it opens, and frees what it closes.
 */
static void drive_follow(struct virtio_scsi_unit *unit)
{
    struct scsi_cd *cd = &unit->cd;

    if (!unit->drive)
        return;
    if (unit->drive_is_locked != cd->locked) {
        unit->drive_is_locked = cd->locked;
        cd_drive_lock_tray(unit->drive, cd->locked);
        if (cd->locked)
            media_open(&cd->media, false);
        else
            media_close(&cd->media, false);
    }
    if (unit->drive_is_open == cd->tray_open)
        return;
    unit->drive_is_open = cd->tray_open;
    cd->medium = NULL;
    cd_drive_move_tray(unit->drive, cd->tray_open);
}

/* Begin what a chain asks for. */
static u64 slot_begin(struct virtio_scsi_slot *slot)
{
    struct virtio_scsi *scsi = slot->scsi;
    struct buffers out = readable(&slot->chain), in = writable(&slot->chain);
    struct virtio_scsi_cmd_req header;
    u32 unit;

    if (buffers_take(&out, memory_of(scsi), &header, sizeof(header)) ||
        buffers_bytes(&in) < sizeof(struct virtio_scsi_cmd_resp)) {
        virtio_fail(&scsi->virtio, "made a command without a header or a place for the response");
        return 0;
    }
    slot->room = buffers_bytes(&in) - sizeof(struct virtio_scsi_cmd_resp);
    slot->tag = header.tag;
    slot->abort = false;
    if (unit_of(header.lun, &unit)) {
        slot_end(slot, VIRTIO_SCSI_S_BAD_TARGET, 0);
        return 0;
    }
    memcpy(slot->command.cdb, header.cdb, SCSI_CDB_BYTES);
    slot->unit = (u8)unit;
    scsi_cd_execute(unit < scsi->unit_count ? &scsi->units[unit].cd : NULL, scsi->unit_count, &slot->command);
    if (slot->command.medium)
        return slot_read(slot, &scsi->units[unit]);
    if (unit < scsi->unit_count)
        drive_follow(&scsi->units[unit]);
    slot_answer(slot);
    return 0;
}

static struct virtio_scsi_slot *slot_free(struct virtio_scsi *scsi)
{
    for (u32 i = 0; i < VIRTIO_SCSI_SLOTS; i++)
        if (scsi->slots[i].state == SCSI_SLOT_FREE)
            return &scsi->slots[i];
    return NULL;
}

/* ---------------------------------------------------------------- task management */

static bool is_aborting(const struct virtio_scsi *scsi)
{
    for (u32 i = 0; i < VIRTIO_SCSI_SLOTS; i++)
        if (scsi->slots[i].state != SCSI_SLOT_FREE && scsi->slots[i].abort)
            return true;
    return false;
}

/* Commands of a unit that are in progress, or the one with this tag: so many; to be aborted, if wanted. */
static u32 tasks_find(struct virtio_scsi *scsi, u32 unit, const u64 *tag, bool abort)
{
    u32 count = 0;

    for (u32 i = 0; i < VIRTIO_SCSI_SLOTS; i++) {
        struct virtio_scsi_slot *slot = &scsi->slots[i];

        if (slot->state == SCSI_SLOT_FREE || slot->unit != unit || (tag && slot->tag != *tag))
            continue;
        slot->abort |= abort;
        count++;
    }
    return count;
}

/* The answer, once nothing is left that is to be aborted. */
static u8 task_function(struct virtio_scsi *scsi, const struct virtio_scsi_ctrl_tmf_req *function)
{
    const u64 tag = function->tag;
    u32 unit;

    if (unit_of(function->lun, &unit))
        return VIRTIO_SCSI_S_BAD_TARGET;
    if (unit >= scsi->unit_count)
        return VIRTIO_SCSI_S_INCORRECT_LUN;
    switch (function->subtype) {
    case VIRTIO_SCSI_T_TMF_ABORT_TASK: tasks_find(scsi, unit, &tag, true); break;
    case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
        scsi_cd_bus_reset(&scsi->units[unit].cd);
        drive_follow(&scsi->units[unit]);
        tasks_find(scsi, unit, NULL, true);
        break;
    case VIRTIO_SCSI_T_TMF_ABORT_TASK_SET:
    case VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET: tasks_find(scsi, unit, NULL, true); break;
    case VIRTIO_SCSI_T_TMF_QUERY_TASK:
        return tasks_find(scsi, unit, &tag, false) ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED : VIRTIO_SCSI_S_OK;
    case VIRTIO_SCSI_T_TMF_QUERY_TASK_SET:
        return tasks_find(scsi, unit, NULL, false) ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED : VIRTIO_SCSI_S_OK;
    default: return VIRTIO_SCSI_S_FUNCTION_REJECTED;
    }
    return VIRTIO_SCSI_S_OK;
}

static void task_function_end(struct virtio_scsi *scsi, u8 code)
{
    const struct virtio_scsi_ctrl_tmf_resp response = {code};

    scsi->answering = false;
    chain_end(scsi, QUEUE_CONTROL, &scsi->control, &response, sizeof(response), 0);
}

static void control_begin(struct virtio_scsi *scsi)
{
    const struct virtio_scsi_ctrl_an_resp no_events = {.response = VIRTIO_SCSI_S_OK};
    struct buffers out = readable(&scsi->control);
    struct virtio_scsi_ctrl_tmf_req function = {0};
    u8 code;

    if (buffers_take(&out, memory_of(scsi), &function, sizeof(struct virtio_scsi_ctrl_an_req))) {
        virtio_fail(&scsi->virtio, "made a control request without a header");
        return;
    }
    if (function.type != VIRTIO_SCSI_T_TMF) { /* a wish for notifications, of which there are none */
        chain_end(scsi, QUEUE_CONTROL, &scsi->control, &no_events, sizeof(no_events), 0);
        return;
    }
    if (buffers_take(&out, memory_of(scsi), (u8 *)&function + sizeof(struct virtio_scsi_ctrl_an_req),
                     sizeof(function) - sizeof(struct virtio_scsi_ctrl_an_req))) {
        virtio_fail(&scsi->virtio, "made a control request without a header");
        return;
    }
    code = task_function(scsi, &function);
    scsi->answering = is_aborting(scsi); /* else everything it might have aborted has ended before */
    if (!scsi->answering)
        task_function_end(scsi, code);
}

/* ---------------------------------------------------------------- the queues */

static void serve_control(struct virtio_scsi *scsi)
{
    u32 requests = 0;

    while (!scsi->answering && requests < SHARE_REQUESTS &&
           virtio_take(&scsi->virtio, QUEUE_CONTROL, &scsi->control)) {
        control_begin(scsi);
        requests++;
    }
    if (!virtio_is_usable(&scsi->virtio, QUEUE_CONTROL))
        return;
    virtio_show(&scsi->virtio, QUEUE_CONTROL);
    if (requests == SHARE_REQUESTS)
        virtio_work_want(&scsi->virtio);
}

static void serve_commands(struct virtio_scsi *scsi)
{
    u64 bytes = 0;
    u32 requests = 0;
    bool more = true;

    while (more && requests < SHARE_REQUESTS && bytes < SHARE_BYTES) {
        struct virtio_scsi_slot *slot = slot_free(scsi);

        more = slot && virtio_take(&scsi->virtio, QUEUE_COMMANDS, &slot->chain);
        if (more)
            bytes += slot_begin(slot);
        requests++;
    }
    if (!virtio_is_usable(&scsi->virtio, QUEUE_COMMANDS))
        return;
    virtio_show(&scsi->virtio, QUEUE_COMMANDS);
    if (more)
        virtio_work_want(&scsi->virtio);
}

/* The medium is done with it; the guest is told by virtio_scsi_work. */
static void slot_done(struct block_request *request, int status)
{
    struct virtio_scsi_slot *slot = container_of(request, struct virtio_scsi_slot, request);
    struct virtio_scsi *scsi = slot->scsi;

    spinlock_take(lock_of(scsi));
    slot->state = scsi->virtio.resetting ? SCSI_SLOT_FREE : SCSI_SLOT_ENDED;
    slot->result = status;
    scsi->units[slot->unit].in_progress--;
    scsi->in_progress--;
    if (scsi->in_progress == 0)
        virtio_reset_end(&scsi->virtio);
    virtio_work_want(&scsi->virtio);
    spinlock_release(lock_of(scsi));
}

static void ends_tell(struct virtio_scsi *scsi, bool usable)
{
    for (u32 i = 0; i < VIRTIO_SCSI_SLOTS; i++) {
        struct virtio_scsi_slot *slot = &scsi->slots[i];

        if (slot->state != SCSI_SLOT_ENDED)
            continue;
        slot->state = SCSI_SLOT_FREE;
        if (usable)
            slot_read_end(slot, slot->result);
    }
    if (!usable)
        scsi->answering = false;
    if (scsi->answering && !is_aborting(scsi))
        task_function_end(scsi, VIRTIO_SCSI_S_OK);
}

/* An exit or the beginning of a turn: tell what has ended, begin what is left. */
static void carry_on(struct virtio_scsi *scsi)
{
    scsi->virtio.worker.work = false;
    ends_tell(scsi, virtio_is_usable(&scsi->virtio, QUEUE_COMMANDS));
    if (virtio_is_usable(&scsi->virtio, QUEUE_CONTROL))
        serve_control(scsi);
    if (virtio_is_usable(&scsi->virtio, QUEUE_COMMANDS))
        serve_commands(scsi);
}

void virtio_scsi_work(struct virtio_scsi *scsi, struct vcpu *vcpu)
{
    if (!virtio_work_is_for(&scsi->virtio, vcpu))
        return;
    spinlock_take(lock_of(scsi));
    carry_on(scsi);
    virtio_turn_end(&scsi->virtio, vcpu);
}

/* What another vCPU was asked to carry on is this one's now. */
static void notified(struct virtio *virtio, unsigned queue)
{
    struct virtio_scsi *scsi = scsi_of(virtio);

    if (scsi->virtio.worker.work)
        carry_on(scsi);
    else if (queue == QUEUE_CONTROL)
        serve_control(scsi);
    else if (queue == QUEUE_COMMANDS)
        serve_commands(scsi);
}

/* What has ended, and was not told, is nobody's any more. */
static bool driver_reset(struct virtio *virtio)
{
    struct virtio_scsi *scsi = scsi_of(virtio);

    ends_tell(scsi, false);
    return scsi->in_progress == 0;
}

static const struct virtio_ops scsi_ops = {
    .type = VIRTIO_ID_SCSI,
    .class = CLASS_SCSI,
    .queue_count = QUEUES,
    .answer_bytes = sizeof(struct virtio_scsi_cmd_resp),
    .notify = notified,
    .reset = driver_reset,
};

/* ---------------------------------------------------------------- drives and media */

static struct virtio_scsi_unit *unit_of_media(struct media *media)
{
    return container_of(media, struct virtio_scsi_unit, cd.media);
}

/* All but the machine's tells of everything as it happens. */
static void media_check(struct media *media, u32 clearing)
{
    struct virtio_scsi_unit *unit = unit_of_media(media);

    if (!unit->drive || !cd_drive_check(unit->drive, clearing & MEDIA_CHANGE))
        media_checked(media, 0);
}

/* The machine's drive has something to say. */
static void drive_tells(struct cd_user *user, u32 news)
{
    struct virtio_scsi_unit *unit = container_of(user, struct virtio_scsi_unit, user);
    struct scsi_cd *cd = &unit->cd;

    spinlock_take(lock_of(unit->scsi));
    if (news & CD_NEWS_GONE)
        scsi_cd_eject(cd, true);
    if (news & CD_NEWS_CAME && cd_drive_take(unit->drive))
        scsi_cd_insert(cd, unit->drive);
    if (news & CD_NEWS_EJECT_WANTED)
        scsi_cd_ask_eject(cd);
    if (!cd->medium)
        cd->tray_open = cd_drive_is_open(unit->drive);
    unit->drive_is_open = cd->tray_open;
    spinlock_release(lock_of(unit->scsi));
    if (news & CD_NEWS_CHECKED)
        media_checked(&cd->media, 0);
}

static void medium_drop(struct block_device *medium)
{
    if (!medium)
        return;
    block_abort(medium);
    block_close(medium);
}

static int medium_insert(struct media *media, struct block_device *medium)
{
    struct virtio_scsi_unit *unit = unit_of_media(media);
    struct block_device *before = unit->cd.medium; /* which the guest may have left in an open tray */
    bool ready;

    if (unit->drive)
        return -EPERM;
    spinlock_take(lock_of(unit->scsi));
    ready = scsi_cd_is_ready(&unit->cd);
    if (!ready)
        scsi_cd_insert(&unit->cd, medium);
    spinlock_release(lock_of(unit->scsi));
    if (ready)
        return -EBUSY;
    medium_drop(before);
    return 0;
}

static int medium_eject(struct media *media, bool force)
{
    struct virtio_scsi_unit *unit = unit_of_media(media);
    struct block_device *before = unit->cd.medium;
    int error;

    spinlock_take(lock_of(unit->scsi));
    error = scsi_cd_eject(&unit->cd, force);
    if (error == -ENOENT && force && unit->drive && !unit->cd.tray_open) {
        unit->cd.tray_open = true; /* there may be one that can't be read */
        error = 0;
    }
    if (!error)
        drive_follow(unit);
    spinlock_release(lock_of(unit->scsi));
    if (error || unit->drive)
        return error ? error : -EINPROGRESS;
    medium_drop(before);
    return 0;
}

static void medium_describe(struct media *media, char *text, size_t size)
{
    const struct virtio_scsi_unit *unit = unit_of_media(media);
    const struct block_device *drive = unit->drive;
    const struct scsi_cd *cd = &unit->cd;
    bool empty = !READ_ONCE(cd->medium);

    snprintf(text, size, "%s%s%s%s",
             drive   ? drive->name
             : empty ? "empty"
                     : cd->medium->name,
             drive && empty ? ", empty" : "", cd->tray_open ? ", tray open" : "",
             cd->locked ? ", locked" : "");
}

static const struct media_ops drive_ops = {
    .check_events = media_check,
    .describe = medium_describe,
    .insert = medium_insert,
    .eject = medium_eject,
};

/* What lies in it: the file, zeros, or what the machine's drive has. */
static int medium_open(struct virtio_scsi_unit *unit, const struct vm_disk *cdrom,
                       struct block_device **medium, char *why, size_t size)
{
    frame_owner_t owner = frame_owner_support(unit->scsi->virtio.pci.machine->vm->index);
    int used = snprintf(why, size, "lintel.conf:%u: cdrom = %s: ", cdrom->line, cdrom->name), error = 0;

    if (cdrom->host) {
        unit->user = (struct cd_user){&unit->cd.media, drive_tells};
        error = cd_drive_open(cdrom->name, owner, &unit->drive, why + used, size - (size_t)used);
        *medium = !error && unit->drive->sectors ? unit->drive : NULL;
        return error;
    }
    if (cdrom->file.start || cdrom->bytes)
        error = block_rom_create(&cdrom->file, cdrom->bytes, owner, medium);
    if (error)
        snprintf(why, size, "no memory is left for cdrom = %s", cdrom->name);
    return error;
}

/* What the line `cdrom = ...` says. */
static int unit_add(struct virtio_scsi *scsi, const struct vm_disk *cdrom, char *why, size_t size)
{
    struct vm *vm = scsi->virtio.pci.machine->vm;
    struct virtio_scsi_unit *unit = &scsi->units[scsi->unit_count];
    struct block_device *medium = NULL;
    int error;

    unit->scsi = scsi;
    error = medium_open(unit, cdrom, &medium, why, size);
    if (error)
        return error;
    unit->cd.media.ops = &drive_ops;
    unit->cd.media.vm = vm;
    unit->cd.media.poll_ms = MEDIA_POLL_DEFAULT;
    snprintf(unit->cd.media.name, sizeof(unit->cd.media.name), "cd%u", scsi->unit_count);
    scsi_cd_init(&unit->cd, medium);
    if (unit->drive) /* which must be asked */
        unit->cd.media.by_itself = 0;
    media_add(&unit->cd.media);
    if (unit->drive) {
        cd_drive_listen(unit->drive, &unit->user);
        media_flush(&unit->cd.media, 0);
    }
    scsi->unit_count++;
    return 0;
}

/* ---------------------------------------------------------------- life */

int virtio_scsi_create(struct machine *m, unsigned slot, char *why, size_t size)
{
    const struct vm_config *config = m->vm->config;
    struct virtio_scsi *scsi = memory_alloc(sizeof(*scsi), frame_owner_support(m->vm->index));
    int error = 0;

    if (!scsi) {
        snprintf(why, size, "no memory is left for its CD drives");
        return -ENOMEM;
    }
    for (u32 i = 0; i < VIRTIO_SCSI_SLOTS; i++) {
        scsi->slots[i].scsi = scsi;
        scsi->slots[i].request.memory = &m->vm->memory;
        scsi->slots[i].request.done = slot_done;
    }
    scsi->config = (struct virtio_scsi_config){
        .num_queues = 1,
        .seg_max = SEGMENTS_MAX,
        .max_sectors = REQUEST_BYTES / BLOCK_SECTOR,
        .cmd_per_lun = 1,
        .event_info_size = sizeof(struct virtio_scsi_event),
        .sense_size = VIRTIO_SCSI_SENSE_DEFAULT_SIZE,
        .cdb_size = VIRTIO_SCSI_CDB_DEFAULT_SIZE,
        .max_lun = config->cdrom_count - 1,
    };
    scsi->virtio.name = "its CD drives' controller";
    scsi->virtio.config = &scsi->config;
    scsi->virtio.config_size = sizeof(scsi->config);
    virtio_init(&scsi->virtio, m, slot, &scsi_ops);
    m->scsi = scsi;
    for (u32 i = 0; i < config->cdrom_count && !error; i++)
        error = unit_add(scsi, &config->cdroms[i], why, size);
    return error;
}

/* The medium, or the machine's drive, whatever lies in that. */
static struct block_device *device_of(const struct virtio_scsi_unit *unit)
{
    return unit->drive ? unit->drive : unit->cd.medium;
}

/* A tray that is open stays so where it is a real one. */
static void unit_reset(struct virtio_scsi_unit *unit)
{
    scsi_cd_reset(&unit->cd);
    unit->cd.tray_open = unit->drive_is_open;
    drive_follow(unit);
}

void virtio_scsi_reset(struct virtio_scsi *scsi)
{
    for (u32 i = 0; i < scsi->unit_count; i++)
        if (device_of(&scsi->units[i]))
            block_abort(device_of(&scsi->units[i]));
    spinlock_take(lock_of(scsi));
    ends_tell(scsi, false);
    virtio_power_on(&scsi->virtio);
    for (u32 i = 0; i < scsi->unit_count; i++)
        unit_reset(&scsi->units[i]);
    spinlock_release(lock_of(scsi));
}

void virtio_scsi_destroy(struct virtio_scsi *scsi)
{
    for (u32 i = 0; i < scsi->unit_count; i++) {
        if (device_of(&scsi->units[i])) /* it may have a check to be ended */
            block_close(device_of(&scsi->units[i]));
        media_remove(&scsi->units[i].cd.media);
    }
    memory_free(scsi, sizeof(*scsi), frame_owner_support(scsi->virtio.pci.machine->vm->index));
}
