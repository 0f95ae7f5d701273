/* SPDX-License-Identifier: MIT */
/*
 * Looks for the text screen: VGA text mode, one word per cell (character, attribute) at 0xb8000. Called by
 * screen.c.
 */
#include "drivers/vga_text.h"

#include <asm-generic/errno.h>

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/paging.h"
#include "drivers/screen.h"

#define TEXT_ADDRESS 0xb8000
#define COLUMNS      80
#define ROWS         25

#define CRTC_INDEX        0x3d4
#define CRTC_DATA         0x3d5
#define CRTC_CURSOR_START 0x0a
#define CRTC_CURSOR_OFF   BIT(5)

static volatile u16 *text; /* NULL: not in use */
static u64 early_cr3;      /* the boot tables, on which text was found; 0 once it is mapped for good */

static const u16 attributes[SCREEN_STYLES] = {[STYLE_CONSOLE] = 0x0700, [STYLE_LOG] = 0x0b00};

static bool text_usable(void)
{
    return !early_cr3 || read_cr3() == early_cr3;
}

static void text_draw(u32 row, u32 column, struct screen_cell old, struct screen_cell cell)
{
    (void)old;
    text[row * COLUMNS + column] = attributes[cell.style] | cell.character;
}

static const struct screen_output output = {COLUMNS, ROWS, text_usable, text_draw};

void vga_text_early(void)
{
    u32 i;

    text = phys_to_virt(TEXT_ADDRESS);
    early_cr3 = read_cr3();
    for (i = 0; i < COLUMNS * ROWS; i++)
        text[i] = attributes[STYLE_CONSOLE] | ' ';
    out8(CRTC_INDEX, CRTC_CURSOR_START); /* the cursor would stay where the loader left it */
    out8(CRTC_DATA, CRTC_CURSOR_OFF);
    screen_start(&output);
}

int vga_text_remap(void)
{
    volatile u16 *mapped;

    if (!text)
        return 0;
    mapped = paging_map_device(TEXT_ADDRESS, COLUMNS * ROWS * sizeof(u16), CACHE_UNCACHED, MAP_WRITE);
    if (!mapped)
        return -ENOMEM;
    text = mapped;
    early_cr3 = 0;
    screen_draw();
    return 0;
}
