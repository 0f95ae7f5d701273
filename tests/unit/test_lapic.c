/* SPDX-License-Identifier: MIT */
/* guest/devices/lapic*.c: registers by both ways, delivery, IPIs, timer in its three modes, base MSR. */
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

#define BASE MACHINE_LAPIC_BASE

enum {
    ID = 0x20,
    VERSION = 0x30,
    TPR = 0x80,
    PPR = 0xa0,
    EOI = 0xb0,
    LDR = 0xd0,
    DFR = 0xe0,
    SVR = 0xf0,
    ISR = 0x100,
    TMR = 0x180,
    IRR = 0x200,
    ESR = 0x280,
    ICR = 0x300,
    ICR_HIGH = 0x310,
    LVT_T = 0x320,
    LVT_L0 = 0x350,
    LVT_L1 = 0x360,
    LVT_E = 0x370,
    INITIAL = 0x380,
    CURRENT = 0x390,
    DIVIDE = 0x3e0
};

static struct lapic *lapic(unsigned vcpu)
{
    return &board.machine->vcpus[vcpu].lapic;
}

static u32 in(unsigned offset)
{
    return mmio_in(0, BASE + offset);
}

static void out(unsigned offset, u32 value)
{
    mmio_out(0, BASE + offset, value);
}

static void enable(unsigned vcpu)
{
    mmio_out(vcpu, BASE + SVR, 0x1ff);
}

static int msr_in(unsigned vcpu, u32 msr, u64 *value)
{
    return lapic_msr_read(&board.vcpus[vcpu], msr, value);
}

static int msr_out(unsigned vcpu, u32 msr, u64 value)
{
    return lapic_msr_write(&board.vcpus[vcpu], msr, value);
}

static int base_out(unsigned vcpu, u64 value)
{
    return lapic_base_write(&board.vcpus[vcpu], MSR_APIC_BASE, value);
}

static void x2apic(unsigned vcpu)
{
    assert_int_equal(base_out(vcpu, BASE | 0xc00), 0);
    assert_int_equal(msr_out(vcpu, 0x80f, 0x1ff), 0);
}

static void test_power_on(void **state)
{
    u64 base;

    (void)state;
    assert_int_equal(in(ID), 0);
    assert_int_equal(mmio_in(1, BASE + ID), 1u << 24);
    assert_int_equal(in(VERSION), 0x50014);
    assert_int_equal(in(DFR), ~0u);
    assert_int_equal(in(LVT_T), 0x10000);
    assert_int_equal(in(LVT_L0), 0x700); /* virtual wire, as firmware leaves it */
    assert_int_equal(in(LVT_L1), 0x400);
    assert_int_equal(mmio_in(1, BASE + LVT_L0), 0x10000);
    assert_int_equal(mmio_in(1, BASE + SVR), 0xff);
    assert_int_equal(lapic_base_read(&board.vcpus[0], MSR_APIC_BASE, &base), 0);
    assert_int_equal(base, BASE | 0x900);
    lapic_base_read(&board.vcpus[1], MSR_APIC_BASE, &base);
    assert_int_equal(base, BASE | 0x800);
}

static void self_ipi(u8 vector)
{
    out(ICR, 0x40000u | vector);
}

static void test_priorities(void **state)
{
    (void)state;
    self_ipi(0x41);
    self_ipi(0x52);
    self_ipi(0x45);
    assert_int_equal(in(IRR + 0x20), 1u << 1 | 1u << 5 | 1u << 18);
    assert_int_equal(take_interrupt(0), 0x52);
    assert_int_equal(in(PPR), 0x50);
    assert_int_equal(in(ISR + 0x20), 1u << 18);
    assert_int_equal(take_interrupt(0), -1);
    self_ipi(0x61);
    assert_int_equal(take_interrupt(0), 0x61);
    out(EOI, 0);
    out(EOI, 0);
    assert_int_equal(take_interrupt(0), 0x45);
    assert_int_equal(take_interrupt(0), -1); /* the same class waits */
    out(EOI, 0);
    assert_int_equal(take_interrupt(0), 0x41);
    out(EOI, 0);
    out(EOI, 0); /* one too many */
    assert_int_equal(in(PPR), 0);
}

