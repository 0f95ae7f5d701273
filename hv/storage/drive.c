/* SPDX-License-Identifier: MIT */
/* The queue of a drive of the machine: jobs, and slots for their pieces (contract in drive.h). */
#include "hv/lib/errno.h"
#include "hv/storage/drive_private.h"

#define SAID_AT_MOST 8 /* lines in DRIVE_TIMEOUT_US */

/* ---------------------------------------------------------------- data */

/* Between a slot's buffer and that part of the request's memory which it stands for. */
static int slot_copy(const struct drive_slot *slot, bool to_guest)
{
    const struct block_request *request = slot->job->request;
    u64 skip = slot->offset, left = slot->bytes;
    u8 *at = slot->data;

    for (u32 i = 0; i < request->segment_count && left > 0; i++) {
        const struct guest_segment *segment = &request->segments[i];
        u64 from = MIN(skip, segment->bytes), part = MIN(segment->bytes - from, left);
        int error = guest_memory_copy(request->memory, segment->gpa + from, at, part, to_guest);

        if (error)
            return error;
        skip -= from;
        at += part;
        left -= part;
    }
    return 0;
}

/* ---------------------------------------------------------------- jobs */

static void job_end(struct drive_job *job)
{
    list_remove(&job->node);
    list_add_before(&job->user->drive->ended, &job->node);
}

/* Nothing of it is out, and nothing more is to be sent? Then it has ended. */
static void job_look(struct drive_job *job)
{
    if (job->pieces == 0 && (job->status || job->sent == job->bytes))
        job_end(job);
}

static struct drive_job *job_free(struct drive_user *user)
{
    for (u32 i = 0; i < DRIVE_DEPTH; i++)
        if (!user->jobs[i].request)
            return &user->jobs[i];
    return NULL;
}

void drive_ends_tell(struct drive *drive)
{
    spinlock_take(&drive->lock);
    while (!list_empty(&drive->ended)) {
        struct drive_job *job = list_entry(drive->ended.next, struct drive_job, node);
        struct drive_user *user = job->user;
        struct block_request *request = job->request;
        int status = job->status;

        list_remove(&job->node);
        job->request = NULL;
        user->telling++;
        spinlock_release(&drive->lock);
        request->done(request, status);
        spinlock_take(&drive->lock);
        user->telling--;
    }
    spinlock_release(&drive->lock);
}

/* ---------------------------------------------------------------- slots */

static struct drive_slot *slot_in(struct drive *drive, enum drive_slot_state state)
{
    for (u32 i = 0; i < drive->slot_count; i++)
        if (drive->slots[i].state == state)
            return &drive->slots[i];
    return NULL;
}

void drive_slot_start(struct drive *drive, struct drive_slot *slot)
{
    slot->state = DRIVE_SLOT_BUSY;
    slot->started = drive_now();
    drive->quiet_since = slot->started;
    drive->busy++;
    drive->ops->start(drive, (unsigned)(slot - drive->slots));
}

bool drive_may_say(struct log_limit *limit)
{
    return log_limit_pass(limit, drive_now(), tsc_from_us(DRIVE_TIMEOUT_US), SAID_AT_MOST);
}

static void complain(struct drive *drive, const struct drive_slot *slot)
{
    static const char *const verbs[] = {"reading", "writing", "flushing", "discarding"};

    if (drive_may_say(&drive->log_limit))
        log_warning("drive %s: %s failed at sector %llu", drive->name, verbs[slot->operation],
                    (unsigned long long)slot->sector);
}

void drive_slot_finish(struct drive *drive, struct drive_slot *slot, int status)
{
    struct drive_job *job = slot->job;

    slot->state = DRIVE_SLOT_IDLE;
    slot->last = false;
    if (drive->is_cd && !slot->own)
        status = cd_read_failed(drive, status);
    slot->status = status;
    if (slot->own)
        cd_ended(drive, slot);
    else if (status && status != -ENOMEDIUM)
        complain(drive, slot);
    if (!job)
        return;
    if (!status && slot->operation == BLOCK_READ)
        status = slot_copy(slot, true);
    slot->job = NULL;
    if (status)
        job->status = status;
    job->pieces--;
    job_look(job);
}

