/* SPDX-License-Identifier: MIT */
/*
 * The text screen: what it shows is kept in RAM, so that video memory, slow to read, is only ever written, and a cell that does not
 * change is not drawn. At the bottom the screen scrolls by a quarter of its height: redrawing it for each line would cost
 * more than printing the line. One lock, RANK_SINK. Control sequences: ECMA-48.
 */
#include "drivers/screen.h"

#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/operator/console.h"

#define ESCAPE         0x1b
#define PARAMETERS_MAX 3 /* two are used; the last one takes all that follow */

/* How far into a control sequence the console is. */
enum sequence { SEQUENCE_NONE, SEQUENCE_ESCAPE, SEQUENCE_PARAMETERS };

static struct {
    struct spinlock lock; /* guards all of this and the video memory */
    const struct screen_output *output;
    u32 row, column; /* column may stand behind the last one: the next character begins a line */
    enum sequence sequence;
    u32 parameters[PARAMETERS_MAX];
    u32 parameter_count; /* completed by ';'; below PARAMETERS_MAX */
    struct screen_cell cells[SCREEN_ROWS_MAX][SCREEN_COLUMNS_MAX];
} screen = {.lock = SPINLOCK_INIT(RANK_SINK)};

static const struct screen_cell blank = {' ', STYLE_CONSOLE};

static void cell_set(u32 row, u32 column, struct screen_cell cell)
{
    struct screen_cell *at = &screen.cells[row][column], old = *at;

    if (old.character == cell.character && old.style == cell.style)
        return;
    *at = cell;
    if (screen.output->usable())
        screen.output->draw(row, column, &old, cell);
}

static void erase_row(u32 row, u32 from_column)
{
    u32 column;

    for (column = from_column; column < screen.output->columns; column++)
        cell_set(row, column, blank);
}

static void scroll(void)
{
    u32 rows = screen.output->rows, distance = MAX(rows / 4, 1u), row, column;

    for (row = 0; row < rows - distance; row++)
        for (column = 0; column < screen.output->columns; column++)
            cell_set(row, column, screen.cells[row + distance][column]);
    for (; row < rows; row++)
        erase_row(row, 0);
    screen.row -= distance;
}

static void line_feed(void)
{
    if (screen.row + 1 == screen.output->rows)
        scroll();
    screen.row++;
}

static void new_line(void)
{
    screen.column = 0;
    line_feed();
}

static void put(u8 c, enum screen_style style)
{
    if (screen.column == screen.output->columns)
        new_line();
    cell_set(screen.row, screen.column++, (struct screen_cell){c, (u8)style});
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

    erase_row(screen.row, all ? 0 : MIN(screen.column, screen.output->columns));
    for (row = all ? 0 : screen.row + 1; row < screen.output->rows; row++)
        erase_row(row, 0);
}

/* The end of a control sequence; what is not named here (colours above all) has no effect. */
static void sequence_act(char final)
{
    switch (final) {
    case 'A': screen.row -= MIN(distance(), screen.row); break;
    case 'B': screen.row = MIN(screen.row + distance(), screen.output->rows - 1); break;
    case 'C': screen.column = MIN(screen.column + distance(), screen.output->columns - 1); break;
    case 'D': screen.column -= MIN(distance(), screen.column); break;
    case 'H':
        screen.row = MIN(MAX(screen.parameters[0], 1u), screen.output->rows) - 1;
        screen.column = MIN(MAX(screen.parameters[1], 1u), screen.output->columns) - 1;
        break;
    case 'J': erase_display(); break;
    case 'K':
        erase_row(screen.row, screen.parameters[0] ? 0 : MIN(screen.column, screen.output->columns));
        break;
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

static void console_put(char c)
{
    if (screen.sequence != SEQUENCE_NONE && c != ESCAPE) {
        sequence_continue(c);
        return;
    }
    switch (c) {
    case '\n': line_feed(); break;
    case '\r': screen.column = 0; break;
    case '\b': screen.column -= screen.column > 0; break;
    case '\t': screen.column = MIN((screen.column | 7) + 1, screen.output->columns - 1); break;
    case ESCAPE: screen.sequence = SEQUENCE_ESCAPE; break;
    default:
        if ((u8)c >= ' ' && c != 0x7f)
            put((u8)c, STYLE_CONSOLE);
    }
}

static void console_write(struct console_device *device, const char *text, size_t size)
{
    (void)device;
    spinlock_take(&screen.lock);
    for (; size > 0; text++, size--)
        console_put(*text);
    spinlock_release(&screen.lock);
}

/* ---------------------------------------------------------------- what the log sends: whole lines */

/* A log line that arrives in the middle of a console line begins on a fresh one. */
static void put_log(const char *text, size_t size)
{
    if (screen.column > 0)
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
        return;
    }
    spinlock_take(&screen.lock);
    put_log(text, size);
    spinlock_release(&screen.lock);
}

static struct log_sink log_sink = {.name = "screen", .write = log_write};
static struct console_device console_device = {.name = "screen", .write = console_write};

void screen_redraw(void)
{
    u32 row, column;

    spinlock_take(&screen.lock);
    for (row = 0; row < screen.output->rows && screen.output->usable(); row++)
        for (column = 0; column < screen.output->columns; column++)
            screen.output->draw(row, column, NULL, screen.cells[row][column]);
    spinlock_release(&screen.lock);
}

void screen_start(const struct screen_output *output)
{
    u32 row, column;

    screen.output = output;
    for (row = 0; row < output->rows; row++)
        for (column = 0; column < output->columns; column++)
            screen.cells[row][column] = blank;
    screen_redraw();
    log_sink_add(&log_sink);
    console_device_add(&console_device);
}
