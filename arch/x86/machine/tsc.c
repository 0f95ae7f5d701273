/* SPDX-License-Identifier: MIT */
/*
 * How fast the time stamp counter and the local APIC timer run. One reference with a known rate is chosen;
 * the moment when it ticks is caught between two readings of the TSC, several times at each of three points a
 * few milliseconds apart, and the tightest catch of each counts: an interruption (SMI, a busy emulator)
 * spoils single catches, not the result. The two halves must agree, or a slow reference has wrapped in a long
 * interruption, and all is done again. Boot CPU, once, after host_lapic_enable. Conversions: any CPU.
 */
#include "arch/x86/machine/tsc.h"

#include "hv/lib/errno.h"

#include "arch/x86/machine/lapic.h"
#include "hv/lib/panic.h"

#define HALF_US           2500
#define ATTEMPTS          5
#define DISAGREEMENT_MOST 256  /* one part in ... between the halves */
#define CATCHES           6    /* per point */
#define CATCH_READS_MOST  2000 /* without a tick: it does not count */

/* HPET (IA-PC HPET specification 1.0a, 2.3): registers as indices of 32-bit words. */
#define HPET_PERIOD        1 /* femtoseconds */
#define HPET_CONFIGURATION 4
#define HPET_COUNTER       60
#define HPET_ENABLE        BIT(0)
#define HPET_PERIOD_MOST   100000000u

#define PM_TIMER_HZ   3579545u /* ACPI 6.4, 4.8.3.3 */
#define PM_TIMER_MASK 0xffffffu

#define PIT_HZ        1193182u
#define PIT_CHANNEL_2 0x42
#define PIT_COMMAND   0x43
#define PIT_GATE      0x61

#define WAIT_TICKS_MOST  (1ull << 36) /* about ten seconds and more */
#define FEMTO_PER_SECOND 1000000000000000ull

/* A counter that counts up; its value wraps at mask. */
struct reference_clock {
    u32 (*read)(const struct tsc_reference *reference);
    u32 mask;
    u64 period_fs;
};

/* The reference changed to `value` while the TSC was between early and late. */
struct catch
{
    u64 early, late;
    u32 value, timer;
};

u64 tsc_khz;
u64 lapic_timer_khz;

/* Per unit, 32 bits behind the point. */
static u64 ns_per_tick, ticks_per_ns;

/* ---------------------------------------------------------------- references */

static u32 hpet_read(const struct tsc_reference *reference)
{
    return reference->hpet[HPET_COUNTER];
}

static u32 pm_timer_read(const struct tsc_reference *reference)
{
    return in32(reference->pm_timer_port);
}

/* The PIT counts down, latched by a command; both bytes follow. */
static u32 pit_read(const struct tsc_reference *reference)
{
    u32 low;

    (void)reference;
    out8(PIT_COMMAND, 0x80);
    low = in8(PIT_CHANNEL_2);
    return ~(low | (u32)in8(PIT_CHANNEL_2) << 8);
}

/* Channel 2, gate on, speaker off, mode 2 from 65536: wraps like a counter of 16 bits. */
static void pit_start(void)
{
    out8(PIT_GATE, (in8(PIT_GATE) & ~2) | 1);
    out8(PIT_COMMAND, 0xb4);
    out8(PIT_CHANNEL_2, 0);
    out8(PIT_CHANNEL_2, 0);
}

/* Tightest-rate reference first; false when this one is absent or stands still. */
static bool reference_choose(const struct tsc_reference *reference, unsigned rank,
                             struct reference_clock *clock)
{
    switch (rank) {
    case 0:
        if (!reference->hpet)
            return false;
        reference->hpet[HPET_CONFIGURATION] |= HPET_ENABLE;
        *clock = (struct reference_clock){hpet_read, ~0u, reference->hpet[HPET_PERIOD]};
        return clock->period_fs > 0 && clock->period_fs <= HPET_PERIOD_MOST;
    case 1:
        *clock = (struct reference_clock){pm_timer_read, PM_TIMER_MASK, FEMTO_PER_SECOND / PM_TIMER_HZ};
        return reference->pm_timer_port != 0;
    default:
        pit_start();
        *clock = (struct reference_clock){pit_read, 0xffff, FEMTO_PER_SECOND / PIT_HZ};
        return true;
    }
}

/* ---------------------------------------------------------------- measuring */