void drive_slot_ended(struct drive *drive, unsigned number, int status)
{
    if (number >= drive->slot_count || drive->slots[number].state != DRIVE_SLOT_BUSY)
        return; /* the hardware says what is not so */
    drive->busy--;
    drive->cd.resets = 0;
    drive_moved(drive);
    drive_slot_finish(drive, &drive->slots[number], status);
}

void drive_moved(struct drive *drive)
{
    drive->quiet_since = drive_now();
}

void drive_slot_waits(struct drive *drive, unsigned number)
{
    drive->slots[number].started = drive_now();
}

void drive_failed(struct drive *drive)
{
    drive->failed = true;
}

/* A write or discard that is nobody's any more, and not over yet, has some of these sectors. */
static bool meets_orphan(const struct drive *drive, u64 sector, u64 sectors)
{
    for (u32 i = 0; i < drive->slot_count; i++) {
        const struct drive_slot *slot = &drive->slots[i];

        if (slot->state != DRIVE_SLOT_IDLE && !slot->job &&
            (slot->operation == BLOCK_WRITE || slot->operation == BLOCK_DISCARD) &&
            slot->sector < sector + sectors && sector < slot->sector + slot->bytes / BLOCK_SECTOR)
            return true;
    }
    return false;
}

static bool goes_alone(const struct drive *drive, enum block_operation operation)
{
    return drive->flush_alone && (operation == BLOCK_FLUSH || operation == BLOCK_DISCARD);
}

/* Something else is out that this may not go beside. */
static bool must_wait(const struct drive *drive, enum block_operation operation)
{
    if (goes_alone(drive, operation))
        return drive->busy > 0;
    for (u32 i = 0; i < drive->slot_count; i++)
        if (drive->slots[i].state == DRIVE_SLOT_BUSY && goes_alone(drive, drive->slots[i].operation))
            return true;
    return false;
}

/* How much of a job may go out at once. */
static u64 piece_most(const struct drive *drive, enum block_operation operation)
{
    return operation == BLOCK_DISCARD ? (u64)drive->discard_most * BLOCK_SECTOR : DRIVE_SLOT_BYTES;
}

/* Its next piece into the slot. False: it has to wait. */
static bool piece_begin(struct drive *drive, struct drive_slot *slot, struct drive_job *job)
{
    const struct block_request *request = job->request;
    bool flush = request->operation == BLOCK_FLUSH;
    u64 sector = job->user->first + request->sector + job->sent / BLOCK_SECTOR;
    u64 bytes = flush ? 0 : MIN(job->bytes - job->sent, piece_most(drive, request->operation));
    int error = 0;

    if (must_wait(drive, request->operation))
        return false;
    if (!flush && meets_orphan(drive, sector, bytes / BLOCK_SECTOR))
        return false;
    slot->operation = request->operation;
    slot->sector = sector;
    slot->bytes = (u32)bytes;
    slot->offset = job->sent;
    slot->job = job;
    slot->own = false;
    list_remove(&job->node);
    if (drive->is_cd)
        cd_read_begin(slot);
    if (slot->operation == BLOCK_WRITE)
        error = slot_copy(slot, false);
    if (error) {
        slot->job = NULL;
        job->status = error;
        job_look(job);
        return true;
    }
    job->sent += flush ? job->bytes : bytes;
    job->pieces++;
    if (job->sent < job->bytes)
        list_add_before(&drive->jobs, &job->node); /* behind the others */
    drive_slot_start(drive, slot);
    return true;
}

/* What was out at a reset, one by one. */
static void again(struct drive *drive, struct drive_slot *slot)
{
    if (drive->busy > 0)
        return;
    slot->last = true;
    drive_slot_start(drive, slot);
}

