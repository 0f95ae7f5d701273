/* SPDX-License-Identifier: MIT */
/* A text screen on the linear framebuffer that the boot loader set up: log sink and console device. */
#ifndef DRIVERS_FRAMEBUFFER_H
#define DRIVERS_FRAMEBUFFER_H

#include "hv/lib/types.h"

#define FRAMEBUFFER_RGB      1
#define FRAMEBUFFER_EGA_TEXT 2
#define FRAMEBUFFER_NONE     0xff

/* The mode as multiboot2 tells it (tag 8). */
struct boot_framebuffer {
    hpa_t address;
    u32 pitch, width, height;
    u8 bits_per_pixel;
    u8 type; /* FRAMEBUFFER_... */
    u8 red_shift, green_shift, blue_shift;
};

/*
 * Use the screen. On the boot tables, which map the first 4 GiB; a framebuffer above shows its text once it
 * is remapped. Boot CPU. 0, or -ENODEV when mode is no RGB framebuffer that can be drawn on.
 */
int framebuffer_early(const struct boot_framebuffer *mode);

/*
 * Right after paging_init: draw through a write-combining map and catch up. (As soon as the page tables
 * changed, nothing is drawn on the old map any more, so what is logged in between cannot fault.) Nothing when
 * framebuffer_early did not succeed. 0, or -ENOMEM: then the screen stays as it is.
 */
int framebuffer_remap(void);

#endif
