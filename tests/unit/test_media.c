/* SPDX-License-Identifier: MIT */
/*
 * hv/storage/media.c on a clock that the test moves: each rule of the events of removable media, checks that
 * end at once and later, and a long row of random calls against what the rules say of a few numbers.
 */
// sources: hv/storage/media.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/errno.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/run/vm.h"
#include "hv/storage/media.h"

#define DRIVES 3

/* A drive whose medium the test changes, and which looks as long as it likes. */
struct drive {
    struct media media;
    u32 happened; /* since the last look */
    bool slow;    /* media_checked is called by the test */
    bool looking;
    u32 clearing; /* as the last check was told */
    unsigned checks;
    unsigned reports[2]; /* change, eject request */
    u64 checked_at;
};

static struct drive drives[DRIVES];
static struct vm vm;
static u64 now, alarm_at;
static char said[200];
static unsigned said_count;

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;

    assert_int_equal(level, LOG_WARNING);
    va_start(args, format);
    vsnprintf(said, sizeof(said), format, args);
    va_end(args);
    said_count++;
}

size_t string_copy(char *to, const char *from, size_t size)
{
    return (size_t)snprintf(to, size, "%s", from);
}

void panic_at(const char *file, int line, const char *format, ...)
{
    fail_msg("%s:%d: %s", file, line, format);
    abort();
}

static struct drive *drive_of(struct media *media)
{
    return container_of(media, struct drive, media);
}

static void look_end(struct drive *drive)
{
    u32 happened = drive->happened;

    assert_true(drive->looking);
    drive->looking = false;
    drive->happened = 0;
    media_checked(&drive->media, happened);
}

static void check_events(struct media *media, u32 clearing)
{
    struct drive *drive = drive_of(media);

    assert_false(drive->looking); /* never two at once */
    drive->looking = true;
    drive->clearing = clearing;
    drive->checks++;
    drive->checked_at = now;
    if (!drive->slow)
        look_end(drive);
}

static void report(struct media *media, u32 events)
{
    struct drive *drive = drive_of(media);

    assert_true(events && !(events & ~media->supported));
    drive->reports[0] += events & MEDIA_CHANGE ? 1 : 0;
    drive->reports[1] += events & MEDIA_EJECT_REQUEST ? 1 : 0;
}

static u64 clock_read(void)
{
    return now;
}

static void alarm_set(u64 ms)
{
    alarm_at = ms;
}

static const struct media_ops ops = {.check_events = check_events, .report = report};
static const struct media_host host = {clock_read, alarm_set};

/* The clock goes on, and the alarm rings when its time comes. */
static void pass(u64 ms)
{
    u64 end = now + ms;

    while (alarm_at <= end) {
        now = MAX(now, alarm_at);
        alarm_at = ~0ull;
        media_alarm();
    }
    now = end;
}

static void plug(unsigned i, u32 supported, u32 by_itself)
{
    struct drive *drive = &drives[i];

    drive->media = (struct media){.ops = &ops,
                                  .vm = &vm,
                                  .supported = supported,
                                  .by_itself = by_itself,
                                  .poll_ms = MEDIA_POLL_DEFAULT};
    snprintf(drive->media.name, sizeof(drive->media.name), "cd%u", i);
    media_add(&drive->media);
}

static int setup(void **state)
{
    (void)state;
    memset(drives, 0, sizeof(drives));
    strcpy(vm.name, "v");
    now = 1000;
    alarm_at = ~0ull;
    said_count = 0;
    media_start(&host);
    return 0;
}

static struct drive *one(void)
{
    plug(0, MEDIA_EVENTS, 0);
    assert_int_equal(drives[0].checks, 1); /* at once */
    return &drives[0];
}

/* Somebody who waits. */
struct waiter {
    struct media_wait wait;
    unsigned done;
    u32 events; /* of its end */
};

static void waited(struct media_wait *wait, u32 events)
{
    struct waiter *waiter = container_of(wait, struct waiter, wait);

    waiter->done++;
    waiter->events = events;
}

static struct waiter waiter(u32 mask)
{
    return (struct waiter){.wait = {.done = waited, .mask = mask}};
}

