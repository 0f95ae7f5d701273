/* SPDX-License-Identifier: MIT */
/* Has no IDT and divides by nothing, at every start: its VM is reset twice and stopped the third time. */
// hostile: it ends by a fault
#include "lib/tap.h"

void guest_main(void)
{
    struct PACKED {
        u16 limit;
        u64 base;
    } nothing = {0, 0};

    say("triple fault ahead");
    asm volatile("lidt %0; ud2" : : "m"(nothing));
}
