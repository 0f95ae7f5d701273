/* SPDX-License-Identifier: MIT */
/*
 * What lintel knows of a CD drive of the machine, and what it asks it (contract in the header). Nothing here
 * waits: wishes are noted under the drive's lock, cd_next turns the first of them into a packet when drive.c
 * has nothing else out, cd_ended draws the conclusions, and cd_tell carries the news to the user.
 */
#include "hv/storage/cd_drive.h"

#include "arch/x86/machine/cpu.h"
#include "hv/lib/errno.h"
#include "hv/lib/log.h"
#include "hv/storage/cd_spare.h"
#include "hv/storage/drive.h"

#define CD_LOCK        BIT(7) /* beside the wishes: the tray is to be locked or freed */
#define TRIES          3      /* behind the first; QEMU's drive says twice that its medium is new */
#define DOUBTS         8      /* a drive that gives more of them is left alone until the next check */
#define RESETS_IN_VAIN 3      /* without an answer between them */
#define SECTORS_PER    (CD_BLOCK / BLOCK_SECTOR)

/* ---------------------------------------------------------------- the medium */

/* Whatever was known to the user is no more. */
static void medium_lose(struct cd_drive *cd, enum cd_medium now)
{
    if (cd->medium == CD_READY)
        cd->news |= CD_NEWS_GONE;
    cd->news &= ~(u32)(CD_NEWS_CAME | CD_NEWS_EJECT_WANTED);
    cd->taken = false;
    cd->medium = (u8)now;
    cd->wishes &= (u8)~CD_WISH_CAPACITY;
}

/* There is one, but which? */
static void medium_doubt(struct cd_drive *cd)
{
    medium_lose(cd, CD_UNSURE);
    if (cd->doubts == DOUBTS)
        return;
    cd->doubts++;
    cd->wishes |= CD_WISH_CAPACITY;
    cd->tries = TRIES;
}

/*
 * The drive says what is in it, which may be what it was. While its tray moves, it may say anything. Of an
 * empty one not every answer tells whether its tray is open: then it is as it was.
 */
static void conclude(struct cd_drive *cd, const struct cd_finding *finding, bool tells_tray)
{
    if (tells_tray || finding->present)
        cd->is_open = finding->open;
    cd->doubts = 0;
    if (cd->wishes & CD_WISH_TRAY)
        return;
    if (!finding->present)
        medium_lose(cd, CD_EMPTY);
    else if (finding->changed || cd->medium == CD_EMPTY)
        medium_doubt(cd);
    else if (cd->medium == CD_UNSURE) /* once more, at each look: it may have been spinning up */
        cd->wishes |= CD_WISH_CAPACITY;
    if (finding->eject_wanted && cd->medium == CD_READY)
        cd->news |= CD_NEWS_EJECT_WANTED;
}

static void check_end(struct cd_drive *cd)
{
    if (cd->checks)
        cd->news |= CD_NEWS_CHECKED;
    cd->checks = cd->thorough = false;
}

/* ---------------------------------------------------------------- commands of lintel's own */

static bool lock_wanted(const struct cd_drive *cd)
{
    return cd->lock && cd->medium == CD_READY && !(cd->wishes & CD_WISH_TRAY);
}

static void packet_make(struct cd_drive *cd, struct drive_slot *slot)
{
    slot->bytes = 0;
    switch (cd->sent) {
    case CD_LOCK: cd_packet_lock_tray(slot->packet, cd->is_locked); break;
    case CD_WISH_TRAY: cd_packet_move_tray(slot->packet, cd->open_wanted); break;
    case CD_WISH_READY: cd_packet_test_ready(slot->packet); break;
    case CD_WISH_SENSE:
        cd_packet_request_sense(slot->packet);
        slot->bytes = CD_SENSE_BYTES;
        break;
    case CD_WISH_CAPACITY:
        cd_packet_read_capacity(slot->packet);
        slot->bytes = CD_ANSWER_BYTES;
        break;
    case CD_WISH_EVENTS:
        cd_packet_get_events(slot->packet);
        slot->bytes = CD_ANSWER_BYTES;
        break;
    }
}

