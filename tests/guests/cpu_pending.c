/* SPDX-License-Identifier: MIT */
/*
 * Between CPU_ON and its first instruction a vCPU is pending: CPU_STATE says so, another CPU_ON answers
 * -EINPROGRESS and changes nothing, SIPI finds it starting, INIT ends it. All vCPUs share one CPU, and the
 * second has just had more of it than the caller, so that it begins when the caller's turn ends. Should that
 * end in the middle of a round, another round is made. docs/abi.md.
 */
// conf: vcpus = 2
// conf: cpus = 0
#include "guest/pv/lintel.h"
#include "lib/interrupt.h"
#include "lib/tap.h"
#include "lib/vcpus.h"

#define ARGUMENT 0x11111111u
#define VECTOR   0x51
#define SLEEP_MS 50 /* some slices */
#define ROUNDS   20

static bool awake;

static s64 on(u64 argument)
{
    return lintel_call3(LINTEL_CALL_CPU_ON, 1, (u64)vcpu_entry, argument);
}

static s64 state(void)
{
    return lintel_call1(LINTEL_CALL_CPU_STATE, 1);
}

static void on_timer(struct frame *frame)
{
    (void)frame;
    awake = true;
    lapic_eoi();
}

/* The other one has the CPU meanwhile. Its next beginning is far in the future, as turns go. */
static void let_it_spin(void)
{
    u32 ticks = cpuid(LINTEL_CPUID_TIMING, 0).ebx / 16 * SLEEP_MS;

    vcpus[1].job = vcpu_spin;
    if (state() == LINTEL_CPU_OFF)
        on(0);
    awake = false;
    lapic_write(LAPIC_DIVIDE, 3); /* by 16 */
    lapic_write(LAPIC_LVT_TIMER, VECTOR);
    lapic_write(LAPIC_INITIAL, ticks);
    while (!awake)
        interrupt_wait();
    icr_send(1, ICR_INIT);
}

/* What the two calls that follow CPU_ON say, and whether it has begun by then. */
struct answers {
    s64 first, state, again;
    bool begun;
};

static struct answers ask(void)
{
    struct answers answers;
    u32 before = vcpus[1].begun;

    answers.first = on(ARGUMENT);
    answers.state = state();
    answers.again = on(ARGUMENT + 1);
    answers.begun = vcpus[1].begun != before;
    return answers;
}

static void pending(void)
{
    struct answers answers = {0};
    u32 round = 0, before;
    bool once;

    do {
        let_it_spin();
        before = vcpus[1].begun;
        answers = ask();
    } while (answers.begun && ++round < ROUNDS);
    ok(answers.first == 0 && !answers.begun, "it has not begun when CPU_ON comes back, round %u", round);
    ok(answers.state == LINTEL_CPU_PENDING, "it is pending: %ld", answers.state);
    ok(answers.again == -LINTEL_EINPROGRESS, "and can't be switched on again: %ld", answers.again);
    icr_send(1, ICR_SIPI | VCPU_VECTOR);
    once = vcpu_has_begun(1, before + 1);
    ok(once && vcpus[1].argument == ARGUMENT && vcpus[1].cs == VCPU_NO_CS,
       "it begins once, as the first says: EBX %x", vcpus[1].argument);
    ok(state() == LINTEL_CPU_ON && on(0) == -LINTEL_EALREADY, "then it is on");
}

static void ended_by_init(void)
{
    u32 round = 0, before;
    s64 was, is;

    do {
        let_it_spin();
        before = vcpus[1].begun;
        on(ARGUMENT);
        was = state();
        icr_send(1, ICR_INIT);
        is = state();
    } while (was != LINTEL_CPU_PENDING && ++round < ROUNDS);
    ok(was == LINTEL_CPU_PENDING && is == LINTEL_CPU_OFF, "INIT ends it: %ld, %ld, round %u", was, is, round);
    delay_us(100000);
    ok(vcpus[1].begun == before && state() == LINTEL_CPU_OFF, "and it does not begin");
    vcpus[1].job = NULL;
    icr_send(1, ICR_SIPI | VCPU_VECTOR);
    ok(vcpu_has_begun(1, before + 1) && vcpus[1].cs == VCPU_VECTOR << 8, "until a SIPI comes");
}

void guest_main(void)
{
    plan(8);
    lapic_setup();
    vcpus_setup();
    interrupt_handle(VECTOR, on_timer);
    pending();
    ended_by_init();
}
