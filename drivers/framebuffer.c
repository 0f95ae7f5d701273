/* SPDX-License-Identifier: MIT */
/*
 * Looks for the text screen: 8x16 glyphs on a linear RGB framebuffer of 15, 16, 24 or 32 bits per pixel.
 * Called by screen.c. One line of a glyph is 8 pixels, that is as many 8-byte words as a pixel has bytes; a
 * table for each style holds these words for each of the 256 lines there can be, so a line is a short copy.
 * The background is black: all zeros in any format.
 */
#include "drivers/framebuffer.h"

#include <asm-generic/errno.h>

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/paging.h"
#include "drivers/font.h"
#include "drivers/screen.h"
#include "hv/lib/string.h"

#define SIDE_MAX        16384u /* pixels; keeps the products below from overflowing */
#define PIXEL_BYTES_MAX 4

/* Eight pixel bytes at any address. */
typedef u64 __attribute__((aligned(1), may_alias)) loose_u64;

static struct boot_framebuffer mode;
static u8 *pixels;    /* NULL: not to be seen (yet) */
static u64 early_cr3; /* the boot tables, on which pixels was found; 0 once it is mapped for good */
static bool in_use;
static u32 pixel_bytes;
static u64 patterns[SCREEN_STYLES][256][PIXEL_BYTES_MAX];

static const u32 style_rgb[SCREEN_STYLES] = {[STYLE_CONSOLE] = 0xc8c8c8, [STYLE_LOG] = 0x70d0ff};

static bool framebuffer_usable(void)
{
    return pixels && (!early_cr3 || read_cr3() == early_cr3);
}

/*
 * Lines of the glyph that are shown already are skipped. words is pixel_bytes, a constant where it matters.
 */
static inline __attribute__((always_inline)) void draw_lines(u8 *at, struct screen_cell old,
                                                             struct screen_cell cell, u32 words)
{
    const unsigned char *shown = font_glyphs[old.character], *glyph = font_glyphs[cell.character];
    bool recolour = old.style != cell.style;
    u32 pitch = mode.pitch, line, word;

    for (line = 0; line < FONT_HEIGHT; line++, at += pitch) {
        const u64 *pattern = patterns[cell.style][glyph[line]];

        if (shown[line] == glyph[line] && !(recolour && glyph[line]))
            continue;
        for (word = 0; word < words; word++)
            ((volatile loose_u64 *)at)[word] = pattern[word];
    }
}

static void draw(u32 row, u32 column, struct screen_cell old, struct screen_cell cell)
{
    u8 *at = pixels + (u64)row * FONT_HEIGHT * mode.pitch + (u64)column * FONT_WIDTH * pixel_bytes;

    if (likely(pixel_bytes == 4))
        draw_lines(at, old, cell, 4);
    else
        draw_lines(at, old, cell, pixel_bytes);
}

static struct screen_output output = {.usable = framebuffer_usable, .draw = draw};

/*
 * What 8 bits per colour become in this mode. With 16 bits, green has six of them unless red begins at bit
 * 10.
 */
static u32 pixel_value(u32 rgb)
{
    u32 red = rgb >> 16 & 0xff, green = rgb >> 8 & 0xff, blue = rgb & 0xff;
    bool six = MAX(mode.red_shift, mode.blue_shift) == 11;

    if (pixel_bytes > 2)
        return red << mode.red_shift | green << mode.green_shift | blue << mode.blue_shift;
    return red >> 3 << mode.red_shift | green >> (six ? 2 : 3) << mode.green_shift |
           blue >> 3 << mode.blue_shift;
}

/*
 * The lowest bit is the rightmost pixel; with each bit the lines known so far come once more, with its pixel.
 */
static void fill_patterns(u64 lines[256][PIXEL_BYTES_MAX], u32 value)
{
    u32 bit, line, word;

    for (bit = 0; bit < FONT_WIDTH; bit++) {
        u64 pixel[PIXEL_BYTES_MAX] = {0};

        memcpy((u8 *)pixel + (FONT_WIDTH - 1 - bit) * pixel_bytes, &value, pixel_bytes);
        for (line = 0; line < 1u << bit; line++)
            for (word = 0; word < pixel_bytes; word++)
                lines[line | 1u << bit][word] = lines[line][word] | pixel[word];
    }
}

/* The loader's word is checked: a wrong pitch would write over something else. */
static bool mode_possible(void)
{
    u32 bits = mode.bits_per_pixel;
    u32 shift_max = bits <= 16 ? 11 : 24;

    if (mode.type != FRAMEBUFFER_RGB || (bits != 15 && bits != 16 && bits != 24 && bits != 32))
        return false;
    if (mode.red_shift > shift_max || mode.green_shift > shift_max || mode.blue_shift > shift_max)
        return false;
    return mode.width >= 40 * FONT_WIDTH && mode.height >= 8 * FONT_HEIGHT && mode.width <= SIDE_MAX &&
           mode.height <= SIDE_MAX && mode.pitch <= SIDE_MAX * PIXEL_BYTES_MAX &&
           mode.pitch >= mode.width * ((bits + 7) / 8) && mode.address != 0 && mode.address < BIT(52);
}

static u64 mode_bytes(void)
{
    return (u64)mode.pitch * mode.height;
}

int framebuffer_early(const struct boot_framebuffer *boot_mode)
{
    u32 style;

    mode = *boot_mode;
    if (!mode_possible())
        return -ENODEV;
    pixel_bytes = (mode.bits_per_pixel + 7u) / 8;
    output.columns = MIN(mode.width / FONT_WIDTH, (u32)SCREEN_COLUMNS_MAX);
    output.rows = MIN(mode.height / FONT_HEIGHT, (u32)SCREEN_ROWS_MAX);
    for (style = 0; style < SCREEN_STYLES; style++)
        fill_patterns(patterns[style], pixel_value(style_rgb[style]));
    if (mode.address + mode_bytes() <= SIZE_4G) {
        pixels = phys_to_virt(mode.address);
        early_cr3 = read_cr3();
        memset(pixels, 0, mode_bytes());
    }
    in_use = true;
    screen_start(&output);
    return 0;
}

int framebuffer_remap(void)
{
    u8 *mapped;

    if (!in_use)
        return 0;
    mapped = paging_map_device(mode.address, mode_bytes(), CACHE_WRITE_COMBINING, MAP_WRITE);
    if (!mapped)
        return -ENOMEM;
    if (!pixels)
        memset(mapped, 0, mode_bytes());
    pixels = mapped;
    early_cr3 = 0;
    screen_draw();
    return 0;
}
