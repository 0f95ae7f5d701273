/* SPDX-License-Identifier: MIT */
/*
 * kvm-clock: the factors as Linux divides them back, pages that agree between vCPUs and over TSC jumps, bad
 * addresses.
 */
// sources: hv/memory/guest_map.c
// sources: guest/policy/kvmclock.c tests/unit/fake_guest_ram.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/machine.h"
#include "hv/lib/errno.h"
#include "tests/unit/fake_guest_ram.h"

u64 test_now;
u64 tsc_khz;
u64 (*rtc_wall_clock_seconds)(void);

u64 tsc_to_ns(u64 ticks)
{
    return (u64)((device_clock_product)ticks * 1000000 / tsc_khz);
}

static struct machine *machine_of_test;
static struct vm_config config;
static struct vm vm;
static struct vcpu vcpus[2];

struct page {
    u32 version, pad;
    u64 tsc, system_time;
    u32 mul;
    s8 shift;
    u8 flags, pad2[2];
};

static int setup(void **state)
{
    (void)state;
    machine_of_test = calloc(1, sizeof(*machine_of_test) + 2 * sizeof(struct machine_vcpu));
    config = (struct vm_config){.personality = PERSONALITY_KVM};
    vm = (struct vm){.machine = machine_of_test, .config = &config};
    fake_guest_ram_reset(&vm.memory, 16 << 20);
    tsc_khz = 2999999;
    test_now = 70ull * 1000 * tsc_khz;
    machine_of_test->start_tsc = test_now;
    rtc_wall_clock_seconds = NULL;
    for (u32 i = 0; i < 2; i++)
        vcpus[i] = (struct vcpu){
            .vm = &vm, .index = i, .tsc_offset = 0 - test_now, .clock = &machine_of_test->vcpus[i].clock};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(machine_of_test);
    return 0;
}

static const struct page *page_at(gpa_t gpa)
{
    return (const struct page *)fake_guest_ram_at(gpa);
}

/* Linux, pvclock_scale_delta. */
static u64 guest_ns(const struct page *page, u64 guest_tsc)
{
    u64 delta = guest_tsc - page->tsc;

    delta = page->shift < 0 ? delta >> -page->shift : delta << page->shift;
    return page->system_time + (u64)((device_clock_product)delta * page->mul >> 32);
}

/* Linux, pvclock_tsc_khz. */
static u64 guest_khz(u32 mul, s8 shift)
{
    u64 khz = (1000000ull << 32) / mul;

    return shift < 0 ? khz << -shift : khz >> shift;
}

static void test_factors(void **state)
{
    static const u64 rates[] = {1,       19200,   100000,  999999,  1000000, 1000001, 1999999, 2000000,
                                2000001, 2394454, 3000000, 3999999, 4000000, 5700123, 9999999};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
        u64 lost = 1;
        u32 mul;
        s8 shift;

        kvmclock_factors(rates[i], &mul, &shift);
        assert_true(mul >> 31);
        if (shift < 0)
            lost = 1ull << -shift;
        assert_true(guest_khz(mul, shift) <= rates[i] && guest_khz(mul, shift) + lost > rates[i]);
    }
}

static void test_page(void **state)
{
    const struct page *page = page_at(0x2000);
    u64 second = tsc_khz * 1000;
    u64 value;

    (void)state;
    assert_int_equal(kvmclock_msr_write(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, 0x2001), 0);
    assert_int_equal(page->version, 2);
    assert_int_equal(page->flags, 1);
    assert_int_equal(guest_ns(page, 0), 0);
    assert_in_range(guest_ns(page, 1000 * second), 999999999000, 1000000001000);
    assert_int_equal(kvmclock_msr_read(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, &value), 0);
    assert_int_equal(value, 0x2001);
}

/* The stable bit says that no vCPU reads less than another has: CPUs that disagree can't promise that. */
static void test_stable_only_where_it_is_true(void **state)
{
    (void)state;
    tsc_unsynchronised = true;
    kvmclock_msr_write(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, 0x2001);
    tsc_unsynchronised = false;
    kvmclock_msr_write(&vcpus[1], MSR_KVM_SYSTEM_TIME_NEW, 0x3001);
    assert_int_equal(page_at(0x2000)->flags, 0);
    assert_int_equal(page_at(0x3000)->flags, 1);
}

/* The same moment is the same time on every vCPU, whenever its page was written. */
static void test_pages_agree(void **state)
{
    (void)state;
    kvmclock_msr_write(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, 0x2001);
    test_now += 123456789;
    kvmclock_msr_write(&vcpus[1], MSR_KVM_SYSTEM_TIME, 0x3001); /* the old number does the same */
    test_now += 5555;
    assert_int_equal(guest_ns(page_at(0x2000), test_now + vcpus[0].tsc_offset),
                     guest_ns(page_at(0x3000), test_now + vcpus[1].tsc_offset));
    assert_int_equal(guest_ns(page_at(0x2000), test_now + vcpus[0].tsc_offset),
                     guest_ns(page_at(0x2000), 123456789 + 5555));
}