static void test_task_priority(void **state)
{
    struct vcpu *vcpu = &board.vcpus[0];

    (void)state;
    out(TPR, 0x5f);
    assert_int_equal(lapic_get_cr8(vcpu), 5);
    self_ipi(0x5a);
    assert_int_equal(take_interrupt(0), -1);
    vcpu_request_done(vcpu, ~0u);
    lapic_set_cr8(vcpu, 4);
    assert_int_equal(in(TPR), 0x40);
    assert_int_equal(vcpu->requests, REQUEST_INTERRUPT);
    assert_int_equal(take_interrupt(0), 0x5a);
    assert_int_equal(in(PPR), 0x50);
    lapic_set_cr8(vcpu, 15);
    assert_int_equal(in(PPR), 0xf0);
}

/* A CPU that keeps TPR in the page lets the guest change it unseen: it is told what TPR alone holds back. */
static void test_tpr_shadow(void **state)
{
    static u32 page[PAGE_SIZE / sizeof(u32)];
    struct vcpu *vcpu = &board.vcpus[0];
    u32 *shadow = &page[TPR / sizeof(u32)];

    (void)state;
    vcpu->apic.page = page;
    lapic_init(lapic(0), vcpu);
    out(TPR, 0x6f);
    assert_int_equal(*shadow, 0x6f);
    vcpu_request_done(vcpu, ~0u);
    self_ipi(0x5a);
    assert_int_equal(vcpu->requests, REQUEST_INTERRUPT); /* to be told about it */
    assert_int_equal(take_interrupt(0), -1);
    assert_int_equal(vcpu->apic.tpr_threshold, 5);
    *shadow = 0x40;
    assert_int_equal(lapic_get_cr8(vcpu), 4);
    assert_int_equal(lapic_interrupt_pending(vcpu), 0x5a);
    assert_int_equal(vcpu->apic.tpr_threshold, 0); /* not held back: IF alone can keep it waiting */
    assert_int_equal(take_interrupt(0), 0x5a);
    vcpu_request_done(vcpu, ~0u);
    self_ipi(0x51);
    *shadow = 0x70;
    assert_int_equal(vcpu->requests, 0); /* what is in service holds it back, whatever TPR says */
    assert_int_equal(take_interrupt(0), -1);
    assert_int_equal(vcpu->apic.tpr_threshold, 0);
    out(EOI, 0);
    assert_int_equal(vcpu->requests, REQUEST_INTERRUPT);
    assert_int_equal(take_interrupt(0), -1);
    assert_int_equal(vcpu->apic.tpr_threshold, 5);
    lapic_init_received(lapic(0));
    assert_int_equal(*shadow, 0);
}

static void test_software_disabled(void **state)
{
    (void)state;
    out(LVT_T, 0x20);
    out(SVR, 0xff);
    assert_int_equal(in(LVT_T), 0x10020);
    assert_int_equal(in(LVT_L0), 0x10700);
    out(LVT_T, 0x21);
    assert_int_equal(in(LVT_T), 0x10021);
    self_ipi(0x40);
    assert_int_equal(take_interrupt(0), -1);
    out(ICR, 0x40400); /* NMI to itself is no legal shorthand */
    assert_int_equal(board.nmis[0], 0);
    enable(0);
    assert_int_equal(in(LVT_T), 0x10021);
}

