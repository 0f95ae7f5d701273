/* SPDX-License-Identifier: MIT */
/*
 * The scheduler on up to four CPUs in simulated time. Each CPU is a coroutine that runs sched_round for ever;
 * it rests where a real one would be in a guest or in HLT, and goes on when its timer is due or another CPU
 * kicks it. A kick that is sent without a lock is taken at once, so that who waits for that CPU gets what it
 * waits for. Guests spin, or run and halt by turns.
 */
// sources: hv/run/sched.c hv/run/sched_place.c hv/run/sched_queue.c hv/run/sched_work.c hv/run/budget.c
// sources: hv/run/timer.c hv/lib/lock_check.c arch/x86/machine/percpu.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <cmocka.h>

#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/lapic.h"
#include "hv/lib/panic.h"
#include "hv/run/exit.h"
#include "hv/run/sched_private.h"

#define CPUS       4
#define VCPUS      16
#define STACK      (256 << 10)
#define MS         1000000ull /* a tick is a nanosecond */
#define SECOND     (1000 * MS)
#define FOR_EVER   (~0ull >> 1)
#define NOT_LOADED (-1)

/* ---------------------------------------------------------------- the machine */

static struct {
    ucontext_t context, *resumer;
    bool resting, kicked;
    u64 timer;    /* what its hardware is set to */
    u64 programs; /* how often it was */
    u64 kicks;
    u64 until; /* the guest does nothing before */
} machines[CPUS];

static u64 now;
static interrupt_handler_fn handlers[256];
static char stacks[CPUS][STACK] __attribute__((aligned(16)));

static struct guest {
    struct vm vm;
    struct vm_config config;
    struct vcpu vcpu;
    u64 run, sleep; /* it runs so long, then halts so long */
    u64 left;       /* of `run` */
    u64 woken, latency, before;
    struct timer alarm;
    bool yields;
    int loaded;
    unsigned moved, told;
    unsigned work; /* so many turns its device wants yet */
} guests[VCPUS];
static unsigned guest_count;

static struct guest *guest_of(const struct vcpu *vcpu)
{
    return &guests[vcpu->index];
}

u64 sched_now(void)
{
    return now;
}

u64 tsc_from_ns(u64 ns)
{
    return ns;
}

NORETURN void panic_at(const char *file, int line, const char *format, ...)
{
    fail_msg("panic at %s:%d: %s", file, line, format);
    abort();
}

void interrupt_set_handler(u8 vector, interrupt_handler_fn handler, void *context)
{
    (void)context;
    handlers[vector] = handler;
}

void host_lapic_timer_set(u64 deadline)
{
    machines[host_test_cpu].timer = deadline;
    machines[host_test_cpu].programs++;
}

/* CPUs that go on in turns, as those of an emulator with one thread: when, from `at` on, is it this one's? */
#define TURN (100 * MS)
static bool in_turns;

static u64 turn_of(u32 cpu, u64 at)
{
    u64 round = TURN * cpu_count, begin = at / round * round + cpu * TURN;

    if (!in_turns || at == TIMER_NEVER || (at >= begin && at < begin + TURN))
        return at;
    return at < begin ? begin : begin + round;
}

/* Let a CPU go on until it rests again. */
static void resume(u32 cpu)
{
    u32 before = host_test_cpu;
    ucontext_t here, *outer = machines[cpu].resumer;

    machines[cpu].resting = false;
    machines[cpu].resumer = &here;
    host_test_cpu = cpu;
    swapcontext(&here, &machines[cpu].context);
    machines[cpu].resumer = outer;
    host_test_cpu = before;
}

static bool any_lock_held(void)
{
    for (u32 i = 0; i < CPUS; i++)
        if (spinlock_is_taken(&sched_cpus[i].lock) || spinlock_is_taken(&sched_cpus[i].timers.lock))
            return true;
    return false;
}

