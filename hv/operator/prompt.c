/* SPDX-License-Identifier: MIT */
/*
 * Keeps the monitor's prompt in sight: the log's lines come between the prompt and what is being typed, so
 * both are shown again soon after. As a log sink it is called under the log's lock, on any CPU, and may do no
 * more than set a timer; the timer fires on the boot CPU with no lock held.
 */
#include "hv/operator/prompt.h"

#include "arch/x86/machine/tsc.h"
#include "hv/lib/log.h"
#include "hv/operator/console.h"
#include "hv/run/sched.h"

#define DELAY_US 20000 /* a dump of registers is over by then, and nobody has typed much */

static struct timer timer;

static void timer_fired(struct timer *fired)
{
    (void)fired;
    console_prompt_again();
}

static void log_write(struct log_sink *sink, const char *text, size_t size, bool panicking)
{
    (void)sink;
    (void)text;
    (void)size;
    if (panicking)
        return;
    console_prompt_lost();
    if (console_at_prompt() && !timer_is_set(&timer))
        timer_set(&timer, tsc_boot_now() + tsc_from_us(DELAY_US));
}

void prompt_keep(void)
{
    static struct log_sink sink = {.name = "prompt", .write = log_write};

    timer_init(&timer, sched_timers(0), timer_fired);
    log_sink_add(&sink);
}