void drive_jobs_fail(struct drive *drive, int status)
{
    while (!list_empty(&drive->jobs)) {
        struct drive_job *job = list_entry(drive->jobs.next, struct drive_job, node);

        list_remove(&job->node);
        job->status = status;
        job_look(job);
    }
}

void drive_pump(struct drive *drive)
{
    if (drive->is_cd && !drive->cd.taken)
        drive_jobs_fail(drive, -ENOMEDIUM);
    while (drive->state == DRIVE_WORKS) {
        struct drive_slot *slot = slot_in(drive, DRIVE_SLOT_AGAIN);
        struct drive_job *job;

        if (slot) {
            again(drive, slot);
            return;
        }
        slot = slot_in(drive, DRIVE_SLOT_IDLE);
        if (slot && drive->is_cd && cd_next(drive, slot)) {
            drive_slot_start(drive, slot);
            return;
        }
        if (!slot || list_empty(&drive->jobs))
            return;
        job = list_entry(drive->jobs.next, struct drive_job, node);
        if (job->status) { /* a piece of it has failed: no further one */
            list_remove(&job->node);
            job_look(job);
        } else if (!piece_begin(drive, slot, job)) {
            return;
        }
    }
}

/* ---------------------------------------------------------------- a user's device */

static int submit_locked(struct drive_user *user, struct block_request *request)
{
    struct drive *drive = user->drive;
    struct drive_job *job = job_free(user);
    bool flush = request->operation == BLOCK_FLUSH;

    if (drive->state == DRIVE_LOST || !job)
        return -EIO;
    if (drive->is_cd && !drive->cd.taken)
        return -ENOMEDIUM;
    *job = (struct drive_job){
        .user = user, .request = request, .bytes = flush ? 1 : request->sectors * BLOCK_SECTOR};
    list_init(&job->node);
    list_add_before(&drive->jobs, &job->node);
    drive_go_on(drive);
    return -EINPROGRESS;
}

int drive_submit(struct block_device *device, struct block_request *request)
{
    struct drive_user *user = drive_user_of(device);
    int status;

    if (request->operation == BLOCK_FLUSH && !user->drive->has_flush)
        return 0;
    if (request->operation != BLOCK_FLUSH && request->sectors == 0)
        return 0;
    spinlock_take(&user->drive->lock);
    status = submit_locked(user, request);
    spinlock_release(&user->drive->lock);
    return status;
}

/* Whatever is out of it becomes nobody's. */
static void job_abort(struct drive *drive, struct drive_job *job)
{
    for (u32 i = 0; i < drive->slot_count; i++) {
        struct drive_slot *slot = &drive->slots[i];

        if (slot->job != job)
            continue;
        slot->job = NULL;
        if (slot->state == DRIVE_SLOT_AGAIN)
            slot->state = DRIVE_SLOT_IDLE;
    }
    job->pieces = 0;
    job->status = -EIO;
    job_end(job);
}

static bool user_is_quiet(const struct drive_user *user)
{
    for (u32 i = 0; i < DRIVE_DEPTH; i++)
        if (user->jobs[i].request)
            return false;
    return user->telling == 0;
}

/* Another CPU may just be telling an end, which takes it no longer than the user's lock. */
void drive_abort(struct block_device *device)
{
    struct drive_user *user = drive_user_of(device);
    struct drive *drive = user->drive;
    bool quiet;

    spinlock_take(&drive->lock);
    for (u32 i = 0; i < DRIVE_DEPTH; i++)
        if (user->jobs[i].request)
            job_abort(drive, &user->jobs[i]);
    spinlock_release(&drive->lock);
    do {
        drive_ends_tell(drive);
        spinlock_take(&drive->lock);
        quiet = user_is_quiet(user);
        spinlock_release(&drive->lock);
        if (!quiet)
            cpu_pause();
    } while (!quiet);
}
