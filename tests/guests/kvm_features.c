/* SPDX-License-Identifier: MIT */
/*
 * What personality = kvm promises by the feature bits of CPUID 0x40000001, one part per bit: the clock by
 * either pair of MSRs, its stable flag, ports that need no delay, steal time. (hypercall.c holds the bits to
 * these.)
 */
#include "lib/io.h"
#include "lib/tap.h"

#define CPUID_KVM_FEATURES 0x40000001
#define FEATURE_CLOCK      0 /* MSR 0x11, 0x12 */
#define FEATURE_NO_DELAY   1
#define FEATURE_CLOCK_2    3 /* MSR 0x4b564d00, 0x4b564d01 */
#define FEATURE_STEAL      5 /* MSR 0x4b564d03 */
#define FEATURE_STABLE     24
#define MSR_STEAL          0x4b564d03
#define PIT_COUNTER_2      0x42
#define PIT_COMMAND        0x43
#define RTC_INDEX          0x70
#define RTC_DATA           0x71
#define RTC_RAM            0x40 /* a byte of it that nobody minds */

/* Linux, asm/pvclock-abi.h. */
static volatile struct {
    u32 version, padding;
    u64 tsc, system_time;
    u32 multiplier;
    s8 shift;
    u8 flags, rest[2];
} clock_page ALIGNED(64);
static volatile struct {
    u32 version, seconds, nanoseconds;
} wall ALIGNED(64);

static volatile struct {
    u64 nanoseconds;
    u32 version, rest[13];
} steal ALIGNED(64);

static bool shown(u8 bit)
{
    return cpuid(CPUID_KVM_FEATURES, 0).eax & BIT(bit);
}

static u64 clock_ns(void)
{
    u64 ticks = rdtsc() - clock_page.tsc;
    __extension__ unsigned __int128 product;

    ticks = clock_page.shift < 0 ? ticks >> -clock_page.shift : ticks << clock_page.shift;
    product = ticks;
    product *= clock_page.multiplier;
    return clock_page.system_time + (u64)(product >> 32);
}

/* Two decimal digits of the RTC; they stand still while a second ends. */
static u32 rtc(u8 at)
{
    u8 value;

    do {
        out8(RTC_INDEX, 0x0a);
    } while (in8(RTC_DATA) & 0x80);
    out8(RTC_INDEX, at);
    value = in8(RTC_DATA);
    out8(RTC_INDEX, 0x0b);
    return in8(RTC_DATA) & 4 ? value : (value >> 4) * 10u + (value & 0xf);
}

/* Seconds that the wall clock, moved on by the system time, is ahead of the RTC's minute and second. */
static u32 seconds_apart(void)
{
    u64 now = wall.seconds + (wall.nanoseconds + clock_ns()) / 1000000000;

    return (u32)((now + 3600 - (rtc(2) * 60 + rtc(0))) % 3600);
}

static void clock_by(const char *name, u8 bit, u32 msr_wall, u32 msr_time)
{
    u64 before, passed;
    u32 apart;

    ok(shown(bit), "%s: the bit is shown", name);
    clock_page.version = wall.version = 0;
    wrmsr(msr_time, (u64)&clock_page | 1);
    ok(clock_page.version && !(clock_page.version & 1), "its page is filled: version %u", clock_page.version);
    ok(shown(FEATURE_STABLE) && (clock_page.flags & 1), "the stable bit is shown, and its flag set");
    before = clock_ns();
    delay_us(20000);
    passed = clock_ns() - before;
    ok(passed > 18000000 && passed < 4000000000, "20 ms of PM timer are %lu ns of it", passed);
    wrmsr(msr_wall, (u64)&wall);
    apart = seconds_apart();
    ok(wall.version && !(wall.version & 1) && (apart < 5 || apart > 3595),
       "the wall clock is the RTC's + %u s", apart);
    wrmsr(msr_time, 0);
    wrmsr_try(msr_time, 0x7ffffffff001);
    wrmsr_try(msr_time, ~0ull);
    wrmsr_try(msr_wall, ~0ull);
    ok(true, "a page that is not there does no harm");
    wrmsr_try(msr_time, 0);
}

/* Kernels that see the bit leave out their writes to port 0x80 between two accesses of an old chip. */
static void no_delay(void)
{
    u32 kept = 0, latched = 0;

    for (u32 i = 0; i < 1000; i++) {
        out8(RTC_INDEX, RTC_RAM);
        out8(RTC_DATA, (u8)i);
        out8(RTC_INDEX, RTC_RAM);
        kept += in8(RTC_DATA) == (u8)i;
        out8(PIT_COMMAND, 0xb0); /* counter 2, both bytes; its gate is off, so that it stands still */
        out8(PIT_COUNTER_2, (u8)i);
        out8(PIT_COUNTER_2, 0x12);
        out8(PIT_COMMAND, 0x80);
        latched += in8(PIT_COUNTER_2) == (u8)i && in8(PIT_COUNTER_2) == 0x12;
    }
    ok(shown(FEATURE_NO_DELAY), "ports need no delay: the bit is shown");
    ok(kept == 1000 && latched == 1000, "RTC and PIT at full speed: %u and %u of 1000 kept", kept, latched);
}

/* How much is stolen depends on the neighbours: tests/system/test_scheduler.py. */
static void steal_time(void)
{
    u64 address = (u64)&steal;

    ok(shown(FEATURE_STEAL), "steal time: the bit is shown");
    wrmsr(MSR_STEAL, address | 1);
    ok(steal.version && !(steal.version & 1), "its record is filled: version %u", steal.version);
    ok(wrmsr_try(MSR_STEAL, (address + 32) | 1) == VECTOR_GP &&
           wrmsr_try(MSR_STEAL, address | 3) == VECTOR_GP,
       "it must be aligned, and bits 5:1 are reserved");
    ok(wrmsr_try(MSR_STEAL, 0x7ffffffff001) == VECTOR_GP, "it must be in RAM");
    ok(rdmsr(MSR_STEAL) == (address | 1), "what is refused changes nothing");
    wrmsr(MSR_STEAL, 0);
}

void guest_main(void)
{
    plan(6 + 6 + 2 + 5);
    clock_by("the old clock", FEATURE_CLOCK, 0x11, 0x12);
    clock_by("the new clock", FEATURE_CLOCK_2, 0x4b564d00, 0x4b564d01);
    no_delay();
    steal_time();
}
