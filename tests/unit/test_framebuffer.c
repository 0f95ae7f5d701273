/* SPDX-License-Identifier: MIT */
/*
 * Glyphs on framebuffers of every format, pixel by pixel, against the font itself. The driver's source is
 * included, with the register that tells whether the boot tables are on replaced.
 */
// sources:
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/cpu.h"

static u64 cr3;
#define read_cr3() cr3
#include "drivers/framebuffer.c"

#define WIDTH   643u
#define HEIGHT  200u
#define PADDING 20u /* behind each line */
#define COLUMNS (WIDTH / 8)
#define ROWS    (HEIGHT / 16)
#define GUARD   64u

const unsigned char font_glyphs[256][FONT_HEIGHT] = {
    ['A'] = {0, 0, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6},
    ['B'] = {0, 0, 0xfc, 0x66, 0x66, 0x66, 0x7c, 0x66, 0x66, 0x66, 0x66, 0xfc},
    [0xdb] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
    ['.'] = {[10] = 0x81, [11] = 0x18},
};

static u8 memory[(WIDTH * 4 + PADDING) * HEIGHT + GUARD];
static struct screen_cell shown[ROWS][COLUMNS];
static const struct screen_output *used;
static unsigned draws;

void screen_start(const struct screen_output *started)
{
    used = started;
}

void screen_draw(void)
{
    draws++;
}

void *phys_to_virt(hpa_t hpa)
{
    assert_int_equal(hpa, 0xfd000000);
    return memory;
}

void *paging_map_device(hpa_t hpa, u64 size, enum paging_cache cache, u64 flags)
{
    (void)hpa;
    assert_int_equal(cache, CACHE_WRITE_COMBINING);
    assert_int_equal(flags, MAP_WRITE);
    assert_true(size <= sizeof(memory) - GUARD);
    return memory;
}

static const struct {
    u8 bits, red, green, blue;
    u32 colours[SCREEN_STYLES]; /* 0xc8c8c8 and 0x70d0ff in this format */
} formats[] = {
    {15, 10, 5, 0, {0x6739, 0x3b5f}},     {16, 11, 5, 0, {0xce59, 0x769f}},
    {24, 16, 8, 0, {0xc8c8c8, 0x70d0ff}}, {32, 16, 8, 0, {0xc8c8c8, 0x70d0ff}},
    {32, 0, 8, 16, {0xc8c8c8, 0xffd070}},
};

static struct boot_framebuffer mode_of(unsigned format)
{
    u32 bytes = (formats[format].bits + 7u) / 8;

    return (struct boot_framebuffer){.address = 0xfd000000,
                                     .pitch = WIDTH * bytes + PADDING,
                                     .width = WIDTH,
                                     .height = HEIGHT,
                                     .bits_per_pixel = formats[format].bits,
                                     .type = FRAMEBUFFER_RGB,
                                     .red_shift = formats[format].red,
                                     .green_shift = formats[format].green,
                                     .blue_shift = formats[format].blue};
}

/* What a pixel must be, from the cells. */
static u32 pixel_expected(unsigned format, u32 x, u32 y)
{
    struct screen_cell cell;

    if (x / 8 >= COLUMNS || y / 16 >= ROWS)
        return 0;
    cell = shown[y / 16][x / 8];
    return font_glyphs[cell.character][y % 16] & 0x80 >> x % 8 ? formats[format].colours[cell.style] : 0;
}

static void check_pixels(unsigned format, const struct boot_framebuffer *tested)
{
    u32 bytes = (formats[format].bits + 7u) / 8;

    for (u32 y = 0; y < HEIGHT; y++) {
        for (u32 x = 0; x < WIDTH; x++) {
            u32 pixel = 0;

            memcpy(&pixel, memory + y * tested->pitch + x * bytes, bytes);
            if (pixel != pixel_expected(format, x, y))
                fail_msg("format %u, pixel %u,%u is %#x", format, x, y, pixel);
        }
    }
    for (u32 i = 0; i < GUARD; i++)
        assert_int_equal(memory[tested->pitch * HEIGHT + i], 0x55);
}

static void test_every_format(void **state)
{
    static const u8 characters[] = {' ', 'A', 'B', 0xdb, '.'};

    (void)state;
    for (unsigned format = 0; format < ARRAY_SIZE(formats); format++) {
        struct boot_framebuffer tested = mode_of(format);

        memset(memory, 0x55, sizeof(memory)); /* what the boot loader left */
        memset(shown, 0, sizeof(shown));
        assert_int_equal(framebuffer_early(&tested), 0);
        assert_int_equal(used->columns, COLUMNS);
        assert_int_equal(used->rows, ROWS);
        check_pixels(format, &tested);
        for (int i = 0; i < 4000; i++) {
            struct screen_cell cell = {characters[rand() % 5], (u8)(rand() % SCREEN_STYLES)};
            u32 row = (u32)rand() % ROWS, column = (u32)rand() % COLUMNS;

            used->draw(row, column, shown[row][column], cell);
            shown[row][column] = cell;
        }
        check_pixels(format, &tested);
    }
}

static void test_remap_keeps_what_is_shown(void **state)
{
    struct boot_framebuffer tested = mode_of(3);

    (void)state;
    memset(memory, 0x55, sizeof(memory));
    memset(shown, 0, sizeof(shown));
    cr3 = 1;
    assert_int_equal(framebuffer_early(&tested), 0);
    assert_true(used->usable());
    shown[0][0] = (struct screen_cell){'A', STYLE_LOG};
    used->draw(0, 0, (struct screen_cell){0}, shown[0][0]);
    cr3 = 2;
    assert_false(used->usable()); /* the old map is gone */
    draws = 0;
    assert_int_equal(framebuffer_remap(), 0);
    assert_true(used->usable());
    assert_int_equal(draws, 1);
    check_pixels(3, &tested);
}

static void test_above_4g_comes_with_the_remap(void **state)
{
    struct boot_framebuffer tested = mode_of(3);

    (void)state;
    memset(memory, 0x55, sizeof(memory));
    memset(shown, 0, sizeof(shown));
    tested.address = SIZE_4G;
    pixels = NULL;
    assert_int_equal(framebuffer_early(&tested), 0);
    assert_false(used->usable());
    assert_int_equal(framebuffer_remap(), 0);
    assert_true(used->usable());
    check_pixels(3, &tested);
}

static void test_impossible_modes(void **state)
{
    struct boot_framebuffer tested;

    (void)state;
    tested = mode_of(3), tested.type = FRAMEBUFFER_EGA_TEXT;
    assert_int_equal(framebuffer_early(&tested), -ENODEV);
    tested = mode_of(3), tested.pitch = WIDTH * 4 - 1;
    assert_int_equal(framebuffer_early(&tested), -ENODEV);
    tested = mode_of(3), tested.bits_per_pixel = 8;
    assert_int_equal(framebuffer_early(&tested), -ENODEV);
    tested = mode_of(1), tested.red_shift = 12;
    assert_int_equal(framebuffer_early(&tested), -ENODEV);
    tested = mode_of(3), tested.height = ~0u;
    assert_int_equal(framebuffer_early(&tested), -ENODEV);
    tested = mode_of(3), tested.address = 0;
    assert_int_equal(framebuffer_early(&tested), -ENODEV);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_format),
        cmocka_unit_test(test_remap_keeps_what_is_shown),
        cmocka_unit_test(test_above_4g_comes_with_the_remap),
        cmocka_unit_test(test_impossible_modes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
