/* SPDX-License-Identifier: MIT */
/*
 * Exceptions with vector, error code, CR2 and place; single steps over instructions that exit; breakpoints;
 * double faults; and the repeated ones (#DB, #UD, #AC) that lintel may have to carry itself.
 */
#include "lib/apic.h"
#include "lib/tap.h"

#define VECTOR_DF 8
#define VECTOR_SS 12
#define FAR       0x90000000ull /* RAM is not there, and in a moment no page either */

extern u64 page_tables_2[2048], tss[];
extern u8 idt[];

static u64 steps[8];
static unsigned step_count;

static void tlb_flush(void)
{
    asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
}

static void simple(void)
{
    u64 cr0, behind;
    int vector;

    ok(TRY("ud2", :) == VECTOR_UD && capture.error == 0, "UD2 is #UD");
    ok(TRY("div %%cl", : : "a"(1), "c"(0) : "cc") == VECTOR_DE, "a division by zero is #DE");
    ok(TRY("int3", :) == VECTOR_BP, "INT3 is #BP");
    vector = TRY("lea 98f(%%rip), %0\n\t.byte 0xf1\n98:", : "=r"(behind));
    ok(vector == VECTOR_DB && capture.rip == behind, "INT1 is #DB, a trap: %d at %lx, behind it %lx", vector,
       capture.rip, behind);
    ok(TRY("movb (%%rdx), %%al",
           :
           : "d"(0x800000000000)
           : "rax") == VECTOR_GP &&
           capture.error == 0,
       "an address that is not canonical is #GP(0)");
    ok(TRY("movb (%%rbp, %%rdx), %%al",
           :
           : "d"(0x800000000000 - 0x1000000)
           : "rax") != NO_VECTOR,
       "relative to RBP it faults, too: %d", (int)capture.vector);
    ok(TRY("mov %%eax, %%fs",
           :
           : "a"(0x1230)) == VECTOR_GP &&
           capture.error == 0x1230,
       "a bad selector is #GP(selector)");
    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    asm volatile("mov %0, %%cr0" : : "r"(cr0 | BIT(3)));
    ok(TRY("fninit", :) == VECTOR_NM, "with CR0.TS the FPU is #NM");
    asm volatile("clts");
    ok(TRY("fninit", :) == NO_VECTOR, "and without it works");
    ok(TRY("mov %0, %%cr8", : : "r"(16ull)) == VECTOR_GP, "CR8 of more than four bits is #GP");
}

/* One access to a page whose table entry is as given. */
#define FAULT(entry, instruction, at)                    \
    ({                                                   \
        page_tables_2[FAR >> 21] = (entry);              \
        tlb_flush();                                     \
        TRY(instruction, : : "r"(at) : "rax", "memory"); \
    })

static void page_fault_is(int vector, u64 error, u64 address, const char *what)
{
    ok(vector == VECTOR_PF && capture.error == error && capture.address == address, "%s: error %lx, CR2 %lx",
       what, capture.error, capture.address);
}

static void page_faults(void)
{
    u64 saved = page_tables_2[FAR >> 21], page = 0x200000 | 0x80;

    page_fault_is(FAULT(0, "movb (%0), %%al", FAR + 5), 0, FAR + 5, "reading no page");
    page_fault_is(FAULT(0, "movb %%al, (%0)", FAR + 6), 2, FAR + 6, "writing no page");
    page_fault_is(FAULT(page | 1, "movb %%al, (%0)", FAR), 3, FAR, "writing a read-only page");
    page_fault_is(FAULT(page | 3 | BIT(63), "jmp *%0", FAR), 0x11, FAR, "fetching from an NX page");
    /* CPUs set P as well, QEMU does not. */
    ok(FAULT(page | 3 | BIT(51), "movb (%0), %%al", FAR) == VECTOR_PF && (capture.error & 8),
       "a reserved bit");
    page_tables_2[FAR >> 21] = saved;
    tlb_flush();
}

static void on_step(struct frame *frame)
{
    if (step_count < ARRAY_SIZE(steps))
        steps[step_count++] = frame->rip;
    else
        frame->rflags &= ~BIT(8);
}

