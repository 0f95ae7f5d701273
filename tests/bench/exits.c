/* SPDX-License-Identifier: MIT */
/*
 * What one exit costs. Prints "bench NAME MINIMUM MEDIAN" (lib/measure.h); tests/bench/run-bench collects the
 * lines.
 */
#include "guest/pv/lintel.h"
#include "lib/apic.h"
#include "lib/io.h"
#include "lib/measure.h"
#include "lib/tap.h"

#define SITE_BYTES   4            /* a call and a RET */
#define FRESH_BASE   0x4000000ull /* 64 MiB: no part of this guest lies there */
#define VECTOR_TIMER 0x40
#define VECTOR_SELF  0x50
#define FAR_AHEAD    10000000000ull /* ticks: no interrupt comes of it */

extern u8 idt[];

static u8 sites[MEASURE_ROUNDS * SITE_BYTES] ALIGNED(4096);

static void measure_cpuid(void)
{
    MEASURE("xorl %%eax, %%eax\n\txorl %%ecx, %%ecx\n\tcpuid", : : : "rax", "rbx", "rcx", "rdx", "memory")
    measure_report("cpuid");
}

static void measure_instructions(void)
{
    MEASURE("vmmcall", : : "a"(0x7fffffff) : "memory")
    measure_report("hypercall");
    MEASURE("rdmsr", : : "c"(MSR_APIC_BASE) : "rax", "rdx", "memory")
    measure_report("rdmsr");
    MEASURE("inb %%dx, %%al", : : "d"(0x3fd) : "rax", "memory")
    measure_report("pio_in");
    MEASURE("movl 0xfee00020, %%eax", : : : "rax", "memory")
    measure_report("mmio_read");
    MEASURE("movl %%eax, 0xfee000b0", : : "a"(0) : "memory")
    measure_report("lapic_eoi_mmio");
    MEASURE("movq %0, %%cr8", : : "r"(0ull) : "memory")
    measure_report("cr8_write");
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
    measure_report("hypercall_native");
    for (unsigned i = 0; i < MEASURE_ROUNDS; i++) {
        sites[SITE_BYTES * i] = 0x0f;
        sites[SITE_BYTES * i + 1] = 0x01;
        sites[SITE_BYTES * i + 2] = is_amd() ? 0xc1 : 0xd9;
        sites[SITE_BYTES * i + 3] = 0xc3;
    }
    MEASURE("call *%0", : : "r"(sites + SITE_BYTES * i), "a"(LINTEL_CALL_VERSION) : "memory")
    measure_report("hypercall_first_foreign");
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
    measure_report("ud_reflect");
}

/* The first touch of pages nobody has touched: 4 KiB apart. */
static void measure_fresh_pages(const char *name)
{
    unsigned round = 0;

    for (unsigned i = 0; i < MEASURE_ROUNDS; i++) {
        volatile u8 *page = (volatile u8 *)(FRESH_BASE + round++ * 4096);
        u64 before = rdtsc();

        *page = 1;
        measured[i] = rdtsc() - before;
    }
    measure_report(name);
}

/* ---------------------------------------------------------------- local APIC, x2APIC */

static volatile u64 timer_tsc;
static unsigned eoi_round;

static void use_x2apic(void)
{
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2);
    wrmsr(MSR_X2APIC + LAPIC_SVR / 16, 0x1ff);
    wrmsr(MSR_X2APIC + LAPIC_LVT_TIMER / 16, LVT_DEADLINE | VECTOR_TIMER);
}

static void self_handler(struct frame *frame)
{
    (void)frame;
    MEASURE_ONE(eoi_round, "wrmsr", : : "c"(MSR_X2APIC + LAPIC_EOI / 16), "a"(0), "d"(0) : "memory");
}

static void deadline_set(u64 deadline)
{
    wrmsr(MSR_TSC_DEADLINE, deadline);
}

/* The end of an interrupt that is in service; a tick is set in between, as kernels do. */
static void measure_eoi(void)
{
    interrupt_handle(VECTOR_SELF, self_handler);
    for (eoi_round = 0; eoi_round < MEASURE_ROUNDS; eoi_round++) {
        deadline_set(rdtsc() + FAR_AHEAD);
        wrmsr(MSR_X2APIC + LAPIC_ICR / 16, ICR_SELF | VECTOR_SELF);
        interrupt_window();
    }
    measure_report("lapic_eoi");
}

/* The next tick is set; an interrupt ends in between. */
static void measure_timer_set(void)
{
    for (unsigned i = 0; i < MEASURE_ROUNDS; i++) {
        u64 deadline = rdtsc() + FAR_AHEAD;

        wrmsr(MSR_X2APIC + LAPIC_EOI / 16, 0);
        MEASURE_ONE(i, "wrmsr",
                    :
                    : "c"(MSR_TSC_DEADLINE), "a"((u32)deadline), "d"(deadline >> 32)
                    : "memory");
    }
    deadline_set(0);
    measure_report("lapic_timer_set");
}

static void timer_handler(struct frame *frame)
{
    (void)frame;
    timer_tsc = rdtsc();
    wrmsr(MSR_X2APIC + LAPIC_EOI / 16, 0);
}

/* How late a TSC-deadline interrupt comes to a spinning guest. */
static void measure_timer(void)
{
    interrupt_handle(VECTOR_TIMER, timer_handler);
    for (unsigned i = 0; i < MEASURE_ROUNDS; i++) {
        u64 deadline = rdtsc() + 100000;

        timer_tsc = 0;
        interrupts_on();
        deadline_set(deadline);
        while (!timer_tsc)
            ;
        interrupts_off();
        measured[i] = timer_tsc - deadline;
    }
    measure_report("timer_irq");
}

static void measure_all(void)
{
    measure_instructions();
    measure_calls();
    measure_reflection();
    measure_fresh_pages(word_given("pages=4k") ? "npf_fresh_page" : "npf_fresh_page_large");
    use_x2apic();
    measure_eoi();
    measure_timer_set();
    measure_timer();
}

/* With the word "cpuid" nothing else: what others in the machine add to it. */
void guest_main(void)
{
    plan(1);
    measure_setup();
    measure_cpuid();
    if (!word_given("cpuid"))
        measure_all();
    ok(true, "measured");
}