void host_lapic_send_ipi(u32 apic_id, u8 vector)
{
    assert_int_equal(vector, HOST_VECTOR_KICK);
    assert_int_not_equal(apic_id, host_test_cpu);
    machines[apic_id].kicked = true;
    machines[apic_id].kicks++;
    if (machines[apic_id].resting && !any_lock_held() && turn_of(apic_id, now) == now)
        resume(apic_id);
}

static void take_interrupts(u32 cpu)
{
    assert_false(any_lock_held());
    if (machines[cpu].kicked) {
        machines[cpu].kicked = false;
        handlers[HOST_VECTOR_KICK](NULL);
    }
    if (machines[cpu].timer <= now) {
        machines[cpu].timer = TIMER_NEVER;
        handlers[HOST_VECTOR_TIMER](NULL);
    }
}

void sched_take_interrupts(void)
{
    take_interrupts(host_test_cpu);
}

/* In the guest, or in HLT, until something happens. */
static void rest(u32 cpu)
{
    if (!machines[cpu].kicked && machines[cpu].timer > now) {
        machines[cpu].resting = true;
        swapcontext(&machines[cpu].context, machines[cpu].resumer);
    }
    take_interrupts(cpu);
}

static void cpu_run(void)
{
    for (;;) {
        if (sched_round())
            continue;
        rest(host_test_cpu);
        idle_over(sched_this());
    }
}

/* ---------------------------------------------------------------- the guests */

bool exit_prepare_entry(struct vcpu *vcpu)
{
    if (READ_ONCE(vcpu->requests) & (REQUEST_RESCHEDULE | REQUEST_DEVICE))
        return false;
    vcpu_request_done(vcpu, REQUEST_INTERRUPT);
    return true;
}

bool power_wants_turn(const struct vcpu *vcpu)
{
    return vcpu->power.now.state == POWER_RUNNABLE || (vcpu->requests & (REQUEST_INTERRUPT | REQUEST_DEVICE));
}

void power_carry_out(struct vcpu *vcpu)
{
    (void)vcpu;
    fail();
}

int power_event(struct vcpu *vcpu, enum power_event event, u32 value, u32 argument)
{
    (void)value;
    (void)argument;
    assert_int_equal(event, POWER_INTERRUPT);
    vcpu->power.now.state = POWER_RUNNABLE;
    guest_of(vcpu)->left = guest_of(vcpu)->run;
    return 0;
}

void vcpu_load(struct vcpu *vcpu)
{
    assert_int_equal(guest_of(vcpu)->loaded, NOT_LOADED);
    assert_true(vcpu_allowed(vcpu) & BIT(host_test_cpu));
    guest_of(vcpu)->loaded = (int)host_test_cpu;
}

void vcpu_put(struct vcpu *vcpu)
{
    assert_int_equal(guest_of(vcpu)->loaded, host_test_cpu);
    guest_of(vcpu)->loaded = NOT_LOADED;
}

static void alarm_fire(struct timer *timer)
{
    struct guest *guest = container_of(timer, struct guest, alarm);

    guest->woken = now;
    vcpu_request(&guest->vcpu, REQUEST_INTERRUPT);
    sched_vcpu_wake(&guest->vcpu);
}

static void guest_halt(struct guest *guest)
{
    guest->vcpu.power.now.state = POWER_HALTED;
    vcpu_request(&guest->vcpu, REQUEST_RESCHEDULE);
    if (guest->sleep != FOR_EVER)
        timer_set(&guest->alarm, now + guest->sleep);
}

static void guest_run(struct vcpu *vcpu)
{
    struct guest *guest = guest_of(vcpu);
    u32 cpu = host_test_cpu;

    assert_int_equal(guest->loaded, cpu);
    assert_ptr_equal(sched_cpus[cpu].running, vcpu);
    if (guest->woken)
        guest->latency = MAX(guest->latency, now - guest->woken);
    guest->woken = 0;
    do {
        u64 begin = now;

        machines[cpu].until = guest->yields ? now + MS / 10 : now + MIN(guest->left, FOR_EVER);
        rest(cpu);
        guest->left -= guest->run == FOR_EVER ? 0 : now - begin;
        if (guest->left == 0)
            guest_halt(guest);
        else if (guest->yields)
            sched_vcpu_yield(vcpu);
    } while (exit_prepare_entry(vcpu));
    machines[cpu].until = TIMER_NEVER;
}