/* Run an instruction with TF set, RCX as given: a step behind it, and some more until TF is cleared. */
#define STEP(instruction, rcx)                                                         \
    do {                                                                               \
        u64 rax = 0;                                                                   \
                                                                                       \
        step_count = 0;                                                                \
        asm volatile("pushfq; orq $0x100, (%%rsp); popfq\n\t" instruction "\n101:\n\t" \
                     "nop; pushfq; andq $~0x100, (%%rsp); popfq\n\t"                   \
                     "lea 101b(%%rip), %0"                                             \
                     : "=&r"(behind), "+a"(rax)                                        \
                     : "c"(rcx)                                                        \
                     : "rbx", "rdx", "memory", "cc");                                  \
    } while (0)

static void single_steps(void)
{
    u64 behind;

    interrupt_handle(VECTOR_DB, on_step);
    STEP("nop", 0);
    ok(step_count >= 2 && steps[0] == behind, "a single step over NOP: %u steps", step_count);
    STEP("cpuid", 0);
    ok(steps[0] == behind, "over CPUID: %lx, should be %lx", steps[0], behind);
    STEP("inb $0x80, %%al", 0);
    ok(steps[0] == behind, "over IN: %lx, should be %lx", steps[0], behind);
    STEP("rdmsr", MSR_APIC_BASE);
    ok(steps[0] == behind, "over RDMSR: %lx, should be %lx", steps[0], behind);
    STEP("movl (%%rcx), %%eax", LAPIC_BASE + LAPIC_VERSION);
    ok(steps[0] == behind, "over a device in memory: %lx, should be %lx", steps[0], behind);
    interrupt_handle(VECTOR_DB, NULL);
}

static void breakpoints(void)
{
    static volatile u64 watched;
    u64 dr6;

    asm volatile("mov %0, %%dr0; mov %1, %%dr6" : : "r"(&watched), "r"(0xffff0ff0ull));
    asm volatile("mov %0, %%dr7" : : "r"(0xd0402ull)); /* global, 4 bytes, on writes */
    ok(TRY("movl $7, %0; nop",
           : "=m"(watched)) == VECTOR_DB &&
           watched == 7,
       "a watched word traps behind the write");
    asm volatile("mov %0, %%dr7" : : "r"(0x400ull));
    asm volatile("mov %%dr6, %0" : "=r"(dr6));
    ok((dr6 & 0xf) == 1, "DR6 names the breakpoint: %lx", dr6);
}

static void double_fault(void)
{
    u8 saved = idt[16 * VECTOR_UD + 5];
    int vector;

    interrupt_use_fault_stack(VECTOR_DF);
    idt[16 * VECTOR_UD + 5] = 0x0e; /* not present: #UD becomes #NP, which the handler sees */
    vector = TRY("ud2", :);
    ok(vector == 11 && (capture.error & 2), "a missing gate is #NP of the IDT: %d, error %lx", vector,
       capture.error);
    idt[16 * VECTOR_UD + 5] = saved;
    saved = idt[16 * VECTOR_GP + 5];
    idt[16 * VECTOR_GP + 5] = 0x0e;
    vector = TRY("mov %%eax, %%fs", : : "a"(0x1230));
    ok(vector == VECTOR_DF && capture.error == 0, "#GP and then #NP make a double fault: %d, error %lx",
       vector, capture.error);
    idt[16 * VECTOR_GP + 5] = saved;
}

/* Many in a row: whatever of them lintel intercepts, the guest sees every one. */
static void storms(void)
{
    unsigned i, caught = 0;

    for (i = 0; i < 20000; i++)
        caught += TRY("ud2", :) == VECTOR_UD;
    ok(caught == 20000, "20,000 times #UD: %u", caught);
    for (i = 0, caught = 0; i < 2000; i++)
        caught += TRY("pushfq; orq $0x100, (%%rsp); popfq; nop; nop", : : : "memory", "cc") == VECTOR_DB;
    ok(caught == 2000, "2,000 times #DB: %u", caught);
}

void guest_main(void)
{
    plan(26);
    simple();
    page_faults();
    single_steps();
    breakpoints();
    double_fault();
    storms();
}
