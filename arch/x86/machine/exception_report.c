/* SPDX-License-Identifier: MIT */
/*
 * The report on an exception in lintel: name and cause, registers, symbolised back trace. Everything that is
 * read on the way may be garbage, so each address is looked up in the page tables first and the trace is
 * bounded. Runs on the CPU that took the exception, without locks; panic (hv/lib/panic.c) calls the dump
 * through its hook.
 */
#include "arch/x86/machine/exception_report.h"

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/image.h"
#include "arch/x86/machine/paging.h"
#include "arch/x86/machine/percpu.h"
#include "hv/lib/log.h"
#include "hv/lib/panic.h"
#include "hv/lib/printf.h"
#include "hv/lib/symbols.h"

#define TRACE_DEPTH        32
#define CODE_BYTES         16
#define REGISTERS_PER_LINE 4

#define PF_PRESENT  BIT(0)
#define PF_WRITE    BIT(1)
#define PF_RESERVED BIT(3)
#define PF_FETCH    BIT(4)

#define MSR_MCG_CAP       0x179
#define MSR_MC0_STATUS    0x401
#define MC_STATUS_ADDRESS BIT(58)
#define MC_STATUS_VALID   BIT(63)

static const char *const exception_names[32] = {
    [0] = "divide error",
    [1] = "debug",
    [3] = "breakpoint",
    [4] = "overflow",
    [5] = "bound range",
    [6] = "invalid opcode",
    [7] = "device not available",
    [8] = "double fault",
    [10] = "invalid TSS",
    [11] = "segment not present",
    [12] = "stack fault",
    [13] = "general protection",
    [14] = "page fault",
    [16] = "x87 error",
    [17] = "alignment check",
    [18] = "machine check",
    [19] = "SIMD error",
    [21] = "control protection",
    [28] = "hypervisor injection",
    [29] = "VMM communication",
    [30] = "security",
};

/* What each CPU is reporting on; NULL when no exception led to the panic. */
static const struct exception_frame *reported[CPU_MAX];

/* "function+0x12", or the bare number. */
static void describe_address(u64 address, char *text, size_t size)
{
    const char *name = NULL;
    u64 into = 0;

    if (address >= (u64)text_start && address < (u64)text_end)
        name = symbol_find(address - IMAGE_BASE, &into);
    if (name)
        snprintf(text, size, "%s+%#llx", name, (unsigned long long)into);
    else
        snprintf(text, size, "an address outside lintel's text");
}

static void log_place(const char *what, u64 address)
{
    char text[96];

    describe_address(address, text, sizeof(text));
    log_error("  %s %016llx %s", what, (unsigned long long)address, text);
}

/*
 * Follow the frame pointers: [rbp] is the caller's, [rbp + 8] the return address. They must rise and stay on
 * one stack. A return address points behind its call, where the next function may begin: one byte less is
 * surely inside.
 */
static void log_trace(u64 rip, u64 rbp)
{
    u64 stack = rbp & ~(CPU_STACK_SIZE - 1);

    log_place("at", rip);
    for (unsigned depth = 0; depth < TRACE_DEPTH; depth++) {
        const u64 *link = (const u64 *)rbp;

        if (rbp % 8 != 0 || (rbp & ~(CPU_STACK_SIZE - 1)) != stack ||
            rbp % CPU_STACK_SIZE > CPU_STACK_SIZE - 16 || !paging_is_mapped(rbp))
            return;
        log_place("by", link[1] - 1);
        if (link[0] <= rbp)
            return;
        rbp = link[0];
    }
    log_error("  and so on: the back trace has more than %d steps", TRACE_DEPTH);
}

static void log_registers(const struct exception_frame *frame)
{
    const struct {
        const char *name;
        u64 value;
    } registers[] = {
        {"rax", frame->rax}, {"rbx", frame->rbx}, {"rcx", frame->rcx}, {"rdx", frame->rdx},
        {"rsi", frame->rsi}, {"rdi", frame->rdi}, {"rbp", frame->rbp}, {"rsp", frame->rsp},
        {"r8 ", frame->r8},  {"r9 ", frame->r9},  {"r10", frame->r10}, {"r11", frame->r11},
        {"r12", frame->r12}, {"r13", frame->r13}, {"r14", frame->r14}, {"r15", frame->r15},
        {"rip", frame->rip}, {"cs ", frame->cs},  {"ss ", frame->ss},  {"fl ", frame->rflags},
        {"cr0", read_cr0()}, {"cr2", read_cr2()}, {"cr3", read_cr3()}, {"cr4", read_cr4()},
    };
    char text[REGISTERS_PER_LINE * 22];

    for (unsigned i = 0; i < ARRAY_SIZE(registers); i++) {
        snprintf(text + i % REGISTERS_PER_LINE * 21, 22, " %s %016llx", registers[i].name,
                 (unsigned long long)registers[i].value);
        if (i % REGISTERS_PER_LINE == REGISTERS_PER_LINE - 1)
            log_error(" %s", text);
    }
}