static int interrupt_pending(struct vcpu *vcpu)
{
    (void)vcpu;
    return 32;
}

static void vcpu_moved(struct vcpu *vcpu)
{
    assert_int_equal(guest_of(vcpu)->loaded, NOT_LOADED);
    timer_move(&guest_of(vcpu)->alarm, sched_timers(host_test_cpu));
    guest_of(vcpu)->moved++;
}

static void vcpu_waited(struct vcpu *vcpu)
{
    guest_of(vcpu)->told++;
}

static void work_ask(struct vcpu *vcpu)
{
    vcpu_request(vcpu, REQUEST_DEVICE);
    sched_vcpu_wake(vcpu);
}

/* Each share takes half a millisecond. */
static void device_work(struct vcpu *vcpu)
{
    struct guest *guest = guest_of(vcpu);

    assert_ptr_equal(sched_this()->running, vcpu);
    assert_false(any_lock_held());
    machines[host_test_cpu].until = now + MS / 2;
    rest(host_test_cpu);
    machines[host_test_cpu].until = TIMER_NEVER;
    if (--guest->work)
        work_ask(vcpu);
}

static const struct machine_ops test_machine = {.interrupt_pending = interrupt_pending,
                                                .vcpu_moved = vcpu_moved,
                                                .vcpu_waited = vcpu_waited,
                                                .device_work = device_work};
const struct machine_ops *machine = &test_machine;
static const struct engine_ops test_engine = {.vcpu_run = guest_run};
const struct engine_ops *engine = &test_engine;

/* ---------------------------------------------------------------- time */

/* When does a CPU that rests have something to do by itself? */
static u64 next_of(u32 cpu)
{
    u64 next = MIN(machines[cpu].timer, machines[cpu].until);

    return turn_of(cpu, machines[cpu].kicked ? now : MAX(next, now));
}

/* Nobody waits for a CPU while another that it may have sleeps. */
static void check_nobody_waits_in_vain(void)
{
    for (u32 i = 0; i < cpu_count; i++) {
        struct vcpu *vcpu;
        u64 again;

        list_for_each (vcpu, &sched_cpus[i].queue, sched.node)
            for (u32 other = 0; other < cpu_count; other++)
                if (!sched_cpus[other].running && (vcpu_allowed(vcpu) & BIT(other)) && !vcpu->sched.held)
                    assert_int_equal(budget_left(&vcpu->vm->budget, now, &again), 0);
    }
}

/* Let everybody do what they have to do now. */
static void settle(void)
{
    for (u32 cpu = 0; cpu < cpu_count;) {
        if (machines[cpu].resting && (machines[cpu].kicked || machines[cpu].timer <= now) &&
            turn_of(cpu, now) == now) {
            resume(cpu);
            cpu = 0;
        } else {
            cpu++;
        }
    }
    if (!in_turns)
        check_nobody_waits_in_vain();
}

static void pass(u64 time)
{
    u64 end = now + time;

    machines[0].kicked = true; /* the test is the boot CPU, which now goes on with its loop */
    settle();
    for (;;) {
        u64 next = end;
        u32 first = 0;

        for (u32 cpu = 0; cpu < cpu_count; cpu++) {
            if (next_of(cpu) < next) {
                next = next_of(cpu);
                first = cpu;
            }
        }
        if (next >= end)
            break;
        now = next;
        resume(first);
        settle();
    }
    now = end;
    settle();
}

static u32 this_cpu(void)
{
    return host_test_cpu;
}

