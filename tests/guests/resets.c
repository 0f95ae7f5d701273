/* SPDX-License-Identifier: MIT */
/*
 * Resets itself for ever, by the method that the command line names; says at each start whether the machine
 * is as new. Nothing in the machine outlives a reset, so the counting is done outside, by
 * tests/system/test_tiny_guests.py and test_vcpus.py. Words beside the method: "typed" waits for a typed
 * character first, "slow" sleeps for 6 s of the TSC. Without a method it waits for somebody else's reset.
 */
// conf: vcpus = 4
// conf: vcpus.start = 0,2
// hostile: it never ends by itself
#include "guest/pv/lintel.h"
#include "lib/tap.h"
#include "lib/vcpus.h"

#define MARKER      0x2000000 /* RAM that nobody uses */
#define COM1        0x3f8
#define COM1_STATUS 0x3fd
#define VECTOR_WAKE 0x61
#define SLOW_S      6

/* The reset register that the FADT names (ACPI 6.5, 5.2.9): RSDP -> XSDT -> FADT. */
static void reset_by_fadt(void)
{
    u64 rsdp = *(const u64 *)(start_info + 32);
    u64 xsdt = *(const u64 *)(rsdp + 24);
    u32 entries = (*(const u32 *)(xsdt + 4) - 36) / 8, i;

    for (i = 0; i < entries; i++) {
        u64 table;

        __builtin_memcpy(&table, (const u8 *)xsdt + 36 + 8 * i, sizeof(table));
        if (*(const u32 *)table == 0x50434146) /* FACP: register at 116, its address at 120, value at 128 */
            out8(*(const u16 *)(table + 120), *(const u8 *)(table + 128));
    }
}

static void reset_by_triple_fault(void)
{
    struct PACKED {
        u16 limit;
        u64 base;
    } nothing = {0, 0};

    asm volatile("lidt %0; ud2" : : "m"(nothing));
}

static void reset_by_cf9(void)
{
    out8(0xcf9, 2);
    out8(0xcf9, 6);
}

static void reset_by_keyboard(void)
{
    out8(0x64, 0xfe);
}

static void reset_by_port_92(void)
{
    out8(0x92, 1);
}

/* The boot vCPU's local APIC, by then in x2APIC mode, sends INIT to it. */
static void reset_by_init(void)
{
    wrmsr(MSR_X2APIC + LAPIC_ICR / 16, ICR_INIT);
}

static void reset_by_call(void)
{
    lintel_call0(LINTEL_CALL_SYSTEM_RESET);
}

static const struct {
    const char *name;
    void (*reset)(void);
} methods[] = {
    {"fadt", reset_by_fadt},         {"triple", reset_by_triple_fault}, {"cf9", reset_by_cf9},
    {"keyboard", reset_by_keyboard}, {"port92", reset_by_port_92},      {"init", reset_by_init},
    {"call", reset_by_call},
};

/* What a machine has right after its creation, and what this guest changes before it resets. */
static const char *what_is_old(void)
{
    if (*(volatile u64 *)MARKER)
        return "memory";
    if (rdmsr(MSR_APIC_BASE) != 0xfee00900)
        return "the local APIC's base";
    if (lapic_read(LAPIC_TPR) || lapic_read(LAPIC_DIVIDE) || lapic_read(LAPIC_INITIAL))
        return "the local APIC";
    if (ioapic_read(0x12) != 0x10000)
        return "the IOAPIC";
    if (in8(0x3ff))
        return "the serial port";
    out8(0x70, 0x50);
    if (in8(0x71))
        return "CMOS memory";
    for (u32 i = 1; i < 4; i++)
        if (lintel_call1(LINTEL_CALL_CPU_STATE, i) != (i == 2 ? LINTEL_CPU_ON : LINTEL_CPU_OFF) ||
            vcpus[i].begun)
            return "the power of the vCPUs";
    return NULL;
}

static void switch_off(u32 number)
{
    (void)number;
    lintel_call0(LINTEL_CALL_CPU_OFF);
}

static void make_old(void)
{
    *(volatile u64 *)MARKER = 1;
    lapic_setup();
    vcpus_setup();
    vcpu_start(1, vcpu_spin);
    if (!vcpu_turns(1))
        bail_out("the second vCPU does not start");
    icr_send(2, ICR_INIT);
    vcpu_start(3, switch_off);
    if (!vcpu_has_begun(3, 1))
        bail_out("the fourth vCPU does not start");
    lapic_write(LAPIC_TPR, 0x50);
    lapic_write(LAPIC_DIVIDE, 3);
    lapic_write(LAPIC_INITIAL, 1000000);
    ioapic_route(1, 0x77);
    out8(0x3ff, 0x5a);
    out8(0x70, 0x50);
    out8(0x71, 1);
    pic_setup(0x20, 0x28);
    pic_mask(0);
    wrmsr(MSR_APIC_BASE, 0xfee00d00);
}

static void on_wake(struct frame *frame)
{
    (void)frame;
    wrmsr(MSR_X2APIC + LAPIC_EOI / 16, 0);
}

/* Nobody runs meanwhile, so that an emulator's time passes at once. */
static void sleep_slowly(void)
{
    u64 until = rdtsc() + SLOW_S * 1000ull * cpuid(LINTEL_CPUID_TIMING, 0).eax;

    wrmsr(MSR_X2APIC + LAPIC_ICR / 16, ICR_OTHERS | ICR_INIT);
    interrupt_handle(VECTOR_WAKE, on_wake);
    wrmsr(MSR_X2APIC + LAPIC_TPR / 16, 0);
    wrmsr(MSR_X2APIC + LAPIC_LVT_TIMER / 16, LVT_DEADLINE | VECTOR_WAKE);
    while (rdtsc() < until) {
        wrmsr(MSR_TSC_DEADLINE, until);
        asm volatile("sti; hlt; cli");
    }
}

void guest_main(void)
{
    const char *old = what_is_old();
    unsigned i;

    if (old)
        bail_out("%s is not as new", old);
    say("boot: all as new");
    make_old();
    if (word_given("typed"))
        say("waiting");
    while (word_given("typed") && !(in8(COM1_STATUS) & 1))
        lintel_call0(LINTEL_CALL_YIELD);
    if (word_given("slow"))
        sleep_slowly();
    for (i = 0; i < ARRAY_SIZE(methods); i++) {
        if (!word_given(methods[i].name))
            continue;
        methods[i].reset();
        delay_us(1000000);
        bail_out("no reset came");
    }
    for (;;)
        lintel_call0(LINTEL_CALL_YIELD);
}
