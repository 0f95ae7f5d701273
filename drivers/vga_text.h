/* SPDX-License-Identifier: MIT */
/* The 80x25 text screen at 0xb8000 for machines without a framebuffer: log sink and console device. */
#ifndef DRIVERS_VGA_TEXT_H
#define DRIVERS_VGA_TEXT_H

/*
 * Use the text screen, in place of framebuffer_early when that found nothing; only where a BIOS started the
 * machine. Boot CPU, on the boot tables.
 */
void vga_text_early(void);

/* Right after paging_init, as framebuffer_remap. Nothing when vga_text_early was not called. 0 or -ENOMEM. */
int vga_text_remap(void);

#endif