static void start(u32 count)
{
    memset(sched_cpus, 0, sizeof(struct sched_cpu) * CPU_MAX);
    memset(machines, 0, sizeof(machines));
    memset(guests, 0, sizeof(guests));
    guest_count = 0;
    now = 12345;
    host_test_cpu = 0;
    cpu_count = count;
    in_turns = false;
    sched_init();
    for (u32 i = 0; i < CPUS; i++) {
        cpus[i].index = cpus[i].apic_id = i;
        machines[i].timer = machines[i].until = TIMER_NEVER;
        idle_over(&sched_cpus[i]);
    }
    for (u32 i = 0; i < count; i++) {
        getcontext(&machines[i].context);
        machines[i].context.uc_stack.ss_sp = stacks[i];
        machines[i].context.uc_stack.ss_size = STACK;
        makecontext(&machines[i].context, cpu_run, 0);
        resume(i);
    }
}

/* A VM with one vCPU; it has not been added yet. */
static struct guest *guest_make(u64 run, u64 sleep, u32 weight, u32 cap, u64 mask)
{
    struct guest *guest = &guests[guest_count++];

    guest->run = guest->left = run;
    guest->sleep = sleep;
    guest->config = (struct vm_config){.weight = weight, .cap = cap, .cpus = mask};
    guest->vm.config = &guest->config;
    guest->vm.state = VM_RUNNING;
    guest->vcpu.vm = &guest->vm;
    guest->vcpu.index = guest_count - 1;
    guest->loaded = NOT_LOADED;
    list_init(&guest->vcpu.sched.node);
    timer_init(&guest->alarm, sched_timers(0), alarm_fire);
    budget_init(&guest->vm.budget, cap, BUDGET_PERIOD_MS * MS, now);
    return guest;
}

static struct guest *guest_add(u64 run, u64 sleep, u32 weight, u32 cap, u64 mask)
{
    struct guest *guest = guest_make(run, sleep, weight, cap, mask);

    sched_vcpu_add(&guest->vcpu);
    return guest;
}

static struct guest *spinner(u32 weight)
{
    return guest_add(FOR_EVER, 0, weight, 0, 0);
}

static u64 ran(struct guest *guest)
{
    u64 had, waited;

    sched_vcpu_times(&guest->vcpu, &had, &waited);
    return had;
}

static void assert_about(u64 value, u64 expected, unsigned percent)
{
    if (value * 100 < expected * (100 - percent) || value * 100 > expected * (100 + percent))
        fail_msg("%llu us, not about %llu us", (unsigned long long)value / 1000,
                 (unsigned long long)expected / 1000);
}

/* ---------------------------------------------------------------- shares */

static void test_weights(void **state)
{
    static const u32 weights[] = {256, 256, 512, 1024};

    (void)state;
    start(1);
    for (unsigned i = 0; i < 4; i++)
        spinner(weights[i]);
    pass(10 * SECOND);
    for (unsigned i = 0; i < 4; i++)
        assert_about(ran(&guests[i]), 10 * SECOND * weights[i] / 2048, 2);
}

/* One that comes later begins where the others are: it neither catches up nor waits for its first turn. */
static void test_late_comer(void **state)
{
    struct guest *late;

    (void)state;
    start(1);
    spinner(256);
    spinner(256);
    pass(3 * SECOND);
    late = spinner(256);
    pass(3 * SECOND);
    assert_about(ran(late), SECOND, 2);
}

static void test_cap(void **state)
{
    struct guest *capped, *rest_of_it;

    (void)state;
    start(1);
    capped = guest_add(FOR_EVER, 0, 256, 30, 0);
    pass(10 * SECOND);
    assert_about(ran(capped), 3 * SECOND, 1);
    rest_of_it = spinner(256);
    pass(10 * SECOND);
    assert_about(ran(capped), 6 * SECOND, 1);
    assert_about(ran(rest_of_it), 7 * SECOND, 1);
    capped->config.weight = 10; /* a cap is no promise */
    pass(10 * SECOND);
    assert_about(ran(capped) - 6 * SECOND, 10 * SECOND * 10 / 266, 5);
}

