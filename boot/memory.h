/* SPDX-License-Identifier: MIT */
/* From the boot loader's memory map to lintel's allocator and page tables. Boot CPU, once. */
#ifndef BOOT_MEMORY_H
#define BOOT_MEMORY_H

#include "boot/boot_info.h"

/* A bound for the tags' size, against nonsense in their first word. */
#define BOOT_TAGS_MAX (1u << 20)

u64 boot_memory_total(const struct boot_info *info); /* bytes of usable RAM */
void boot_memory_init(const struct boot_info *info); /* panics when memory does not suffice */

NORETURN void boot_main(u32 magic, u32 tags);

#endif