static u32 clear(struct drive *drive, u32 mask)
{
    struct waiter who = waiter(mask);

    media_clear(&drive->media, &who.wait);
    assert_int_equal(who.done, 1);
    return who.events;
}

/* ---------------------------------------------------------------- pending events */

static void test_reported_once_until_cleared(void **state)
{
    struct drive *drive = one();

    (void)state;
    drive->happened = MEDIA_CHANGE;
    pass(2500);
    assert_int_equal(drive->checks, 2);
    assert_int_equal(drive->reports[0], 1);
    for (unsigned i = 0; i < 5; i++) {
        drive->happened = MEDIA_CHANGE;
        pass(2500);
    }
    assert_int_equal(drive->checks, 7);
    assert_int_equal(drive->reports[0], 1);
    drive->happened = MEDIA_EJECT_REQUEST; /* another one is */
    pass(2500);
    assert_int_equal(drive->reports[1], 1);
    assert_int_equal(clear(drive, MEDIA_CHANGE), MEDIA_CHANGE);
    assert_int_equal(clear(drive, MEDIA_CHANGE), 0);
    assert_int_equal(clear(drive, MEDIA_EVENTS), MEDIA_EJECT_REQUEST);
    drive->happened = MEDIA_CHANGE;
    pass(2500);
    assert_int_equal(drive->reports[0], 2);
}

static void test_what_it_does_not_support_is_nothing(void **state)
{
    struct drive *drive = &drives[0];

    (void)state;
    plug(0, MEDIA_CHANGE, 0);
    drive->happened = MEDIA_EVENTS | 0x80;
    pass(2500);
    assert_int_equal(drive->reports[0], 1);
    assert_int_equal(drive->reports[1], 0);
    assert_int_equal(clear(drive, ~0u), MEDIA_CHANGE);
}

/* Clearing looks first: what happened just before is cleared with the rest, and was reported. */
static void test_clearing_checks_at_once(void **state)
{
    struct drive *drive = one();
    struct waiter who = waiter(0);

    (void)state;
    drive->happened = MEDIA_CHANGE;
    assert_int_equal(clear(drive, MEDIA_CHANGE), MEDIA_CHANGE);
    assert_int_equal(drive->checks, 2);
    assert_int_equal(drive->clearing, MEDIA_CHANGE); /* the hint */
    assert_int_equal(drive->reports[0], 1);
    for (unsigned i = 0; i < 3; i++)
        media_open(&drive->media, true);
    media_block(&drive->media, &who.wait);
    drive->happened = MEDIA_CHANGE;
    assert_int_equal(clear(drive, MEDIA_EVENTS), MEDIA_CHANGE); /* whatever the depth */
    assert_int_equal(drive->checks, 3);
    assert_int_equal(drive->clearing, MEDIA_EVENTS);
}

/* A check that runs already may have looked before the wish: there is another one behind it. */
static void test_clearing_does_not_take_an_older_check(void **state)
{
    struct drive *drive = one();
    struct waiter a = waiter(MEDIA_CHANGE), b = waiter(MEDIA_EVENTS);

    (void)state;
    drive->slow = true;
    pass(2500);
    assert_true(drive->looking);
    media_clear(&drive->media, &a.wait);
    media_clear(&drive->media, &b.wait);
    look_end(drive);
    assert_int_equal(a.done + b.done, 0);
    assert_int_equal(drive->checks, 3);
    assert_int_equal(drive->clearing, MEDIA_EVENTS); /* of both, who share one */
    drive->happened = MEDIA_EVENTS;
    look_end(drive);
    assert_int_equal(a.events, MEDIA_CHANGE);
    assert_int_equal(b.events, MEDIA_EJECT_REQUEST); /* what the first one has left */
    assert_int_equal(a.done + b.done, 2);
    assert_int_equal(drive->checks, 3);
}

static void test_hints_are_passed(void **state)
{
    struct drive *drive = one();

    (void)state;
    media_flush(&drive->media, MEDIA_CHANGE);
    assert_int_equal(drive->clearing, MEDIA_CHANGE);
    pass(2500);
    assert_int_equal(drive->clearing, 0);
    media_open(&drive->media, true);
    media_flush(&drive->media, MEDIA_EJECT_REQUEST);
    assert_int_equal(drive->checks, 3);
    assert_int_equal(clear(drive, MEDIA_CHANGE), 0);
    assert_int_equal(drive->clearing, MEDIA_EVENTS); /* told to the next check, whosever it is */
    media_close(&drive->media, true);
    assert_int_equal(drive->clearing, MEDIA_CHANGE);
}

