/* SPDX-License-Identifier: MIT */
/*
 * The text screen. Whoever writes changes cells in RAM and nothing else; what differs from what is shown is
 * drawn later, by a timer: most of what a booting guest prints has scrolled away before anybody could read
 * it. Before there are timers, in a panic and before the machine stops (screen_draw) it is drawn at once.
 * Video memory, slow to read, is only ever written. The rows are a ring, so that scrolling moves none. One
 * lock, RANK_SINK. Control sequences: ECMA-48.
 */
#include "drivers/screen.h"

#include "arch/x86/machine/tsc.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/operator/console.h"

#define ESCAPE         0x1b
#define DELETE         0x7f
#define PARAMETERS_MAX 3 /* two are used; the last one takes all that follow */

/* From the first change to the drawing: short to the eye; long enough to draw a burst of lines as one. */
#define DELAY_US 100000
/*
 * ... and at least so many times what the last drawing took: a slow screen takes no more than that part of
 * the CPU.
 */
#define DELAY_SHARE 256

/* How far into a control sequence the console is. */
enum sequence { SEQUENCE_NONE, SEQUENCE_ESCAPE, SEQUENCE_PARAMETERS };

static struct {
    struct spinlock lock; /* RANK_SINK: all of this and the video memory */
    const struct screen_output *output;
    u32 top;                             /* which of the cells' rows is the uppermost */
    u32 row;                             /* the cursor's */
    struct screen_cell *line, *at, *end; /* its row's cells; at its end, the next character begins a line */
    enum sequence sequence;
    u32 parameters[PARAMETERS_MAX];
    u32 parameter_count; /* completed by ';'; below PARAMETERS_MAX */
    bool awaited;        /* the timer is set and will draw what changes */
    struct timer timer;  /* without a queue at boot: what changes is drawn at once */
    u64 draw_ticks;      /* what the timer's last drawing took */
    struct screen_cell cells[SCREEN_ROWS_MAX][SCREEN_COLUMNS_MAX];
    struct screen_cell shown[SCREEN_ROWS_MAX][SCREEN_COLUMNS_MAX]; /* from the screen's uppermost row on */
} screen = {.lock = SPINLOCK_INIT(RANK_SINK)};

static const struct screen_cell blank_row[SCREEN_COLUMNS_MAX] = {
    [0 ... SCREEN_COLUMNS_MAX - 1] = {' ', STYLE_CONSOLE}};

static struct screen_cell *row_cells(u32 row)
{
    u32 index = screen.top + row;

    return screen.cells[index < screen.output->rows ? index : index - screen.output->rows];
}

/* ---------------------------------------------------------------- drawing */

static void draw_row(u32 row, const struct screen_cell *cells)
{
    struct screen_cell *shown = screen.shown[row];
    u32 column;

    for (column = 0; column < screen.output->columns; column++) {
        struct screen_cell old = shown[column], cell = cells[column];

        if (old.character == cell.character && old.style == cell.style)
            continue;
        screen.output->draw(row, column, old, cell);
        shown[column] = cell;
    }
}

static void draw_changes(void)
{
    size_t bytes = screen.output->columns * sizeof(struct screen_cell);
    u32 row;

    lock_assert_held(&screen.lock);
    if (!screen.output->usable())
        return;
    for (row = 0; row < screen.output->rows; row++)
        if (memcmp(row_cells(row), screen.shown[row], bytes) != 0)
            draw_row(row, row_cells(row));
}

static void timer_fired(struct timer *timer)
{
    u64 start = tsc_boot_now();

    (void)timer;
    spinlock_take(&screen.lock);
    screen.awaited = false;
    draw_changes();
    screen.draw_ticks = tsc_boot_now() - start;
    spinlock_release(&screen.lock);
}

static __attribute__((noinline)) void draw_soon(void)
{
    if (!screen.timer.queue) {
        draw_changes();
        return;
    }
    screen.awaited = true;
    timer_set(&screen.timer, tsc_boot_now() + MAX(tsc_from_us(DELAY_US), DELAY_SHARE * screen.draw_ticks));
}

/* Whoever changed cells says so, under the lock. */
static inline void cells_changed(void)
{
    if (unlikely(!screen.awaited))
        draw_soon();
}

/* ---------------------------------------------------------------- cells and cursor */

static void erase_row(u32 row, u32 from_column)
{
    memcpy(row_cells(row) + from_column, blank_row,
           (screen.output->columns - from_column) * sizeof(struct screen_cell));
}

static u32 cursor_column(void)
{
    return (u32)(screen.at - screen.line);
}

/* column may be the number of columns: behind the last one. */
static void cursor_go(u32 to_row, u32 to_column)
{
    screen.row = to_row;
    screen.line = row_cells(to_row);
    screen.at = screen.line + to_column;
    screen.end = screen.line + screen.output->columns;
}

static void line_feed(void)
{
    u32 rows = screen.output->rows;

    if (screen.row + 1 < rows) {
        cursor_go(screen.row + 1, cursor_column());
        return;
    }
    screen.top = screen.top + 1 < rows ? screen.top + 1 : 0;
    erase_row(screen.row, 0);
    cursor_go(screen.row, cursor_column());
}

static __attribute__((noinline)) void new_line(void)
{
    screen.at = screen.line;
    line_feed();
}

static inline void put(u8 c, enum screen_style style)
{
    if (unlikely(screen.at == screen.end))
        new_line();
    *screen.at++ = (struct screen_cell){c, (u8)style};
}

