/* SPDX-License-Identifier: MIT */
/* Device registers in memory: every instruction form that a kernel might use on them, and holes. */
#include "lib/apic.h"
#include "lib/tap.h"

#define DIVIDE 0xfee003e0ull /* keeps bits 0, 1 and 3 */
#define TPR    0xfee00080ull /* keeps bits 0 - 7 */
#define HOLE   0xd0000000ull

static volatile u32 *const tpr = (volatile u32 *)TPR;

/*
 * Set TPR, run an instruction on it (address in RDI, operand in EAX), and see what TPR, EAX and ZF are
 * then.
 */
#define FORM(instruction, before, eax_before, after, eax_after)                           \
    do {                                                                                  \
        u64 eax = (eax_before);                                                           \
                                                                                          \
        *tpr = (before);                                                                  \
        asm volatile(instruction : "+a"(eax) : "D"(TPR), "c"(4) : "memory", "cc");        \
        ok(*tpr == (after) && eax == (eax_after), "%s: %x, %lx", instruction, *tpr, eax); \
    } while (0)

static void moves(void)
{
    FORM("movl %%eax, (%%rdi)", 0, 0x12, 0x12, 0x12);
    FORM("movl (%%rdi), %%eax", 0x34, ~0ull, 0x34, 0x34);
    FORM("movl $0x56, (%%rdi)", 0, 0, 0x56, 0);
    FORM("movl %%eax, -16(%%rdi, %%rcx, 4)", 0, 0x78, 0x78, 0x78);
    FORM("movabsl %%eax, 0xfee00080", 0, 0x79, 0x79, 0x79);
    FORM("addr32 movl %%eax, (%%edi)", 0, 0x7a, 0x7a, 0x7a);
    FORM("movzbl (%%rdi), %%eax", 0x9a, ~0ull, 0x9a, 0x9a);
    FORM("movsbl (%%rdi), %%eax", 0x9a, 0, 0x9a, 0xffffff9a);
    FORM("movzwl (%%rdi), %%eax", 0xbc, ~0ull, 0xbc, 0xbc);
    FORM("movslq (%%rdi), %%rax", 0x1d, ~0ull, 0x1d, 0x1d);
    FORM("movb (%%rdi), %%ah", 0x42, 0, 0x42, 0x4200);
    FORM("xchgl %%eax, (%%rdi)", 0x11, 0x22, 0x22, 0x11);
}

static void arithmetic(void)
{
    FORM("orl $0x0f, (%%rdi)", 0x30, 0, 0x3f, 0);
    FORM("andl %%eax, (%%rdi)", 0x3c, 0x0f, 0x0c, 0x0f);
    FORM("xorl (%%rdi), %%eax", 0x55, 0xff, 0x55, 0xaa);
    FORM("addl $5, (%%rdi)", 5, 0, 10, 0);
    FORM("subl (%%rdi), %%eax", 3, 10, 3, 7);
    FORM("incl (%%rdi)", 0x0f, 0, 0x10, 0);
    FORM("notl (%%rdi)", 0x0f, 0, 0xf0, 0);
    FORM("btsl $3, (%%rdi)", 0, 0, 8, 0);
    FORM("btrl $3, (%%rdi)", 0x0f, 0, 7, 0);
    FORM("testl $0x10, (%%rdi); setnz %%al", 0x10, 0, 0x10, 1);
    FORM("testl $0x20, (%%rdi); setnz %%al", 0x10, 0, 0x10, 0);
    FORM("cmpl $0x20, (%%rdi); setb %%al", 0x10, 0, 0x10, 1);
    FORM("cmpl %%eax, (%%rdi); sete %%al", 0x10, 0x10, 0x10, 1);
}

static void strings(void)
{
    static u32 memory[4] = {0x21, 0x22, 0x23, 0x24};
    const u32 *from = memory;
    u64 to = TPR, count = 1;

    asm volatile("stosl" : "+D"(to) : "a"(0x44) : "memory");
    ok(*tpr == 0x44 && to == TPR + 4, "STOS to a register");
    to = TPR;
    asm volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    ok(*tpr == 0x21 && from == memory + 1 && !count, "REP MOVS to a register");
}

static void holes(void)
{
    volatile u32 *hole = (volatile u32 *)HOLE;

    *hole = 1;
    ok(*hole == 0xffffffff, "behind the end of memory everything reads as ones");
    ok(*(volatile u8 *)HOLE == 0xff && *(volatile u64 *)HOLE == ~0ull, "in any size");
    *hole |= 3;
    ok(*hole == 0xffffffff, "and keeps nothing");
    ok(lapic_read(0x3f0) == 0 || lapic_read(0x3f0) == 0xffffffff,
       "a register that the local APIC does not have");
}

/* The instruction's bytes lie on two pages. */
static void straddling(void)
{
    static u8 pages[2 * 4096] ALIGNED(4096);
    static const u8 code[] = {0xc7, 0x07, 0x33, 0, 0, 0, 0xc3}; /* movl $0x33, (%rdi); ret */
    unsigned i, at;
    bool good = true;

    for (at = 4096 - 5; at < 4096; at++) {
        for (i = 0; i < sizeof(code); i++)
            pages[at + i] = code[i];
        *tpr = 0;
        asm volatile("call *%0" : : "r"(pages + at), "D"(TPR) : "memory");
        good = good && *tpr == 0x33;
    }
    ok(good, "instructions that straddle two pages");
}

void guest_main(void)
{
    plan(33);
    moves();
    arithmetic();
    strings();
    holes();
    straddling();
    *tpr = 0;
    ok(lapic_read(LAPIC_VERSION) != 0xffffffff && (ioapic_read(1) >> 16 & 0xff) == 23,
       "local APIC and IOAPIC are there");
}