/* ---------------------------------------------------------------- one check at a time */

static void test_never_two_checks(void **state)
{
    struct drive *drive = one();

    (void)state;
    drive->slow = true;
    pass(2500);
    assert_int_equal(drive->checks, 2);
    pass(100000); /* a drive that does not answer is not asked again */
    media_flush(&drive->media, 0);
    media_set_poll(&drive->media, 10);
    media_close(&drive->media, false);
    pass(100);
    assert_int_equal(drive->checks, 2);
    look_end(drive); /* and then once, for all who came meanwhile */
    assert_int_equal(drive->checks, 3);
    look_end(drive);
    assert_int_equal(drive->checks, 3);
    pass(12);
    assert_int_equal(drive->checks, 4);
    look_end(drive);
}

/* ---------------------------------------------------------------- intervals */

static void test_intervals(void **state)
{
    struct drive *drive = one();

    (void)state;
    assert_int_equal(media_interval(&drive->media), 2000);
    pass(1999);
    assert_int_equal(drive->checks, 1);
    pass(501);
    assert_int_equal(drive->checks, 2);
    assert_int_equal(media_set_default(0), 0); /* off */
    pass(1000000);
    assert_int_equal(drive->checks, 2);
    assert_int_equal(media_set_poll(&drive->media, 100), 0);
    assert_int_equal(drive->checks, 3); /* at once */
    pass(125);
    assert_int_equal(drive->checks, 4);
    assert_int_equal(media_set_default(4000), 0);
    assert_int_equal(media_interval(&drive->media), 100); /* its own counts */
    assert_int_equal(drive->checks, 4);
    assert_int_equal(media_set_poll(&drive->media, MEDIA_POLL_NEVER), 0);
    pass(1000000);
    assert_int_equal(drive->checks, 4);
    assert_int_equal(media_set_poll(&drive->media, MEDIA_POLL_DEFAULT), 0);
    assert_int_equal(media_interval(&drive->media), 4000);
    assert_int_equal(drive->checks, 5);
    assert_int_equal(media_set_default(10), 0);
    assert_int_equal(drive->checks, 6);
    pass(12);
    assert_int_equal(drive->checks, 7);
}

static void test_what_is_no_interval_is_refused(void **state)
{
    struct drive *drive = one();

    (void)state;
    assert_int_equal(media_set_poll(&drive->media, -2), -EINVAL);
    assert_int_equal(media_set_poll(&drive->media, (s64)1 << 40), -EINVAL);
    assert_int_equal(media_set_poll(&drive->media, MEDIA_POLL_MS_MAX + 1), -EINVAL);
    assert_int_equal(media_set_default(-1), -EINVAL);
    assert_int_equal(media_set_default(MEDIA_POLL_MS_MAX + 1), -EINVAL);
    assert_int_equal(media_interval(&drive->media), 2000);
    assert_int_equal(drive->checks, 1);
}

static void test_who_tells_by_itself_is_not_polled(void **state)
{
    (void)state;
    plug(0, MEDIA_EVENTS, MEDIA_EVENTS);
    plug(1, MEDIA_EVENTS, MEDIA_EJECT_REQUEST); /* the other one must be asked for */
    pass(10000);
    assert_int_equal(drives[0].checks, 1);
    assert_in_range(drives[1].checks, 4, 6);
    media_notify(&drives[0].media, MEDIA_CHANGE);
    media_notify(&drives[0].media, MEDIA_CHANGE);
    assert_int_equal(drives[0].reports[0], 1);
    assert_int_equal(clear(&drives[0], MEDIA_CHANGE), MEDIA_CHANGE);
    assert_int_equal(media_set_poll(&drives[0].media, 1000), 0); /* unless it is told to be */
    pass(10000);
    assert_in_range(drives[0].checks, 3 + 8, 3 + 10);
}