bool cd_next(struct drive *drive, struct drive_slot *slot)
{
    struct cd_drive *cd = &drive->cd;

    if (lock_wanted(cd) != cd->is_locked && !(cd->wishes & CD_WISH_SENSE)) {
        cd->is_locked = !cd->is_locked;
        cd->sent = CD_LOCK;
    } else {
        cd->sent = cd->wishes & -cd->wishes; /* the first one */
        cd->wishes &= (u8)~cd->sent;
    }
    if (!cd->sent)
        return false;
    slot->own = true;
    slot->operation = BLOCK_READ;
    slot->sector = 0;
    packet_make(cd, slot);
    for (u32 i = 0; i < slot->bytes; i++) /* what it does not say is nothing */
        slot->data[i] = 0;
    return true;
}

static void capacity_ended(struct cd_drive *cd, const struct drive_slot *slot)
{
    if (cd->medium != CD_UNSURE) /* it has been taken out meanwhile */
        return;
    cd->blocks = slot->status ? 0 : cd_capacity_judge(slot->data);
    if (cd->blocks) {
        cd->medium = CD_READY;
        cd->wishes &= (u8)~CD_WISH_CAPACITY;
        cd->news |= CD_NEWS_CAME;
    } else if (cd->tries) {
        cd->tries--;
        cd->wishes |= CD_WISH_CAPACITY;
    }
}

/* Who knows the command, and failed by something else, is asked by it the next time. */
static void events_ended(struct drive *drive, const struct drive_slot *slot)
{
    struct cd_drive *cd = &drive->cd;
    struct cd_finding finding;

    if (slot->status == -ENOMEDIUM || slot->status == -ESTALE
            ? cd_ready_judge(slot->status, &finding)
            : !slot->status && cd_events_judge(slot->data, &finding)) {
        conclude(cd, &finding, !slot->status);
        if (cd->thorough)
            cd->wishes |= CD_WISH_READY;
        else
            check_end(cd);
        return;
    }
    cd->thorough = false;
    cd->wishes |= CD_WISH_READY;
    if (slot->status && slot->status != -ENOTSUP)
        return;
    cd->no_events = true;
    log_info("drive %s: does not tell of media events; it is asked whether it is ready", drive->name);
}

/* Behind the answer about events it adds a doubt at most, see status_judge. */
static void ready_ended(struct cd_drive *cd, const struct drive_slot *slot)
{
    struct cd_finding finding;

    if (!cd->thorough && cd_ready_judge(slot->status, &finding))
        conclude(cd, &finding, false);
    check_end(cd);
}

/* What stood in the way may have been the news of a medium: that has been told now. */
static bool may_try_again(struct cd_drive *cd, int status)
{
    if ((status != -ENOMEDIUM && status != -ESTALE) || !cd->tries)
        return false;
    cd->tries--;
    return true;
}

static void lock_ended(struct cd_drive *cd, const struct drive_slot *slot)
{
    if (may_try_again(cd, slot->status))
        cd->is_locked = !cd->is_locked; /* as it was before */
}

/* What lies in it now the check behind it finds, of which there is one at once. */
static void tray_ended(struct drive *drive, const struct drive_slot *slot)
{
    struct cd_drive *cd = &drive->cd;

    if (cd->wishes & CD_WISH_TRAY) /* the other way already */
        return;
    if (may_try_again(cd, slot->status)) {
        cd->wishes |= CD_WISH_TRAY;
        return;
    }
    if (!slot->status)
        cd->is_open = cd->open_wanted;
    if (drive_may_say(&cd->tray_limit))
        log_line(slot->status ? LOG_WARNING : LOG_INFO,
                 slot->status ? "drive %s: its tray can't be %s" : "drive %s: its tray has been %s",
                 drive->name, cd->open_wanted ? "opened" : "closed");
}

