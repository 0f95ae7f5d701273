/* SPDX-License-Identifier: MIT */
/* See vcpus.h. */
#include "lib/vcpus.h"

volatile struct vcpu_seen vcpus[VCPUS_MAX];
volatile u32 vcpus_open; /* vcpus.asm lets those go on that are on from the beginning */

extern const u8 vcpu_trampoline[], vcpu_trampoline_end[];
void vcpu_begin(u32 number, u32 cs, u32 edx, u32 cr0, u32 argument);

void vcpus_setup(void)
{
    for (u32 page = VCPU_VECTOR; page < VCPU_VECTOR + 2; page++)
        __builtin_memcpy((void *)(u64)(page << 12), vcpu_trampoline,
                         (u64)(vcpu_trampoline_end - vcpu_trampoline));
    vcpus_open = 1;
}

/* Called by vcpus.asm. */
void vcpu_begin(u32 number, u32 cs, u32 edx, u32 cr0, u32 argument)
{
    volatile struct vcpu_seen *seen = &vcpus[number];

    interrupt_load();
    seen->cs = cs;
    seen->edx = edx;
    seen->cr0 = cr0;
    seen->argument = argument;
    seen->begun++;
    if (seen->job)
        seen->job(number);
}

void vcpu_spin(u32 number)
{
    interrupts_on();
    for (;;)
        vcpus[number].turns++;
}

void icr_send(u32 number, u32 icr)
{
    lapic_write(LAPIC_ICR_HIGH, number << 24);
    lapic_write(LAPIC_ICR, icr);
}

void vcpu_start(u32 number, void (*job)(u32 number))
{
    vcpus[number].job = job;
    icr_send(number, ICR_INIT);
    icr_send(number, ICR_SIPI | VCPU_VECTOR);
}

bool vcpu_has_begun(u32 number, u32 times)
{
    for (u32 us = 0; us < VCPU_WAIT_US && vcpus[number].begun != times; us += 10)
        delay_us(10);
    return vcpus[number].begun == times;
}

bool vcpu_turns(u32 number)
{
    u32 before = vcpus[number].turns;

    for (u32 us = 0; us < VCPU_WAIT_US && vcpus[number].turns == before; us += 10)
        delay_us(10);
    return vcpus[number].turns != before;
}