/* Each has a quarter of its interval, so polls whose times are near fall together, and then stay so. */
static void test_polls_fall_together(void **state)
{
    u64 rings = 0;

    (void)state;
    plug(0, MEDIA_EVENTS, 0);
    pass(300);
    plug(1, MEDIA_EVENTS, 0);
    pass(150);
    plug(2, MEDIA_EVENTS, 0);
    for (unsigned i = 0; i < 10; i++) {
        u64 at = alarm_at;

        pass(at - now);
        rings++;
        for (unsigned j = 0; j < DRIVES; j++) {
            assert_int_equal(drives[j].checks, 2 + i);
            assert_int_equal(drives[j].checked_at, at);
        }
    }
    assert_int_equal(rings, 10);
}

/* ---------------------------------------------------------------- blocking */

static void test_blocking_nests(void **state)
{
    struct drive *drive = one();
    struct waiter a = waiter(0), b = waiter(0);

    (void)state;
    drive->slow = true;
    pass(2500);
    media_block(&drive->media, &a.wait);
    assert_int_equal(a.done, 0); /* one runs */
    media_block(&drive->media, &b.wait);
    look_end(drive);
    assert_int_equal(a.done, 1);
    assert_int_equal(b.done, 1);
    media_flush(&drive->media, 0);
    assert_int_equal(alarm_at, ~0ull);
    pass(100000);
    assert_int_equal(drive->checks, 2);
    media_unblock(&drive->media);
    pass(100000);
    assert_int_equal(drive->checks, 2);
    media_unblock(&drive->media);
    assert_int_equal(drive->checks, 3); /* at once */
    look_end(drive);
    pass(2500);
    assert_int_equal(drive->checks, 4); /* and polled on */
}

/* Also where nobody polls. */
static void test_the_last_unblock_checks(void **state)
{
    struct drive *drive = one();
    struct waiter a = waiter(0);

    (void)state;
    media_set_default(0);
    media_block(&drive->media, &a.wait);
    assert_int_equal(a.done, 1);
    drive->happened = MEDIA_CHANGE;
    media_unblock(&drive->media);
    assert_int_equal(drive->reports[0], 1);
}

static void test_exclusive_writers(void **state)
{
    struct drive *drive = one();

    (void)state;
    media_open(&drive->media, true);
    media_open(&drive->media, true);
    media_open(&drive->media, false);
    pass(10000);
    assert_int_equal(drive->checks, 1);
    media_close(&drive->media, true); /* not the last one: its check waits */
    media_close(&drive->media, false);
    pass(10000);
    assert_int_equal(drive->checks, 1);
    media_close(&drive->media, true);
    assert_int_equal(drive->checks, 2);
    media_open(&drive->media, false);
    assert_int_equal(drive->checks, 2);
    media_close(&drive->media, false); /* every other close */
    assert_int_equal(drive->checks, 3);
    assert_int_equal(drive->clearing, MEDIA_CHANGE);
}

static void test_one_unblock_too_many(void **state)
{
    struct drive *drive = one();
    struct waiter who = waiter(0);

    (void)state;
    media_unblock(&drive->media);
    media_unblock(&drive->media);
    assert_int_equal(said_count, 1);
    assert_string_equal(said, "v cd0: it is unblocked more often than it was blocked");
    media_block(&drive->media, &who.wait); /* it works on */
    pass(10000);
    assert_int_equal(drive->checks, 1);
    media_unblock(&drive->media);
    assert_int_equal(drive->checks, 2);
}

/* ---------------------------------------------------------------- calls out of callbacks */

static struct waiter again;
static unsigned rounds;

static void clear_again(struct media_wait *wait, u32 events)
{
    again.events = events;
    if (++rounds < 100000)
        media_clear(&drives[0].media, wait); /* one that recursed would overflow the stack */
}

static void test_callbacks_may_call(void **state)
{
    (void)state;
    one();
    rounds = 0;
    again = (struct waiter){.wait = {.done = clear_again, .mask = MEDIA_CHANGE}};
    media_clear(&drives[0].media, &again.wait);
    assert_int_equal(rounds, 100000);
    assert_int_equal(drives[0].checks, 100001);
}

