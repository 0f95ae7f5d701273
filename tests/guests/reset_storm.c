/* SPDX-License-Identifier: MIT */
/* Resets itself at once, for ever: neither the CPU nor the log may belong to it. */
// hostile: it never ends by itself
#include "lib/io.h"
#include "lib/tap.h"

void guest_main(void)
{
    out8(0xcf9, 6);
    for (;;)
        asm volatile("hlt");
}
