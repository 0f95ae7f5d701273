/* SPDX-License-Identifier: MIT */
/* From the boot loader's memory map to lintel's allocator and page tables. Boot CPU, once. */
#ifndef BOOT_MEMORY_H
#define BOOT_MEMORY_H

#include "boot/boot_info.h"

/* A bound for the tags' size, against nonsense in their first word. */
#define BOOT_TAGS_MAX (1u << 20)

u64 boot_memory_total(const struct boot_info *info); /* bytes of usable RAM */
void boot_memory_init(const struct boot_info *info); /* panics when memory does not suffice */

/*
 * A page below 1 MiB for the first steps of other CPUs, kept back by boot_memory_init; 0: there is none. Give
 * it back when they run.
 */
hpa_t boot_memory_start_page(void);
void boot_memory_free_start_page(void);

NORETURN void boot_main(u32 magic, u32 tags);

#endif
