/* SPDX-License-Identifier: MIT */
/*
 * Drives of the machine (contract in the header). A request is a job, which goes to the hardware in pieces of
 * a slot's size; jobs take turns, a piece each. Submitted by exits, under the user's lock; ends are found by
 * the timer's fire, and told with no lock held.
 */
#include "hv/storage/drive.h"

#include "arch/x86/machine/tsc.h"
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/run/sched.h"
#include "hv/storage/cd_spare.h"

#define TIMEOUT_US   10000000u
#define BOOT_US      5000000u
#define POLL_FIRST   30u /* us */
#define POLL_MOST    1000u
#define POLL_QUARTER 4
#define SAID_AT_MOST 8 /* lines in TIMEOUT_US */

#ifndef LINTEL_HOST_TEST
static u64 drive_now(void)
{
    return tsc_boot_now();
}
#endif

static u64 passed_since(u64 then)
{
    return tsc_passed(then, drive_now());
}

struct drive_job {
    struct list_node node; /* of drive->jobs or drive->ended, or of none: all pieces are out */
    struct drive_user *user;
    struct block_request *request; /* NULL: free */
    u64 bytes, sent;
    u32 pieces; /* out */
    int status;
};

/* A drive or partition in somebody's hands. */
struct drive_user {
    struct block_device device;
    struct drive *drive;
    struct list_node node; /* drive->users */
    char name[DRIVE_NAME_MAX];
    u64 first;
    u32 telling; /* ends that are just being told */
    frame_owner_t owner;
    struct drive_job jobs[DRIVE_DEPTH];
};

static struct drive *drives[DRIVES_MAX];
static u32 drive_count;

static struct drive_user *user_of(struct block_device *device)
{
    return container_of(device, struct drive_user, device);
}

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

/* Tell users of all that has ended. No lock held. */
static void ends_tell(struct drive *drive)
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

static void slot_start(struct drive *drive, struct drive_slot *slot)
{
    slot->state = DRIVE_SLOT_BUSY;
    slot->started = drive_now();
    drive->quiet_since = slot->started;
    drive->busy++;
    drive->ops->start(drive, (unsigned)(slot - drive->slots));
}

bool drive_may_say(struct log_limit *limit)
{
    return log_limit_pass(limit, drive_now(), tsc_from_us(TIMEOUT_US), SAID_AT_MOST);
}

static void complain(struct drive *drive, const struct drive_slot *slot)
{
    static const char *const verbs[] = {"reading", "writing", "flushing", "discarding"};

    if (drive_may_say(&drive->log_limit))
        log_warning("drive %s: %s failed at sector %llu", drive->name, verbs[slot->operation],
                    (unsigned long long)slot->sector);
}

static void slot_finish(struct drive *drive, struct drive_slot *slot, int status)
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
    slot_finish(drive, &drive->slots[number], status);
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
    slot_start(drive, slot);
    return true;
}

/* What was out at a reset, one by one. */
static void again(struct drive *drive, struct drive_slot *slot)
{
    if (drive->busy > 0)
        return;
    slot->last = true;
    slot_start(drive, slot);
}

/* None that waits is begun any more. */
static void jobs_fail(struct drive *drive, int status)
{
    while (!list_empty(&drive->jobs)) {
        struct drive_job *job = list_entry(drive->jobs.next, struct drive_job, node);

        list_remove(&job->node);
        job->status = status;
        job_look(job);
    }
}

