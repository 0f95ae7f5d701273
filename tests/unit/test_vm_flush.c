/* SPDX-License-Identifier: MIT */
/*
 * Frames leave a guest that runs on 2 and on 4 CPUs: threads, so that the words they share are as late, and
 * as reordered, as this machine makes them. A CPU's TLB is an array; a guest touches what its TLB says, and a
 * frame that has gone to somebody else must not be touched. Some exits take frames away, several CPUs at a
 * time, some write to guest memory by an address that they looked up, some give the CPU back.
 */
// sources: hv/run/vm_flush.c hv/lib/lock_check.c arch/x86/machine/percpu.c
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/run/sched_private.h"
#include "hv/run/vm_flush.h"

#define CPUS   4
#define VCPUS  5 /* more than CPUs: they move, too */
#define GFNS   64
#define FRAMES (4 * GFNS)
#define BATCH  16
#define ROUNDS 1500 /* of each CPU */

struct sched_cpu sched_cpus[CPU_MAX];

/* Who has a frame; what a CPU did with it is lost on a frame of the guest's, and found on another's. */
enum { OWNER_FREE, OWNER_GUEST };
static struct {
    u32 owner;
    u32 writes;
} frames[FRAMES];

static struct vm vm;
static struct vcpu vcpus[VCPUS];
static u64 p2m[GFNS];
static u32 kicked[CPUS], touched_too_late, taken, finishes, breathers;

NORETURN void panic_at(const char *file, int line, const char *format, ...)
{
    fprintf(stderr, "panic at %s:%d: %s\n", file, line, format);
    abort();
}

static u32 this_cpu(void)
{
    return host_test_cpu;
}

/* ---------------------------------------------------------------- what the scheduler does */

void cpu_kick(u32 index)
{
    __atomic_store_n(&kicked[index], 1, __ATOMIC_SEQ_CST);
}

static void (*meanwhile)(void);

void sched_pause(void)
{
    if (meanwhile) {
        meanwhile();
        return;
    }
    __atomic_fetch_add(&breathers, 1, __ATOMIC_RELAXED);
    sched_yield();
}

struct sched_cpu *vcpu_cpu_take(const struct vcpu *vcpu)
{
    for (;;) {
        u32 index = READ_ONCE(vcpu->sched.cpu);

        spinlock_take(&sched_cpus[index].lock);
        if (READ_ONCE(vcpu->sched.cpu) == index)
            return &sched_cpus[index];
        spinlock_release(&sched_cpus[index].lock);
    }
}

/* Take a vCPU that has no turn to this CPU, and begin one. */
static bool turn_begin(struct vcpu *vcpu)
{
    struct sched_cpu *own = sched_this(), *from = vcpu_cpu_take(vcpu);
    bool mine;

    if (from->running != vcpu)
        WRITE_ONCE(vcpu->sched.cpu, cpu_index(own));
    spinlock_release(&from->lock);
    spinlock_take(&own->lock);
    mine = READ_ONCE(vcpu->sched.cpu) == cpu_index(own);
    if (mine)
        __atomic_store_n(&own->running, vcpu, __ATOMIC_RELEASE);
    spinlock_release(&own->lock);
    return mine;
}

static void turn_end(void)
{
    struct sched_cpu *own = sched_this();

    spinlock_take(&own->lock);
    __atomic_store_n(&own->running, NULL, __ATOMIC_RELEASE);
    spinlock_release(&own->lock);
}

/* ---------------------------------------------------------------- the guest, and its exits */

static _Thread_local u64 tlb[VCPUS][GFNS]; /* + 1; 0: nothing */
static _Thread_local u32 seed;

static u32 dice(u32 sides)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % sides;
}

/* The owner is looked at before and behind the write: in between the frame must not go. */
static void touch(u64 mfn)
{
    u32 before = __atomic_load_n(&frames[mfn].owner, __ATOMIC_ACQUIRE);

    __atomic_fetch_add(&frames[mfn].writes, 1, __ATOMIC_RELAXED);
    if (before != OWNER_GUEST || __atomic_load_n(&frames[mfn].owner, __ATOMIC_ACQUIRE) != OWNER_GUEST)
        __atomic_fetch_add(&touched_too_late, 1, __ATOMIC_RELAXED);
}

