/* SPDX-License-Identifier: MIT */
/* See fake_guest_ram.h. */
#include "tests/unit/fake_guest_ram.h"

#include "hv/lib/errno.h"
#include "hv/memory/guest_take.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SPACE (6ull << 30)

gpa_t fake_guest_ram_full = ~0ull;
bool fake_guest_ram_no_pins;
static u8 *ram;
static struct {
    gpa_t gpa;
    u64 bytes;
} pins[64];

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
    fake_guest_ram_no_pins = false;
    memset(pins, 0, sizeof(pins));
}

u8 *fake_guest_ram_at(gpa_t gpa)
{
    return ram + gpa;
}

unsigned fake_guest_ram_pins(gpa_t gpa)
{
    unsigned count = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(pins); i++)
        count += pins[i].bytes && pins[i].gpa >> PAGE_SHIFT <= gpa >> PAGE_SHIFT &&
                 gpa >> PAGE_SHIFT <= (pins[i].gpa + pins[i].bytes - 1) >> PAGE_SHIFT;
    return count;
}

int guest_memory_pin(struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    (void)memory;
    for (unsigned i = 0; i < ARRAY_SIZE(pins) && !fake_guest_ram_no_pins; i++)
        if (!pins[i].bytes) {
            pins[i].gpa = gpa;
            pins[i].bytes = bytes;
            return 0;
        }
    return -ENOSPC;
}

/* One that was pinned. */
void guest_memory_unpin(struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    (void)memory;
    for (unsigned i = 0; i < ARRAY_SIZE(pins); i++)
        if (pins[i].gpa == gpa && pins[i].bytes == bytes) {
            pins[i].bytes = 0;
            return;
        }
    abort();
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

int guest_memory_provide(struct guest_memory *memory, gpa_t gpa)
{
    int error = check(memory, gpa, 1);

    return !error && gpa >= fake_guest_ram_full ? -ENOMEM : error;
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

int guest_memory_zero(struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    int error = check(memory, gpa, bytes);

    if (!error)
        memset(ram + gpa, 0, bytes);
    return error;
}

int guest_memory_read_u16(struct guest_memory *memory, gpa_t gpa, u16 *value)
{
    return gpa & 1 ? -EINVAL : guest_memory_read(memory, gpa, value, 2);
}

int guest_memory_write_u16(struct guest_memory *memory, gpa_t gpa, u16 value)
{
    return gpa & 1 ? -EINVAL : guest_memory_write(memory, gpa, &value, 2);
}

int guest_memory_copy(struct guest_memory *memory, gpa_t gpa, void *buffer, u64 bytes, bool to_guest)
{
    return to_guest ? guest_memory_write(memory, gpa, buffer, bytes)
                    : guest_memory_read(memory, gpa, buffer, bytes);
}