static void test_records(void **state)
{
    struct media_record record;
    u64 number = 0, first;
    unsigned count = 0;

    (void)state;
    one();
    while (media_record_get(&number, &record))
        ;
    first = number;
    for (unsigned i = 0; i < 40; i++) {
        media_notify(&drives[0].media, MEDIA_CHANGE);
        clear(&drives[0], MEDIA_CHANGE);
        now++;
    }
    number = 0;
    while (media_record_get(&number, &record))
        count++;
    assert_int_equal(count, 32);
    assert_int_equal(number, first + 40);
    assert_string_equal(record.vm, "v");
    assert_string_equal(record.name, "cd0");
    assert_int_equal(record.ms, now - 1);
}

static void test_drives_go(void **state)
{
    (void)state;
    plug(0, MEDIA_EVENTS, 0);
    plug(1, MEDIA_EVENTS, 0);
    assert_ptr_equal(media_next(NULL), &drives[0].media);
    media_remove(&drives[0].media);
    assert_ptr_equal(media_next(NULL), &drives[1].media);
    assert_null(media_next(&drives[1].media));
    pass(10000);
    assert_int_equal(drives[0].checks, 1);
    media_remove(&drives[1].media);
    assert_int_equal(alarm_at, ~0ull);
}

/* ---------------------------------------------------------------- random calls */

#define WAITERS 4

/* What the rules say of a drive, in a few numbers; and who waits. */
struct model {
    u32 blocks, writers;
    u32 pending;
    unsigned reports[2];
    s64 poll_ms;
    bool clears;           /* somebody, in this step */
    bool wanted;           /* a check, by anybody, as soon as nothing blocks */
    unsigned checks, ends; /* as they were seen last */
    u64 armed, interval;   /* when the interval began, and which: 0 of no use */
    struct waiter blockers[WAITERS], clearers[WAITERS];
    bool blocker_used[WAITERS], clearer_used[WAITERS];
};
static struct model models[DRIVES];
static s64 model_default;
static u64 seed;

/* What each can do: one that must be asked, one that tells of one half by itself, one that tells of all. */
static const struct kind {
    u32 supported, by_itself;
    bool slow;
} kinds[] = {
    {MEDIA_EVENTS, 0, true}, {MEDIA_EVENTS, MEDIA_EJECT_REQUEST, true}, {MEDIA_EVENTS, MEDIA_EVENTS, true},
    {MEDIA_CHANGE, 0, true}, {MEDIA_CHANGE, MEDIA_CHANGE, true},        {MEDIA_EVENTS, MEDIA_EVENTS, false},
};

static u32 any(u32 most)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(seed >> 33) % most;
}

static struct model *model_of(const struct drive *drive)
{
    return &models[drive - drives];
}

static u64 interval_of(const struct drive *drive)
{
    const struct model *model = model_of(drive);

    if (model->poll_ms >= 0)
        return (u64)model->poll_ms;
    return drive->media.supported == drive->media.by_itself ? 0 : (u64)model_default;
}

static void model_find(struct drive *drive, u32 events)
{
    struct model *model = model_of(drive);
    u32 fresh = events & drive->media.supported & ~model->pending;

    model->pending |= fresh;
    model->reports[0] += fresh & MEDIA_CHANGE ? 1 : 0;
    model->reports[1] += fresh & MEDIA_EJECT_REQUEST ? 1 : 0;
}

/* An answer has come: the pending events have grown, then those who cleared have taken theirs. */
static void model_clear(struct drive *drive, const unsigned before[WAITERS])
{
    struct model *model = model_of(drive);
    unsigned cleared = 0;

    for (unsigned i = 0; i < WAITERS; i++) {
        struct waiter *who = &model->clearers[i];

        if (who->done == before[i])
            continue;
        assert_int_equal(who->done, before[i] + 1);
        assert_int_equal(who->events & ~model->pending, 0); /* nothing that nobody found, nothing twice */
        assert_int_equal(who->events & ~who->wait.mask, 0);
        model->pending &= ~who->events;
        model->clearer_used[i] = false;
        cleared |= who->wait.mask;
    }
    assert_int_equal(model->pending & cleared, 0); /* and nothing is left of what was to be cleared */
}