static void run_in_guest(u32 vcpu)
{
    for (unsigned i = dice(400); i > 0 && !READ_ONCE(kicked[host_test_cpu]); i--) {
        u32 gfn = dice(GFNS);

        if (!tlb[vcpu][gfn])
            tlb[vcpu][gfn] = READ_ONCE(p2m[gfn]) + 1;
        if (tlb[vcpu][gfn] != P2M_INVALID + 1)
            touch(tlb[vcpu][gfn] - 1);
    }
    __atomic_store_n(&kicked[host_test_cpu], 0, __ATOMIC_SEQ_CST);
}

static void exit_that_writes(void)
{
    u64 mfn = READ_ONCE(p2m[dice(GFNS)]);

    if (dice(4) == 0)
        sched_yield();
    if (mfn != P2M_INVALID)
        touch(mfn);
}

static u64 frame_find(void)
{
    for (u64 mfn = dice(FRAMES);; mfn = (mfn + 1) % FRAMES)
        if (__atomic_load_n(&frames[mfn].owner, __ATOMIC_ACQUIRE) == OWNER_FREE)
            return mfn;
}

/* The three steps; then others come in their place, as from a balloon that is let go. */
static void exit_that_takes(void)
{
    u64 gone[BATCH];
    u32 count = 0, debts;

    spinlock_take(&vm.lock);
    for (u32 gfn = dice(GFNS); gfn < GFNS && count < BATCH; gfn++) {
        if (p2m[gfn] == P2M_INVALID)
            continue;
        gone[count++] = p2m[gfn];
        WRITE_ONCE(p2m[gfn], P2M_INVALID);
        flush_debt_open(&vm.memory.flush_debt);
    }
    vm_flush_request(&vm);
    debts = flush_debt_now(&vm.memory.flush_debt);
    spinlock_release(&vm.lock);

    vm_flush_finish(&vm);
    __atomic_fetch_add(&finishes, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&taken, count, __ATOMIC_RELAXED);
    flush_debt_check_since(&vm.memory.flush_debt, debts);
    for (u32 i = 0; i < count; i++)
        __atomic_store_n(&frames[gone[i]].owner, OWNER_FREE, __ATOMIC_RELEASE);

    spinlock_take(&vm.lock);
    for (u32 gfn = 0; gfn < GFNS; gfn++) {
        u64 mfn;

        if (p2m[gfn] != P2M_INVALID)
            continue;
        mfn = frame_find();
        __atomic_store_n(&frames[mfn].owner, OWNER_GUEST, __ATOMIC_RELEASE);
        WRITE_ONCE(p2m[gfn], mfn);
    }
    spinlock_release(&vm.lock);
}

/* The door into the guest, as in hv/run/exit.c. */
static bool prepare_entry(struct vcpu *vcpu)
{
    u32 requests = __atomic_load_n(&vcpu->requests, __ATOMIC_ACQUIRE);

    if (requests & REQUEST_RESCHEDULE)
        return false;
    if (requests & REQUEST_FLUSH) {
        vcpu_request_done(vcpu, REQUEST_FLUSH);
        vcpu_flush_promise(vcpu);
        memset(tlb[vcpu->index], 0, sizeof(tlb[0]));
        flush_debt_settle(&vm.memory.flush_debt, vcpu->index);
    }
    flush_debt_enter(&vm.memory.flush_debt, vcpu->index, &vm.lock, &vcpu->requests, REQUEST_FLUSH);
    return true;
}

static void turn(struct vcpu *vcpu)
{
    vcpu_request_done(vcpu, REQUEST_RESCHEDULE);
    memset(tlb, 0, sizeof(tlb)); /* as engine->vcpu_load: what a CPU knows from an earlier stay is dropped */
    while (prepare_entry(vcpu)) {
        run_in_guest(vcpu->index);
        switch (dice(12)) {
        case 0: exit_that_takes(); break;
        case 1: vcpu_request(vcpu, REQUEST_RESCHEDULE); break;
        default: exit_that_writes(); break;
        }
    }
}

