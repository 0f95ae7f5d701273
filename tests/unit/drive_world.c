/* SPDX-License-Identifier: MIT */
/* In the place of the scheduler's CPUs, the clock and the log (contract in the header). */
#include "tests/unit/drive_world.h"

#include <stdio.h>
#include <string.h>

#include "arch/x86/machine/tsc.h"
#include "hv/lib/log.h"
#include "hv/storage/drive.h"

struct sched_cpu sched_cpus[1];
u64 drive_time;
char said[8000];

u64 drive_now(void)
{
    return drive_time;
}

u64 tsc_from_ns(u64 ns)
{
    return ns / 1000;
}

/* As long as there is room for it. */
bool log_limit_pass(struct log_limit *limit, u64 at, u64 interval, u32 burst)
{
    (void)limit, (void)at, (void)interval, (void)burst;
    return strlen(said) < sizeof(said) / 2;
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;
    size_t used = strlen(said);

    (void)level;
    va_start(args, format);
    vsnprintf(said + used, sizeof(said) - used, format, args);
    va_end(args);
}

static void program(u64 deadline)
{
    (void)deadline;
}

static void kick(u32 cpu)
{
    (void)cpu;
}

static u64 clock_read(void)
{
    return 0;
}

static void alarm_set(u64 ms)
{
    (void)ms;
}

void drive_world_media(void)
{
    static const struct media_host host = {clock_read, alarm_set};

    media_start(&host);
}

void drive_world_timers(void)
{
    static const struct timer_hardware chip = {program, kick};

    timer_queue_init(&sched_cpus[0].timers, 0, &chip);
}
