/* SPDX-License-Identifier: MIT */
/*
 * Between the files of drives: drive.c has the queue, drive_poll.c looks what has ended, drive_open.c knows
 * who has what. A request is a job, which goes to the hardware in pieces of a slot's size; jobs take turns, a
 * piece each. Submitted by exits, under the user's lock; ends are found by the timer's fire, and told with no
 * lock held.
 */
#ifndef HV_STORAGE_DRIVE_PRIVATE_H
#define HV_STORAGE_DRIVE_PRIVATE_H

#include "arch/x86/machine/tsc.h"
#include "hv/storage/drive.h"

#define DRIVE_TIMEOUT_US 10000000u

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

static inline struct drive_user *drive_user_of(struct block_device *device)
{
    return container_of(device, struct drive_user, device);
}

#ifndef LINTEL_HOST_TEST
static inline u64 drive_now(void)
{
    return tsc_boot_now();
}
#endif

static inline u64 drive_passed_since(u64 then)
{
    return tsc_passed(then, drive_now());
}

/* ---- drive.c: under the drive's lock where nothing else is said ---- */

/* block_ops of a user's device: under the user's lock, without the drive's. */
int drive_submit(struct block_device *device, struct block_request *request);
void drive_abort(struct block_device *device);
/* Hand over as much as the hardware takes. What was asked of a medium that has gone is asked of no other. */
void drive_pump(struct drive *drive);
/* What stands in the slot is the hardware's now. */
void drive_slot_start(struct drive *drive, struct drive_slot *slot);
/* It is over; status goes to its job, if it is anybody's. */
void drive_slot_finish(struct drive *drive, struct drive_slot *slot, int status);
/* None that waits is begun any more. */
void drive_jobs_fail(struct drive *drive, int status);
/* Tell users of all that has ended. No lock held. */
void drive_ends_tell(struct drive *drive);

/* ---- drive_poll.c ---- */

/* The drive's timer. No lock held. */
void drive_fire(struct timer *timer);
/* Look again when it is worth it: on this CPU, unless it is to fire anyway. The drive's lock. */
void drive_timer_want(struct drive *drive);

#endif
