/* SPDX-License-Identifier: MIT */
/*
 * Waits for the power button, as a kernel does that obeys it, or with "deaf" on its command line does not
 * care. tests/system/test_vcpus.py presses it.
 */
// hostile: it ends when it is told to
#include "guest/pv/lintel.h"
#include "lib/io.h"
#include "lib/tap.h"

#define PM_STATUS     0x600
#define STATUS_BUTTON BIT(8)

void guest_main(void)
{
    say("waiting");
    while (word_given("deaf") || !(in16(PM_STATUS) & STATUS_BUTTON))
        lintel_call0(LINTEL_CALL_YIELD);
    say("the button was pressed");
}
