/* SPDX-License-Identifier: MIT */
/* Where the parts of lintel's image begin and end: page-aligned addresses that linker.ld defines. */
#ifndef ARCH_X86_MACHINE_IMAGE_H
#define ARCH_X86_MACHINE_IMAGE_H

#include "hv/lib/types.h"

extern const u8 image_start[],
    image_end[]; /* all of it; image_start is physical 2 MiB, the code before paging */
extern const u8 text_start[], text_end[];
extern const u8 rodata_start[], rodata_end[];
extern const u8 data_start[]; /* data and bss, up to image_end */

/*
 * Stacks of the boot CPU, in the image (boot/entry.asm), CPU_STACK_SIZE each. The guard page lies below the
 * first; the others give up their own lowest page.
 */
extern u8 boot_stack_guard[];
extern u8 boot_stack[], boot_nmi_stack[], boot_double_fault_stack[], boot_machine_check_stack[];

/* What other CPUs than the boot CPU begin with; copied below 1 MiB by smp.c (boot/ap_trampoline.asm). */
extern const u8 ap_trampoline[];
extern const u32 ap_trampoline_size;

/* Which instructions may fault, and where to go on then; offsets from IMAGE_BASE. */
struct exception_table_entry {
    u32 fault, landing;
};
extern const struct exception_table_entry exception_table_start[], exception_table_end[];

#endif
