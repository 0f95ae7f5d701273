/* SPDX-License-Identifier: MIT */
/*
 * Media that come and go: when a drive with removable media is asked what has happened to its medium, and
 * what becomes of the answer. The rules are those of Linux's disk events, on the hypervisor's side: at most
 * one check of a drive at a time, polled or not; what is found is pending, and reported once, until somebody
 * clears it; who works with the medium may block polling. Nothing here waits: whatever takes time ends by a
 * callback. All of it is logic on the clock of media_start; host tests have another one.
 */
#ifndef HV_STORAGE_MEDIA_H
#define HV_STORAGE_MEDIA_H

#include "hv/lib/list.h"
#include "hv/run/vm_config.h"

enum media_event {
    MEDIA_CHANGE = 1,        /* another medium, or none any more */
    MEDIA_EJECT_REQUEST = 2, /* somebody would like to have it out */
    MEDIA_EVENTS = 3,        /* all of them */
};

#define MEDIA_POLL_DEFAULT    (-1)
#define MEDIA_POLL_NEVER      0
#define MEDIA_POLL_MS_MAX     3600000
#define MEDIA_POLL_STANDARD   2000 /* ms, unless media.poll_ms says otherwise */
#define MEDIA_NAME_MAX        16
#define MEDIA_DESCRIPTION_MAX 160

struct media;
struct block_device;
struct vm;

struct media_ops {
    /*
     * Look what has happened since the last look, and say it by media_checked: before this returns, or any
     * time later. clearing: what somebody is about to clear, a hint. No lock held but the caller's of
     * media_*.
     */
    void (*check_events)(struct media *media, u32 clearing);
    /* These have become pending just now. May be NULL. Likewise. */
    void (*report)(struct media *media, u32 events);
    /* For the operator; boot CPU, no lock held. What is in it, as one line. */
    void (*describe)(struct media *media, char *text, size_t size);
    /* Put a medium in, which is the drive's from now on. -EBUSY: there is one in it; -EPERM: hands do it. */
    int (*insert)(struct media *media, struct block_device *medium);
    /*
     * Take it out. -ENOENT: there is none; -EAGAIN: it is locked in, and the user was asked for it;
     * -EINPROGRESS: the tray is on its way, and the log will tell how that ended.
     */
    int (*eject)(struct media *media, bool force);
    /* The operator has seen what is pending, for want of a guest. May be NULL. */
    void (*seen)(struct media *media);
};

/* Who waits for something. done is called once, from whatever ends it, as check_events is. */
struct media_wait {
    void (*done)(struct media_wait *wait, u32 events);
    u32 mask; /* to be cleared; 0: waits for the end of a check */
    struct list_node node;
};

struct media {
    const struct media_ops *ops;
    char name[MEDIA_NAME_MAX]; /* "cd0"; of the machine's "ide:0" */
    struct vm *vm;             /* whose drive it is; NULL: the machine's */
    u32 supported;             /* events that it can tell of */
    u32 by_itself;             /* those of which it tells by media_notify, without being asked */
    s32 poll_ms;               /* MEDIA_POLL_DEFAULT, MEDIA_POLL_NEVER, or so many */

    /* media.c alone. */
    u32 blocks;                /* depth */
    u32 writers;               /* who have it open for exclusive writing */
    u32 pending;               /* found, and not cleared */
    u32 fresh;                 /* of those: not reported yet */
    u32 clearing;              /* hints for the next check */
    bool check_wanted;         /* as soon as nothing blocks */
    bool checking;             /* the drive is looking */
    bool acting;               /* some CPU is in media_act for it, and sees to all that there is to do */
    bool warned;               /* of an unblock too many */
    u64 due, due_latest;       /* ms; the next poll is between the two. 0: none */
    u64 checks;                /* so many, ever */
    struct list_node blockers; /* media_wait: until no check runs */
    struct list_node clearers; /* for the check after this one */
    struct list_node clearers_asked; /* for the one that runs */
    struct list_node node;
};

/* What the hypervisor gives it: a clock, and a call of media_alarm at that time (~0: never; any lock). */
struct media_host {
    u64 (*now_ms)(void);
    void (*alarm_set)(u64 ms);
};
/* Once, before the first media_add. */
void media_start(const struct media_host *host);
/* The time of the alarm has come. */
void media_alarm(void);

/* ops, name, vm, supported, by_itself, poll_ms are set. It is checked at once. Boot CPU. */
void media_add(struct media *media);
/* It is gone. No check runs, nobody waits, and nobody calls with it any more. Boot CPU. */
void media_remove(struct media *media);
/* The drives, in the order in which they came; NULL behind the last. Boot CPU. */
struct media *media_next(struct media *media);

/* An event as it was reported, and may have been cleared since. */
struct media_record {
    u64 ms;
    u32 events;
    char vm[VM_NAME_MAX]; /* "-": the machine's */
    char name[MEDIA_NAME_MAX];
};
/* From number 0 on, the oldest that is kept; *number is that of the next one then. False: no more. */
bool media_record_get(u64 *number, struct media_record *record);

/*
 * From here on any CPU, with the caller's locks below RANK_MEDIA: they are held around the callbacks, too.
 */

/* The end of a check that check_events has begun: what was found. */
void media_checked(struct media *media, u32 events);
/* Something has happened that the drive tells of by itself. */
void media_notify(struct media *media, u32 events);
/* What it has told of was seen: it is not pending any more. Only where there is nothing to be looked for. */
void media_seen(struct media *media, u32 events);

/* Default interval, of drives that have none of their own: 0 to MEDIA_POLL_MS_MAX, 0: off. -EINVAL. */
int media_set_default(s64 ms);
/* A drive's own: MEDIA_POLL_DEFAULT, _NEVER, or up to MEDIA_POLL_MS_MAX. Checks at once. -EINVAL. */
int media_set_poll(struct media *media, s64 ms);
/* With which it is polled now; 0: not at all. */
u32 media_interval(const struct media *media);

/*
 * No check begins until the unblock; when wait->done is called, none runs either. wait NULL: one that runs
 * does no harm. Nests.
 */
void media_block(struct media *media, struct media_wait *wait);
/* The last one checks at once. One too many: a warning, once. */
void media_unblock(struct media *media);

/* Somebody opens or closes it. Exclusive writers block it; every other close checks. */
void media_open(struct media *media, bool exclusive_write);
void media_close(struct media *media, bool exclusive_write);
/* Check as soon as nothing blocks; `clearing` is told to that check, or to any before it. */
void media_flush(struct media *media, u32 clearing);
/* Check now, whatever blocks; wait->done gets what is pending of wait->mask, which is not any more. */
void media_clear(struct media *media, struct media_wait *wait);

#endif