static void test_errors(void **state)
{
    (void)state;
    out(LVT_E, 0xfe);
    self_ipi(15);
    assert_int_equal(in(ESR), 0); /* shows itself at the write */
    out(ESR, 0);
    assert_int_equal(in(ESR), 0x20);
    assert_int_equal(take_interrupt(0), 0xfe);
    out(ESR, 0);
    assert_int_equal(in(ESR), 0);
    in(0x3c0);
    out(0x3d0, 1);
    out(ESR, 0);
    assert_int_equal(in(ESR), 0x80);
    out(LVT_T, 5);
    out(INITIAL, 1);
    time_pass_us(1);
    out(ESR, 0);
    assert_int_equal(in(ESR), 0x40);
    out(LVT_E, 3); /* silent: else it would report itself */
    self_ipi(3);
    out(ESR, 0);
    assert_int_equal(in(ESR), 0x20);
}

static void send(u32 destination, u32 low)
{
    out(ICR_HIGH, destination << 24);
    out(ICR, low);
}

static void test_destinations(void **state)
{
    (void)state;
    enable(1);
    send(1, 0x4030);
    assert_int_equal(take_interrupt(0), -1);
    assert_int_equal(take_interrupt(1), 0x30);
    assert_int_equal(board.wakes[1], 1);
    assert_int_equal(in(ICR_HIGH), 1u << 24);
    assert_int_equal(in(ICR), 0x4030); /* never busy */
    send(7, 0x4041);                   /* nobody */
    send(0, 0xc4051);                  /* all but self */
    assert_int_equal(take_interrupt(0), -1);
    assert_int_equal(take_interrupt(1), 0x51);
    send(0, 0x84061); /* all */
    assert_int_equal(take_interrupt(0), 0x61);
    assert_int_equal(take_interrupt(1), 0x61);
    send(0xff, 0x4071);
    assert_int_equal(take_interrupt(0), 0x71);
    assert_int_equal(take_interrupt(1), 0x71);
    mmio_out(1, BASE + LDR, 0x02000000);
    out(LDR, 0x01000000);
    send(3, 0x4881);
    assert_int_equal(take_interrupt(0), 0x81);
    assert_int_equal(take_interrupt(1), 0x81);
    mmio_out(1, BASE + DFR, 0);
    mmio_out(1, BASE + LDR, 0x32000000); /* cluster 3, second member */
    send(0x32, 0x4891);
    assert_int_equal(take_interrupt(1), 0x91);
    send(0x22, 0x48a1);
    assert_int_equal(take_interrupt(1), -1);
    send(0xf2, 0x48a1); /* second members of all clusters */
    assert_int_equal(take_interrupt(1), 0xa1);
}

static void test_startup(void **state)
{
    (void)state;
    send(1, 0xc500);
    send(1, 0x8500); /* de-assert: nothing */
    send(1, 0x4608);
    send(1, 0x4608);
    assert_int_equal(board.inits[1], 1);
    assert_int_equal(board.sipis[1], 2);
    assert_int_equal(board.sipi_vector, 8);
    send(1, 0x4400);
    assert_int_equal(board.nmis[1], 1);
    assert_int_equal(board.by_itself, 0);
    send(0, 0x4400); /* the sender's own: it may be overtaken by what others send */
    send(0, 0xc500);
    send(0, 0x4608);
    assert_int_equal(board.by_itself, 3);
    send(1, 0x4200); /* SMI, and what is reserved */
    send(1, 0x4300);
    send(1, 0x4733);
    assert_int_equal(take_interrupt(1), -1);
}

static void test_init_keeps_base_and_id(void **state)
{
    (void)state;
    x2apic(1);
    msr_out(1, 0x808, 0x20);
    lapic_init_received(lapic(1));
    assert_int_equal(lapic(1)->base, BASE | 0xc00);
    assert_int_equal(lapic(1)->logical_id, 2);
    assert_int_equal(*lapic(1)->tpr, 0);
}

