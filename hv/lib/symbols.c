/* SPDX-License-Identifier: MIT */
/*
 * Which function an address is in. The table comes from tools/symbols and is added by the Makefile's second
 * link. Called by back traces, so it must not fail.
 */
#include "hv/lib/symbols.h"

const char *symbol_find(u64 offset, u64 *into)
{
    u32 low = 0, high = &symbol_count ? symbol_count : 0;

    while (low < high) {
        u32 middle = low + (high - low) / 2;

        if (symbol_table[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    *into = offset - symbol_table[low - 1].offset;
    return symbol_names + symbol_table[low - 1].name;
}
