/* SPDX-License-Identifier: MIT */
/*
 * The console font: 8x16 pixels, one byte per line, the most significant bit leftmost, indexed by ISO 8859-1
 * character. The build makes it from a font of a Debian package (tools/font2c); drivers/framebuffer draws it.
 */
#ifndef DRIVERS_FONT_H
#define DRIVERS_FONT_H

#define FONT_WIDTH  8
#define FONT_HEIGHT 16

extern const unsigned char font_glyphs[256][FONT_HEIGHT];

#endif
