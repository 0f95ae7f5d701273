/* SPDX-License-Identifier: MIT */
/*
 * The events of removable media (contract in the header). Every call notes under the lock what it wants and
 * then acts: media_act finds the next thing to do, does it without the lock, and looks again. One CPU at a
 * time acts for a drive; who comes meanwhile leaves its wish to that one. So callbacks of a drive never run
 * at the same time, none is called under the lock, and one that calls back in here deepens no stack.
 */
#include "hv/storage/media.h"

#include "hv/lib/errno.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/run/vm.h"

#define SLACK_DIVISOR 4 /* a poll may come so much of its interval later, together with others */
#define NEVER         (~0ull)

#define RECORDS 32u

static struct {
    struct spinlock lock; /* RANK_MEDIA: all of this, and what the header says is media.c's of each drive */
    struct list_node drives;
    s64 default_ms;
    struct media_record records[RECORDS]; /* the last ones that were reported */
    u64 record_count;                     /* so many, ever */
} all = {
    .lock = SPINLOCK_INIT(RANK_MEDIA), .drives = LIST_INIT(all.drives), .default_ms = MEDIA_POLL_STANDARD};

static struct media_host host;

/* ---------------------------------------------------------------- when */

u32 media_interval(const struct media *media)
{
    if (media->poll_ms != MEDIA_POLL_DEFAULT)
        return (u32)media->poll_ms;
    return media->supported & ~media->by_itself ? (u32)READ_ONCE(all.default_ms) : 0;
}

/* So late that nobody's slack is used up, and as many as can be fall together then. Under the lock. */
static void alarm_update(void)
{
    u64 earliest = NEVER;
    struct media *media;

    list_for_each (media, &all.drives, node)
        if (media->due)
            earliest = MIN(earliest, media->due_latest);
    host.alarm_set(earliest);
}

/* The next poll, one interval from now; under the lock. */
static void poll_arm(struct media *media)
{
    u32 interval = media_interval(media);

    media->due = 0;
    if (interval && !media->blocks && !media->checking) {
        media->due = host.now_ms() + interval;
        media->due_latest = media->due + interval / SLACK_DIVISOR;
    }
    alarm_update();
}

/* ---------------------------------------------------------------- what is to be done */

/* An event was found, or told: pending, and to be reported unless it was pending already. */
static void events_add(struct media *media, u32 events)
{
    events &= media->supported & ~media->pending;
    media->pending |= events;
    media->fresh |= events;
}

static struct media_wait *first_of(struct list_node *list)
{
    struct media_wait *wait = list_entry(list->next, struct media_wait, node);

    if (list_empty(list))
        return NULL;
    list_remove(&wait->node);
    return wait;
}

static bool check_is_due(const struct media *media)
{
    return !media->checking && (!list_empty(&media->clearers) || (media->check_wanted && !media->blocks));
}

/* All who want to clear by now share this check, which begins behind their wish. */
static u32 check_begin(struct media *media)
{
    u32 clearing = media->clearing;
    struct media_wait *wait;

    media->clearing = 0;
    media->check_wanted = false;
    media->checking = true;
    media->checks++;
    media->due = 0;
    while ((wait = first_of(&media->clearers))) {
        clearing |= wait->mask;
        list_add_before(&media->clearers_asked, &wait->node);
    }
    return clearing;
}

static void record(const struct media *media, u32 events)
{
    struct media_record *record = &all.records[all.record_count++ % RECORDS];

    record->ms = host.now_ms();
    record->events = events;
    string_copy(record->vm, media->vm ? media->vm->name : "-", sizeof(record->vm));
    string_copy(record->name, media->name, sizeof(record->name));
}

bool media_record_get(u64 *number, struct media_record *record)
{
    bool there;

    spinlock_take(&all.lock);
    if (all.record_count > RECORDS)
        *number = MAX(*number, all.record_count - RECORDS);
    there = *number < all.record_count;
    if (there)
        *record = all.records[(*number)++ % RECORDS];
    spinlock_release(&all.lock);
    return there;
}

/* One thing that is to be done, and is done without the lock. False: there is nothing. */
static bool act_once(struct media *media)
{
    struct media_wait *wait = NULL;
    u32 events = media->fresh;

    if (events) {
        media->fresh = 0;
        record(media, events);
        spinlock_release(&all.lock);
        if (media->ops->report)
            media->ops->report(media, events);
        spinlock_take(&all.lock);
        return true;
    }
    events = 0;
    if (!media->checking) {
        wait = first_of(&media->clearers_asked);
        if (!wait)
            wait = first_of(&media->blockers);
        else
            events = media->pending & wait->mask;
    }
    if (wait) {
        media->pending &= ~events;
        spinlock_release(&all.lock);
        wait->done(wait, events);
        spinlock_take(&all.lock);
        return true;
    }
    if (!check_is_due(media))
        return false;
    events = check_begin(media);
    spinlock_release(&all.lock);
    media->ops->check_events(media, events);
    spinlock_take(&all.lock);
    return true;
}

/* Under the lock, which is given back meanwhile. */
static void media_act(struct media *media)
{
    if (media->acting)
        return;
    media->acting = true;
    while (act_once(media))
        ;
    media->acting = false;
}