static void test_lint(void **state)
{
    (void)state;
    out(LVT_L0, 0x33);
    lapic_set_lint(&board.vcpus[0], 0, true);
    assert_int_equal(take_interrupt(0), 0x33);
    lapic_set_lint(&board.vcpus[0], 1, true);
    assert_int_equal(board.nmis[0], 1);
    lapic_set_lint(&board.vcpus[0], 1, true);
    assert_int_equal(board.nmis[0], 1);
}

/* ---- timer ---- */

static void test_one_shot(void **state)
{
    (void)state;
    out(DIVIDE, 0xb);
    out(LVT_T, 0x40);
    out(INITIAL, 100000); /* 100 us */
    time_pass_us(60);
    assert_in_range(in(CURRENT), 39990, 40010);
    assert_int_equal(take_interrupt(0), -1);
    time_pass_us(41);
    assert_int_equal(in(CURRENT), 0);
    assert_int_equal(take_interrupt(0), 0x40);
    out(EOI, 0);
    time_pass_us(10000);
    assert_int_equal(take_interrupt(0), -1);
    assert_int_equal(in(INITIAL), 100000);
}

static void test_divide(void **state)
{
    static const struct {
        u32 value, by;
    } rows[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {0xa, 128}, {0xb, 1}};

    (void)state;
    out(LVT_T, 0x10040);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        out(DIVIDE, rows[i].value | 0xfffffff4);
        assert_int_equal(in(DIVIDE), rows[i].value);
        out(INITIAL, ~0u);
        time_pass_us(1000);
        assert_in_range(~0u - in(CURRENT), 1000000 / rows[i].by - 2, 1000000 / rows[i].by + 2);
    }
    /* A new divider goes on from where the count is. */
    out(DIVIDE, 0xb);
    out(INITIAL, 3000000);
    time_pass_us(1000);
    out(DIVIDE, 0);
    assert_in_range(in(CURRENT), 1999990, 2000010);
    time_pass_us(1000);
    assert_in_range(in(CURRENT), 1499990, 1500010);
}

static void test_periodic_without_bursts(void **state)
{
    unsigned seen = 0;

    (void)state;
    out(DIVIDE, 0xb);
    out(LVT_T, 0x20050);
    out(INITIAL, 1000000); /* 1 ms */
    for (unsigned i = 0; i < 100; i++) {
        time_pass_us(100);
        if (take_interrupt(0) == 0x50) {
            seen++;
            out(EOI, 0);
        }
    }
    assert_in_range(seen, 9, 10);
    assert_in_range(in(CURRENT), 1, 1000000);
    /* The host is late by 50 periods: one interrupt, and the next at its old beat. */
    test_now += tsc_from_ns(50300000);
    time_pass_tsc(0);
    assert_int_equal(take_interrupt(0), 0x50);
    out(EOI, 0);
    assert_int_equal(take_interrupt(0), -1);
    assert_in_range(in(CURRENT), 690000, 710000);
    time_pass_us(600);
    assert_int_equal(take_interrupt(0), -1);
    time_pass_us(200);
    assert_int_equal(take_interrupt(0), 0x50);
}

/* The shortest period a guest can ask for must not keep the host busy. */
static void test_periodic_flood(void **state)
{
    unsigned before;

    (void)state;
    out(DIVIDE, 0xb);
    out(LVT_T, 0x20050);
    out(INITIAL, 1);
    before = board.wakes[0];
    time_pass_us(10000);
    assert_int_equal(board.wakes[0] - before, 1); /* nobody took the first tick */
    assert_in_range(in(CURRENT), 0, 1);
    for (unsigned i = 0; i < 1000; i++) {
        time_pass_us(10);
        if (take_interrupt(0) == 0x50)
            out(EOI, 0);
    }
    assert_in_range(board.wakes[0] - before, 190, 202);
    /* A vector that is none: one error, and no more. */
    out(LVT_T, 0x20005);
    time_pass_us(100);
    assert_false(timer_is_set(&lapic(0)->timer));
    assert_int_equal(lapic(0)->error_pending, 0x40);
}