/* Hand over as much as the hardware takes. What was asked of a medium that has gone is asked of no other. */
static void pump(struct drive *drive)
{
    if (drive->is_cd && !drive->cd.taken)
        jobs_fail(drive, -ENOMEDIUM);
    while (drive->state == DRIVE_WORKS) {
        struct drive_slot *slot = slot_in(drive, DRIVE_SLOT_AGAIN);
        struct drive_job *job;

        if (slot) {
            again(drive, slot);
            return;
        }
        slot = slot_in(drive, DRIVE_SLOT_IDLE);
        if (slot && drive->is_cd && cd_next(drive, slot)) {
            slot_start(drive, slot);
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

/* ---------------------------------------------------------------- faults */

static void lose(struct drive *drive)
{
    log_error("drive %s: is lost, as it can't be reset, or is silent behind that", drive->name);
    drive->state = DRIVE_LOST;
    if (drive->is_cd)
        cd_lost(drive);
    for (u32 i = 0; i < drive->slot_count; i++)
        if (drive->slots[i].state == DRIVE_SLOT_AGAIN)
            slot_finish(drive, &drive->slots[i], -EIO);
    jobs_fail(drive, -EIO);
}

static void reset_go_on(struct drive *drive, bool begin)
{
    int status = drive->ops->reset(drive, begin);

    if (status == 0 && drive->is_cd && !cd_doubt(drive))
        status = -EIO;
    if (status == 0)
        drive->state = DRIVE_WORKS;
    else if (status != -EINPROGRESS || passed_since(drive->reset_since) > tsc_from_us(TIMEOUT_US))
        lose(drive);
}

static bool is_late(const struct drive_slot *slot)
{
    return slot->state == DRIVE_SLOT_BUSY && passed_since(slot->started) > tsc_from_us(TIMEOUT_US);
}

/*
 * Take back all that is out. Who is late, or was out alone, has failed; the others may be innocent. Their
 * buffers stay the hardware's until the reset is over, as nothing begins before.
 */
static void take_back(struct drive *drive)
{
    bool alone = drive->busy == 1;

    drive->busy = 0;
    drive->failed = false;
    drive->state = DRIVE_RESETTING;
    drive->reset_since = drive_now();
    for (u32 i = 0; i < drive->slot_count; i++) {
        struct drive_slot *slot = &drive->slots[i];

        if (slot->state != DRIVE_SLOT_BUSY)
            continue;
        if (alone || slot->last || !slot->job || is_late(slot))
            slot_finish(drive, slot, -EIO);
        else
            slot->state = DRIVE_SLOT_AGAIN;
    }
    reset_go_on(drive, true);
}

static void look(struct drive *drive)
{
    bool late = false;

    drive->polls++;
    if (drive->state == DRIVE_RESETTING) {
        reset_go_on(drive, false);
        return;
    }
    if (drive->busy == 0)
        return;
    drive->ops->poll(drive);
    for (u32 i = 0; i < drive->slot_count; i++)
        late |= is_late(&drive->slots[i]);
    if (late && drive_may_say(&drive->log_limit))
        log_warning("drive %s: has not answered for %u s; it is reset", drive->name, TIMEOUT_US / 1000000);
    if (late || drive->failed)
        take_back(drive);
}

/* ---------------------------------------------------------------- when to look */

static u64 next_look(const struct drive *drive)
{
    u64 now = drive_now(), quiet = passed_since(drive->quiet_since) / POLL_QUARTER;

    if (!list_empty(&drive->ended) || cd_has_news(&drive->cd))
        return now;
    if (drive->state == DRIVE_RESETTING)
        return now + tsc_from_us(POLL_MOST);
    if (drive->state == DRIVE_LOST || drive->busy == 0)
        return TIMER_NEVER;
    return now + MIN(MAX(quiet, tsc_from_us(POLL_FIRST)), tsc_from_us(POLL_MOST));
}

/* On this CPU, unless it is to fire anyway. */
static void timer_want(struct drive *drive)
{
    u64 when = next_look(drive);

    if (when == TIMER_NEVER || timer_is_set(&drive->timer))
        return;
    timer_move(&drive->timer, sched_timers(cpu_this()->index));
    timer_set(&drive->timer, when);
}

void drive_go_on(struct drive *drive)
{
    pump(drive);
    timer_want(drive);
}

struct drive *drive_of(struct block_device *device)
{
    return user_of(device)->drive;
}

static void fire(struct timer *timer)
{
    struct drive *drive = container_of(timer, struct drive, timer);

    spinlock_take(&drive->lock);
    look(drive);
    pump(drive);
    spinlock_release(&drive->lock);
    ends_tell(drive);
    if (drive->is_cd)
        cd_tell(drive);
    spinlock_take(&drive->lock);
    timer_want(drive);
    spinlock_release(&drive->lock);
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

static int user_submit(struct block_device *device, struct block_request *request)
{
    struct drive_user *user = user_of(device);
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
static void user_abort(struct block_device *device)
{
    struct drive_user *user = user_of(device);
    struct drive *drive = user->drive;
    bool quiet;

    spinlock_take(&drive->lock);
    for (u32 i = 0; i < DRIVE_DEPTH; i++)
        if (user->jobs[i].request)
            job_abort(drive, &user->jobs[i]);
    spinlock_release(&drive->lock);
    do {
        ends_tell(drive);
        spinlock_take(&drive->lock);
        quiet = user_is_quiet(user);
        spinlock_release(&drive->lock);
        if (!quiet)
            cpu_pause();
    } while (!quiet);
}

static void user_close(struct block_device *device)
{
    struct drive_user *user = user_of(device);

    if (user->drive->is_cd)
        cd_close(user->drive);
    spinlock_take(&user->drive->lock);
    list_remove(&user->node);
    spinlock_release(&user->drive->lock);
    if (user->drive->is_cd)
        cd_spare_begin(user->drive);
    memory_free(user, sizeof(*user), user->owner);
}

static const struct block_ops user_ops = {.submit = user_submit, .abort = user_abort, .close = user_close};

/* ---------------------------------------------------------------- coming and opening */

bool drive_buffer_make(struct drive *drive, u32 number)
{
    struct drive_slot *slot = &drive->slots[number];
    mfn_t mfn = slot->data ? MFN_INVALID : frame_alloc(DRIVE_SLOT_ORDER, FRAME_OWNER_HYPERVISOR);

    if (mfn == MFN_INVALID)
        return slot->data;
    slot->data_hpa = mfn << PAGE_SHIFT;
    if (drive->dma_end && slot->data_hpa + DRIVE_SLOT_BYTES > drive->dma_end) {
        frame_free(mfn, DRIVE_SLOT_ORDER, FRAME_OWNER_HYPERVISOR);
        return false;
    }
    slot->data = phys_to_virt(slot->data_hpa);
    return true;
}

void drive_give_up(struct drive *drive)
{
    if (drive->slots[0].data)
        frame_free(drive->slots[0].data_hpa >> PAGE_SHIFT, DRIVE_SLOT_ORDER, FRAME_OWNER_HYPERVISOR);
    drive->slots[0].data = NULL;
}

struct boot_source {
    struct partition_source source;
    struct drive *drive;
};

/* Read a sector at boot, where no guest waits for this CPU. */
static int read_now(struct partition_source *source, u64 sector)
{
    struct drive *drive = container_of(source, struct boot_source, source)->drive;
    struct drive_slot *slot = &drive->slots[0];
    u64 begun = drive_now();

    spinlock_take(&drive->lock);
    slot->operation = BLOCK_READ;
    slot->sector = sector;
    slot->bytes = BLOCK_SECTOR;
    slot_start(drive, slot);
    while (slot->state == DRIVE_SLOT_BUSY && !drive->failed && passed_since(begun) < tsc_from_us(BOOT_US)) {
        drive->ops->poll(drive);
        cpu_pause();
    }
    if (slot->state == DRIVE_SLOT_BUSY) {
        drive->state = DRIVE_LOST;
        slot->status = -EIO;
    }
    spinlock_release(&drive->lock);
    memcpy(source->sector, slot->data, BLOCK_SECTOR);
    return slot->status;
}

/* Likewise all that is to be known of a CD drive's medium, though nothing waits for it but this CPU. */
static int look_now(struct drive *drive)
{
    u64 begun = drive_now();

    spinlock_take(&drive->lock);
    cd_doubt(drive);
    pump(drive);
    while (drive->busy && !drive->failed && passed_since(begun) < tsc_from_us(BOOT_US)) {
        drive->ops->poll(drive);
        pump(drive);
        cpu_pause();
    }
    if (drive->busy)
        drive->state = DRIVE_LOST;
    spinlock_release(&drive->lock);
    return drive->busy ? -EIO : 0;
}

static void say(const struct drive *drive)
{
    static const char *const kinds[] = {"no partition table", "MBR", "GPT"};
    char list[160];

    if (drive->is_cd) {
        log_info("drive %s: a CD drive, %s", drive->name,
                 drive->cd.medium == CD_READY ? "with a medium in it" : "empty");
        return;
    }
    partition_names(&drive->table, list, sizeof(list));
    log_info("drive %s: %llu MiB%s, %s%s%s", drive->name, (unsigned long long)(drive->sectors >> 11),
             drive->read_only ? ", write-protected" : "", kinds[drive->table.kind], list[0] ? ": " : "",
             list);
    if (drive->table.why)
        log_warning("drive %s: its partition table %s", drive->name, drive->table.why);
}

int drive_register(struct drive *drive)
{
    struct boot_source boot = {{read_now, drive->sectors, {0}}, drive};

    spinlock_init(&drive->lock, RANK_DRIVE);
    list_init(&drive->jobs);
    list_init(&drive->ended);
    list_init(&drive->users);
    timer_init(&drive->timer, sched_timers(0), fire);
    if (drive_count == DRIVES_MAX || !drive_buffer_make(drive, 0))
        return -ENOSPC;
    if (drive->is_cd ? look_now(drive) : partition_table_read(&boot.source, &drive->table)) {
        log_warning("drive %s: is left out, as it can't be read", drive->name);
        return -EIO;
    }
    drives[drive_count++] = drive;
    say(drive);
    if (drive->is_cd)
        cd_spare_begin(drive);
    return 0;
}

/* Those of the kind that are there, as far as they fit, for who named another one. */
static void list_drives(bool cd, char *why, size_t size)
{
    const char *before = "; right would be one of ";
    size_t used = strlen(why);

    for (u32 i = 0; i < drive_count && used + strlen(before) + DRIVE_NAME_MAX < size; i++) {
        if (drives[i]->is_cd != cd)
            continue;
        snprintf(why + used, size - used, "%s%s", before, drives[i]->name);
        used = strlen(why);
        before = ", ";
    }
    if (before[0] == ';')
        snprintf(why + used, size - used, ", nor any other %s; right would be a file or ram:SIZE",
                 cd ? "CD drive" : "disk");
}

static struct drive *drive_find(const char *name, size_t length)
{
    for (u32 i = 0; i < drive_count; i++)
        if (strlen(drives[i]->name) == length && memcmp(drives[i]->name, name, length) == 0)
            return drives[i];
    return NULL;
}

/* What the name means, of the form that the configuration has checked. NULL: why says it. */
static struct drive *range_find(bool cd, const char *name, struct partition *range, char *why, size_t size)
{
    const char *part = strchr(name, '/');
    struct drive *drive = drive_find(name, part ? (size_t)(part - name) : strlen(name));
    u32 number = 0;

    if (!drive) {
        snprintf(why, size, "there is no drive %s", name);
        list_drives(cd, why, size);
        return NULL;
    }
    *range = (struct partition){0, drive->sectors};
    if (!part)
        return drive;
    for (const char *digit = part + strlen("/part"); *digit >= '0' && *digit <= '9' && number < 1000; digit++)
        number = number * 10 + (u32)(*digit - '0');
    if (number < 1 || number > PARTITIONS_MAX || !drive->table.partitions[number - 1].sectors) {
        char list[100];

        partition_names(&drive->table, list, sizeof(list));
        snprintf(why, size, "drive %s has no partition %u; right would be %s", drive->name, number,
                 list[0] ? list : "all of it, as it has none");
        return NULL;
    }
    *range = drive->table.partitions[number - 1];
    return drive;
}

static const struct drive_user *conflict_find(const struct drive *drive, const struct partition *range,
                                              bool write)
{
    const struct drive_user *user;

    list_for_each (user, &drive->users, node)
        if (range->first < user->first + user->device.sectors &&
            user->first < range->first + range->sectors && (write || !user->device.read_only))
            return user;
    return NULL;
}

/* Who has its tray, which is one's alone. */
static const struct drive_user *cd_user_of(const struct drive *drive)
{
    return list_empty(&drive->users) ? NULL : list_entry(drive->users.next, struct drive_user, node);
}

static struct drive_user *user_make(struct drive *drive, const char *name, const struct partition *range,
                                    frame_owner_t owner)
{
    struct drive_user *user;
    u32 slots = 0;

    for (u32 i = 0; i < drive->slot_count && drive_buffer_make(drive, i); i++)
        slots++;
    user = memory_alloc(sizeof(*user), owner);
    if (!user)
        return NULL;
    drive->slot_count = slots; /* the first one is there; no other is in use that has no buffer */
    snprintf(user->name, sizeof(user->name), "%s", name);
    user->drive = drive;
    user->owner = owner;
    user->first = range->first;
    user->device = (struct block_device){
        .ops = &user_ops, .name = user->name, .sectors = range->sectors, .depth = DRIVE_DEPTH};
    return user;
}

static int open_as(bool cd, const char *name, bool write, frame_owner_t owner, struct block_device **device,
                   char *why, size_t size)
{
    struct partition range;
    struct drive *drive = range_find(cd, name, &range, why, size);
    const struct drive_user *other;
    struct drive_user *user;

    if (!drive)
        return -ENOENT;
    if (drive->is_cd != cd) {
        snprintf(why, size, "drive %s is %s; right would be %s = %s", drive->name,
                 cd ? "a disk" : "a CD drive", cd ? "disk" : "cdrom", drive->name);
        return -ENODEV;
    }
    if (write && drive->read_only) {
        snprintf(why, size, "drive %s is write-protected; right would be to leave write away", drive->name);
        return -EROFS;
    }
    other = cd ? cd_user_of(drive) : conflict_find(drive, &range, write);
    if (other) {
        snprintf(why, size, "%s is in use as %s%s; right would be another drive%s", name, other->name,
                 cd ? "" : ", and one of the two writes", cd ? "" : ", or write = no for both");
        return -EBUSY;
    }
    user = user_make(drive, name, &range, owner);
    if (!user) {
        snprintf(why, size, "no memory is left for drive %s", name);
        return -ENOMEM;
    }
    user->device.read_only = !write;
    user->device.discard_sectors = write ? drive->discard_sectors : 0;
    spinlock_take(&drive->lock);
    list_add_before(&drive->users, &user->node);
    spinlock_release(&drive->lock);
    *device = &user->device;
    return 0;
}

int drive_open(const char *name, bool write, frame_owner_t owner, struct block_device **device, char *why,
               size_t size)
{
    return open_as(false, name, write, owner, device, why, size);
}

int drive_open_cd(const char *name, frame_owner_t owner, struct block_device **device, char *why, size_t size)
{
    return open_as(true, name, false, owner, device, why, size);
}
