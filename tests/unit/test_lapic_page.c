/* SPDX-License-Identifier: MIT */
/* guest/devices/lapic_page.c: the page in which a CPU answers for the local APIC reads as the model does. */
// sources: tests/unit/device_fakes.c hv/run/bus.c hv/run/timer.c guest/devices/acpi_pm.c
// sources: guest/devices/calendar.c guest/devices/clock.c guest/devices/ioapic.c guest/devices/lapic.c
// sources: guest/devices/lapic_base.c guest/devices/lapic_page.c guest/devices/lapic_registers.c
// sources: guest/devices/lapic_timer.c guest/devices/pci.c guest/devices/pic.c guest/devices/pit.c
// sources: guest/devices/reset.c guest/devices/rtc.c guest/devices/uart.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/device_fakes.h"

#define BASE     0xfee00000ull
#define BASE_MSR 0x1b
#define ON       BIT(11)
#define X2       BIT(10)

enum { ID = 0x20, TPR = 0x80, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0, ISR = 0x100, IRR = 0x200 };
enum { ESR = 0x280, ICR = 0x300, ICR_HIGH = 0x310, LVT_T = 0x320, LVT_L0 = 0x350, INITIAL = 0x380 };

static u32 pages[BOARD_VCPUS][PAGE_SIZE / sizeof(u32)];
static u8 window[PAGE_SIZE];

static struct lapic *lapic(unsigned vcpu)
{
    return &board.machine->vcpus[vcpu].lapic;
}

/* As an engine would have made the vCPUs. */
static int setup(void **state)
{
    int error = board_setup(state);

    memset(pages, 0, sizeof(pages));
    for (unsigned i = 0; i < BOARD_VCPUS; i++) {
        board.vcpus[i].apic.page = pages[i];
        board.vcpus[i].apic.window = window;
        lapic_init(lapic(i), &board.vcpus[i]);
    }
    return error;
}

static u32 shown(unsigned vcpu, unsigned offset)
{
    return pages[vcpu][offset / sizeof(u32)];
}

/* A write that the CPU carries out in the page of vCPU 0, then tells. */
static void cpu_writes(unsigned offset, u32 value)
{
    struct vmexit x = {.kind = EXIT_APIC_WRITE, .apic = {.offset = (u16)offset}};

    pages[0][offset / sizeof(u32)] = value;
    lapic_page_written(&board.vcpus[0], &x);
}

/* What a CPU reads without an exit (SDM 3C, 30.4.2): first and last register of each range. */
static const u16 readable[][2] = {
    {0x20, 0x30},    {TPR, TPR},     {EOI, EOI},         {LDR, SVR},     {0x100, 0x280},
    {ICR, ICR_HIGH}, {LVT_T, 0x370}, {INITIAL, INITIAL}, {0x3e0, 0x3e0},
};

/* What it writes there and then exits for (30.4.3.1); ICR_HIGH and TPR are written without an exit. */
static bool is_written_in_page(unsigned offset)
{
    return offset == ID || offset == EOI || (offset >= LDR && offset <= SVR) || offset == ESR ||
           offset == ICR || (offset >= LVT_T && offset <= INITIAL) || offset == 0x3e0;
}

static void compare(void)
{
    for (unsigned vcpu = 0; vcpu < BOARD_VCPUS; vcpu++)
        for (unsigned i = 0; i < ARRAY_SIZE(readable); i++)
            for (unsigned at = readable[i][0]; at <= readable[i][1]; at += 16)
                if (shown(vcpu, at) != mmio_in(vcpu, BASE + at))
                    fail_msg("vCPU %u: %#x reads %#x in the page, %#x by an exit", vcpu, at, shown(vcpu, at),
                             mmio_in(vcpu, BASE + at));
}

/* Whatever is written, by the page or by exits, both sides stay alike; so do interrupts that come and go. */
static void test_reads_alike(void **state)
{
    u32 seed = 11;

    (void)state;
    compare();
    for (unsigned i = 0; i < 20000; i++) {
        unsigned offset;
        u32 value;

        seed = seed * 1664525 + 1013904223;
        offset = (seed >> 8) % 64 * 16;
        value = seed >> 4 & 0x4c7ff; /* no INIT, no start-up: nothing that ends the board */
        if (offset == ICR)
            value &= 0x4c0ff;
        if (offset == ICR_HIGH)
            pages[0][ICR_HIGH / sizeof(u32)] = value & 0xff000000; /* without a word */
        else if (seed & BIT(31) && is_written_in_page(offset))
            cpu_writes(offset, value);
        else
            mmio_out(seed >> 30 & 1, BASE + offset, value);
        if (i % 3 == 0)
            take_interrupt(i & 1);
        if (i % 16 == 0)
            time_pass_us(100);
        compare();
    }
}