static void log_code(u64 rip)
{
    char text[CODE_BYTES * 3 + 1];

    if (!paging_is_mapped(rip) || !paging_is_mapped(rip + CODE_BYTES - 1))
        return;
    for (unsigned i = 0; i < CODE_BYTES; i++)
        snprintf(text + i * 3, 4, " %02x", ((const u8 *)rip)[i]);
    log_error("  code%s", text);
}

/*
 * A call through a bad pointer: the function that made it has the word on top of the stack, and no link of
 * the chain of frame pointers names it.
 */
static void log_stray_call(u64 rip, u64 rsp)
{
    if ((rip >= (u64)text_start && rip < (u64)text_end) || rsp % 8 != 0 || !paging_is_mapped(rsp))
        return;
    log_place("on top of the stack", *(const u64 *)rsp);
}

/*
 * What the banks know of a machine check: status, and the address where the CPU tells one (AMD APM 2, 9.3.2).
 */
static void log_machine_check(void)
{
    u64 capabilities = 0;

    rdmsr_safe(MSR_MCG_CAP, &capabilities);
    for (u32 bank = 0; bank < (capabilities & 0xff); bank++) {
        u64 status = 0, address = 0;

        rdmsr_safe(MSR_MC0_STATUS + bank * 4, &status);
        if (!(status & MC_STATUS_VALID))
            continue;
        if (status & MC_STATUS_ADDRESS)
            rdmsr_safe(MSR_MC0_STATUS + 1 + bank * 4, &address);
        log_error("  bank %u: status %016llx, address %016llx", bank, (unsigned long long)status,
                  (unsigned long long)address);
    }
}

void exception_dump_trace(void)
{
    const struct exception_frame *frame = reported[cpu_this()->index];

    if (!frame) {
        const u64 *link = __builtin_frame_address(0);

        log_trace(link[1] - 1, link[0]);
        return;
    }
    log_registers(frame);
    if (frame->vector == VECTOR_MC)
        log_machine_check();
    log_code(frame->rip);
    log_stray_call(frame->rip, frame->rsp);
    log_trace(frame->rip, frame->rbp);
}

/* A stack that was too small: what could not be pushed is CR2, in the unmapped page next to RSP. */
static bool stack_overflown(u64 rsp)
{
    u64 fault = read_cr2();

    return fault - (rsp - PAGE_SIZE) < 2 * PAGE_SIZE && !paging_is_mapped(fault);
}

static void describe_page_fault(u64 error, char *text, size_t size)
{
    const char *access = error & PF_FETCH ? "executing" : error & PF_WRITE ? "writing" : "reading";
    const char *state = error & PF_RESERVED  ? "its page-table entry has reserved bits set"
                        : error & PF_PRESENT ? "its page does not allow that"
                                             : "nothing is mapped there";

    snprintf(text, size, "page fault: %s %016llx, %s", access, (unsigned long long)read_cr2(), state);
}

static void describe_exception(const struct exception_frame *frame, char *text, size_t size)
{
    const char *name = exception_names[frame->vector & 31];

    if (frame->vector == VECTOR_PF)
        describe_page_fault(frame->error_code, text, size);
    else if (frame->vector == VECTOR_DF && stack_overflown(frame->rsp))
        snprintf(text, size, "double fault: the stack has overflown, rsp %016llx",
                 (unsigned long long)frame->rsp);
    else
        snprintf(text, size, "%s (exception %llu), error code %#llx", name ? name : "unknown exception",
                 (unsigned long long)frame->vector, (unsigned long long)frame->error_code);
}

void exception_report(const struct exception_frame *frame)
{
    char what[128], where[96], title[256];

    reported[cpu_this()->index] = frame;
    describe_exception(frame, what, sizeof(what));
    describe_address(frame->rip, where, sizeof(where));
    snprintf(title, sizeof(title), "%s, at %s", what, where);
    panic_exception(title);
}