/* Two vCPUs of one VM on two CPUs use one budget. */
static void test_cap_of_two(void **state)
{
    struct guest *one, *two;

    (void)state;
    start(2);
    one = guest_make(FOR_EVER, 0, 256, 50, 0);
    two = guest_make(FOR_EVER, 0, 256, 0, 0);
    two->vcpu.vm = &one->vm;
    sched_vcpu_add(&one->vcpu);
    sched_vcpu_add(&two->vcpu);
    pass(10 * SECOND);
    assert_about(ran(one) + ran(two), 5 * SECOND, 1);
    assert_about(ran(one), ran(two), 10);
}

/* What is not used is lost: no burst after a long sleep. */
static void test_cap_after_sleep(void **state)
{
    struct guest *capped;

    (void)state;
    start(1);
    capped = guest_add(MS, 5 * SECOND, 256, 20, 0);
    pass(5 * SECOND);
    capped->run = FOR_EVER;
    pass(SECOND + MS);
    assert_about(ran(capped), 200 * MS, 12);
}

/* ---------------------------------------------------------------- waking */

static void test_who_wakes_runs_at_once(void **state)
{
    struct guest *sleeper;

    (void)state;
    start(1);
    spinner(256);
    spinner(256);
    sleeper = guest_add(MS, 9 * MS, 256, 0, 0);
    pass(10 * SECOND);
    assert_int_equal(sleeper->latency, 0);
    assert_about(ran(sleeper), SECOND, 2);
    assert_about(ran(&guests[0]), 4500 * MS, 2);
}

/* One that sleeps a little has no more than one that never does. */
static void test_sleep_earns_nothing(void **state)
{
    struct guest *sleeper, *other;

    (void)state;
    start(1);
    other = spinner(256);
    sleeper = guest_add(20 * MS, MS / 10, 256, 0, 0);
    pass(10 * SECOND);
    assert_true(ran(sleeper) <= ran(other) + 10 * MS);
    assert_about(ran(sleeper), 5 * SECOND, 3);
}

static void test_steal_time(void **state)
{
    struct guest *one, *two;
    u64 had, waited;

    (void)state;
    start(1);
    one = spinner(256);
    pass(SECOND);
    sched_vcpu_times(&one->vcpu, &had, &waited);
    assert_true(waited == 0 && one->told == 0);
    two = spinner(256);
    pass(2 * SECOND);
    sched_vcpu_times(&one->vcpu, &had, &waited);
    assert_about(waited, SECOND, 1);
    assert_true(one->told > 100 && two->told > 100);
    assert_int_equal(had + waited, 3 * SECOND);
}

/* Of sixteen VMs fifteen idle: no timer is set for them, the last has the CPU without a break. */
static void test_idle_ones_cost_nothing(void **state)
{
    u64 programs;

    (void)state;
    start(1);
    for (unsigned i = 0; i < 15; i++)
        guest_add(MS, FOR_EVER, 256, 0, 0);
    spinner(256);
    pass(100 * MS);
    programs = machines[0].programs;
    pass(10 * SECOND);
    assert_int_equal(machines[0].programs, programs);
    assert_int_equal(ran(&guests[15]), 10 * SECOND + 100 * MS - 15 * MS);
}

/* ---------------------------------------------------------------- several CPUs */

static void test_spread(void **state)
{
    (void)state;
    start(4);
    for (unsigned i = 0; i < 4; i++)
        spinner(256);
    pass(SECOND);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(ran(&guests[i]), SECOND);
}

/* vcpu_load asserts that nobody runs where it may not. */
static void test_pinning(void **state)
{
    (void)state;
    start(3);
    for (unsigned i = 0; i < 3; i++)
        guest_add(FOR_EVER, 0, 256, 0, BIT(1));
    guest_add(3 * MS, MS, 256, 0, BIT(0) | BIT(2) | BIT(40));
    pass(3 * SECOND);
    for (unsigned i = 0; i < 3; i++)
        assert_about(ran(&guests[i]), SECOND, 2);
    assert_about(ran(&guests[3]), 3 * SECOND * 3 / 4, 1);
    assert_int_equal(sched_cpus[1].waiting, 2);
}

