/* SPDX-License-Identifier: MIT */
/*
 * Every general register over every kind of exit, while timer interrupts come in between: what an instruction
 * does not write is as before. lintel answers the light ones without saving all registers (hv/run/exit.h).
 */
#include "guest/pv/lintel.h"
#include "lib/apic.h"
#include "lib/tap.h"

#define VECTOR_TIMER 0x60
#define ROUNDS       300u
#define STEP_TICKS   61u
#define MOST_TICKS   8000u
#define MSR_NOBODYS  0x7ff

/* RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8 to R15, RSP: as before is loaded and after is stored. */
enum { A, B, C, D, REGISTERS = 16 };
static const char *const names[REGISTERS] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8",
                                             "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rsp"};
/* Named in assembly: not static. */
u64 registers_before[REGISTERS], registers_after[REGISTERS], registers_frame;

#define LOAD(name, at)  "movq registers_before+8*" at "(%%rip), %%" name "\n\t"
#define STORE(name, at) "movq %%" name ", registers_after+8*" at "(%%rip)\n\t"
/* clang-format off */
#define EACH(X)                                                                                         \
    X("rax", "0") X("rbx", "1") X("rcx", "2") X("rdx", "3") X("rsi", "4") X("rdi", "5") X("rbp", "6")   \
    X("r8", "7") X("r9", "8") X("r10", "9") X("r11", "10") X("r12", "11") X("r13", "12") X("r14", "13") \
    X("r15", "14")
/* clang-format on */

#define RUN(instruction)                                                                                    \
    asm volatile("movq %%rbp, registers_frame(%%rip)\n\t"                                                   \
                 "movq %%rsp, registers_before+8*15(%%rip)\n\t"                                             \
                 "movq $99f, capture(%%rip)\n\t" EACH(LOAD) instruction                                     \
                 "\n99:\n\t" EACH(STORE) "movq %%rsp, registers_after+8*15(%%rip)\n\t"                      \
                                         "movq $0, capture(%%rip)\n\t"                                      \
                                         "movq registers_frame(%%rip), %%rbp"                               \
                 :                                                                                          \
                 :                                                                                          \
                 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", \
                   "r15", "memory", "cc")

#define RUNNER(name, instruction) \
    static void run_##name(void)  \
    {                             \
        RUN(instruction);         \
    }
RUNNER(in, "inb %%dx, %%al")
RUNNER(in_wide, "inw %%dx, %%ax")
RUNNER(out, "outb %%al, %%dx")
RUNNER(cpuid, "cpuid")
RUNNER(rdmsr, "rdmsr")
RUNNER(wrmsr, "wrmsr")
RUNNER(vmcall, "vmcall")
RUNNER(vmmcall, "vmmcall")
RUNNER(mmio, "movl (%%rdx), %%eax")

static const struct row {
    const char *what;
    void (*run)(void);
    u64 rax, rcx, rdx;
    u64 written[4]; /* bits of RAX, RBX, RCX, RDX that it may write */
} rows[] = {
    {"CPUID of a fixed leaf", run_cpuid, 0, 0, 0, {~0ull, ~0ull, ~0ull, ~0ull}},
    {"CPUID that follows the vCPU", run_cpuid, 1, 0, 0, {~0ull, ~0ull, ~0ull, ~0ull}},
    {"RDMSR", run_rdmsr, 0, MSR_APIC_BASE, 0, {~0ull, 0, 0, ~0ull}},
    {"RDMSR that faults", run_rdmsr, 0, MSR_NOBODYS, 0, {0}},
    {"WRMSR", run_wrmsr, 0, 0x8b, 0, {0}},
    {"WRMSR that faults", run_wrmsr, 0, MSR_NOBODYS, 0, {0}},
    {"IN", run_in, 0x123456789abcdef0, 0, 0x3fd, {0xff}},
    {"IN of two bytes", run_in_wide, 0x123456789abcdef0, 0, 0x3fc, {0xffff}},
    {"OUT", run_out, 0, 0, 0x80, {0}},
    {"VMCALL", run_vmcall, LINTEL_CALL_VERSION, 0, 0, {~0ull}},
    {"VMMCALL", run_vmmcall, LINTEL_CALL_VERSION, 0, 0, {~0ull}},
    {"a call that nobody knows", run_vmmcall, 0x7fffffff, 0, 0, {~0ull}},
    {"a device in memory", run_mmio, 0, 0, LAPIC_BASE + LAPIC_VERSION, {~0ull}},
};

static void on_timer(struct frame *frame)
{
    (void)frame;
    lapic_eoi();
}

static void registers_fill(const struct row *row, u64 seed)
{
    for (unsigned i = 0; i < REGISTERS; i++)
        registers_before[i] = seed * (2 * i + 3) ^ 0xa5a5000000000000;
    registers_before[A] = row->rax;
    registers_before[C] = row->rcx;
    registers_before[D] = row->rdx;
}

/* The first register that changed, or NULL. */
static const char *registers_differ(const struct row *row)
{
    for (unsigned i = 0; i < REGISTERS; i++) {
        u64 kept = i <= D ? ~row->written[i] : ~0ull;

        if ((registers_before[i] ^ registers_after[i]) & kept)
            return names[i];
    }
    return NULL;
}

static void row_try(const struct row *row)
{
    const char *wrong = NULL;
    u64 distance = 0;

    for (unsigned i = 0; i < ROUNDS && !wrong; i++) {
        distance = (distance + STEP_TICKS) % MOST_TICKS;
        wrmsr(MSR_TSC_DEADLINE, rdtsc() + distance);
        registers_fill(row, 0x9e3779b97f4a7c15 * (i + 1));
        interrupts_on();
        row->run();
        interrupts_off();
        wrong = registers_differ(row);
    }
    ok(!wrong, "%s keeps the registers%s%s", row->what, wrong ? " but " : "", wrong ? wrong : "");
}

/* An interrupt that waits comes in behind the one instruction that STI protects, though that one exits. */
static void shadow_ends(const char *what, void (*run)(void))
{
    unsigned before;

    wrmsr(MSR_TSC_DEADLINE, 1);
    interrupt_window();
    before = interrupts[VECTOR_TIMER];
    wrmsr(MSR_TSC_DEADLINE, 1);
    run();
    ok(interrupts[VECTOR_TIMER] == before + 1, "STI protects %s and no more: %u interrupts", what,
       interrupts[VECTOR_TIMER] - before);
}

static void shadow_cpuid(void)
{
    u32 rax = 0, rcx = 0;

    asm volatile("sti; cpuid; cli" : "+a"(rax), "+c"(rcx) : : "rbx", "rdx", "memory");
}

static void shadow_in(void)
{
    asm volatile("sti; inb $0x80, %%al; cli" : : : "rax", "memory");
}

void guest_main(void)
{
    plan(ARRAY_SIZE(rows) + 3);
    pic_setup(0x20, 0x28);
    lapic_setup();
    interrupt_handle(VECTOR_TIMER, on_timer);
    lapic_write(LAPIC_LVT_TIMER, (u32)LVT_DEADLINE | VECTOR_TIMER);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        row_try(&rows[i]);
    ok(interrupts[VECTOR_TIMER] > ROUNDS, "%u interrupts came in between", interrupts[VECTOR_TIMER]);
    shadow_ends("CPUID", shadow_cpuid);
    shadow_ends("IN", shadow_in);
}
