/* SPDX-License-Identifier: MIT */
/* Jumps to where no RAM is: there is no instruction that lintel could carry out. */
// hostile: it ends by a fault
#include "lib/tap.h"

void guest_main(void)
{
    say("jumping into the hole");
    asm volatile("jmp *%0" : : "r"(0xd0000000ull));
}