static void test_mask_and_unmask(void **state)
{
    (void)state;
    out(DIVIDE, 0xb);
    out(LVT_T, 0x10040);
    out(INITIAL, 1000000);
    assert_false(timer_is_set(&lapic(0)->timer));
    time_pass_us(500);
    out(LVT_T, 0x40);
    time_pass_us(501);
    assert_int_equal(take_interrupt(0), 0x40);
    out(EOI, 0);
    out(LVT_T, 0x10040);
    out(INITIAL, 1000);
    time_pass_us(2);
    out(LVT_T, 0x40); /* expired under the mask: gone */
    time_pass_us(1000);
    assert_int_equal(take_interrupt(0), -1);
    out(INITIAL, 1000);
    test_now += tsc_from_ns(5000); /* due, but the host has not run it */
    out(LVT_T, 0x41);
    assert_int_equal(take_interrupt(0), 0x40);
    time_pass_us(100);
    assert_int_equal(take_interrupt(0), -1);
    out(INITIAL, 100000);
    out(INITIAL, 0);
    time_pass_us(1000);
    assert_int_equal(take_interrupt(0), -1);
}

static void test_deadline(void **state)
{
    struct vcpu *vcpu = &board.vcpus[0];
    u64 value;

    (void)state;
    vcpu->tsc_offset = 0 - test_now;
    assert_int_equal(lapic_deadline_write(vcpu, MSR_TSC_DEADLINE, 1000), 0); /* wrong mode: nothing */
    assert_int_equal(lapic_deadline_read(vcpu, MSR_TSC_DEADLINE, &value), 0);
    assert_int_equal(value, 0);
    out(LVT_T, 0x400ec);
    out(INITIAL, 1000);
    assert_int_equal(in(INITIAL), 0);
    lapic_deadline_write(vcpu, MSR_TSC_DEADLINE, 5000);
    lapic_deadline_read(vcpu, MSR_TSC_DEADLINE, &value);
    assert_int_equal(value, 5000);
    time_pass_tsc(4999);
    assert_int_equal(take_interrupt(0), -1);
    time_pass_tsc(1);
    assert_int_equal(take_interrupt(0), 0xec);
    lapic_deadline_read(vcpu, MSR_TSC_DEADLINE, &value);
    assert_int_equal(value, 0);
    out(EOI, 0);
    vcpu_request_done(vcpu, ~0u);
    lapic_deadline_write(vcpu, MSR_TSC_DEADLINE, 1); /* long ago: at once */
    assert_int_equal(vcpu->requests, REQUEST_INTERRUPT);
    assert_int_equal(take_interrupt(0), 0xec);
    out(EOI, 0);
    lapic_deadline_write(vcpu, MSR_TSC_DEADLINE, ~0ull);
    time_pass_us(1000000);
    assert_int_equal(take_interrupt(0), -1);
    lapic_deadline_write(vcpu, MSR_TSC_DEADLINE, test_now + vcpu->tsc_offset + 1000);
    lapic_deadline_write(vcpu, MSR_TSC_DEADLINE, 0);
    time_pass_us(1000);
    assert_int_equal(take_interrupt(0), -1);
}

/* The guest's TSC jumps over the deadline; and a mode change forgets it. */
static void test_deadline_moves(void **state)
{
    struct vcpu *vcpu = &board.vcpus[0];

    (void)state;
    out(LVT_T, 0x400ec);
    lapic_deadline_write(vcpu, MSR_TSC_DEADLINE, test_now + 1000000);
    vcpu->tsc_offset = 2000000;
    lapic_tsc_offset_changed(vcpu);
    assert_int_equal(take_interrupt(0), 0xec);
    out(EOI, 0);
    lapic_deadline_write(vcpu, MSR_TSC_DEADLINE, test_now + vcpu->tsc_offset + 1000);
    out(LVT_T, 0xec);
    out(LVT_T, 0x400ec);
    time_pass_us(1000);
    assert_int_equal(take_interrupt(0), -1);
}

