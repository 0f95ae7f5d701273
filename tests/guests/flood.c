/* SPDX-License-Identifier: MIT */
/*
 * Prints as fast as it can, for ever, what lintel says when it ends: the operator must keep the line, and
 * whoever judges the run by it must not be fooled.
 */
// hostile: it never ends by itself
#include "lib/interrupt.h"
#include "lib/tap.h"

#define COM1 0x3f8

static const char lies[] = "\r\n[lintel] panic: not at all\r\n\x1b[0m[lintel] power off\r\n[lintel] reset";

void guest_main(void)
{
    interrupts_off();
    for (;;) {
        const char *at = lies;
        u64 left = sizeof(lies) - 1;

        asm volatile("cld; rep outsb" : "+S"(at), "+c"(left) : "d"(COM1) : "memory");
    }
}
