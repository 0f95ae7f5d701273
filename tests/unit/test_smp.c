/* SPDX-License-Identifier: MIT */
/*
 * Starting CPUs, with threads for them: each takes the stack as boot/ap_trampoline.asm does when the start-up
 * IPI that it waits for has come. What a thread can't do (HLT for ever) is a signal here.
 */
// sources: arch/x86/machine/smp.c arch/x86/machine/tsc_offset.c arch/x86/machine/percpu.c hv/lib/string.c
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86/machine/descriptors.h"
#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/image.h"
#include "arch/x86/machine/lapic.h"
#include "arch/x86/machine/paging.h"
#include "arch/x86/machine/smp.h"
#include "arch/x86/machine/tsc.h"
#include "hv/lib/errno.h"
#include "hv/lib/log.h"

#define IDS        80
#define START_PAGE 0x9f000

enum behaviour { ANSWERS, ANSWERS_THE_SECOND_TIME, NEVER_ANSWERS, CAN_NOT, ANSWERS_FOR_ANOTHER };

extern u64 smp_root, smp_stack;
void smp_cpu_main(struct cpu *cpu);

const u8 ap_trampoline[] = {1, 2, 3};
const u32 ap_trampoline_size = sizeof(ap_trampoline);

static struct {
    enum behaviour behaviour;
    unsigned inits, startups;
    bool started;
} machine[IDS];
static u8 start_page[PAGE_SIZE];
static u64 ns_per_tick;
static u32 reachable, running;
static bool memory_is_short;
static char said[4096];
static __thread u32 own_id;

/* ---------------------------------------------------------------- the machine */

void log_line(enum log_level level, const char *format, ...)
{
    size_t used = strlen(said);
    va_list args;

    (void)level;
    va_start(args, format);
    vsnprintf(said + used, sizeof(said) - used, format, args);
    va_end(args);
}

void *phys_to_virt(hpa_t hpa)
{
    assert_true(hpa == START_PAGE);
    return start_page;
}

hpa_t paging_root(void)
{
    return 0x1234000;
}

u64 tsc_from_ns(u64 ns)
{
    return ns / ns_per_tick;
}

u64 tsc_to_ns(u64 ticks)
{
    return ticks;
}

void tsc_delay_us(u64 us)
{
    (void)us;
}

int descriptors_create_stacks(struct cpu *cpu)
{
    cpu->stack_top = (u64)cpu;
    return memory_is_short ? -ENOMEM : 0;
}

void paging_load(void)
{
}

void descriptors_load(struct cpu *cpu)
{
    (void)cpu;
}

void exception_load(void)
{
}

void host_lapic_enable(void)
{
}

void lapic_timer_start(void)
{
}

u32 host_lapic_id(void)
{
    return own_id;
}

bool lapic_can_reach(u32 apic_id)
{
    return apic_id <= reachable;
}

void lapic_send_init(u32 apic_id)
{
    machine[apic_id].inits++;
}

/* CLI and HLT are no instructions for a program: this is how a thread rests for ever. */
static void rest(int signal_number)
{
    (void)signal_number;
    for (;;)
        pause();
}

static void *other_cpu(void *id)
{
    struct cpu *cpu = (struct cpu *)__atomic_exchange_n(&smp_stack, 0, __ATOMIC_ACQ_REL);

    signal(SIGSEGV, rest);
    own_id = (u32)(uintptr_t)id;
    if (machine[own_id].behaviour == ANSWERS_FOR_ANOTHER)
        own_id++;
    if (cpu)
        smp_cpu_main(cpu);
    return NULL;
}

void lapic_send_startup(u32 apic_id, hpa_t page)
{
    unsigned needed = machine[apic_id].behaviour == ANSWERS_THE_SECOND_TIME ? 2 : 1;
    pthread_t thread;

    assert_int_equal(page, START_PAGE);
    assert_memory_equal(start_page, ap_trampoline, ap_trampoline_size);
    assert_true(machine[apic_id].inits > 0);
    if (++machine[apic_id].startups < needed || machine[apic_id].behaviour == NEVER_ANSWERS ||
        machine[apic_id].started)
        return;
    machine[apic_id].started = true;
    pthread_create(&thread, NULL, other_cpu, (void *)(uintptr_t)apic_id);
    pthread_detach(thread);
}

static int start_hook(void)
{
    return machine[own_id].behaviour == CAN_NOT ? -ENOMEM : 0;
}

NORETURN static void run_hook(void)
{
    __atomic_fetch_add(&running, 1, __ATOMIC_SEQ_CST);
    for (;;)
        pause();
}

static const struct smp_hooks hooks = {.start = start_hook, .run = run_hook};

/* ---------------------------------------------------------------- tests */