/* A CPU whose own vCPU has halted takes what waits at the other one; no time is lost. */
static void test_taking_from_another(void **state)
{
    (void)state;
    start(2);
    spinner(256);
    guest_add(10 * MS, 10 * MS, 256, 0, BIT(1));
    spinner(256);
    pass(10 * SECOND);
    assert_about(ran(&guests[1]), 5 * SECOND, 30);
    assert_int_equal(ran(&guests[0]) + ran(&guests[1]) + ran(&guests[2]), 20 * SECOND);
    assert_true(guests[0].moved + guests[2].moved > 0);
}

/* Shares hold over all CPUs where they can: 4 on one of them, 1, 1 and 2 on the other. */
static void test_weights_on_two(void **state)
{
    static const u32 weights[] = {256, 256, 512, 1024};

    (void)state;
    start(2);
    for (unsigned i = 0; i < 4; i++)
        spinner(weights[i]);
    pass(SECOND); /* to find their places */
    for (unsigned i = 0; i < 4; i++)
        guests[i].before = ran(&guests[i]);
    pass(10 * SECOND);
    for (unsigned i = 0; i < 4; i++)
        assert_about(ran(&guests[i]) - guests[i].before, 20 * SECOND * weights[i] / 2048, 2);
}

/* Three equal ones on two CPUs take turns in having one for themselves; few of them. */
static void test_three_on_two(void **state)
{
    unsigned moves = 0;

    (void)state;
    start(2);
    for (unsigned i = 0; i < 3; i++)
        spinner(256);
    pass(30 * SECOND);
    for (unsigned i = 0; i < 3; i++) {
        assert_about(ran(&guests[i]), 20 * SECOND, 3);
        moves += guests[i].moved;
    }
    assert_true(moves < 30 * 31);
}

/* One that is handed over has its turn where it comes to, before it may be handed on. */
static void test_cpus_in_turns(void **state)
{
    (void)state;
    start(4);
    in_turns = true;
    for (unsigned i = 0; i < 5; i++)
        spinner(256);
    pass(100 * SECOND);
    for (unsigned i = 0; i < 5; i++)
        assert_about(ran(&guests[i]), 80 * SECOND, 40);
}

static void test_woken_goes_to_an_idle_cpu(void **state)
{
    struct guest *sleeper;

    (void)state;
    start(2);
    sleeper = guest_add(MS, 9 * MS, 256, 0, 0);
    pass(5 * MS);
    guest_add(FOR_EVER, 0, 256, 0, BIT(sleeper->vcpu.sched.cpu));
    pass(SECOND);
    assert_int_equal(sleeper->latency, 0);
    assert_int_equal(sleeper->moved, 1); /* and stays there */
    assert_int_equal(ran(&guests[1]), SECOND);
}

static void test_yield(void **state)
{
    struct guest *one, *two, *other;

    (void)state;
    start(1);
    one = guest_make(FOR_EVER, 0, 256, 0, 0);
    two = guest_make(FOR_EVER, 0, 256, 0, 0);
    two->vcpu.vm = &one->vm;
    one->yields = two->yields = true;
    sched_vcpu_add(&one->vcpu);
    sched_vcpu_add(&two->vcpu);
    other = spinner(256);
    pass(9 * SECOND);
    /* They hand the CPU to each other, and the third has its share all the same. */
    assert_about(ran(one), ran(two), 2);
    assert_about(ran(other), 3 * SECOND, 10);
    assert_true(one->told > 10000);
}

/* A device that goes on for a vCPU that halts, or is off, takes turns of its own, and others have theirs. */
static void test_device_work(void **state)
{
    struct guest *guest, *other;

    (void)state;
    start(1);
    guest = guest_add(MS, FOR_EVER, 256, 0, 0);
    other = spinner(256);
    pass(10 * MS);
    assert_int_equal(guest->vcpu.power.now.state, POWER_HALTED);
    guest->vcpu.power.now.state = POWER_STOPPED;
    guest->work = 200; /* 100 ms */
    work_ask(&guest->vcpu);
    pass(100 * MS);
    assert_true(guest->work > 80 && guest->work < 120);
    assert_about(ran(other), 60 * MS, 15);
    pass(100 * MS);
    assert_int_equal(guest->work, 0);
    assert_false(guest->vcpu.requests & REQUEST_DEVICE);
    assert_int_equal(guest->loaded, NOT_LOADED); /* no turn was for the guest */
}