/* ---------------------------------------------------------------- what a console sends */

/* The first parameter as a distance: absent or 0 means 1. */
static u32 distance(void)
{
    return MAX(screen.parameters[0], 1u);
}

static void erase_display(void)
{
    bool all = screen.parameters[0] == 2;
    u32 row;

    erase_row(screen.row, all ? 0 : cursor_column());
    for (row = all ? 0 : screen.row + 1; row < screen.output->rows; row++)
        erase_row(row, 0);
}

/* The end of a control sequence; what is not named here (colours above all) has no effect. */
static void sequence_act(char final)
{
    switch (final) {
    case 'A': cursor_go(screen.row - MIN(distance(), screen.row), cursor_column()); break;
    case 'B': cursor_go(MIN(screen.row + distance(), screen.output->rows - 1), cursor_column()); break;
    case 'C': cursor_go(screen.row, MIN(cursor_column() + distance(), screen.output->columns - 1)); break;
    case 'D': cursor_go(screen.row, cursor_column() - MIN(distance(), cursor_column())); break;
    case 'H':
        cursor_go(MIN(distance(), screen.output->rows) - 1,
                  MIN(MAX(screen.parameters[1], 1u), screen.output->columns) - 1);
        break;
    case 'J': erase_display(); break;
    case 'K': erase_row(screen.row, screen.parameters[0] ? 0 : cursor_column()); break;
    default: break;
    }
}

static void sequence_continue(char c)
{
    u32 *parameter = &screen.parameters[screen.parameter_count];

    if (screen.sequence == SEQUENCE_ESCAPE) {
        if (c >= 0x20 && c <= 0x2f)
            return; /* choice of a character set: one more character follows */
        screen.sequence = c == '[' ? SEQUENCE_PARAMETERS : SEQUENCE_NONE;
        screen.parameter_count = screen.parameters[0] = screen.parameters[1] = 0;
        return;
    }
    if (c >= '0' && c <= '9') {
        *parameter = MIN(*parameter * 10 + (u32)(c - '0'), 999u);
    } else if (c == ';') {
        screen.parameter_count += screen.parameter_count < PARAMETERS_MAX - 1;
    } else if (c >= 0x40 && c <= 0x7e) {
        screen.sequence = SEQUENCE_NONE;
        sequence_act(c);
    }
}

/* What is no plain character, or stands in a control sequence. */
static __attribute__((noinline)) void control(char c)
{
    if (screen.sequence != SEQUENCE_NONE && c != ESCAPE) {
        sequence_continue(c);
        return;
    }
    switch (c) {
    case '\n': line_feed(); break;
    case '\r': screen.at = screen.line; break;
    case '\b': screen.at -= screen.at > screen.line; break;
    case '\t': cursor_go(screen.row, MIN((cursor_column() | 7) + 1, screen.output->columns - 1)); break;
    case ESCAPE: screen.sequence = SEQUENCE_ESCAPE; break;
    default: break;
    }
}

static inline bool is_plain(u8 c)
{
    return c >= ' ' && c != DELETE && screen.sequence == SEQUENCE_NONE;
}

static __attribute__((noinline)) void put_console(const char *text, size_t size)
{
    for (; size > 0; text++, size--) {
        if (likely(is_plain((u8)*text)))
            put((u8)*text, STYLE_CONSOLE);
        else
            control(*text);
    }
}

/* Called for each byte that a guest prints: nearly always one for a cell within the line. */
static void console_write(struct console_device *device, const char *text, size_t size)
{
    (void)device;
    spinlock_take(&screen.lock);
    if (likely(size == 1 && is_plain((u8)*text) && screen.at < screen.end))
        *screen.at++ = (struct screen_cell){(u8)*text, STYLE_CONSOLE};
    else
        put_console(text, size);
    cells_changed();
    spinlock_release(&screen.lock);
}

/* ---------------------------------------------------------------- what the log sends: whole lines */

/* A log line that arrives in the middle of a console line begins on a fresh one. */
static void put_log(const char *text, size_t size)
{
    if (screen.at > screen.line)
        new_line();
    for (; size > 0; text++, size--) {
        if (*text == '\n')
            new_line();
        else
            put((u8)*text, STYLE_LOG);
    }
}

static void log_write(struct log_sink *sink, const char *text, size_t size, bool panicking)
{
    (void)sink;
    if (panicking) {
        put_log(text, size);
        draw_changes();
        return;
    }
    spinlock_take(&screen.lock);
    put_log(text, size);
    cells_changed();
    spinlock_release(&screen.lock);
}

static struct log_sink log_sink = {.name = "screen", .write = log_write};
static struct console_device console_device = {.name = "screen", .write = console_write};

/* ---------------------------------------------------------------- start and end */

void screen_draw(void)
{
    if (!screen.output)
        return;
    spinlock_take(&screen.lock);
    draw_changes();
    spinlock_release(&screen.lock);
}

void screen_draw_by(struct timer_queue *queue)
{
    spinlock_take(&screen.lock);
    timer_init(&screen.timer, queue, timer_fired);
    spinlock_release(&screen.lock);
}

void screen_start(const struct screen_output *output)
{
    u32 row;

    screen.output = output;
    for (row = 0; row < output->rows; row++) {
        memcpy(screen.cells[row], blank_row, sizeof(blank_row));
        memcpy(screen.shown[row], blank_row, sizeof(blank_row));
    }
    cursor_go(0, 0);
    log_sink_add(&log_sink);
    console_device_add(&console_device);
}
