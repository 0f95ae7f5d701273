/* SPDX-License-Identifier: MIT */
/* Takes no interrupt and gives nothing back: the others must get their share of the CPU all the same. */
// hostile: it never ends by itself
#include "lib/interrupt.h"
#include "lib/tap.h"

void guest_main(void)
{
    say("spinning");
    interrupts_off();
    for (;;)
        asm volatile("" : : : "memory");
}