/* Who is taken out of a queue, by hand: CPU 3 does not run. */
static void test_choice(void **state)
{
    struct sched_cpu *cpu = &sched_cpus[3];
    struct guest *one, *two, *other;

    (void)state;
    start(1);
    one = guest_make(FOR_EVER, 0, 256, 0, 0);
    two = guest_make(FOR_EVER, 0, 256, 0, 0);
    other = guest_make(FOR_EVER, 0, 256, 0, 0);
    two->vcpu.vm = &one->vm;
    spinlock_take(&cpu->lock);
    queue_insert(cpu, &one->vcpu, now);
    queue_insert(cpu, &two->vcpu, now);
    queue_insert(cpu, &other->vcpu, now);
    one->vcpu.sched.virtual_time = 0 - MS;
    two->vcpu.sched.virtual_time = 3 * MS;
    assert_ptr_equal(queue_choose(cpu, cpu, now), &one->vcpu);
    /* One has offered the CPU: to its own VM before others, by a slice at most. */
    cpu->yielded = &one->vcpu;
    cpu->yielded_vm = &one->vm;
    assert_ptr_equal(queue_choose(cpu, cpu, now), &two->vcpu);
    two->vcpu.sched.virtual_time = 5 * MS;
    assert_ptr_equal(queue_choose(cpu, cpu, now), &other->vcpu);
    queue_take(cpu, &other->vcpu, now);
    queue_take(cpu, &two->vcpu, now);
    assert_ptr_equal(queue_choose(cpu, cpu, now), &one->vcpu);
    /* Not while sched_call holds it; and no other CPU takes what has its state here. */
    one->vcpu.sched.held = true;
    assert_null(queue_choose(cpu, cpu, now));
    one->vcpu.sched.held = false;
    assert_ptr_equal(queue_choose(cpu, &sched_cpus[0], now), &one->vcpu);
    cpu->loaded = &one->vcpu;
    assert_null(queue_choose(cpu, &sched_cpus[0], now));
    spinlock_release(&cpu->lock);
}

/* ---------------------------------------------------------------- what the boot CPU wants */

static struct order {
    struct sched_work work;
    struct guest *guest;
    unsigned calls;
    u32 on;
} order;

static void order_look(struct vcpu *vcpu, void *context)
{
    struct order *wanted = context;

    assert_ptr_equal(vcpu, &wanted->guest->vcpu);
    assert_null(sched_cpus[host_test_cpu].running);
    assert_true(guest_of(vcpu)->loaded == NOT_LOADED || guest_of(vcpu)->loaded == (int)host_test_cpu);
    wanted->on = host_test_cpu;
    wanted->calls++;
}

static void work_call(struct sched_work *work)
{
    (void)work;
    sched_call(&order.guest->vcpu, order_look, &order);
}

static void work_remove(struct sched_work *work)
{
    (void)work;
    sched_vcpu_remove(&order.guest->vcpu);
    order.calls++;
    assert_int_equal(order.guest->loaded, NOT_LOADED);
}

static void work_pass(struct sched_work *work)
{
    (void)work;
    sched_pass_all();
    order.calls++;
}

static void order_give(struct guest *guest, void (*run)(struct sched_work *work))
{
    order = (struct order){.guest = guest, .work = {.run = run}, .on = CPU_NONE};
    list_init(&order.work.node);
    sched_work_queue(&order.work);
    if (!order.calls) {
        machines[0].kicked = true; /* the interrupt that has brought the order */
        settle();
    }
    assert_int_equal(order.calls, 1);
}

