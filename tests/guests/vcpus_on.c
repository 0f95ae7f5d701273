/* SPDX-License-Identifier: MIT */
/*
 * `vcpus.start`: the first vCPU that is on is the boot processor, whatever its number; another one that is on
 * begins at the same entry in the same registers; the others wait, and can be started.
 */
// conf: vcpus = 4
// conf: vcpus.start = 1,3
#include "guest/pv/lintel.h"
#include "lib/tap.h"
#include "lib/vcpus.h"

#define APIC_BASE_BOOT BIT(8)
#define VECTOR_PIT     0x20

static volatile u64 base_of_other;
static volatile bool done;

static void look(u32 number)
{
    (void)number;
    base_of_other = rdmsr(MSR_APIC_BASE);
    done = true;
    vcpu_spin(number);
}

static s64 state(u64 number)
{
    return lintel_call1(LINTEL_CALL_CPU_STATE, number);
}

static void on_pit(struct frame *frame)
{
    (void)frame;
    pic_eoi(0);
}

/* The 8254 through the PIC, which only the boot processor's LINT0 lets in. */
static bool pit_interrupts(void)
{
    pic_setup(VECTOR_PIT, 0x28);
    interrupt_handle(VECTOR_PIT, on_pit);
    pic_mask(0xfffe);
    out8(0x43, 0x34);
    out8(0x40, 0);
    out8(0x40, 8);
    interrupts_on();
    for (u32 us = 0; us < VCPU_WAIT_US && !interrupts[VECTOR_PIT]; us += 10)
        delay_us(10);
    interrupts_off();
    pic_mask(0xffff);
    return interrupts[VECTOR_PIT] != 0;
}

void guest_main(void)
{
    plan(10);
    ok(lapic_read(LAPIC_ID) >> 24 == 1, "vCPU 1 has begun");
    ok(rdmsr(MSR_APIC_BASE) & APIC_BASE_BOOT, "and is the boot processor");
    ok(state(0) == LINTEL_CPU_OFF && state(2) == LINTEL_CPU_OFF, "0 and 2 are off");
    ok(state(1) == LINTEL_CPU_ON && state(3) == LINTEL_CPU_ON, "1 and 3 are on");
    ok(pit_interrupts(), "the PIC's interrupts reach it");
    lapic_setup();
    vcpus[3].job = look;
    vcpus_setup();
    ok(vcpu_has_begun(3, 1) && vcpus[3].cs == VCPU_NO_CS && vcpus[3].cr0 == 0x11,
       "3 has begun in protected mode");
    ok(vcpus[3].argument == (u32)start_info, "with the same start info in EBX");
    while (!done)
        lintel_call0(LINTEL_CALL_YIELD);
    ok(!(base_of_other & APIC_BASE_BOOT), "it is no boot processor");
    vcpu_start(0, vcpu_spin);
    ok(vcpu_has_begun(0, 1) && vcpu_turns(0), "INIT and SIPI start 0");
    vcpus[2].job = vcpu_spin;
    lintel_call3(LINTEL_CALL_CPU_ON, 2, (u64)vcpu_entry, 0);
    ok(vcpu_has_begun(2, 1) && vcpu_turns(2), "CPU_ON starts 2");
}
