/* SPDX-License-Identifier: MIT */
/*
 * Clocks across vCPUs: whatever one has read, no other reads less afterwards. TSC, and kvm-clock from each
 * vCPU's own page.
 */
// conf: vcpus = 4
#include "lib/smp.h"
#include "lib/tap.h"

#define MSR_KVM_SYSTEM_TIME 0x4b564d01u
#define STABLE              1
#define ROUNDS              20000
#define TURNS               500

struct clock_page {
    u32 version, pad;
    u64 tsc_timestamp, system_time;
    u32 mul;
    s8 shift;
    u8 flags, pad2[2];
};

static struct clock_page pages[SMP_MAX] ALIGNED(64);
static u64 (*clock)(void);
static u64 latest; /* the highest value that anybody has read */
static u32 turn;   /* whose it is */

static u64 tsc_ordered(void)
{
    u64 value;

    asm volatile("lfence" : : : "memory");
    value = rdtsc();
    asm volatile("lfence" : : : "memory");
    return value;
}

static u64 kvm_clock(void)
{
    const volatile struct clock_page *page = &pages[smp_this()->id];
    u32 version;
    u64 ns;

    do {
        u64 ticks;

        version = page->version;
        ticks = tsc_ordered() - page->tsc_timestamp;
        ticks = page->shift < 0 ? ticks >> -page->shift : ticks << page->shift;
        ns = page->system_time + (u64)((unsigned __int128)ticks * page->mul >> 32);
    } while (version != page->version || (version & 1));
    return ns;
}

/* private[0]: steps backward, private[1]: the longest. */
static void read_once(void)
{
    u64 *seen = smp_this()->private;
    u64 before = __atomic_load_n(&latest, __ATOMIC_SEQ_CST), now = clock();

    if (now < before) {
        seen[0]++;
        seen[1] = MAX(seen[1], before - now);
    }
    while (now > before &&
           !__atomic_compare_exchange_n(&latest, &before, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
}

/* Where there are CPUs enough, all read at the same time. */
static void read_freely(void)
{
    smp_barrier();
    for (unsigned i = 0; i < ROUNDS; i++)
        read_once();
}

/* One after the other, woken by an interrupt: the CPU changes hands at each reading. */
static void read_in_turns(void)
{
    u32 id = smp_this()->id;

    interrupts_off();
    for (unsigned i = 0; i < TURNS; i++) {
        while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != id)
            interrupt_wait();
        read_once();
        __atomic_store_n(&turn, (id + 1) % smp_count, __ATOMIC_RELEASE);
        smp_send((id + 1) % smp_count, ICR_FIXED | SMP_WAKE);
    }
    interrupts_on();
}

static void check_by(const char *name, const char *how, void (*job)(void))
{
    u64 steps = 0, longest = 0;

    turn = 0;
    latest = 0;
    smp_run_all(job);
    for (unsigned i = 0; i < smp_count; i++) {
        steps += smp_cpus[i].private[0];
        longest = MAX(longest, smp_cpus[i].private[1]);
    }
    ok(steps == 0 && latest, "%s, read %s, never steps back (%lu times, by %lu at most)", name, how, steps,
       longest);
}

static void check(const char *name, u64 (*which)(void))
{
    clock = which;
    check_by(name, "by all at once", read_freely);
    check_by(name, "in turns", read_in_turns);
}

static void clock_on(void)
{
    wrmsr(MSR_KVM_SYSTEM_TIME, (u64)&pages[smp_this()->id] | 1);
}

static void check_pages(void)
{
    unsigned same = 0;

    smp_run_all(clock_on);
    for (unsigned i = 0; i < smp_count; i++)
        same += pages[i].mul == pages[0].mul && pages[i].shift == pages[0].shift &&
                pages[i].system_time == pages[0].system_time &&
                pages[i].tsc_timestamp == pages[0].tsc_timestamp && !(pages[i].version & 1);
    if (pages[0].flags & STABLE)
        ok(same == smp_count, "the stable bit is set, and %u pages say the same", same);
    else
        ok(true, "the stable bit is clear: kernels compare by themselves");
}

void guest_main(void)
{
    plan(5);
    smp_setup();
    smp_start_all();
    interrupts_on();
    check("TSC", tsc_ordered);
    check_pages();
    check("kvm-clock", kvm_clock);
}
