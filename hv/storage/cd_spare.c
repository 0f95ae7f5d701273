/* SPDX-License-Identifier: MIT */
/* CD drives that no VM has (contract in the header). */
#include "hv/storage/cd_spare.h"

#include "hv/lib/errno.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/storage/drive.h"

static struct drive *drive_of_media(struct media *media)
{
    return container_of(media, struct drive, cd.spare.media);
}

static void drive_tells(struct cd_user *user, u32 news)
{
    struct media *media = user->media;
    u32 events = (news & (CD_NEWS_GONE | CD_NEWS_CAME) ? MEDIA_CHANGE : 0) |
                 (news & CD_NEWS_EJECT_WANTED ? MEDIA_EJECT_REQUEST : 0);

    if (news & CD_NEWS_CHECKED)
        media_checked(media, events);
    else
        media_notify(media, events);
}

static void check(struct media *media, u32 clearing)
{
    if (!cd_check(drive_of_media(media), clearing & MEDIA_CHANGE))
        media_checked(media, 0);
}

static void describe(struct media *media, char *text, size_t size)
{
    const struct drive *drive = drive_of_media(media);
    const struct cd_drive *cd = &drive->cd;

    snprintf(text, size, "%s%s",
             drive->state == DRIVE_LOST ? "lost"
             : cd->medium == CD_EMPTY   ? "empty"
                                        : "a medium",
             cd->is_open ? ", tray open" : "");
}

static int insert(struct media *media, struct block_device *medium)
{
    (void)media, (void)medium;
    return -EPERM;
}

/* An empty one opens, too, for the hand that puts something in; it may have been shut since it was asked. */
static int eject(struct media *media, bool force)
{
    struct drive *drive = drive_of_media(media);

    (void)force; /* nobody has locked it */
    if (drive->state == DRIVE_LOST)
        return -EIO;
    if (drive->cd.medium != CD_EMPTY)
        media_notify(media, MEDIA_CHANGE);
    cd_move_tray(drive, true);
    return -EINPROGRESS;
}

static void cleared(struct media_wait *wait, u32 events)
{
    (void)events; /* which were recorded when they were found */
    container_of(wait, struct cd_spare, seen)->clears = false;
}

/* Nobody else sees what happens here. */
static void seen(struct media *media)
{
    struct cd_spare *spare = container_of(media, struct cd_spare, media);

    if (spare->clears)
        return;
    spare->clears = true;
    spare->seen = (struct media_wait){.done = cleared, .mask = MEDIA_EVENTS};
    media_clear(media, &spare->seen);
}

void cd_spare_begin(struct drive *drive)
{
    static const struct media_ops ops = {
        .check_events = check, .describe = describe, .insert = insert, .eject = eject, .seen = seen};
    struct cd_spare *spare = &drive->cd.spare;
    s32 poll_ms = spare->media.poll_ms; /* MEDIA_POLL_NEVER at first; then the operator's wish */

    spinlock_take(&drive->lock);
    drive->cd.news = 0; /* what was found at boot is no change */
    spinlock_release(&drive->lock);
    *spare = (struct cd_spare){.user = {&spare->media, drive_tells}};
    spare->media = (struct media){
        .ops = &ops, .supported = drive->cd.no_events ? MEDIA_CHANGE : MEDIA_EVENTS, .poll_ms = poll_ms};
    string_copy(spare->media.name, drive->name, MEDIA_NAME_MAX);
    media_add(&spare->media); /* nothing is asked yet: at boot nobody would look for the answer */
    cd_listen(drive, &spare->user);
}

void cd_spare_end(struct drive *drive)
{
    cd_close(drive);
    media_remove(&drive->cd.spare.media);
}
