/* SPDX-License-Identifier: MIT */
/*
 * A text screen, whatever draws it: cells, a cursor, scrolling, the few control sequences that shells and
 * kernels use. It is a log sink and a console device; framebuffer.c or vga_text.c gives it its looks. One
 * screen.
 */
#ifndef DRIVERS_SCREEN_H
#define DRIVERS_SCREEN_H

#include "hv/run/timer.h"

#define SCREEN_COLUMNS_MAX 240
#define SCREEN_ROWS_MAX    80

enum screen_style { STYLE_CONSOLE, STYLE_LOG };
#define SCREEN_STYLES 2

struct screen_cell {
    u8 character; /* ISO 8859-1 */
    u8 style;     /* enum screen_style */
};

/*
 * What shows the cells; all of them are blank when it comes. usable: may draw be called now? draw: show cell
 * where old is shown. Both are called under the screen's lock and must not log.
 */
struct screen_output {
    u32 columns, rows; /* at most SCREEN_..._MAX */
    bool (*usable)(void);
    void (*draw)(u32 row, u32 column, struct screen_cell old, struct screen_cell cell);
};

/*
 * Become a log sink (which shows what was logged so far) and a console device; what they write is drawn at
 * once. Boot CPU, once.
 */
void screen_start(const struct screen_output *output);

/*
 * From now on what changes is drawn by a timer of this queue, ten times a second at most. Boot CPU, once the
 * queue is served. What another CPU writes appears when the queue's CPU next looks at its timers.
 */
void screen_draw_by(struct timer_queue *queue);

/*
 * Draw what has changed, now: before the machine stops, or when the output has become usable. Nothing without
 * a screen.
 */
void screen_draw(void);

#endif