static int setup(void **state)
{
    (void)state;
    memset(machine, 0, sizeof(machine));
    memset(said, 0, sizeof(said));
    cpu_count = 1;
    cpus[0].apic_id = 0;
    running = 0;
    memory_is_short = false;
    reachable = 254;
    ns_per_tick = 1; /* a patience of seconds: threads wait for a processor */
    return 0;
}

static void start(u32 count)
{
    u32 ids[IDS];

    for (u32 i = 0; i < count; i++)
        ids[i] = i;
    smp_start(ids, count, START_PAGE, &hooks);
    while (__atomic_load_n(&running, __ATOMIC_SEQ_CST) < cpu_count - 1)
        usleep(100);
}

static void test_all_answer(void **state)
{
    (void)state;
    machine[2].behaviour = ANSWERS_THE_SECOND_TIME;
    start(4);
    assert_int_equal(cpu_count, 4);
    assert_int_equal(machine[0].inits, 0);
    for (u32 i = 1; i < 4; i++) {
        assert_true(cpus[i].online && cpus[i].index == i && cpus[i].apic_id == i && cpus[i].tsc_offset == 0);
        assert_int_equal(machine[i].inits, 1);
    }
    assert_int_equal(machine[2].startups, 2);
    assert_int_equal(smp_root, 0x1234000);
    assert_true(smp_stack == 0);
    assert_non_null(strstr(said, "4 of 4 CPUs run"));
    assert_false(tsc_unsynchronised);
}

static void test_one_alone_costs_nothing(void **state)
{
    (void)state;
    start(1);
    assert_string_equal(said, "");
    assert_int_equal(cpu_count, 1);
}

/* Named, told to wait again, and the next ones go on. */
static void test_one_does_not_answer(void **state)
{
    (void)state;
    machine[1].behaviour = NEVER_ANSWERS;
    ns_per_tick = 2;
    start(3);
    assert_int_equal(cpu_count, 2);
    assert_int_equal(cpus[1].apic_id, 2);
    assert_int_equal(machine[1].inits, 2);
    assert_int_equal(machine[1].startups, 2);
    assert_non_null(strstr(said, "APIC number 1 has not answered within 5 s; it is left out"));
    assert_non_null(strstr(said, "2 of 3 CPUs run"));
}

static void test_one_can_not(void **state)
{
    (void)state;
    machine[1].behaviour = CAN_NOT;
    start(3);
    assert_int_equal(cpu_count, 2);
    assert_int_equal(machine[1].inits, 2);
    assert_non_null(strstr(said, "APIC number 1 can't be used; it is left out"));
}

/* Whoever comes too late, when the next one's stack is there already, has the wrong number. */
static void test_one_takes_the_place_of_another(void **state)
{
    (void)state;
    machine[1].behaviour = ANSWERS_FOR_ANOTHER;
    ns_per_tick = 20;
    start(2);
    assert_int_equal(cpu_count, 1);
    assert_false(cpus[1].online);
    assert_non_null(strstr(said, "APIC number 1 has not answered"));
}

static void test_what_is_left_out_beforehand(void **state)
{
    (void)state;
    reachable = 2;
    smp_start((const u32[]){0, 1, 78}, 3, START_PAGE, &hooks);
    assert_non_null(strstr(said, "APIC number 78 is left out: numbers above 254 need x2APIC mode"));
    assert_int_equal(machine[78].inits, 0);
    setup(NULL);
    memory_is_short = true;
    start(2);
    assert_int_equal(cpu_count, 1);
    assert_int_equal(machine[1].startups, 0);
    assert_non_null(strstr(said, "no memory is left for its stacks"));
    setup(NULL);
    smp_start((const u32[]){0, 1}, 2, 0, &hooks);
    assert_int_equal(machine[1].inits, 0);
    assert_non_null(strstr(said, "1 CPUs are left out: no memory below 1 MiB is free"));
}

static void test_as_many_as_there_is_room_for(void **state)
{
    (void)state;
    memory_is_short = true; /* it is enough to see whom INIT has reached */
    start(IDS - 1);
    assert_int_equal(machine[CPU_MAX - 1].inits, 1);
    assert_int_equal(machine[CPU_MAX].inits, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_all_answer, setup),
        cmocka_unit_test_setup(test_one_alone_costs_nothing, setup),
        cmocka_unit_test_setup(test_one_does_not_answer, setup),
        cmocka_unit_test_setup(test_one_can_not, setup),
        cmocka_unit_test_setup(test_one_takes_the_place_of_another, setup),
        cmocka_unit_test_setup(test_what_is_left_out_beforehand, setup),
        cmocka_unit_test_setup(test_as_many_as_there_is_room_for, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