static void model_look_end(struct drive *drive)
{
    struct model *model = model_of(drive);
    unsigned before[WAITERS];

    for (unsigned i = 0; i < WAITERS; i++)
        before[i] = model->clearers[i].done;
    model_find(drive, drive->happened);
    model->armed = now;
    look_end(drive);
    model_clear(drive, before);
}

static void happen(struct drive *drive, u32 events)
{
    if (drive->slow)
        drive->happened |= events;
}

static void want_interval(struct drive *drive)
{
    struct model *model = model_of(drive);

    model->armed = now;
    model->wanted |= interval_of(drive) != 0;
}

static void step_clear(struct drive *drive, struct model *model, u32 i)
{
    unsigned before[WAITERS];

    if (model->clearer_used[i])
        return;
    for (unsigned j = 0; j < WAITERS; j++)
        before[j] = model->clearers[j].done;
    model->clearer_used[i] = model->clears = true;
    model->clearers[i].wait = (struct media_wait){.done = waited, .mask = any(4)};
    media_clear(&drive->media, &model->clearers[i].wait);
    if (drive->slow)
        assert_true(drive->looking); /* at once, if none runs */
    else
        model_clear(drive, before);
}

static void step_block(struct drive *drive, struct model *model, u32 i)
{
    bool looked = drive->looking;

    if (!any(4)) { /* who does not care whether one runs, and gives it back at once */
        media_block(&drive->media, NULL);
        media_unblock(&drive->media);
        model->wanted = true;
        return;
    }
    if (model->blocker_used[i])
        return;
    model->blocker_used[i] = true;
    model->blockers[i] = waiter(0);
    model->blocks++;
    media_block(&drive->media, &model->blockers[i].wait);
    assert_int_equal(model->blockers[i].done, looked ? 0 : 1);
}

static void step_unblock(struct drive *drive, struct model *model, u32 i)
{
    if (!model->blocker_used[i] || !model->blockers[i].done)
        return;
    model->blocker_used[i] = false;
    model->blocks--;
    model->wanted = true;
    media_unblock(&drive->media);
}

static void step_close(struct drive *drive, struct model *model)
{
    bool exclusive = model->writers && any(2);

    if (exclusive)
        model->blocks -= --model->writers == 0;
    model->wanted = true;
    media_close(&drive->media, exclusive);
}

static void step_default(void)
{
    model_default = any(3) ? any(3000) : 0;
    for (unsigned i = 0; i < DRIVES; i++)
        if (models[i].poll_ms < 0)
            want_interval(&drives[i]);
    assert_int_equal(media_set_default(model_default), 0);
}

static void step(struct drive *drive)
{
    struct model *model = model_of(drive);
    u32 i = any(WAITERS), events = any(4);

    switch (any(14)) {
    case 0:
    case 1:
        if (drive->looking)
            model_look_end(drive);
        break;
    case 2: happen(drive, events); break;
    case 3:
        model_find(drive, events);
        media_notify(&drive->media, events);
        break;
    case 4:
        model->pending &= ~events;
        media_seen(&drive->media, events);
        break;
    case 5: step_clear(drive, model, i); break;
    case 6: step_block(drive, model, i); break;
    case 7: step_unblock(drive, model, i); break;
    case 8:
        model->blocks += model->writers++ == 0;
        media_open(&drive->media, true);
        break;
    case 9: step_close(drive, model); break;
    case 10:
        model->wanted = true;
        media_flush(&drive->media, events);
        break;
    case 11:
        model->poll_ms = (s64)any(3000) - 1;
        want_interval(drive);
        assert_int_equal(media_set_poll(&drive->media, model->poll_ms), 0);
        break;
    case 12: step_default(); break;
    default: pass(any(3000)); break;
    }
}

static bool somebody_clears(const struct model *model)
{
    for (unsigned i = 0; i < WAITERS; i++)
        if (model->clearer_used[i])
            return true;
    return false;
}

