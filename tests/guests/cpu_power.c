/* SPDX-License-Identifier: MIT */
/*
 * CPU_ON, CPU_OFF, CPU_STATE: what they answer in each state; what wakes a vCPU that is off, and what does
 * not; on and off again ten thousand times (or "rounds" of the command line: few), and the boot vCPU last.
 * Ends by SYSTEM_OFF. docs/abi.md.
 */
// conf: vcpus = 3
#include "guest/pv/lintel.h"
#include "lib/serial.h"
#include "lib/tap.h"
#include "lib/vcpus.h"

#define ARGUMENT 0xfedcba98u
#define QUIET    2000u /* us after which what has not begun will not */
#define VECTOR   0x51

#define COM1        0x3f8
#define COM1_STATUS 0x3fd

static s64 on(u64 number, u64 argument)
{
    return lintel_call3(LINTEL_CALL_CPU_ON, number, (u64)vcpu_entry, argument);
}

static s64 state(u64 number)
{
    return lintel_call1(LINTEL_CALL_CPU_STATE, number);
}

static bool becomes(u32 number, s64 wanted)
{
    for (u32 us = 0; us < VCPU_WAIT_US && state(number) != wanted; us += 10)
        delay_us(10);
    return state(number) == wanted;
}

static void switch_off(u32 number)
{
    vcpus[number].turns++;
    lintel_call0(LINTEL_CALL_CPU_OFF);
    vcpus[number].turns += 1000; /* nobody starts it where it stopped */
}

static void answers(void)
{
    s64 twice;

    ok(state(0) == LINTEL_CPU_ON && state(1) == LINTEL_CPU_OFF, "the first is on, the second off");
    ok(state(3) == -LINTEL_EINVAL && on(3, 0) == -LINTEL_EINVAL, "there is no vCPU 3");
    ok(state(~0ull) == -LINTEL_EINVAL && on(1ull << 32, 0) == -LINTEL_EINVAL, "nor one beyond 32 bits");
    ok(lintel_call3(LINTEL_CALL_CPU_ON, 1, 1ull << 32, 0) == -LINTEL_EINVAL, "an entry from 4 GiB on");
    ok(on(1, 1ull << 32) == -LINTEL_EINVAL, "an argument that EBX can't hold");
    ok(on(0, 0) == -LINTEL_EALREADY, "the caller is on");
    vcpus[1].job = vcpu_spin;
    ok(on(1, ARGUMENT) == 0, "the second is switched on");
    twice = on(1, ARGUMENT + 1);
    ok(twice == -LINTEL_EINPROGRESS || twice == -LINTEL_EALREADY, "and can't be at once again: %ld", twice);
    ok(vcpu_has_begun(1, 1) && vcpus[1].cs == VCPU_NO_CS && vcpus[1].argument == ARGUMENT,
       "it begins at the entry with EBX %x", vcpus[1].argument);
    ok(vcpus[1].cr0 == 0x11, "in protected mode without paging, CR0 %x", vcpus[1].cr0);
    ok(on(1, 0) == -LINTEL_EALREADY && state(1) == LINTEL_CPU_ON, "it is on");
}

static void what_wakes(void)
{
    vcpus[1].job = NULL;
    icr_send(1, ICR_INIT);
    becomes(1, LINTEL_CPU_OFF);
    delay_us(QUIET); /* on another CPU it may still be on its way out of its loop */
    vcpus[1].turns = 0;
    vcpu_start(1, switch_off);
    ok(becomes(1, LINTEL_CPU_OFF) && vcpus[1].begun == 2,
       "INIT and SIPI still start it; it switches itself off");
    vcpus[1].job = vcpu_spin;
    icr_send(1, ICR_NMI);
    icr_send(1, ICR_LEVEL | VECTOR);
    icr_send(1, ICR_INIT);
    icr_send(1, ICR_SIPI | VCPU_VECTOR);
    delay_us(QUIET);
    ok(vcpus[1].begun == 2 && vcpus[1].turns == 1 && state(1) == LINTEL_CPU_OFF,
       "neither NMI nor interrupt, INIT, SIPI wake it");
    ok(on(1, 7) == 0 && vcpu_has_begun(1, 3) && vcpus[1].argument == 7, "CPU_ON does");
    ok(vcpu_turns(1) && interrupts[VECTOR_NMI] == 0, "the NMI of its last life has gone");
    icr_send(1, ICR_INIT);
    ok(becomes(1, LINTEL_CPU_OFF), "one that waits for SIPI is off");
    ok(on(1, 8) == 0 && vcpu_has_begun(1, 4), "and can be switched on");
    icr_send(1, ICR_INIT);
}

/* A sign for the harness, which looks at frames meanwhile and then types something ("wait" was given). */
static void sign(const char *text)
{
    say("%s", text);
    while (word_given("wait") && !(in8(COM1_STATUS) & 1))
        lintel_call0(LINTEL_CALL_YIELD);
    in8(COM1);
}

static void storm(void)
{
    u32 rounds = word_given("rounds") ? 200 : 10000, failed = 0, wrong = 0;

    becomes(1, LINTEL_CPU_OFF);
    vcpus[1].job = switch_off;
    for (u32 i = 0; i < rounds; i++) {
        failed += on(1, i) != 0;
        while (state(1) != LINTEL_CPU_OFF)
            lintel_call0(LINTEL_CALL_YIELD);
        wrong += vcpus[1].argument != i;
    }
    ok(failed == 0 && wrong == 0 && vcpus[1].begun == 4 + rounds, "%u times on and off: %u failed, %u wrong",
       rounds, failed, wrong);
}

/* The boot vCPU is off; what is left of the test is done on another one, and then on it again. */
static void last_point(u32 number)
{
    ok(vcpus[number].cs == VCPU_NO_CS && vcpus[number].argument == ARGUMENT, "and is switched on again");
    lintel_call0(LINTEL_CALL_SYSTEM_OFF);
    bail_out("SYSTEM_OFF comes back");
}

static void switch_boot_vcpu_on(u32 number)
{
    while (state(0) != LINTEL_CPU_OFF)
        lintel_call0(LINTEL_CALL_YIELD);
    ok(number == 2, "the boot vCPU can be off");
    vcpus[0].job = last_point;
    on(0, ARGUMENT);
    vcpu_spin(number);
}

void guest_main(void)
{
    plan(11 + 6 + 1 + 2);
    lapic_setup();
    vcpus_setup();
    answers();
    what_wakes();
    sign("before");
    storm();
    sign("after");
    vcpus[2].job = switch_boot_vcpu_on;
    on(2, 0);
    lintel_call0(LINTEL_CALL_CPU_OFF);
    bail_out("CPU_OFF comes back");
}
