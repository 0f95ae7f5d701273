/* SPDX-License-Identifier: MIT */
/*
 * The names of lintel's own functions, for back traces: a table that the Makefile's second link adds. Any
 * CPU, no lock.
 */
#ifndef HV_LIB_SYMBOLS_H
#define HV_LIB_SYMBOLS_H

#include "hv/lib/types.h"

/*
 * Sorted by offset, which is the address less IMAGE_BASE; name is an index into symbol_names. Weak, because
 * programs linked in one step (host tests) have no table: then the addresses of all three are 0.
 */
struct symbol {
    u32 offset;
    u32 name;
};
extern const u32 symbol_count __attribute__((weak));
extern const struct symbol symbol_table[] __attribute__((weak));
extern const char symbol_names[] __attribute__((weak));

/*
 * The function that holds offset, and how far into it; NULL when offset is before the first one or there is
 * no table.
 */
const char *symbol_find(u64 offset, u64 *into);

#endif
