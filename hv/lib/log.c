/* SPDX-License-Identifier: MIT */
/*
 * The log: records in a byte ring that forgets its oldest lines, and the sinks. Any CPU; log_lock, except in
 * a panic, when only the CPU that panics is left and nobody may wait.
 */
#include "hv/lib/log.h"

#include "hv/lib/lock.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

#define RING_SIZE     65536ull /* a power of two: positions count on for ever, their low bits are the place */
#define PREFIX        "[lintel] "
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)
#define TEXT_MAX      480

struct record {
    u64 time_ns;
    u16 length; /* of the text that follows */
    u8 level;
    u8 padding;
};

/* One line on its way out: prefix, text, newline. */
struct line {
    char bytes[PREFIX_LENGTH + TEXT_MAX + 32];
    size_t length;
};

/* Guards all that follows. A sink may take its own lock (RANK_SINK) under it and must not log. */
static struct spinlock log_lock = SPINLOCK_INIT(RANK_LOG);
static u8 ring[RING_SIZE];
static u64 ring_oldest, ring_newest; /* positions of the first record and behind the last one */
static struct list_node sinks = LIST_INIT(sinks);
static enum log_level level_shown = LOG_INFO;
static u64 (*clock_ns)(void);
static bool panicking;

static void lock(void)
{
    if (!panicking)
        spinlock_take(&log_lock);
}

static void unlock(void)
{
    if (!panicking)
        spinlock_release(&log_lock);
}

static void ring_put(u64 position, const void *from, size_t bytes)
{
    size_t first = MIN(bytes, RING_SIZE - position % RING_SIZE);

    memcpy(ring + position % RING_SIZE, from, first);
    memcpy(ring, (const u8 *)from + first, bytes - first);
}

static void ring_get(u64 position, void *to, size_t bytes)
{
    size_t first = MIN(bytes, RING_SIZE - position % RING_SIZE);

    memcpy(to, ring + position % RING_SIZE, first);
    memcpy((u8 *)to + first, ring, bytes - first);
}

static void ring_append(enum log_level level, const char *text, size_t length)
{
    struct record record = {.time_ns = clock_ns ? clock_ns() : 0, .length = (u16)length, .level = (u8)level};
    struct record oldest;

    lock_assert(panicking || spinlock_held(&log_lock));
    while (ring_newest + sizeof(record) + length - ring_oldest > RING_SIZE) {
        ring_get(ring_oldest, &oldest, sizeof(oldest));
        ring_oldest += sizeof(oldest) + oldest.length;
    }
    ring_put(ring_newest, &record, sizeof(record));
    ring_put(ring_newest + sizeof(record), text, length);
    ring_newest += sizeof(record) + length;
}

/*
 * Make a line of the record at position, with its time when timed; returns the position of the next record.
 */
static u64 ring_read(u64 position, struct line *line, enum log_level *level, bool timed)
{
    struct record record;
    int time_length = 0;

    ring_get(position, &record, sizeof(record));
    *level = record.level;
    memcpy(line->bytes, PREFIX, PREFIX_LENGTH);
    if (timed && record.time_ns)
        time_length = snprintf(line->bytes + PREFIX_LENGTH, 32, "%3llu.%06llu ",
                               (unsigned long long)record.time_ns / 1000000000,
                               (unsigned long long)record.time_ns / 1000 % 1000000);
    line->length = PREFIX_LENGTH + (size_t)time_length;
    ring_get(position + sizeof(record), line->bytes + line->length, record.length);
    line->length += record.length;
    line->bytes[line->length++] = '\n';
    return position + sizeof(record) + record.length;
}

/* Hand the newest record to every sink. */
static void show(u64 position)
{
    static struct line line; /* under log_lock */
    enum log_level level;
    struct log_sink *sink;

    ring_read(position, &line, &level, false);
    list_for_each (sink, &sinks, node)
        sink->write(sink, line.bytes, line.length, panicking);
}

/*
 * Store and show one line; control characters, which a guest may have smuggled into a name, lose their power.
 */
static void add_line(enum log_level level, char *text, size_t length)
{
    u64 position;
    size_t i;

    for (i = 0; i < length; i++)
        if ((u8)text[i] < ' ' || text[i] == 0x7f)
            text[i] = text[i] == '\t' ? ' ' : '?';
    ring_append(level, text, length);
    position = ring_newest - length - sizeof(struct record);
    if (level <= level_shown)
        show(position);
}

void log_line_args(enum log_level level, const char *format, va_list args)
{
    static char text[TEXT_MAX + 1]; /* under log_lock */
    char *start, *end;

    lock();
    vsnprintf(text, sizeof(text), format, args);
    for (start = text; (end = strchr(start, '\n')); start = end + 1)
        add_line(level, start, (size_t)(end - start));
    if (*start || start == text)
        add_line(level, start, strlen(start));
    unlock();
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_line_args(level, format, args);
    va_end(args);
}

void log_sink_add(struct log_sink *sink)
{
    static struct line line; /* under log_lock */
    enum log_level level;
    u64 position;

    lock();
    for (position = ring_oldest; position < ring_newest;) {
        position = ring_read(position, &line, &level, false);
        if (level <= level_shown)
            sink->write(sink, line.bytes, line.length, panicking);
    }
    list_add_before(&sinks, &sink->node);
    unlock();
}

void log_level_set(enum log_level level)
{
    lock();
    level_shown = level;
    unlock();
}

void log_clock_set(u64 (*now_ns)(void))
{
    lock();
    clock_ns = now_ns;
    unlock();
}

/*
 * The lock is not held while write runs, which may well print to a console; lines that are forgotten
 * meanwhile are skipped, lines that come meanwhile are left out.
 */
void log_replay(void (*write)(void *context, const char *text, size_t size), void *context)
{
    struct line line;
    enum log_level level;
    u64 position = 0, end = READ_ONCE(ring_newest);

    for (;;) {
        lock();
        position = MAX(position, ring_oldest);
        if (position >= end)
            break;
        position = ring_read(position, &line, &level, true);
        unlock();
        write(context, line.bytes, line.length);
    }
    unlock();
}

void log_enter_panic(void)
{
    WRITE_ONCE(panicking, true);
}

bool log_limit_pass(struct log_limit *limit, u64 now, u64 interval, u32 burst)
{
    if (now - limit->window_start >= interval || limit->window_start == 0) {
        limit->window_start = now;
        limit->used = 0;
    }
    if (limit->used < burst) {
        limit->used++;
        return true;
    }
    limit->dropped++;
    return false;
}
