/* SPDX-License-Identifier: MIT */
/*
 * A small sorted list of disjoint memory ranges, made out of a firmware's unsorted and overlapping map. Boot
 * CPU.
 */
#ifndef BOOT_MEMORY_RANGES_H
#define BOOT_MEMORY_RANGES_H

#include "hv/memory/frame.h"

struct memory_ranges {
    struct memory_range *list; /* sorted, disjoint, neighbours joined */
    unsigned count, most;
    u64 lost; /* bytes that found no room in the list */
};

/* Unite with [start, end). */
void memory_ranges_add(struct memory_ranges *ranges, hpa_t start, hpa_t end);
/* Take [start, end) out. When a range must be split and the list is full, its smaller part is lost. */
void memory_ranges_subtract(struct memory_ranges *ranges, hpa_t start, hpa_t end);
/* Shrink every range to whole pages. */
void memory_ranges_align(struct memory_ranges *ranges);
/* Whether one range holds all of [start, end). */
bool memory_ranges_hold(const struct memory_ranges *ranges, hpa_t start, hpa_t end);

#endif
