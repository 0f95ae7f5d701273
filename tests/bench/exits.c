/* SPDX-License-Identifier: MIT */
/*
 * What one exit costs, in TSC ticks less the cost of an empty pair of RDTSC: under QEMU -icount one tick is
 * one instruction of lintel and the guest together. Prints "bench NAME MINIMUM MEDIAN"; tests/bench/run-bench
 * collects the lines.
 */
#include "guest/pv/lintel.h"
#include "lib/apic.h"
#include "lib/io.h"
#include "lib/tap.h"

#define ROUNDS     201
#define SITE_BYTES 4            /* a call and a RET */
#define FRESH_BASE 0x4000000ull /* 64 MiB: no part of this guest lies there */

extern u8 idt[];

static u64 samples[ROUNDS];
static u8 sites[ROUNDS * SITE_BYTES] ALIGNED(4096);
static u64 empty;

static void sort(u64 *values, unsigned count)
{
    for (unsigned i = 1; i < count; i++)
        for (unsigned j = i; j > 0 && values[j] < values[j - 1]; j--) {
            u64 swap = values[j];

            values[j] = values[j - 1];
            values[j - 1] = swap;
        }
}

static u64 less_empty(u64 ticks)
{
    return ticks > empty ? ticks - empty : 0;
}

static void report(const char *name)
{
    sort(samples, ROUNDS);
    say("bench %s %lu %lu", name, less_empty(samples[0]), less_empty(samples[ROUNDS / 2]));
}

/* One instruction (or none) between two readings of the TSC, ROUNDS times. */
#define MEASURE(instruction, ...)                                                                        \
    for (unsigned i = 0; i < ROUNDS; i++) {                                                              \
        u64 before, after;                                                                               \
                                                                                                         \
        asm volatile("rdtsc\n\tshlq $32, %%rdx\n\torq %%rdx, %%rax" : "=a"(before) : : "rdx", "memory"); \
        asm volatile(instruction __VA_ARGS__);                                                           \
        asm volatile("rdtsc\n\tshlq $32, %%rdx\n\torq %%rdx, %%rax" : "=a"(after) : : "rdx", "memory");  \
        samples[i] = after - before;                                                                     \
    }

static void measure_instructions(void)
{
    MEASURE("", : : : "memory");
    sort(samples, ROUNDS);
    empty = samples[0];
    MEASURE("xorl %%eax, %%eax\n\txorl %%ecx, %%ecx\n\tcpuid", : : : "rax", "rbx", "rcx", "rdx", "memory");
    report("cpuid");
    MEASURE("vmmcall", : : "a"(0x7fffffff) : "memory");
    report("hypercall");
    MEASURE("rdmsr", : : "c"(MSR_APIC_BASE) : "rax", "rdx", "memory");
    report("rdmsr");
    MEASURE("inb %%dx, %%al", : : "d"(0x3fd) : "rax", "memory");
    report("pio_in");
    MEASURE("movl 0xfee00020, %%eax", : : : "rax", "memory");
    report("mmio_read");
    MEASURE("movl %%eax, 0xfee000b0", : : "a"(0) : "memory");
    report("lapic_eoi");
    MEASURE("movq %0, %%cr8", : : "r"(0ull) : "memory");
    report("cr8_write");
}

static bool is_amd(void)
{
    return cpuid(0, 0).ebx != 0x756e6547; /* GenuineIntel */
}

/* A call by the CPU's own instruction, and by the other vendor's at places where none was made before. */
static void measure_calls(void)
{
    if (is_amd())
        MEASURE("vmmcall", : : "a"(LINTEL_CALL_VERSION) : "memory")
    else
        MEASURE("vmcall", : : "a"(LINTEL_CALL_VERSION) : "memory")
    report("hypercall_native");
    for (unsigned i = 0; i < ROUNDS; i++) {
        sites[SITE_BYTES * i] = 0x0f;
        sites[SITE_BYTES * i + 1] = 0x01;
        sites[SITE_BYTES * i + 2] = is_amd() ? 0xc1 : 0xd9;
        sites[SITE_BYTES * i + 3] = 0xc3;
    }
    MEASURE("call *%0", : : "r"(sites + SITE_BYTES * i), "a"(LINTEL_CALL_VERSION) : "memory")
    report("hypercall_first_foreign");
}

/* #UD to a handler of two instructions and back. */
static void measure_reflection(void)
{
    u8 *gate = idt + 16 * VECTOR_UD, saved[16];
    u64 handler;

    asm volatile("lea 1f(%%rip), %0\n\tjmp 2f\n1:\taddq $2, (%%rsp)\n\tiretq\n2:" : "=r"(handler));
    for (unsigned i = 0; i < 16; i++)
        saved[i] = gate[i];
    gate[0] = (u8)handler;
    gate[1] = (u8)(handler >> 8);
    gate[6] = (u8)(handler >> 16);
    gate[7] = (u8)(handler >> 24);
    MEASURE("ud2", : : : "memory")
    for (unsigned i = 0; i < 16; i++)
        gate[i] = saved[i];
    report("ud_reflect");
}

/* The first touch of pages nobody has touched: 4 KiB apart. */
static void measure_fresh_pages(const char *name)
{
    unsigned round = 0;

    for (unsigned i = 0; i < ROUNDS; i++) {
        volatile u8 *page = (volatile u8 *)(FRESH_BASE + round++ * 4096);
        u64 before = rdtsc();

        *page = 1;
        samples[i] = rdtsc() - before;
    }
    report(name);
}

static volatile u64 timer_tsc;

static void timer_handler(struct frame *frame)
{
    (void)frame;
    timer_tsc = rdtsc();
    wrmsr(MSR_X2APIC + LAPIC_EOI / 16, 0);
}

/* How late a TSC-deadline interrupt comes to a spinning guest. */
static void measure_timer(void)
{
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2);
    wrmsr(MSR_X2APIC + LAPIC_SVR / 16, 0x1ff);
    wrmsr(MSR_X2APIC + LAPIC_LVT_TIMER / 16, LVT_DEADLINE | 0x40);
    interrupt_handle(0x40, timer_handler);
    for (unsigned i = 0; i < ROUNDS; i++) {
        u64 deadline = rdtsc() + 100000;

        timer_tsc = 0;
        interrupts_on();
        wrmsr(MSR_TSC_DEADLINE, deadline);
        while (!timer_tsc)
            ;
        interrupts_off();
        samples[i] = timer_tsc - deadline;
    }
    report("timer_irq");
}

void guest_main(void)
{
    plan(1);
    measure_instructions();
    measure_calls();
    measure_reflection();
    measure_fresh_pages(word_given("pages=4k") ? "npf_fresh_page" : "npf_fresh_page_large");
    measure_timer();
    ok(true, "measured");
}