static void *cpu_run(void *argument)
{
    host_test_cpu = (u32)(u64)argument;
    seed = host_test_cpu + 1;
    for (unsigned round = 0; round < ROUNDS;) {
        struct vcpu *vcpu = &vcpus[dice(VCPUS)];

        if (!turn_begin(vcpu))
            continue;
        turn(vcpu);
        turn_end();
        round++;
    }
    return NULL;
}

static void start(void)
{
    memset(frames, 0, sizeof(frames));
    memset(vcpus, 0, sizeof(vcpus));
    vm = (struct vm){.vcpu_count = VCPUS, .memory.lock = &vm.lock};
    spinlock_init(&vm.lock, RANK_VM);
    for (u32 i = 0; i < VCPUS; i++) {
        vcpus[i].index = i;
        vcpus[i].vm = &vm;
        vm.vcpus[i] = &vcpus[i];
    }
    for (u32 i = 0; i < CPUS; i++) {
        cpus[i].index = i;
        kicked[i] = 0;
        sched_cpus[i].running = NULL;
        spinlock_init(&sched_cpus[i].lock, RANK_SCHEDULER);
    }
    for (u32 gfn = 0; gfn < GFNS; gfn++) {
        p2m[gfn] = gfn;
        frames[gfn].owner = OWNER_GUEST;
    }
    touched_too_late = taken = finishes = breathers = 0;
}

static void run_on(u32 count)
{
    pthread_t threads[CPUS];

    start();
    for (u32 i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, cpu_run, (void *)(u64)i), 0);
    for (u32 i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(touched_too_late, 0);
    assert_true(taken > finishes && finishes > ROUNDS / 4 && breathers > 0);
}

static void test_two_cpus(void **state)
{
    (void)state;
    run_on(2);
}

static void test_four_cpus(void **state)
{
    (void)state;
    run_on(4);
}

/* ---------------------------------------------------------------- who is waited for, and who is not */

/* One that halts, waits or is held, and the caller's own: the flush lies ahead, nobody is kicked. */
static void test_nobody_to_wait_for(void **state)
{
    (void)state;
    start();
    host_test_cpu = 0;
    assert_true(turn_begin(&vcpus[0]));
    vm_flush_request(&vm);
    vm_flush_finish(&vm);
    assert_int_equal(breathers, 0);
    for (u32 i = 0; i < CPUS; i++)
        assert_int_equal(kicked[i], 0);
    for (u32 i = 0; i < VCPUS; i++)
        assert_int_equal(vcpus[i].requests, REQUEST_FLUSH);
    turn_end();
}

/*
 * While vCPU 0 waits for vCPU 1, that one wants a flush of vCPU 0, and has not come to the request yet: the
 * promise must hold all the same. Then vCPU 1 does as it was asked, or its turn ends.
 */
static unsigned pauses;
static bool turn_ends;

static void other_wants_and_promises(void)
{
    assert_int_equal(kicked[1], 1);
    switch (pauses++) {
    case 0:
        vcpu_request_done(&vcpus[0], REQUEST_FLUSH);
        __atomic_fetch_add(&vcpus[0].flush.wanted, 1, __ATOMIC_ACQ_REL);
        return;
    case 1:
        assert_int_equal(vcpus[0].flush.promised, vcpus[0].flush.wanted);
        assert_int_equal(vcpus[0].requests, REQUEST_FLUSH);
        if (turn_ends)
            sched_cpus[1].running = &vcpus[2];
        else
            vcpu_flush_promise(&vcpus[1]);
        return;
    default: fail();
    }
}

static void test_waiting_for_each_other(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        start();
        host_test_cpu = 1;
        assert_true(turn_begin(&vcpus[1]));
        host_test_cpu = 0;
        assert_true(turn_begin(&vcpus[0]));
        vm_flush_request(&vm);
        pauses = 0;
        turn_ends = round != 0;
        meanwhile = other_wants_and_promises;
        vm_flush_finish(&vm);
        meanwhile = NULL;
        assert_int_equal(pauses, 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_to_wait_for),
        cmocka_unit_test(test_waiting_for_each_other),
        cmocka_unit_test(test_two_cpus),
        cmocka_unit_test(test_four_cpus),
    };

    lock_check_start(this_cpu);
    return cmocka_run_group_tests_name("vm_flush", tests, NULL, NULL);
}
