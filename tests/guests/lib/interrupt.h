/* SPDX-License-Identifier: MIT */
/*
 * Exceptions and interrupts of a tiny guest. An exception inside TRY is caught and told; one that a handler
 * was set for goes there; any other ends the guest with a TAP bail-out.
 */
#ifndef GUESTS_LIB_INTERRUPT_H
#define GUESTS_LIB_INTERRUPT_H

#include "hv/lib/types.h"

#define NO_VECTOR  (-1)
#define VECTOR_DE  0
#define VECTOR_DB  1
#define VECTOR_NMI 2
#define VECTOR_BP  3
#define VECTOR_UD  6
#define VECTOR_NM  7
#define VECTOR_GP  13
#define VECTOR_PF  14
#define VECTOR_AC  17

/* What start.asm leaves on the stack. */
struct frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error;
    u64 rip, cs, rflags, rsp, ss;
};

/* The latest caught exception. resume: where TRY goes on; 0: nothing is expected. */
extern struct capture {
    u64 resume;
    s64 vector;
    u64 error, address, rip;
} capture;

/*
 * Run instructions (no call) with operands as for asm, at least a colon; the vector of the exception, or
 * NO_VECTOR.
 */
#define TRY(instructions, ...)                                        \
    ({                                                                \
        capture.vector = NO_VECTOR;                                   \
        asm volatile("movq $99f, capture(%%rip)\n\t" instructions     \
                     "\n99:\n\tmovq $0, capture(%%rip)" __VA_ARGS__); \
        (int)READ_ONCE(capture.vector);                               \
    })

/* How often each vector came; a handler (without one: nothing but the count, for vectors from 32 on). */
extern u32 interrupts[256];
void interrupt_handle(u8 vector, void (*handler)(struct frame *frame));
void interrupt_setup(void);
/* The same table on another vCPU. */
void interrupt_load(void);
/* Let this vector use the TSS's spare stack. */
void interrupt_use_fault_stack(u8 vector);

static inline void interrupts_on(void)
{
    asm volatile("sti" : : : "memory");
}

static inline void interrupts_off(void)
{
    asm volatile("cli" : : : "memory");
}

/* Let in what waits. The first instruction behind STI is still protected. */
static inline void interrupt_window(void)
{
    asm volatile("sti; nop; nop; cli" : : : "memory");
}

/* Wait for one interrupt, without a gap in which it could be missed. Returns with interrupts off. */
static inline void interrupt_wait(void)
{
    asm volatile("sti; hlt; cli" : : : "memory");
}

#endif