static void test_tsc_jump(void **state)
{
    static const u64 jumps[] = {1000000, 0 - 5000000000ull, ~0ull, 1ull << 63};
    u64 before;

    (void)state;
    kvmclock_msr_write(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, 0x2001);
    test_now += 1000000;
    before = guest_ns(page_at(0x2000), test_now + vcpus[0].tsc_offset);
    for (unsigned i = 0; i < ARRAY_SIZE(jumps); i++) {
        vcpus[0].tsc_offset += jumps[i];
        assert_int_equal(kvmclock_update(&vcpus[0]), 0);
        assert_int_equal(guest_ns(page_at(0x2000), test_now + vcpus[0].tsc_offset), before);
        assert_int_equal(page_at(0x2000)->version, 4 + 2 * i);
    }
}

static void test_off_and_reset(void **state)
{
    (void)state;
    kvmclock_msr_write(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, 0x2001);
    assert_int_equal(kvmclock_msr_write(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, 0), 0);
    memset(fake_guest_ram_at(0x2000), 0, sizeof(struct page));
    assert_int_equal(kvmclock_update(&vcpus[0]), 0);
    assert_int_equal(page_at(0x2000)->version, 0);
    kvmclock_msr_write(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, 0x2001);
    kvmclock_reset(vcpus[0].clock);
    memset(fake_guest_ram_at(0x2000), 0, sizeof(struct page));
    assert_int_equal(kvmclock_update(&vcpus[0]), 0);
    assert_int_equal(page_at(0x2000)->version, 0);
}

static void test_bad_addresses(void **state)
{
    static const u64 bad[] = {0xa0001, (16 << 20) - 9, 0xfee00001, ~0ull, 1ull << 63 | 1, (1ull << 52) + 1};
    u64 value;

    (void)state;
    kvmclock_msr_write(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, 0x2001);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_true(kvmclock_msr_write(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, bad[i]) < 0);
        kvmclock_msr_read(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, &value);
        assert_int_equal(value, 0x2001);
        assert_true(kvmclock_msr_write(&vcpus[0], MSR_KVM_WALL_CLOCK_NEW, bad[i] & ~1ull) < 0);
    }
}

static u64 wall(void)
{
    return 1700000123;
}

static void test_wall_clock(void **state)
{
    const u32 *clock = (const u32 *)fake_guest_ram_at(0x2ffc); /* over two pages */

    (void)state;
    test_now += 10500 * tsc_khz;
    rtc_wall_clock_seconds = wall;
    assert_int_equal(kvmclock_msr_write(&vcpus[1], MSR_KVM_WALL_CLOCK_NEW, 0x2ffc), 0);
    assert_int_equal(clock[0], 2);
    assert_int_equal(clock[1], 1700000112);
    assert_in_range(clock[2], 499999999, 500000001);
    rtc_wall_clock_seconds = NULL;
    assert_int_equal(kvmclock_msr_write(&vcpus[1], MSR_KVM_WALL_CLOCK, 0x3000), 0);
    assert_int_equal(((const u32 *)fake_guest_ram_at(0x3000))[0], 2);
}

static void test_not_offered(void **state)
{
    u64 value;

    (void)state;
    config.personality = PERSONALITY_NONE;
    assert_true(kvmclock_msr_write(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, 0x2001) < 0);
    assert_true(kvmclock_msr_write(&vcpus[0], MSR_KVM_WALL_CLOCK, 0x2000) < 0);
    assert_true(kvmclock_msr_read(&vcpus[0], MSR_KVM_SYSTEM_TIME, &value) < 0);
    assert_int_equal(page_at(0x2000)->version, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* The page stays the guest's while lintel may write it; one that is refused leaves no pin. */
static void test_pinned(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(kvmclock_msr_write(&vcpus[i], MSR_KVM_SYSTEM_TIME_NEW, (0x3000 + i * 64) | 1), 0);
    assert_int_equal(kvmclock_msr_write(&vcpus[1], MSR_KVM_SYSTEM_TIME, 0x3041), 0);
    assert_int_equal(fake_guest_ram_pins(0x3000), 2);
    assert_true(kvmclock_msr_write(&vcpus[1], MSR_KVM_SYSTEM_TIME, 0x40000001) < 0);
    assert_int_equal(fake_guest_ram_pins(0x40000000), 0);
    fake_guest_ram_no_pins = true;
    assert_true(kvmclock_msr_write(&vcpus[1], MSR_KVM_SYSTEM_TIME, 0x5001) < 0);
    fake_guest_ram_no_pins = false;
    assert_int_equal(fake_guest_ram_pins(0x3000), 2);
    assert_int_equal(kvmclock_msr_write(&vcpus[0], MSR_KVM_SYSTEM_TIME_NEW, 0x5001), 0);
    assert_int_equal(kvmclock_msr_write(&vcpus[1], MSR_KVM_SYSTEM_TIME_NEW, 0), 0);
    assert_int_equal(fake_guest_ram_pins(0x3000), 0);
    assert_int_equal(fake_guest_ram_pins(0x5000), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_factors),       TEST(test_page),
        TEST(test_pages_agree),   TEST(test_tsc_jump),
        TEST(test_off_and_reset), TEST(test_bad_addresses),
        TEST(test_wall_clock),    TEST(test_not_offered),
        TEST(test_pinned),        TEST(test_stable_only_where_it_is_true),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
