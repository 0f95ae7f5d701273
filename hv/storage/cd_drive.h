/* SPDX-License-Identifier: MIT */
/*
 * CD drives of the machine: which medium lies in one, what its user is told of it, and the commands that
 * lintel sends on its own, one at a time and ahead of what the user reads. The drive's part, and all that
 * takes time, is drive.h's: the user never waits.
 *
 * A medium is there for the user from the cd_drive_take that follows CD_NEWS_CAME on. As soon as anything
 * the drive says leaves a doubt whether it is still the same one, reads end with -ENOMEDIUM, the user is told
 * that it has gone, and its size is read anew; so no data of another medium passes for that of the one
 * before.
 */
#ifndef HV_STORAGE_CD_DRIVE_H
#define HV_STORAGE_CD_DRIVE_H

#include "hv/lib/log.h"
#include "hv/storage/block.h"
#include "hv/storage/media.h"

enum cd_news {
    CD_NEWS_GONE = 1,         /* the medium that was taken, if it was; reads of it have failed or will */
    CD_NEWS_CAME = 2,         /* behind that: there is one, for cd_drive_take */
    CD_NEWS_EJECT_WANTED = 4, /* somebody has pressed the button of a locked tray */
    CD_NEWS_CHECKED = 8,      /* the end of cd_drive_check */
};

struct cd_user {
    struct media *media; /* which is not checked while the tray moves, and at once behind that */
    /* Any CPU, no lock held; never two at once of a drive. */
    void (*tell)(struct cd_user *user, u32 news);
};

/*
 * All of it, for one user: "ide:0". It has a medium if (*device)->sectors says so, which is taken then.
 * block_close gives it back, and tells the end of a check before.
 * -ENOENT, -EBUSY, -ENODEV: it is a disk, -ENOMEM: why says what would be right. Boot CPU.
 */
int cd_drive_open(const char *name, frame_owner_t owner, struct block_device **device, char *why,
                  size_t size);
/* What the drive has told since then, and will, is for the user, who can bear it from here on. */
void cd_drive_listen(struct block_device *device, struct cd_user *user);

/* From here on with the user's lock, which is below RANK_DRIVE. */

/*
 * Ask the drive what has happened to its medium, by one command; with thorough also by TEST UNIT READY, as a
 * drive that does not tell of all changes has a unit attention then. False: it is lost, and never asked
 * again.
 */
bool cd_drive_check(struct block_device *device, bool thorough);
/* The medium is the user's from here on; device->sectors is set. False: it has gone again. */
bool cd_drive_take(struct block_device *device);
/*
 * Open the tray, even a locked one, or close it: the log tells the end. What lies in it has gone, without
 * being told.
 */
void cd_drive_move_tray(struct block_device *device, bool open);
/* Is the tray open, or about to? Also worth asking where there is no other news. */
bool cd_drive_is_open(struct block_device *device);
/* Does the button of the drive only ask, while there is a medium? */
void cd_drive_lock_tray(struct block_device *device, bool lock);

/* ---- for drive.c and its like; with the drive's lock ---- */

struct drive;
struct drive_slot;

enum cd_medium {
    CD_EMPTY,
    CD_UNSURE, /* it has one; its size is not known yet, or can't be */
    CD_READY,
};
enum cd_wish {
    CD_WISH_SENSE = 1,
    CD_WISH_TRAY = 2,
    CD_WISH_CAPACITY = 4,
    CD_WISH_EVENTS = 8,
    CD_WISH_READY = 16
};

struct cd_spare { /* cd_spare.c's, of a drive that no VM has */
    struct media media;
    struct cd_user user;
    struct media_wait seen;
    bool clears; /* seen waits */
};

struct cd_drive {
    u8 medium;        /* enum cd_medium */
    u8 wishes;        /* enum cd_wish: commands that are to be sent */
    u8 sent;          /* the one that is out; CD_LOCK for that of the tray */
    u8 resets;        /* since it has answered anything */
    u8 tries;         /* what may fail again at once, as a new medium makes the first commands do */
    u8 doubts;        /* about the medium, since a check or a read has ended */
    bool no_events;   /* the drive does not know GET EVENT STATUS NOTIFICATION */
    bool thorough;    /* TEST UNIT READY, too, behind that */
    bool open_wanted; /* CD_WISH_TRAY */
    bool is_open;
    bool is_moving; /* the tray, for which the user's media are blocked */
    bool lock, is_locked;
    bool taken;   /* the user knows this medium, and may read it */
    bool checks;  /* the user waits for CD_NEWS_CHECKED */
    bool telling; /* some CPU is */
    u32 news;
    u32 blocks;
    struct log_limit tray_limit; /* apart from the drive's faults, which a guest that moves it can't hide */
    struct cd_user *user;
    struct cd_spare spare;
};

/* It is new, or was reset: its medium is in doubt. False: behind several resets it has answered nothing. */
bool cd_doubt(struct drive *drive);
/* It never answers again. */
void cd_lost(struct drive *drive);
/* Fill the slot with a command of lintel's own. False: there is none to be sent. */
bool cd_next(struct drive *drive, struct drive_slot *slot);
/* ... and it has ended. */
void cd_ended(struct drive *drive, const struct drive_slot *slot);
/* A piece of the user's is to be read: its packet. */
void cd_read_begin(struct drive_slot *slot);
/* ... and could not be: what becomes of its status. */
int cd_read_failed(struct drive *drive, int status);
/* Is there anything to be told, and somebody to hear it? */
bool cd_has_news(const struct cd_drive *cd);
/* From here on with no lock of the drive's held: what cd_drive_... of a device does. */
bool cd_check(struct drive *drive, bool thorough);
void cd_move_tray(struct drive *drive, bool open);
void cd_listen(struct drive *drive, struct cd_user *user);
/* These two with no lock held at all. */
void cd_tell(struct drive *drive);
/* Its user is gone when it returns, and was told the end of its check. */
void cd_close(struct drive *drive);

#endif