/*
 * What any command says of the medium by its end. The drive may go on telling of a unit attention until it
 * has been asked for the cause; so that it is over then must not be missed.
 */
static void status_judge(struct cd_drive *cd, int status)
{
    if (status == -ESTALE)
        cd->wishes |= CD_WISH_SENSE;
    if (cd->medium == CD_READY && (status == -ESTALE || status == -ENOMEDIUM))
        medium_doubt(cd);
}

void cd_ended(struct drive *drive, const struct drive_slot *slot)
{
    struct cd_drive *cd = &drive->cd;

    switch (cd->sent) {
    case CD_LOCK: lock_ended(cd, slot); break;
    case CD_WISH_TRAY: tray_ended(drive, slot); break;
    case CD_WISH_CAPACITY: capacity_ended(cd, slot); break;
    case CD_WISH_EVENTS: events_ended(drive, slot); break;
    case CD_WISH_READY: ready_ended(cd, slot); break;
    }
    if (cd->sent != CD_WISH_SENSE) /* a drive that answers so to this is beyond asking */
        status_judge(cd, slot->status);
    cd->sent = 0;
}

/* ---------------------------------------------------------------- what users read, and faults */

void cd_read_begin(struct drive_slot *slot)
{
    cd_packet_read(slot->packet, (u32)(slot->sector / SECTORS_PER), (u16)(slot->bytes / CD_BLOCK));
}

int cd_read_failed(struct drive *drive, int status)
{
    status_judge(&drive->cd, status);
    if (!status)
        drive->cd.doubts = 0;
    return status == 0 ? 0 : status == -ENOMEDIUM || status == -ESTALE ? -ENOMEDIUM : -EIO;
}

/* A reset may have freed the tray. */
bool cd_doubt(struct drive *drive)
{
    struct cd_drive *cd = &drive->cd;

    if (cd->resets++ == RESETS_IN_VAIN)
        return false;
    cd->is_locked = false;
    medium_doubt(cd);
    cd->wishes |= cd->no_events ? CD_WISH_READY : CD_WISH_EVENTS;
    return true;
}

void cd_lost(struct drive *drive)
{
    medium_lose(&drive->cd, CD_EMPTY);
    drive->cd.wishes = 0;
    check_end(&drive->cd);
}

/* ---------------------------------------------------------------- the user */

static bool tray_is_to_move(const struct cd_drive *cd)
{
    return (cd->wishes | cd->sent) & CD_WISH_TRAY;
}

/* It moved, and does not any more. */
static bool has_moved(const struct cd_drive *cd)
{
    return cd->is_moving && !tray_is_to_move(cd);
}

bool cd_has_news(const struct cd_drive *cd)
{
    return cd->user && (cd->news || has_moved(cd));
}

void cd_tell(struct drive *drive)
{
    struct cd_drive *cd = &drive->cd;

    spinlock_take(&drive->lock);
    while (cd_has_news(cd) && !cd->telling) {
        struct cd_user *user = cd->user;
        u32 news = cd->news;
        bool moved = has_moved(cd);

        cd->news = 0;
        cd->is_moving &= !moved;
        cd->telling = true;
        spinlock_release(&drive->lock);
        user->tell(user, news);
        if (moved)
            media_unblock(user->media);
        spinlock_take(&drive->lock);
        cd->telling = false;
    }
    spinlock_release(&drive->lock);
}

bool cd_check(struct drive *drive, bool thorough)
{
    struct cd_drive *cd = &drive->cd;
    bool lost;

    spinlock_take(&drive->lock);
    lost = drive->state == DRIVE_LOST || !cd->user;
    if (!lost) {
        cd->checks = true;
        cd->thorough = thorough && !cd->no_events;
        cd->wishes |= cd->no_events ? CD_WISH_READY : CD_WISH_EVENTS;
        drive_go_on(drive);
    }
    spinlock_release(&drive->lock);
    return !lost;
}

