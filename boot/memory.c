/* SPDX-License-Identifier: MIT */
/*
 * Memory at boot: which frames exist, which are taken already (image, tags, modules: wherever the loader put
 * them), and lintel's own page tables over all that.
 */
#include "boot/memory.h"

#include "arch/x86/machine/image.h"
#include "arch/x86/machine/paging.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

/* Kept back: physical page 0 (so that no frame has the address 0) and the BIOS data beside it. */
#define LOW_RESERVED 0x1000
/* A start-up IPI can name pages below this one (Intel SDM 3A, 9.4.4: vectors a0 to bf are reserved). */
#define START_PAGE_LIMIT 0xa0000ull

static struct frame_used used[BOOT_FILES + 4];
static unsigned used_count;
static hpa_t start_page;
static struct paging_ram direct[BOOT_RANGES + BOOT_FILES + 2];
static unsigned direct_count;

u64 boot_memory_total(const struct boot_info *info)
{
    u64 total = 0;

    for (unsigned i = 0; i < info->ram_count; i++)
        total += info->ram[i].end - info->ram[i].start;
    return total;
}

static void use(hpa_t start, hpa_t end, frame_owner_t owner)
{
    struct frame_used *entry = &used[used_count++];

    entry->range.start = ALIGN_DOWN(start, PAGE_SIZE);
    entry->range.end = ALIGN_UP(end, PAGE_SIZE);
    entry->owner = owner;
}

static void note_used(const struct boot_info *info)
{
    use(0, LOW_RESERVED, FRAME_OWNER_HYPERVISOR);
    use(virt_to_phys(image_start), virt_to_phys(image_end), FRAME_OWNER_HYPERVISOR);
    use(info->info_range.start, info->info_range.end, FRAME_OWNER_HYPERVISOR);
    for (unsigned i = 0; i < info->file_count; i++)
        if (info->file_ranges[i].end > info->file_ranges[i].start)
            use(info->file_ranges[i].start, info->file_ranges[i].end, FRAME_OWNER_MODULE);
}

static bool is_used(hpa_t page)
{
    for (unsigned i = 0; i < used_count; i++)
        if (used[i].range.start < page + PAGE_SIZE && used[i].range.end > page)
            return true;
    return false;
}

/* The highest one: firmware is known to write to the lowest pages, whatever its memory map says. */
static void keep_start_page(const struct boot_info *info)
{
    for (hpa_t page = START_PAGE_LIMIT - PAGE_SIZE; page >= LOW_RESERVED; page -= PAGE_SIZE) {
        for (unsigned i = 0; i < info->ram_count; i++) {
            if (info->ram[i].start > page || info->ram[i].end < page + PAGE_SIZE || is_used(page))
                continue;
            use(page, page + PAGE_SIZE, FRAME_OWNER_HYPERVISOR);
            start_page = page;
            return;
        }
    }
}

hpa_t boot_memory_start_page(void)
{
    return start_page;
}

void boot_memory_free_start_page(void)
{
    if (start_page)
        frame_free(start_page >> PAGE_SHIFT, FRAME_ORDER_4K, FRAME_OWNER_HYPERVISOR);
    start_page = 0;
}

/* A page for page tables: below 4 GiB until frame_open_all, as paging_init wants. */
static hpa_t table_page(void)
{
    mfn_t mfn = frame_alloc(FRAME_ORDER_4K, FRAME_OWNER_HYPERVISOR);

    return mfn == MFN_INVALID ? 0 : mfn << PAGE_SHIFT;
}

void boot_memory_init(const struct boot_info *info)
{
    note_used(info);
    keep_start_page(info);
    frame_init(info->ram, info->ram_count, used, used_count);
    for (unsigned i = 0; i < info->ram_count; i++)
        direct[direct_count++] = (struct paging_ram){info->ram[i].start, info->ram[i].end};
    paging_init(direct, direct_count, table_page);
    frame_open_all();
}
