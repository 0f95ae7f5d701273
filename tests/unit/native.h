/* SPDX-License-Identifier: MIT */
/*
 * Runs one instruction on the CPU of the machine that tests, with registers and flags given, so that the
 * emulator can be compared with the real thing. The instruction must end where it stands (no jumps) and must
 * not touch RSP, RBP or R9 to R15.
 */
#ifndef TESTS_UNIT_NATIVE_H
#define TESTS_UNIT_NATIVE_H

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "hv/lib/types.h"

struct native_state {
    u64 rax, rcx, rdx, rbx, rsi, rdi, r8, rflags;
};

/* A page to put instructions into. */
static inline u8 *native_page(void)
{
    return mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static inline void native_run(u8 *page, const u8 *code, size_t bytes, struct native_state *state)
{
    register struct native_state *at asm("r15") = state;
    register u8 *to asm("r14") = page;

    memcpy(page, code, bytes);
    page[bytes] = 0xc3;                       /* ret */
    asm volatile("lea -128(%%rsp), %%rsp\n\t" /* the compiler's red zone */
                 "mov 0(%%r15), %%rax\n\t"
                 "mov 8(%%r15), %%rcx\n\t"
                 "mov 16(%%r15), %%rdx\n\t"
                 "mov 24(%%r15), %%rbx\n\t"
                 "mov 32(%%r15), %%rsi\n\t"
                 "mov 40(%%r15), %%rdi\n\t"
                 "mov 48(%%r15), %%r8\n\t"
                 "pushq 56(%%r15)\n\t"
                 "popfq\n\t"
                 "call *%%r14\n\t"
                 "pushfq\n\t"
                 "popq 56(%%r15)\n\t"
                 "cld\n\t"
                 "mov %%rax, 0(%%r15)\n\t"
                 "mov %%rcx, 8(%%r15)\n\t"
                 "mov %%rdx, 16(%%r15)\n\t"
                 "mov %%rbx, 24(%%r15)\n\t"
                 "mov %%rsi, 32(%%r15)\n\t"
                 "mov %%rdi, 40(%%r15)\n\t"
                 "mov %%r8, 48(%%r15)\n\t"
                 "lea 128(%%rsp), %%rsp"
                 :
                 : "r"(at), "r"(to)
                 : "rax", "rcx", "rdx", "rbx", "rsi", "rdi", "r8", "memory", "cc");
}

#endif