void media_checked(struct media *media, u32 events)
{
    spinlock_take(&all.lock);
    assert(media->checking);
    media->checking = false;
    events_add(media, events);
    poll_arm(media);
    media_act(media);
    spinlock_release(&all.lock);
}

void media_notify(struct media *media, u32 events)
{
    spinlock_take(&all.lock);
    events_add(media, events);
    media_act(media);
    spinlock_release(&all.lock);
}

void media_seen(struct media *media, u32 events)
{
    spinlock_take(&all.lock);
    media->pending &= ~events;
    spinlock_release(&all.lock);
}

/* ---------------------------------------------------------------- polling */

void media_alarm(void)
{
    struct media *media;
    u64 now = host.now_ms();

    spinlock_take(&all.lock);
    /* First all wishes: an alarm that is set meanwhile must not see what is due now. */
    list_for_each (media, &all.drives, node) {
        if (!media->due || media->due > now)
            continue;
        media->due = 0;
        media->check_wanted = true;
    }
    alarm_update();
    list_for_each (media, &all.drives, node)
        media_act(media);
    spinlock_release(&all.lock);
}

/* Look now, and from then on with the interval that counts now. */
static void poll_anew(struct media *media)
{
    media->check_wanted |= media_interval(media) != 0;
    poll_arm(media);
    media_act(media);
}

int media_set_default(s64 ms)
{
    struct media *media;

    if (ms < 0 || ms > MEDIA_POLL_MS_MAX)
        return -EINVAL;
    spinlock_take(&all.lock);
    WRITE_ONCE(all.default_ms, ms);
    list_for_each (media, &all.drives, node)
        if (media->poll_ms == MEDIA_POLL_DEFAULT)
            poll_anew(media);
    spinlock_release(&all.lock);
    return 0;
}

int media_set_poll(struct media *media, s64 ms)
{
    if (ms < MEDIA_POLL_DEFAULT || ms > MEDIA_POLL_MS_MAX)
        return -EINVAL;
    spinlock_take(&all.lock);
    media->poll_ms = (s32)ms;
    poll_anew(media);
    spinlock_release(&all.lock);
    return 0;
}

/* ---------------------------------------------------------------- blocking */

/* Without a wait: nobody wants to know when the check that may run is over. Under the lock. */
static void block(struct media *media, struct media_wait *wait)
{
    media->blocks++;
    media->due = 0;
    alarm_update();
    if (wait)
        list_add_before(&media->blockers, &wait->node);
}

static void unblock(struct media *media)
{
    if (!media->blocks) {
        if (!media->warned)
            log_warning("%s%s%s: it is unblocked more often than it was blocked",
                        media->vm ? media->vm->name : "", media->vm ? " " : "", media->name);
        media->warned = true;
        return;
    }
    media->blocks--;
    media->check_wanted = true;
}

void media_block(struct media *media, struct media_wait *wait)
{
    if (wait)
        wait->mask = 0;
    spinlock_take(&all.lock);
    block(media, wait);
    media_act(media);
    spinlock_release(&all.lock);
}

void media_unblock(struct media *media)
{
    spinlock_take(&all.lock);
    unblock(media);
    media_act(media);
    spinlock_release(&all.lock);
}

void media_open(struct media *media, bool exclusive_write)
{
    if (!exclusive_write)
        return;
    spinlock_take(&all.lock);
    if (media->writers++ == 0)
        block(media, NULL);
    spinlock_release(&all.lock);
}

void media_close(struct media *media, bool exclusive_write)
{
    spinlock_take(&all.lock);
    if (exclusive_write && media->writers && --media->writers == 0)
        unblock(media);
    else
        media->check_wanted = true;
    media->clearing |= MEDIA_CHANGE; /* the drive may forget what it remembers of the medium */
    media_act(media);
    spinlock_release(&all.lock);
}

void media_flush(struct media *media, u32 clearing)
{
    spinlock_take(&all.lock);
    media->clearing |= clearing;
    media->check_wanted = true;
    media_act(media);
    spinlock_release(&all.lock);
}

void media_clear(struct media *media, struct media_wait *wait)
{
    spinlock_take(&all.lock);
    list_add_before(&media->clearers, &wait->node);
    media_act(media);
    spinlock_release(&all.lock);
}

/* ---------------------------------------------------------------- drives */

void media_start(const struct media_host *new_host)
{
    host = *new_host;
    list_init(&all.drives);
    all.default_ms = MEDIA_POLL_STANDARD;
}

void media_add(struct media *media)
{
    list_init(&media->blockers);
    list_init(&media->clearers);
    list_init(&media->clearers_asked);
    spinlock_take(&all.lock);
    list_add_before(&all.drives, &media->node);
    media->check_wanted = true;
    media_act(media);
    spinlock_release(&all.lock);
}

void media_remove(struct media *media)
{
    spinlock_take(&all.lock);
    assert(!media->checking && !media->acting);
    list_remove(&media->node);
    alarm_update();
    spinlock_release(&all.lock);
}

struct media *media_next(struct media *media)
{
    struct list_node *next = media ? media->node.next : all.drives.next;

    return next == &all.drives ? NULL : list_entry(next, struct media, node);
}
