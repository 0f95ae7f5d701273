/* SPDX-License-Identifier: MIT */
/*
 * TAP on the serial line. A guest is a guest_main that says plan(n), n times ok(...), and returns (or calls
 * finish): the library prints "# end" and switches the machine off.
 */
#ifndef GUESTS_LIB_TAP_H
#define GUESTS_LIB_TAP_H

#include "hv/lib/types.h"

void guest_main(void);

void plan(unsigned points);
/* One point; the text says what holds when it is ok. Understands %u %x %d (32 bits), %lu %lx %ld, %s %%. */
bool ok(bool condition, const char *format, ...) PRINTF_LIKE(2, 3);
/* A comment line. */
void say(const char *format, ...) PRINTF_LIKE(1, 2);
NORETURN void finish(void);
NORETURN void bail_out(const char *format, ...) PRINTF_LIKE(1, 2);

/* Where the loader put struct hvm_start_info. */
extern u64 start_info;
/* The kernel's command line holds this word. */
bool word_given(const char *word);

#endif
