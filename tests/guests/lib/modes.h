/* SPDX-License-Identifier: MIT */
/*
 * A few instructions run in any mode of the CPU, entered by IRET and left by INT 0x80 or an exception, with
 * all registers before and after. Call modes_setup first. The code of 16-bit modes lies in the 64 KiB at
 * MODES_LOW.
 */
#ifndef GUESTS_LIB_MODES_H
#define GUESTS_LIB_MODES_H

#include "lib/interrupt.h"

#define MODES_LOW   0x20000 /* physical; segment 0x2000 in real and virtual-8086 mode */
#define MODES_SITE  0x1000  /* where in it code of real mode must lie */
#define VECTOR_BACK 0x80

/* Selectors; ring 1 to 3 are given by SELECTOR_RING, which changes descriptor and RPL. */
#define SELECTOR_DATA           0x10
#define SELECTOR_CODE_64        0x38
#define SELECTOR_CODE_32        0x58
#define SELECTOR_CODE_16        0x78 /* base MODES_LOW */
#define SELECTOR_STACK          0x98
#define SELECTOR_RING(first, r) ((first) + 9u * (r))

/* Long mode: 64-bit and compatibility code. frame: what is entered, and what was left; vector tells how. */
void modes_setup(void);
void long_run(struct frame *frame);

/* Protected mode, virtual-8086 mode (by EFLAGS) and real mode. */
struct legacy {
    u32 edi, esi, ebp, esp_ignored, ebx, edx, ecx, eax;
    u32 vector, error; /* how it was left */
    u32 eip, cs, eflags, esp, ss;
    u32 cr0, cr3, cr4; /* cr0: what is set beside PE */
    u32 real;          /* real mode: the code is at MODES_SITE */
};
_Static_assert(sizeof(struct legacy) == 19 * 4, "modes.asm counts on it");
void legacy_run(struct legacy *legacy);

/*
 * Code for legacy_run (protected mode without paging; EDI: CR3, below 4 GiB): calls what stands at
 * MODES_LOW + MODES_SITE in 64-bit mode, through five levels of tables whose entry 4 maps it too.
 */
extern const u8 five_levels[];

/* CR3 for pages of 4 MiB (CR4.PSE) and for PAE, all of 4 GiB mapped to itself for everybody. */
u32 modes_cr3_32(void);
u32 modes_cr3_pae(void);

#endif
