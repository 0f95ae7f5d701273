/* SPDX-License-Identifier: MIT */
/* What the boot loader told, in one structure; boot/multiboot2.c fills it from the tags. */
#ifndef BOOT_BOOT_INFO_H
#define BOOT_BOOT_INFO_H

#include "drivers/framebuffer.h" /* struct boot_framebuffer */
#include "hv/memory/frame.h"
#include "hv/run/vm_config.h"

#define BOOT_RANGES 256
#define BOOT_FILES  128

struct boot_info {
    char cmdline[256];
    char loader[64];
    struct memory_range ram[BOOT_RANGES]; /* usable; sorted, disjoint, page aligned */
    unsigned ram_count;
    struct boot_file files[BOOT_FILES]; /* modules: name = their command line */
    struct memory_range file_ranges[BOOT_FILES];
    unsigned file_count;
    char file_names[4096];          /* what files[].name points into */
    struct memory_range info_range; /* where the tags themselves lie */
    struct boot_framebuffer framebuffer;
    hpa_t rsdp; /* copy inside the tags; 0: none */
    u8 rsdp_bytes[36];
    bool has_rsdp, efi;
};

/*
 * Parse the tags at `tags` (mapped; size from the first word, bounded by limit >= 8). 0 or -EINVAL with why
 * (size > 0). With 0, why is empty or says what was left out first: the caller logs it.
 */
int multiboot2_parse(const void *tags, size_t limit, struct boot_info *info, char *why, size_t size);

#endif