/* ---- base MSR and x2APIC ---- */

static void test_base_transitions(void **state)
{
    (void)state;
    assert_true(base_out(0, BASE | 0x400) < 0);
    assert_int_equal(base_out(0, BASE | 0xc00), 0);
    assert_true(base_out(0, BASE | 0x800) < 0);
    assert_true(base_out(0, BASE | 0x400) < 0);
    assert_int_equal(base_out(0, BASE), 0);
    assert_true(base_out(0, BASE | 0xc00) < 0);
    assert_int_equal(base_out(0, BASE | 0x800), 0);
    assert_true(base_out(0, BASE | 0x801) < 0);
    assert_true(base_out(0, BASE | 0xa00) < 0);
    assert_true(base_out(0, 1ull << 40 | 0x800) < 0);
    assert_int_equal(lapic(0)->base, BASE | 0x900);
}

static void test_off_and_on_again(void **state)
{
    (void)state;
    out(TPR, 0x30);
    out(LVT_T, 0x20040);
    out(INITIAL, 100000);
    assert_int_equal(base_out(0, BASE), 0);
    assert_false(lapic_is_enabled(&board.vcpus[0]));
    assert_int_equal(in(ID), ~0u);
    out(TPR, 0x10);
    assert_false(timer_is_set(&lapic(0)->timer));
    assert_int_equal(mmio_in(1, BASE + ID), 1u << 24); /* the neighbour's is there */
    assert_int_equal(base_out(0, BASE | 0x800), 0);
    assert_int_equal(in(TPR), 0);
    assert_int_equal(in(SVR), 0xff);
    assert_int_equal(in(LVT_L0), 0x10000);
    assert_int_equal(in(INITIAL), 0);
}

/* With the local APIC off, the PIC has the CPU. */
static void test_off_lets_the_pic_through(void **state)
{
    (void)state;
    assert_int_equal(base_out(0, BASE), 0);
    outb(0x21, 0xfd);
    spinlock_take(&board.vm.device_lock);
    machine_set_line(board.machine, 1, true);
    spinlock_release(&board.vm.device_lock);
    assert_int_equal(take_interrupt(0), 1);
}

static void test_window_moves(void **state)
{
    (void)state;
    assert_int_equal(base_out(0, 0xd0000000 | 0x800), 0);
    assert_int_equal(mmio_in(0, 0xd0000000 + VERSION), 0x50014);
    assert_null(mmio_bus_find(&board.vm.mmio, BASE, 4));
    lapic_reset(lapic(0));
    assert_int_equal(in(VERSION), 0x50014);
}

static void test_x2apic(void **state)
{
    u64 value;

    (void)state;
    assert_true(msr_in(0, 0x802, &value) < 0);
    assert_true(msr_out(0, 0x808, 0) < 0);
    x2apic(0);
    x2apic(1);
    assert_int_equal(in(ID), ~0u);
    assert_int_equal(msr_in(1, 0x802, &value), 0);
    assert_int_equal(value, 1);
    assert_int_equal(msr_in(1, 0x80d, &value), 0);
    assert_int_equal(value, 2);
    assert_int_equal(msr_out(0, 0x830, 1ull << 32 | 0x31), 0);
    assert_int_equal(take_interrupt(1), 0x31);
    assert_int_equal(msr_in(0, 0x830, &value), 0);
    assert_int_equal(value, 1ull << 32 | 0x31);
    assert_int_equal(msr_out(0, 0x830, 3ull << 32 | 0x841), 0); /* logical, cluster 0, both */
    assert_int_equal(take_interrupt(0), 0x41);
    assert_int_equal(take_interrupt(1), 0x41);
    assert_int_equal(msr_out(0, 0x830, 0xffull << 32 | 0x51), 0); /* 255 is nobody here */
    assert_int_equal(take_interrupt(1), -1);
    assert_int_equal(msr_out(0, 0x830, 0xffffffffull << 32 | 0x51), 0);
    assert_int_equal(take_interrupt(1), 0x51);
    assert_int_equal(msr_out(0, 0x83f, 0x99), 0);
    assert_int_equal(take_interrupt(0), 0x99);
    assert_int_equal(msr_out(0, 0x80b, 0), 0);
    assert_int_equal(take_interrupt(0), 0x51);
}

