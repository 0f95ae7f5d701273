/* SPDX-License-Identifier: MIT */
/*
 * Sorted, disjoint memory ranges in a fixed array; multiboot2.c makes the machine's RAM of them. No
 * allocation, no lock: the boot CPU alone. Lack of room loses memory, it never invents any.
 */
#include "boot/memory_ranges.h"

#include "hv/lib/string.h"

static void list_insert(struct memory_ranges *ranges, unsigned at, struct memory_range range)
{
    memmove(&ranges->list[at + 1], &ranges->list[at], (ranges->count - at) * sizeof(range));
    ranges->list[at] = range;
    ranges->count++;
}

static void list_delete(struct memory_ranges *ranges, unsigned at, unsigned count)
{
    ranges->count -= count;
    memmove(&ranges->list[at], &ranges->list[at + count], (ranges->count - at) * sizeof(*ranges->list));
}

/* The first range that ends at or behind address. */
static unsigned first_reaching(const struct memory_ranges *ranges, hpa_t address)
{
    unsigned i = 0;

    while (i < ranges->count && ranges->list[i].end < address)
        i++;
    return i;
}

void memory_ranges_add(struct memory_ranges *ranges, hpa_t start, hpa_t end)
{
    unsigned first = first_reaching(ranges, start), last = first;
    struct memory_range joined = {start, end};

    if (start >= end)
        return;
    for (; last < ranges->count && ranges->list[last].start <= end; last++) {
        joined.start = MIN(joined.start, ranges->list[last].start);
        joined.end = MAX(joined.end, ranges->list[last].end);
    }
    if (last > first) {
        ranges->list[first] = joined;
        list_delete(ranges, first + 1, last - first - 1);
    } else if (ranges->count < ranges->most) {
        list_insert(ranges, first, joined);
    } else {
        ranges->lost += end - start;
    }
}

/* A hole inside range `at`: keep both sides, or the larger one. */
static void range_split(struct memory_ranges *ranges, unsigned at, hpa_t start, hpa_t end)
{
    struct memory_range *low = &ranges->list[at];
    struct memory_range high = {end, low->end};

    low->end = start;
    if (ranges->count < ranges->most) {
        list_insert(ranges, at + 1, high);
        return;
    }
    if (low->end - low->start < high.end - high.start) {
        ranges->lost += low->end - low->start;
        *low = high;
    } else {
        ranges->lost += high.end - high.start;
    }
}

void memory_ranges_subtract(struct memory_ranges *ranges, hpa_t start, hpa_t end)
{
    unsigned i = 0;

    while (start < end && i < ranges->count) {
        struct memory_range *range = &ranges->list[i];

        if (range->end <= start || range->start >= end) {
            i++;
        } else if (range->start < start && range->end > end) {
            range_split(ranges, i, start, end);
            return;
        } else if (range->start < start) {
            range->end = start;
            i++;
        } else if (range->end > end) {
            range->start = end;
            i++;
        } else {
            list_delete(ranges, i, 1);
        }
    }
}

void memory_ranges_align(struct memory_ranges *ranges)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < ranges->count; i++) {
        struct memory_range range = ranges->list[i];

        if (range.start > ~0ull - PAGE_SIZE)
            continue;
        range.start = ALIGN_UP(range.start, PAGE_SIZE);
        range.end = ALIGN_DOWN(range.end, PAGE_SIZE);
        if (range.start < range.end)
            ranges->list[kept++] = range;
    }
    ranges->count = kept;
}

bool memory_ranges_hold(const struct memory_ranges *ranges, hpa_t start, hpa_t end)
{
    for (unsigned i = 0; i < ranges->count; i++) {
        if (ranges->list[i].start <= start && end <= ranges->list[i].end)
            return true;
    }
    return false;
}