/* A check that nobody wanted was a poll: of a drive that is polled, within its quarter of its interval. */
static void checks_judge(struct drive *drive, u32 blocks_before)
{
    struct model *model = model_of(drive);
    unsigned begun = drive->checks - model->checks;

    model->checks = drive->checks;
    assert_true(drive->slow ? begun <= 1 : true);
    if (begun && !model->wanted && !model->clears) {
        u64 interval = interval_of(drive);

        assert_true(interval);
        assert_int_equal(blocks_before, 0);
        if (drive->slow)
            assert_in_range(drive->checked_at, model->armed + interval, model->armed + interval * 5 / 4);
    }
    if (begun && model->blocks && blocks_before)
        assert_true(model->clears); /* while it is blocked one begins for those alone */
    if (begun)
        model->wanted = false;
    if (!drive->slow)
        model->armed = MAX(model->armed, drive->checked_at);
    /* Nothing is put off: who wants one has it unless one runs or it is blocked; a poll is not late. */
    if (drive->looking || model->blocks)
        return;
    assert_false(model->wanted);
    if (interval_of(drive))
        assert_true(now <= MAX(model->armed, drive->checked_at) + interval_of(drive) * 5 / 4);
}

static void drive_judge(struct drive *drive)
{
    struct model *model = model_of(drive);

    /* Who blocks waits no longer than a check runs. */
    for (unsigned j = 0; j < WAITERS; j++)
        assert_true(!model->blocker_used[j] || model->blockers[j].done || drive->looking);
    assert_int_equal(drive->reports[0], model->reports[0]);
    assert_int_equal(drive->reports[1], model->reports[1]);
    assert_int_equal(drive->media.pending, model->pending);
    assert_int_equal(media_interval(&drive->media), interval_of(drive));
}

static void plug_any(unsigned i)
{
    const struct kind *kind = &kinds[any(ARRAY_SIZE(kinds))];

    models[i] = (struct model){.poll_ms = MEDIA_POLL_DEFAULT, .armed = now, .checks = 1};
    plug(i, kind->supported, kind->by_itself);
    drives[i].slow = kind->slow;
}

static void random_calls(void)
{
    u32 blocks[DRIVES];

    for (unsigned i = 0; i < DRIVES; i++) {
        blocks[i] = models[i].blocks;
        models[i].clears = somebody_clears(&models[i]);
    }
    step(&drives[any(DRIVES)]);
    for (unsigned i = 0; i < DRIVES; i++) {
        checks_judge(&drives[i], blocks[i]);
        drive_judge(&drives[i]);
    }
    assert_int_equal(said_count, 0);
}

/*
 * Drives of all kinds beside one another: none feels what is done to the others, but that polls wait for
 * company.
 */
static void test_random_calls(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        setup(NULL);
        seed = round;
        model_default = MEDIA_POLL_STANDARD;
        for (unsigned i = 0; i < DRIVES; i++)
            plug_any(i);
        for (unsigned i = 0; i < 1000; i++)
            random_calls();
        for (unsigned i = 0; i < DRIVES; i++) {
            while (drives[i].looking)
                model_look_end(&drives[i]);
            assert_false(somebody_clears(&models[i])); /* nobody is forgotten */
            assert_int_equal(drives[i].media.pending, models[i].pending);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_reported_once_until_cleared, setup),
        cmocka_unit_test_setup(test_what_it_does_not_support_is_nothing, setup),
        cmocka_unit_test_setup(test_clearing_checks_at_once, setup),
        cmocka_unit_test_setup(test_clearing_does_not_take_an_older_check, setup),
        cmocka_unit_test_setup(test_hints_are_passed, setup),
        cmocka_unit_test_setup(test_never_two_checks, setup),
        cmocka_unit_test_setup(test_intervals, setup),
        cmocka_unit_test_setup(test_what_is_no_interval_is_refused, setup),
        cmocka_unit_test_setup(test_who_tells_by_itself_is_not_polled, setup),
        cmocka_unit_test_setup(test_polls_fall_together, setup),
        cmocka_unit_test_setup(test_blocking_nests, setup),
        cmocka_unit_test_setup(test_the_last_unblock_checks, setup),
        cmocka_unit_test_setup(test_exclusive_writers, setup),
        cmocka_unit_test_setup(test_one_unblock_too_many, setup),
        cmocka_unit_test_setup(test_callbacks_may_call, setup),
        cmocka_unit_test_setup(test_records, setup),
        cmocka_unit_test_setup(test_drives_go, setup),
        cmocka_unit_test_setup(test_random_calls, setup),
    };

    return cmocka_run_group_tests_name("media", tests, NULL, NULL);
}
