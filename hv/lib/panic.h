/* SPDX-License-Identifier: MIT */
/*
 * The end of lintel itself: only for its own broken invariants, never for anything a guest or user did.
 * Prints file, line, invariant, CPU, back trace and who was being served, without locks, then halts (the
 * last line begins "[lintel] panic:").
 */
#ifndef HV_LIB_PANIC_H
#define HV_LIB_PANIC_H

#include "hv/lib/types.h"

NORETURN void panic_at(const char *file, int line, const char *format, ...) PRINTF_LIKE(3, 4);

#define panic(...) panic_at(__FILE__, __LINE__, __VA_ARGS__)
#define assert(condition)                                        \
    do {                                                         \
        if (unlikely(!(condition)))                              \
            panic_at(__FILE__, __LINE__, "broken: " #condition); \
    } while (0)

/* Checks too dear for release builds. */
#ifdef LINTEL_DEBUG
#define debug_assert(condition) assert(condition)
#else
#define debug_assert(condition) ((void)sizeof(!(condition)))
#endif

/*
 * Hooks that higher floors fill in at boot; each may be NULL.
 *   dump    back trace and machine state, from the frame pointer of the caller
 *   served  one line about the vCPU that this CPU was serving, written into text; returns false for none
 *   stop    stop the other CPUs: nobody's output follows the panic line
 *   cpu     number of this CPU, for the panic line
 */
struct panic_hooks {
    void (*dump)(void);
    bool (*served)(char *text, size_t size);
    void (*stop)(void);
    u32 (*cpu)(void);
};
void panic_hooks_set(const struct panic_hooks *hooks);

/* The same last words for an exception in lintel: prints title, runs the hooks, stops. */
NORETURN void panic_exception(const char *title);

#endif