static bool catch_tick(const struct tsc_reference *reference, const struct reference_clock *clock,
                       struct catch *caught)
{
    u32 first = clock->read(reference) & clock->mask;

    for (unsigned i = 0; i < CATCH_READS_MOST; i++) {
        caught->early = read_tsc();
        caught->value = clock->read(reference) & clock->mask;
        caught->timer = lapic_timer_count();
        caught->late = read_tsc();
        if (caught->value != first)
            return true;
    }
    return false;
}

static bool catch_best(const struct tsc_reference *reference, const struct reference_clock *clock,
                       struct catch *best)
{
    struct catch caught;

    if (!catch_tick(reference, clock, best))
        return false;
    for (unsigned i = 1; i < CATCHES; i++) {
        if (!catch_tick(reference, clock, &caught))
            return false;
        if (caught.late - caught.early < best->late - best->early)
            *best = caught;
    }
    return true;
}

/* Spin until the reference has gone on by HALF_US; false when it no longer moves. */
static bool reference_wait(const struct tsc_reference *reference, const struct reference_clock *clock,
                           u32 from)
{
    u64 wanted = HALF_US * (FEMTO_PER_SECOND / 1000000) / clock->period_fs;
    u64 start = read_tsc();

    while (((clock->read(reference) - from) & clock->mask) < wanted) {
        if (read_tsc() - start > WAIT_TICKS_MOST)
            return false;
    }
    return true;
}

static u64 khz_between(const struct reference_clock *clock, const struct catch *from, const struct catch *to,
                       u64 ticks)
{
    u64 elapsed_ns = ((to->value - from->value) & clock->mask) * clock->period_fs / 1000000;

    return elapsed_ns ? ticks * 1000000 / elapsed_ns : 0;
}

static u64 tsc_khz_between(const struct reference_clock *clock, const struct catch *from,
                           const struct catch *to)
{
    return khz_between(clock, from, to, (to->early - from->early + to->late - from->late) / 2);
}

/*
 * One measurement of both rates: 0, -EAGAIN when its halves disagree, -ENODEV when the reference does not
 * count.
 */
static int measure(const struct tsc_reference *reference, const struct reference_clock *clock)
{
    struct catch points[3];
    u64 first, second;

    lapic_timer_run_free();
    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        if (i > 0 && !reference_wait(reference, clock, points[i - 1].value))
            return -ENODEV;
        if (!catch_best(reference, clock, &points[i]))
            return -ENODEV;
    }
    tsc_khz = tsc_khz_between(clock, &points[0], &points[2]);
    lapic_timer_khz = khz_between(clock, &points[0], &points[2], points[0].timer - points[2].timer);
    first = tsc_khz_between(clock, &points[0], &points[1]);
    second = tsc_khz_between(clock, &points[1], &points[2]);
    if (tsc_khz == 0)
        return -ENODEV;
    return (first > second ? first - second : second - first) <= tsc_khz / DISAGREEMENT_MOST ? 0 : -EAGAIN;
}

/* A machine too busy for two halves to agree still gets the last value. */
static bool measure_often(const struct tsc_reference *reference, const struct reference_clock *clock)
{
    int status = -EAGAIN;

    for (unsigned i = 0; i < ATTEMPTS && status == -EAGAIN; i++)
        status = measure(reference, clock);
    return status != -ENODEV;
}

void tsc_calibrate(const struct tsc_reference *reference)
{
    struct reference_clock clock;
    unsigned rank = 0;

    while (!reference_choose(reference, rank, &clock) || !measure_often(reference, &clock)) {
        if (rank++ == 2)
            panic("neither HPET, ACPI PM timer nor PIT counts: the TSC can't be calibrated");
    }
    ns_per_tick = (1000000ull << 32) / tsc_khz;
    ticks_per_ns = (tsc_khz << 32) / 1000000;
    lapic_timer_set_rate(lapic_timer_khz, tsc_khz);
    lapic_timer_start();
}

/* ---------------------------------------------------------------- conversions */

u64 tsc_from_ns(u64 ns)
{
    return (u64)((unsigned __int128)ns * ticks_per_ns >> 32);
}

u64 tsc_to_ns(u64 ticks)
{
    return (u64)((unsigned __int128)ticks * ns_per_tick >> 32);
}

void tsc_delay_us(u64 us)
{
    u64 start = read_tsc(), ticks = tsc_from_us(us);

    while (read_tsc() - start < ticks)
        cpu_pause();
}
