/* SPDX-License-Identifier: MIT */
/* See fake_guest_ram.h. */
#include "tests/unit/fake_guest_ram.h"

#include "hv/lib/errno.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SPACE (6ull << 30)

gpa_t fake_guest_ram_full = ~0ull;
static u8 *ram;

void fake_guest_ram_reset(struct guest_memory *memory, u64 bytes)
{
    const struct guest_region regions[] = {
        {0, 0x9f000, REGION_RAM},
        {0x9f000, 0xa0000, REGION_RESERVED},
        {0xe0000, 0x100000, REGION_RESERVED},
        {0x100000, MIN(bytes, 0xc0000000ull), REGION_RAM},
        {SIZE_4G, SIZE_4G + bytes - MIN(bytes, 0xc0000000ull), REGION_RAM},
    };

    if (!ram)
        ram = mmap(NULL, SPACE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ram == MAP_FAILED || madvise(ram, SPACE, MADV_DONTNEED) != 0)
        abort();
    memset(memory, 0, sizeof(*memory));
    for (unsigned i = 0; i < ARRAY_SIZE(regions); i++)
        if (regions[i].start < regions[i].end)
            memory->regions[memory->region_count++] = regions[i];
    fake_guest_ram_full = ~0ull;
}

u8 *fake_guest_ram_at(gpa_t gpa)
{
    return ram + gpa;
}

static int check(const struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    gpa_t end = gpa + bytes;

    if (end < gpa)
        return -EFAULT;
    for (u32 i = 0; i < memory->region_count && gpa < end; i++)
        if (gpa >= memory->regions[i].start && gpa < memory->regions[i].end)
            gpa = memory->regions[i].end;
    return gpa < end ? -EFAULT : 0;
}

int guest_memory_read(struct guest_memory *memory, gpa_t gpa, void *to, u64 bytes)
{
    int error = check(memory, gpa, bytes);

    if (!error)
        memcpy(to, ram + gpa, bytes);
    return error;
}

int guest_memory_write(struct guest_memory *memory, gpa_t gpa, const void *from, u64 bytes)
{
    int error = check(memory, gpa, bytes);

    if (!error && gpa + bytes > fake_guest_ram_full)
        error = -ENOMEM;
    if (!error)
        memcpy(ram + gpa, from, bytes);
    return error;
}
