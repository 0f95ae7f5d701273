/* SPDX-License-Identifier: MIT */
/*
 * Halts. With the word "open" it takes interrupts, of which none will ever come: it waits and must cost
 * nothing. Without, interrupts are off, and nothing can ever happen in this machine again: that is its end.
 */
// hostile: tests/system/test_sharing.py runs both ways
#include "lib/apic.h"
#include "lib/interrupt.h"
#include "lib/tap.h"

void guest_main(void)
{
    bool open = word_given("open");

    pic_setup(0x20, 0x28);
    say("halting");
    for (;;)
        if (open)
            asm volatile("sti; hlt");
        else
            asm volatile("cli; hlt");
}
