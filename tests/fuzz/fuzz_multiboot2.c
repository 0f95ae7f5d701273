/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as the boot loader's tags: refused with a sentence, or what the rest of lintel takes for granted
 * holds.
 */
// sources: boot/multiboot2.c boot/multiboot2_memory.c boot/memory_ranges.c hv/lib/string.c
#include <stdlib.h>
#include <string.h>

#include "arch/x86/machine/paging.h"
#include "boot/boot_info.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct boot_info info;
static const u8 *tags;

void *phys_to_virt(hpa_t hpa)
{
    return (void *)(DIRECT_MAP_BASE + hpa);
}

hpa_t virt_to_phys(const void *at)
{
    return 0x500000 + (hpa_t)((const u8 *)at - tags);
}

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_memory(void)
{
    hpa_t before = 0;

    check(info.ram_count > 0 && info.ram_count <= BOOT_RANGES);
    for (unsigned i = 0; i < info.ram_count; i++) {
        check(info.ram[i].start > before && info.ram[i].start < info.ram[i].end);
        check(IS_ALIGNED(info.ram[i].start | info.ram[i].end, PAGE_SIZE));
        check(info.ram[i].end <= DIRECT_MAP_SIZE);
        before = info.ram[i].end;
    }
}

static void check_files(void)
{
    check(info.file_count <= BOOT_FILES);
    for (unsigned i = 0; i < info.file_count; i++) {
        const struct boot_file *file = &info.files[i];

        check(file->name >= info.file_names && file->name < info.file_names + sizeof(info.file_names));
        check(strlen(file->name) > 0 && !strchr(file->name, ' '));
        check(info.file_ranges[i].start <= info.file_ranges[i].end && file->size <= SIZE_4G);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[160];
    u8 *copy;
    u32 total;

    if (size < 8)
        return 0;
    /* A block of its own size, so that one byte too far is seen; a right total in most inputs. */
    copy = malloc(size);
    memcpy(copy, data, size);
    total = (u32)size;
    if (data[4] != 0xff)
        memcpy(copy, &total, 4);
    tags = copy;
    if (multiboot2_parse(copy, size, &info, why, sizeof(why)) == 0) {
        check_memory();
        check_files();
        check(strlen(info.cmdline) < sizeof(info.cmdline) && strlen(info.loader) < sizeof(info.loader));
        check(info.framebuffer.type == 1 || info.framebuffer.type == 2 || info.framebuffer.type == 0xff);
    } else {
        check(strlen(why) > 0);
    }
    free(copy);
    return 0;
}