static void test_call(void **state)
{
    (void)state;
    start(3);
    for (unsigned i = 0; i < 5; i++)
        guest_add(FOR_EVER, 0, 256, 0, i < 4 ? BIT(i / 2 + 1) : 0);
    guest_add(MS, FOR_EVER, 256, 0, 0);
    pass(SECOND);
    for (unsigned i = 0; i < 6; i++) {
        u64 before = ran(&guests[i]);

        order_give(&guests[i], work_call);
        assert_int_equal(order.on, guests[i].vcpu.sched.cpu);
        pass(100 * MS);
        assert_true(i == 5 || ran(&guests[i]) > before);
    }
}

static void test_remove(void **state)
{
    (void)state;
    start(3);
    for (unsigned i = 0; i < 6; i++)
        guest_add(i == 5 ? MS : FOR_EVER, MS, 256, 0, BIT(i % 3));
    pass(SECOND);
    for (unsigned i = 0; i < 6; i++) {
        u64 before;

        order_give(&guests[i], work_remove);
        before = ran(&guests[i]);
        vcpu_request(&guests[i].vcpu, REQUEST_INTERRUPT);
        sched_vcpu_wake(&guests[i].vcpu);
        pass(100 * MS);
        assert_int_equal(ran(&guests[i]), before);
    }
    for (u32 cpu = 0; cpu < 3; cpu++)
        assert_true(!sched_cpus[cpu].running && !sched_cpus[cpu].waiting && !sched_cpus[cpu].loaded);
    sched_vcpu_add(&guests[0].vcpu); /* as after a reset */
    pass(100 * MS);
    assert_int_equal(sched_cpus[0].running, &guests[0].vcpu);
}

static void test_pass_all(void **state)
{
    (void)state;
    start(4);
    for (unsigned i = 0; i < 3; i++)
        spinner(256);
    pass(MS);
    order_give(NULL, work_pass);
}

/* Guests of all kinds, looked at, removed and added again: nobody is loaded twice or waits in vain. */
static void test_storm(void **state)
{
    u32 seed = 1;

    (void)state;
    start(CPUS);
    for (unsigned i = 0; i < VCPUS; i++)
        guest_add(i % 5 ? (i + 1) * MS / 3 : FOR_EVER, i % 3 ? i * MS / 2 : MS / 7, 64 << i % 4,
                  i == 7 ? 40 : 0, i % 4 == 1 ? BITS(i % 3 + 1, 1) : 0);
    for (unsigned i = 0; i < 3000; i++) {
        struct guest *guest = &guests[(seed >> 8) % VCPUS];

        seed = seed * 1664525 + 1013904223;
        pass(seed >> 12);
        if (seed & 0x80) {
            order_give(guest, work_call);
        } else if (seed & 0x40) {
            order_give(guest, work_remove);
            timer_cancel(&guest->alarm);
            guest->vcpu.power.now.state = POWER_RUNNABLE;
            guest->left = guest->run;
            guest->woken = 0;
            sched_vcpu_add(&guest->vcpu);
        }
    }
    for (unsigned i = 0; i < VCPUS; i++)
        assert_true(ran(&guests[i]) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_late_comer),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_cap_of_two),
        cmocka_unit_test(test_cap_after_sleep),
        cmocka_unit_test(test_who_wakes_runs_at_once),
        cmocka_unit_test(test_sleep_earns_nothing),
        cmocka_unit_test(test_steal_time),
        cmocka_unit_test(test_idle_ones_cost_nothing),
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_pinning),
        cmocka_unit_test(test_taking_from_another),
        cmocka_unit_test(test_weights_on_two),
        cmocka_unit_test(test_three_on_two),
        cmocka_unit_test(test_cpus_in_turns),
        cmocka_unit_test(test_woken_goes_to_an_idle_cpu),
        cmocka_unit_test(test_yield),
        cmocka_unit_test(test_device_work),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_call),
        cmocka_unit_test(test_remove),
        cmocka_unit_test(test_pass_all),
        cmocka_unit_test(test_storm),
    };

    lock_check_start(this_cpu);
    return cmocka_run_group_tests_name("sched", tests, NULL, NULL);
}
