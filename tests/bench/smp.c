/* SPDX-License-Identifier: MIT */
/*
 * What vCPUs cost one another, on a machine with a CPU for each: as one emulated TSC counts the instructions
 * of all CPUs, these are sums over all who take part. And CPUID while every other vCPU is in exits, too.
 */
#include "lib/smp.h"
#include "lib/measure.h"
#include "lib/tap.h"

#define VECTOR_CALL   0x50
#define VECTOR_ANSWER 0x51
#define VECTOR_FLUSH  0x52
#define BEFORE        20 /* rounds that are not counted: memory is given, vCPUs find their CPUs */
#define WINDOW        0x1000000ull

static u64 begun, stamp_there, stamp_back;
static u32 answers;
static bool over;

/* Lets QEMU go on with the next CPU: lintel does not intercept it there. */
static void pause_once(void)
{
    asm volatile("pause" : : : "memory");
}

static void spin_until_over(void)
{
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE))
        pause_once();
}

static void cpuid_until_over(void)
{
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE))
        cpuid(0, 0);
}

static void begin_all(void (*job)(void))
{
    __atomic_store_n(&over, false, __ATOMIC_RELEASE);
    for (unsigned i = 1; i < smp_count; i++)
        smp_run(i, job);
}

static void end_all(void)
{
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    for (unsigned i = 1; i < smp_count; i++)
        smp_wait(i);
}

/* ---------------------------------------------------------------- there and back */

static void call_handler(struct frame *frame)
{
    (void)frame;
    __atomic_store_n(&stamp_there, rdtsc(), __ATOMIC_RELEASE);
    smp_send(0, ICR_FIXED | VECTOR_ANSWER);
    smp_eoi();
}

static void answer_handler(struct frame *frame)
{
    (void)frame;
    __atomic_store_n(&stamp_back, rdtsc(), __ATOMIC_RELEASE);
    smp_eoi();
}

/* From one running vCPU to another and back; `kick` is how long the way there takes. */
static void measure_calls(const char *name, const u64 *stamp)
{
    for (int i = -BEFORE; i < MEASURE_ROUNDS; i++) {
        __atomic_store_n(&stamp_back, 0, __ATOMIC_RELEASE);
        begun = rdtsc();
        smp_send(1, ICR_FIXED | VECTOR_CALL);
        while (!__atomic_load_n(&stamp_back, __ATOMIC_ACQUIRE))
            pause_once();
        if (i >= 0)
            measured[i] = *stamp - begun;
    }
    measure_report(name);
}

/* ---------------------------------------------------------------- translations of eight */

static void flush_handler(struct frame *frame)
{
    (void)frame;
    asm volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
    __atomic_add_fetch(&answers, 1, __ATOMIC_SEQ_CST);
    smp_eoi();
}

static void measure_shootdown(void)
{
    for (int i = -BEFORE; i < MEASURE_ROUNDS; i++) {
        __atomic_store_n(&answers, 0, __ATOMIC_SEQ_CST);
        begun = rdtsc();
        smp_send(0, ICR_FIXED | ICR_OTHERS | VECTOR_FLUSH);
        while (__atomic_load_n(&answers, __ATOMIC_SEQ_CST) != smp_count - 1)
            pause_once();
        if (i >= 0)
            measured[i] = rdtsc() - begun;
    }
    measure_report("tlb_shootdown_8");
}

/* ---------------------------------------------------------------- CPU_ON */

/* Where CPU_ON sends a vCPU: in protected mode it tells when it came, and goes. */
static volatile u64 on_stamp;
extern u8 on_entry[];
asm(".code32\n"
    "on_entry:\trdtsc\n\t"
    "movl %eax, on_stamp\n\t"
    "movl %edx, on_stamp + 4\n\t"
    "movl $0x4c540005, %eax\n\t" /* LINTEL_CALL_CPU_OFF */
    "vmmcall\n\t"
    "ud2\n"
    ".code64");

static void switch_off(void)
{
    lintel_call0(LINTEL_CALL_CPU_OFF);
}

static void wait_until_off(void)
{
    while (lintel_call1(LINTEL_CALL_CPU_STATE, 1) != LINTEL_CPU_OFF)
        pause_once();
}

static void measure_cpu_on(void)
{
    smp_run(1, switch_off);
    for (int i = -BEFORE; i < MEASURE_ROUNDS; i++) {
        wait_until_off();
        begun = rdtsc();
        lintel_call3(LINTEL_CALL_CPU_ON, 1, (u64)on_entry, 0);
        wait_until_off();
        if (i >= 0)
            measured[i] = on_stamp - begun;
    }
    measure_report("cpu_on");
}

void guest_main(void)
{
    plan(1);
    smp_setup();
    smp_use_x2apic();
    interrupt_handle(VECTOR_CALL, call_handler);
    interrupt_handle(VECTOR_ANSWER, answer_handler);
    interrupt_handle(VECTOR_FLUSH, flush_handler);
    smp_start_all();
    measure_setup();
    interrupts_on();
    begin_all(spin_until_over);
    measure_calls("ipi_round_trip", &stamp_back);
    measure_calls("kick", &stamp_there);
    measure_shootdown();
    end_all();
    begin_all(cpuid_until_over);
    MEASURE("xorl %%eax, %%eax\n\txorl %%ecx, %%ecx\n\tcpuid", : : : "rax", "rbx", "rcx", "rdx", "memory")
    measure_report("cpuid_8_cpus");
    end_all();
    measure_cpu_on();
    ok(true, "measured");
}
