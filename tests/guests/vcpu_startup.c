/* SPDX-License-Identifier: MIT */
/*
 * INIT and SIPI in every order, to vCPUs in every state: the one that waits for INIT, one that runs, one that
 * halts, one in the middle of exits; with no delay in between, to one and to all others. And what INIT keeps.
 * Intel SDM 3A, 9.4 and table 9-1.
 */
// conf: vcpus = 4
#include "lib/tap.h"
#include "lib/vcpus.h"

#define AP     1u
#define ROUNDS 50u
#define QUIET  2000u /* us after which what has not begun will not */
#define FIRST  VCPU_VECTOR
#define SECOND (VCPU_VECTOR + 1)

/* ---------------------------------------------------------------- what the others do meanwhile */

static void exit_for_ever(u32 number)
{
    for (;;) {
        in8(0x80);
        vcpus[number].turns++;
    }
}

static void halt_open(u32 number)
{
    for (;;) {
        vcpus[number].turns++;
        asm volatile("sti; hlt");
    }
}

static void halt_masked(u32 number)
{
    for (;;) {
        vcpus[number].turns++;
        asm volatile("cli; hlt");
    }
}

static void init_self(u32 number)
{
    vcpus[number].turns++;
    icr_send(number, ICR_INIT);
    vcpu_spin(number);
}

/* ---------------------------------------------------------------- orders */

static u32 begun;

static bool began_once(void)
{
    return vcpu_has_begun(AP, ++begun);
}

static bool stays(void)
{
    delay_us(QUIET);
    return vcpus[AP].begun == begun;
}

static bool stands_still(void)
{
    u32 before = vcpus[AP].turns;

    delay_us(20000);
    return vcpus[AP].turns == before;
}

static void orders(void)
{
    vcpus[AP].job = vcpu_spin;
    icr_send(AP, ICR_SIPI | FIRST);
    ok(stays(), "SIPI without INIT starts nothing");
    icr_send(AP, ICR_INIT);
    icr_send(AP, ICR_NMI);
    ok(stays(), "an NMI does not wake what waits for SIPI");
    icr_send(AP, 5u << 8 | BIT(15));
    icr_send(AP, ICR_SIPI | FIRST);
    ok(began_once() && vcpus[AP].cs == FIRST << 8, "SIPI starts it at its page, CS %x", vcpus[AP].cs);
    ok(vcpus[AP].edx == cpuid(1, 0).eax && !(vcpus[AP].cr0 & ~0x60000000u & ~0x10u),
       "with the signature %x in EDX and CR0 %x", vcpus[AP].edx, vcpus[AP].cr0);
    ok(interrupts[VECTOR_NMI] == 0, "the NMI has gone");
    icr_send(AP, ICR_SIPI | SECOND);
    ok(vcpu_turns(AP) && stays(), "SIPI to one that runs does nothing");
    vcpu_start(AP, vcpu_spin);
    icr_send(AP, ICR_SIPI | SECOND);
    ok(began_once() && stays() && vcpus[AP].cs == FIRST << 8, "of two SIPIs the first counts");
    icr_send(AP, ICR_INIT);
    icr_send(AP, ICR_INIT);
    icr_send(AP, ICR_SIPI | SECOND);
    ok(began_once() && vcpus[AP].cs == SECOND << 8, "of two INITs either will do");
    icr_send(AP, ICR_INIT);
    ok(stays() && stands_still(), "INIT stops one that runs");
    icr_send(AP, ICR_SIPI | FIRST);
    ok(began_once(), "and SIPI starts it again");
}

/* ---------------------------------------------------------------- from every state, without a delay */

static const struct {
    const char *name;
    void (*job)(u32 number);
} doings[] = {
    {"spins", vcpu_spin},
    {"exits all the time", exit_for_ever},
    {"waits in HLT", halt_open},
    {"waits in HLT with interrupts off", halt_masked},
    {"has sent itself INIT", init_self},
};

static void from_each(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(doings); i++) {
        u32 failed = 0;

        for (u32 round = 0; round < ROUNDS; round++) {
            vcpu_start(AP, doings[i].job);
            failed += !began_once();
            /* At once, and when it is in the middle of what it does. */
            if (round % 2)
                failed += vcpus[AP].turns == 0 && !vcpu_turns(AP);
        }
        ok(failed == 0, "INIT and SIPI to one that %s: %u of %u failed", doings[i].name, failed, ROUNDS);
    }
}

static void all_others(void)
{
    u32 before[4], failed = 0;

    for (u32 i = 1; i < 4; i++)
        vcpus[i].job = i == 2 ? halt_open : vcpu_spin;
    for (u32 round = 0; round < ROUNDS; round++) {
        for (u32 i = 1; i < 4; i++)
            before[i] = vcpus[i].begun;
        icr_send_others(ICR_INIT);
        icr_send_others(ICR_SIPI | FIRST);
        icr_send_others(ICR_SIPI | SECOND);
        for (u32 i = 1; i < 4; i++)
            failed += !vcpu_has_begun(i, before[i] + 1) || vcpus[i].cs != FIRST << 8;
    }
    ok(failed == 0, "INIT and SIPI to all others at once: %u of %u failed", failed, 3 * ROUNDS);
    begun = vcpus[AP].begun;
}

/* ---------------------------------------------------------------- what INIT keeps */

#define MSR_LSTAR 0xc0000082
#define MARK      0x123456789abull

static volatile u64 found_lstar, found_xmm, found_tsc, found_svr, found_dr0, found_timer;
static volatile bool found; /* not `turns`, which the one before may still be counting */

static void leave_marks(u32 number)
{
    u64 mark = MARK;

    wrmsr(MSR_LSTAR, MARK);
    asm volatile("movq %0, %%xmm0" : : "r"(mark));
    asm volatile("mov %0, %%dr0" : : "r"(mark));
    lapic_setup();
    lapic_write(LAPIC_LVT_TIMER, 0x40 | (u32)LVT_PERIODIC);
    lapic_write(LAPIC_INITIAL, 1000000);
    vcpu_spin(number);
}

static void look_for_marks(u32 number)
{
    u64 value;

    found_lstar = rdmsr(MSR_LSTAR);
    asm volatile("movq %%xmm0, %0" : "=r"(value));
    found_xmm = value;
    asm volatile("mov %%dr0, %0" : "=r"(value));
    found_dr0 = value;
    found_svr = lapic_read(LAPIC_SVR);
    found_timer = lapic_read(LAPIC_INITIAL);
    found_tsc = rdtsc();
    found = true;
    vcpu_spin(number);
}

static void kept(void)
{
    u64 before;

    vcpu_start(AP, leave_marks);
    began_once();
    vcpu_turns(AP);
    before = rdtsc();
    vcpu_start(AP, look_for_marks);
    began_once();
    while (!found)
        ;
    ok(found_lstar == MARK, "INIT keeps MSRs: LSTAR is %lx", found_lstar);
    ok(found_xmm == MARK, "and XMM registers: XMM0 is %lx", found_xmm);
    ok(found_tsc > before, "and the time stamp counter");
    ok(found_dr0 == 0, "not debug registers: DR0 is %lx", found_dr0);
    ok(found_svr == 0xff && found_timer == 0, "nor the local APIC: SVR is %lx, the timer's count %lx",
       found_svr, found_timer);
}

void guest_main(void)
{
    plan(10 + ARRAY_SIZE(doings) + 1 + 5);
    lapic_setup();
    vcpus_setup();
    orders();
    from_each();
    all_others();
    kept();
}