bool cd_drive_check(struct block_device *device, bool thorough)
{
    return cd_check(drive_of(device), thorough);
}

static bool take(struct cd_drive *cd, struct block_device *device)
{
    cd->taken = cd->medium == CD_READY;
    cd->news &= ~(u32)CD_NEWS_CAME;
    device->sectors = cd->taken ? (u64)cd->blocks * SECTORS_PER : 0;
    return cd->taken;
}

bool cd_drive_take(struct block_device *device)
{
    struct drive *drive = drive_of(device);
    bool taken;

    spinlock_take(&drive->lock);
    taken = take(&drive->cd, device);
    drive_go_on(drive);
    spinlock_release(&drive->lock);
    return taken;
}

/* One block for as long as it moves, however often it was told to: the others are taken back. */
void cd_move_tray(struct drive *drive, bool open)
{
    struct cd_drive *cd = &drive->cd;
    struct media *media = cd->user->media;
    bool blocked;

    media_block(media, NULL);
    spinlock_take(&drive->lock);
    blocked = cd->is_moving || drive->state == DRIVE_LOST;
    if (drive->state != DRIVE_LOST) {
        cd->is_moving = true;
        medium_lose(cd, CD_EMPTY);
        cd->news &= ~(u32)CD_NEWS_GONE;
        cd->open_wanted = open;
        cd->is_locked |= open; /* whoever has locked it: it is freed before */
        cd->tries = TRIES;
        cd->wishes |= CD_WISH_TRAY;
        drive_go_on(drive);
    }
    spinlock_release(&drive->lock);
    if (blocked)
        media_unblock(media);
}

void cd_drive_move_tray(struct block_device *device, bool open)
{
    cd_move_tray(drive_of(device), open);
}

bool cd_drive_is_open(struct block_device *device)
{
    struct drive *drive = drive_of(device);
    const struct cd_drive *cd = &drive->cd;
    bool open;

    spinlock_take(&drive->lock);
    open = tray_is_to_move(cd) ? cd->open_wanted : cd->is_open;
    spinlock_release(&drive->lock);
    return open;
}

void cd_drive_lock_tray(struct block_device *device, bool lock)
{
    struct drive *drive = drive_of(device);

    spinlock_take(&drive->lock);
    drive->cd.lock = lock;
    if (drive->state != DRIVE_LOST)
        drive_go_on(drive);
    spinlock_release(&drive->lock);
}

int cd_drive_open(const char *name, frame_owner_t owner, struct block_device **device, char *why, size_t size)
{
    int error = drive_open_cd(name, owner, device, why, size);
    struct drive *drive;

    if (error)
        return error;
    drive = drive_of(*device);
    cd_spare_end(drive);
    spinlock_take(&drive->lock);
    drive->cd.news = 0;
    take(&drive->cd, *device);
    spinlock_release(&drive->lock);
    return 0;
}

void cd_listen(struct drive *drive, struct cd_user *user)
{
    spinlock_take(&drive->lock);
    drive->cd.user = user;
    drive_go_on(drive);
    spinlock_release(&drive->lock);
}

void cd_drive_listen(struct block_device *device, struct cd_user *user)
{
    cd_listen(drive_of(device), user);
}

void cd_close(struct drive *drive)
{
    struct cd_drive *cd = &drive->cd;
    struct cd_user *user = cd->user;
    bool checks;

    spinlock_take(&drive->lock);
    cd->user = NULL;
    cd->lock = cd->taken = cd->is_moving = false;
    checks = cd->checks || (cd->news & CD_NEWS_CHECKED);
    cd->checks = cd->thorough = false;
    cd->news = 0;
    drive_go_on(drive);
    while (cd->telling) {
        spinlock_release(&drive->lock);
        cpu_pause();
        spinlock_take(&drive->lock);
    }
    spinlock_release(&drive->lock);
    if (checks)
        user->tell(user, CD_NEWS_CHECKED);
}
