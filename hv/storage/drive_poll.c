/* SPDX-License-Identifier: MIT */
/*
 * When a drive of the machine is looked at, and what happens to one that is late or fails (contract in
 * drive.h). All of it under the drive's lock, but for drive_fire, which takes it.
 */
#include "hv/lib/errno.h"
#include "hv/run/sched.h"
#include "hv/storage/drive_private.h"

#define POLL_FIRST   30u /* us */
#define POLL_MOST    1000u
#define POLL_QUARTER 4

/* ---------------------------------------------------------------- faults */

static void lose(struct drive *drive)
{
    log_error("drive %s: is lost, as it can't be reset, or is silent behind that", drive->name);
    drive->state = DRIVE_LOST;
    if (drive->is_cd)
        cd_lost(drive);
    for (u32 i = 0; i < drive->slot_count; i++)
        if (drive->slots[i].state == DRIVE_SLOT_AGAIN)
            drive_slot_finish(drive, &drive->slots[i], -EIO);
    drive_jobs_fail(drive, -EIO);
}

static void reset_go_on(struct drive *drive, bool begin)
{
    int status = drive->ops->reset(drive, begin);

    if (status == 0 && drive->is_cd && !cd_doubt(drive))
        status = -EIO;
    if (status == 0)
        drive->state = DRIVE_WORKS;
    else if (status != -EINPROGRESS || drive_passed_since(drive->reset_since) > tsc_from_us(DRIVE_TIMEOUT_US))
        lose(drive);
}

static bool is_late(const struct drive_slot *slot)
{
    return slot->state == DRIVE_SLOT_BUSY &&
           drive_passed_since(slot->started) > tsc_from_us(DRIVE_TIMEOUT_US);
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
            drive_slot_finish(drive, slot, -EIO);
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
        log_warning("drive %s: has not answered for %u s; it is reset", drive->name,
                    DRIVE_TIMEOUT_US / 1000000);
    if (late || drive->failed)
        take_back(drive);
}

/* ---------------------------------------------------------------- when to look */

static u64 next_look(const struct drive *drive)
{
    u64 now = drive_now(), quiet = drive_passed_since(drive->quiet_since) / POLL_QUARTER;

    if (!list_empty(&drive->ended) || cd_has_news(&drive->cd))
        return now;
    if (drive->state == DRIVE_RESETTING)
        return now + tsc_from_us(POLL_MOST);
    if (drive->state == DRIVE_LOST || drive->busy == 0)
        return TIMER_NEVER;
    return now + MIN(MAX(quiet, tsc_from_us(POLL_FIRST)), tsc_from_us(POLL_MOST));
}

void drive_timer_want(struct drive *drive)
{
    u64 when = next_look(drive);

    if (when == TIMER_NEVER || timer_is_set(&drive->timer))
        return;
    timer_move(&drive->timer, sched_timers(cpu_this()->index));
    timer_set(&drive->timer, when);
}

void drive_go_on(struct drive *drive)
{
    drive_pump(drive);
    drive_timer_want(drive);
}

void drive_fire(struct timer *timer)
{
    struct drive *drive = container_of(timer, struct drive, timer);

    spinlock_take(&drive->lock);
    look(drive);
    drive_pump(drive);
    spinlock_release(&drive->lock);
    drive_ends_tell(drive);
    if (drive->is_cd)
        cd_tell(drive);
    spinlock_take(&drive->lock);
    drive_timer_want(drive);
    spinlock_release(&drive->lock);
}
