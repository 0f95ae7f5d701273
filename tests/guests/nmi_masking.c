/* SPDX-License-Identifier: MIT */
/*
 * NMIs are masked from their delivery until the IRET of their handler has completed, on the vCPU that took
 * one and on no other. Whoever stays in its handler gets the next one behind its end; whoever shares the CPU
 * with it gets its own at once. An IRET that a nested fault interrupts has not completed.
 */
// conf: vcpus = 2
#include "lib/smp.h"
#include "lib/tap.h"

#define ROUNDS    100
#define UNTOUCHED 0x3000000ull /* the page before it is given, and this one not */

static u32 inside, leave, second_rip_right;
static u64 saved_rsp;
extern const u8 iret_site[], iret_target[];

static u32 taken(unsigned cpu)
{
    return READ_ONCE(smp_cpus[cpu].interrupts[VECTOR_NMI]);
}

/* vCPU 1 stays in the handler of its first NMI. */
static void on_nmi(struct frame *frame)
{
    smp_counted(frame);
    if (smp_this()->id == 0 || taken(1) > 1)
        return;
    __atomic_store_n(&inside, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&leave, __ATOMIC_ACQUIRE))
        smp_yield();
}

static void nmi_to_itself(void)
{
    smp_send(1, ICR_NMI);
}

static void neighbours(void)
{
    u32 at_once = 0;

    interrupt_handle(VECTOR_NMI, on_nmi);
    smp_run(1, nmi_to_itself);
    while (!__atomic_load_n(&inside, __ATOMIC_ACQUIRE))
        smp_yield();
    for (u32 i = 0; i < ROUNDS; i++) {
        smp_yield(); /* the other's turn, in its handler */
        smp_send(0, ICR_NMI);
        at_once += taken(0) == i + 1;
    }
    ok(at_once == ROUNDS, "%u of %u NMIs to itself are taken at once", at_once, ROUNDS);
    smp_send(1, ICR_NMI);
    for (u32 i = 0; i < 10; i++)
        smp_yield();
    ok(taken(1) == 1, "the other one takes no second one in its handler");
    __atomic_store_n(&leave, 1, __ATOMIC_RELEASE);
    smp_wait(1);
    ok(taken(1) == 2, "but behind it");
}

/* The first of two: RFLAGS, RSP and SS of its IRET lie in a page that nobody has touched, and are zero. */
static void on_first(struct frame *frame)
{
    static u32 count;
    u64 *top = (u64 *)(UNTOUCHED - 16);

    if (count++) {
        second_rip_right = frame->rip == (u64)iret_target;
        say("the second one came at %lx: IRET %lx, its target %lx", frame->rip, (u64)iret_site,
            (u64)iret_target);
        return;
    }
    top[0] = (u64)iret_target;
    top[1] = 0x08;
    smp_send(0, ICR_NMI);
    asm volatile("mov %0, %%rsp\n.globl iret_site\niret_site: iretq" : : "r"(top) : "memory");
}

/* Its handlers need a stack of their own, as there is none behind that IRET. */
static void interrupted_iret(void)
{
    interrupt_handle(VECTOR_NMI, on_first);
    interrupt_use_fault_stack(VECTOR_NMI);
    asm volatile("push %%rbx; push %%rbp; push %%r12; push %%r13; push %%r14; push %%r15\n\t"
                 "mov %%rsp, %0\n\t"
                 "call nmi_to_boot_vcpu\n\t"
                 ".globl iret_target\niret_target:\n\t"
                 "mov %0, %%rsp; mov $0x10, %%eax; mov %%eax, %%ss\n\t"
                 "pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbp; pop %%rbx"
                 : "+m"(saved_rsp)
                 :
                 : "memory", "cc", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
    ok(second_rip_right, "the next NMI comes behind an IRET that a nested fault interrupts");
}

void nmi_to_boot_vcpu(void);
void nmi_to_boot_vcpu(void)
{
    smp_send(0, ICR_NMI);
}

void guest_main(void)
{
    plan(4);
    smp_setup();
    smp_start_all();
    neighbours();
    interrupted_iret();
}
