/* SPDX-License-Identifier: MIT */
/*
 * The ordered end of the machine (contract in the header). The monitor's commands begin it; the end of a VM
 * or the timer, both as work on the boot CPU, bring it on. No lock: one CPU alone comes here.
 */
#include "hv/operator/shutdown.h"

#include "arch/x86/machine/tsc.h"
#include "hv/run/sched.h"

static struct {
    const char *what; /* NULL: not under way */
    NORETURN void (*end)(void);
    u32 grace_s;
    struct timer timer;
} ending;

static void stop_the_rest(struct sched_work *work);
static struct sched_work rest_work = {.run = stop_the_rest};

static u32 vms_running(void)
{
    u32 count = 0;

    for (u32 i = 0; i < vm_count; i++)
        count += vms[i]->state == VM_RUNNING;
    return count;
}

/* The time is up. */
static void stop_the_rest(struct sched_work *work)
{
    (void)work;
    for (u32 i = 0; i < vm_count; i++)
        if (vms[i]->state == VM_RUNNING)
            vm_stop(vms[i], "by the operator, who wants the machine to %s", ending.what);
    ending.end();
}

/* In the timer's interrupt. */
static void grace_over(struct timer *timer)
{
    (void)timer;
    log_info("The %u s are over: what still runs is stopped.", ending.grace_s);
    sched_work_queue(&rest_work);
}

static void buttons_press(void)
{
    for (u32 i = 0; i < vm_count; i++) {
        if (vms[i]->state != VM_RUNNING)
            continue;
        log_info("VM %s: its power button is pressed", vms[i]->name);
        machine->power_button(vms[i]);
    }
}

bool shutdown_is_under_way(void)
{
    return ending.what != NULL;
}

void shutdown_look(void)
{
    if (vms_running())
        return;
    log_info("No VM runs any more.");
    ending.end();
}

void shutdown_begin(const char *what, NORETURN void (*end)(void), u32 grace_s)
{
    bool again = shutdown_is_under_way();

    ending.what = what;
    ending.end = end;
    ending.grace_s = grace_s;
    log_info("The operator wants the machine to %s%s.", what, again ? " at once" : "");
    if (again || !grace_s || !vms_running()) {
        stop_the_rest(&rest_work);
        return;
    }
    log_info("VMs have %u s to switch themselves off.", grace_s);
    timer_init(&ending.timer, sched_timers(0), grace_over);
    timer_set(&ending.timer, read_tsc() + tsc_from_us(grace_s * 1000000ull));
    buttons_press();
}