static void test_writes(void **state)
{
    (void)state;
    cpu_writes(SVR, 0x1ff);
    cpu_writes(LVT_T, 0xffffffff);
    assert_int_equal(shown(0, LVT_T), 0x700ff); /* what the register takes of it */
    cpu_writes(LVT_T, 0x40);
    cpu_writes(INITIAL, 100000);
    time_pass_us(1000);
    assert_true(shown(0, IRR + 0x20) & 1);
    assert_int_equal(take_interrupt(0), 0x40);
    assert_int_equal(shown(0, IRR + 0x20), 0);
    assert_true(shown(0, ISR + 0x20) & 1);
    cpu_writes(EOI, 77);
    assert_int_equal(shown(0, ISR + 0x20), 0);
    assert_int_equal(shown(0, EOI), 0);
    cpu_writes(ID, 0x5000000);
    assert_int_equal(shown(0, ID), 0);
    cpu_writes(LDR, 0xffffffff);
    assert_int_equal(shown(0, LDR), 0xff000000);
    cpu_writes(SVR, 0xff);
    assert_int_equal(shown(0, LVT_L0), 0x10700); /* switched off, its LVT is masked */
}

/* No exit tells of the upper half of ICR. */
static void test_icr(void **state)
{
    (void)state;
    mmio_out(1, BASE + SVR, 0x1ff);
    pages[0][ICR_HIGH / sizeof(u32)] = 0x1000000;
    cpu_writes(ICR, 0x55);
    assert_int_equal(take_interrupt(1), 0x55);
    assert_int_equal(mmio_in(0, BASE + ICR_HIGH), 0x1000000);
    cpu_writes(ICR, 0x51fff & ~0xf00u); /* busy and reserved bits do not stay */
    assert_int_equal(shown(0, ICR), 0x400ff);
}

/* Narrow writes change their bytes, whoever carries them out. */
static void test_narrow(void **state)
{
    const struct mmio_range *range = &board.vm.mmio.ranges[0];

    (void)state;
    range->write(&board.vcpus[0], range->device, SVR + 1, 1, 0);
    assert_int_equal(mmio_in(0, BASE + SVR), 0xff);
    range->write(&board.vcpus[0], range->device, SVR, 2, 0x133);
    assert_int_equal(shown(0, SVR), 0x133);
    range->write(&board.vcpus[0], range->device, SVR + 3, 2, 0xffff); /* leads out of the register */
    range->write(&board.vcpus[0], range->device, SVR + 4, 4, 0xffff);
    compare();
    assert_int_equal(shown(0, SVR), 0x133);
}

/* The window is the CPU's while every vCPU has it at its place. */
static void test_window(void **state)
{
    (void)state;
    assert_null(board.window);
    mmio_in(0, BASE + ID);
    assert_ptr_equal(board.window, window);
    assert_int_equal(board.vcpus[0].apic.mode, VCPU_APIC_WINDOW_MODE);
    assert_int_equal(lapic_base_write(&board.vcpus[0], BASE_MSR, 0xfec10000 | ON), 0);
    assert_int_equal(board.vcpus[0].apic.mode, VCPU_APIC_PLAIN);
    assert_null(board.window);
    mmio_in(1, BASE + ID);
    assert_null(board.window);
    assert_int_equal(lapic_base_write(&board.vcpus[0], BASE_MSR, BASE | ON), 0);
    mmio_in(1, BASE + ID);
    assert_ptr_equal(board.window, window);
    assert_int_equal(lapic_base_write(&board.vcpus[1], BASE_MSR, BASE), 0);
    assert_int_equal(board.vcpus[1].apic.mode, VCPU_APIC_PLAIN);
    assert_null(board.window);
}

static void test_x2apic(void **state)
{
    u64 value;

    (void)state;
    pages[1][ICR_HIGH / sizeof(u32)] = 0x7000000;
    assert_int_equal(lapic_base_write(&board.vcpus[1], BASE_MSR, BASE | ON | X2), 0);
    assert_int_equal(board.vcpus[1].apic.mode, VCPU_APIC_MSR_MODE);
    assert_int_equal(board.vcpus[1].requests & REQUEST_INTERRUPT, REQUEST_INTERRUPT);
    assert_int_equal(shown(1, ID), 1);
    assert_int_equal(shown(1, LDR), 2);
    assert_int_equal(lapic_msr_write(&board.vcpus[1], 0x80f, 0x1aa), 0);
    assert_int_equal(lapic_msr_write(&board.vcpus[1], 0x832, 0x45), 0);
    assert_int_equal(lapic_msr_write(&board.vcpus[1], 0x83f, 0x45), 0);
    for (u32 msr = 0x802; msr <= 0x83e; msr++)
        if (msr != 0x830 && msr != 0x80a && msr != 0x839 && !lapic_msr_read(&board.vcpus[1], msr, &value))
            assert_int_equal(shown(1, (msr & 0xff) * 16), value);
    assert_int_equal(shown(1, IRR + 0x20), 0x20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads_alike, setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_writes, setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_icr, setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_narrow, setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_window, setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_x2apic, setup, board_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