static void test_x2apic_faults(void **state)
{
    static const u16 read_only[] = {0x802, 0x803, 0x80a, 0x80d, 0x810, 0x818, 0x820, 0x839};
    static const u16 absent[] = {0x800, 0x809, 0x80c, 0x80e, 0x82f, 0x831, 0x840, 0x8ff};
    u64 value;

    (void)state;
    x2apic(0);
    for (unsigned i = 0; i < ARRAY_SIZE(read_only); i++) {
        assert_int_equal(msr_in(0, read_only[i], &value), 0);
        assert_true(msr_out(0, read_only[i], 0) < 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
        assert_true(msr_in(0, absent[i], &value) < 0);
        assert_true(msr_out(0, absent[i], 0) < 0);
    }
    assert_true(msr_in(0, 0x80b, &value) < 0);
    assert_true(msr_in(0, 0x83f, &value) < 0);
    assert_true(msr_out(0, 0x80b, 1) < 0);
    assert_true(msr_out(0, 0x828, 1) < 0);
    assert_true(msr_out(0, 0x808, 0x100) < 0);
    assert_true(msr_out(0, 0x830, 0x2030) < 0);
    assert_true(msr_out(0, 0x832, 0x80000) < 0);
    assert_true(msr_out(0, 0x838, 1ull << 32) < 0);
    assert_true(msr_out(0, 0x83e, 4) < 0);
    for (u32 msr = 0x800; msr < 0x900; msr++) {
        msr_in(0, msr, &value);
        msr_out(0, msr, ~0ull);
        msr_out(0, msr, 0);
    }
}

static void test_reset_is_power_on(void **state)
{
    struct lapic before = *lapic(0);

    (void)state;
    out(LVT_T, 0x20040);
    out(INITIAL, 100000);
    time_pass_us(1000);
    take_interrupt(0);
    self_ipi(0x77);
    lapic_set_lint(&board.vcpus[0], 0, true);
    lapic_reset(lapic(0));
    lapic(0)->lock = before.lock; /* tickets have been drawn */
    assert_memory_equal(&before, lapic(0), sizeof(before));
}

static void test_abuse(void **state)
{
    u32 seed = 7;

    (void)state;
    for (unsigned i = 0; i < 50000; i++) {
        unsigned size;

        seed = seed * 1664525 + 1013904223;
        size = 1u << (seed >> 8 & 3);
        mmio_bus_write(&board.vm.mmio, &board.vcpus[seed >> 30 & 1], BASE + (seed >> 16 & 0xff8), size, seed);
        mmio_bus_read(&board.vm.mmio, &board.vcpus[0], BASE + (seed >> 14 & 0xff8), size);
        time_pass_tsc(seed >> 20);
        take_interrupt(seed >> 29 & 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_power_on, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_priorities, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_task_priority, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_software_disabled, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_errors, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_destinations, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_startup, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_init_keeps_base_and_id, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_lint, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_one_shot, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_divide, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_periodic_without_bursts, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_periodic_flood, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_mask_and_unmask, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_deadline, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_deadline_moves, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_base_transitions, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_off_and_on_again, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_off_lets_the_pic_through, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_window_moves, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_tpr_shadow, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_x2apic, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_x2apic_faults, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, board_setup, board_teardown),
        cmocka_unit_test_setup_teardown(test_abuse, board_setup, board_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
