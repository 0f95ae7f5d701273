/* SPDX-License-Identifier: MIT */
/*
 * A text screen, whatever draws it: cells, a cursor, scrolling, the few control sequences that shells and kernels use. It is a
 * log sink and a console device; framebuffer.c or vga_text.c gives it its looks. One screen.
 */
#ifndef DRIVERS_SCREEN_H
#define DRIVERS_SCREEN_H

#include "hv/lib/types.h"

#define SCREEN_COLUMNS_MAX 240
#define SCREEN_ROWS_MAX    80

enum screen_style { STYLE_CONSOLE, STYLE_LOG };
#define SCREEN_STYLES 2

struct screen_cell {
    u8 character; /* ISO 8859-1 */
    u8 style;     /* enum screen_style */
};

/*
 * What shows the cells. usable: may draw be called now? draw: show cell; old is what that place shows, NULL when nobody
 * knows. Both are called under the screen's lock and must not log.
 */
struct screen_output {
    u32 columns, rows; /* at most SCREEN_..._MAX */
    bool (*usable)(void);
    void (*draw)(u32 row, u32 column, const struct screen_cell *old, struct screen_cell cell);
};

/* Begin with an empty screen, become a log sink (which shows what was logged so far) and a console device. Boot CPU, once. */
void screen_start(const struct screen_output *output);

/* Show every cell anew. Boot CPU. */
void screen_redraw(void);

#endif
