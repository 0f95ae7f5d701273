/* SPDX-License-Identifier: MIT */
/*
 * The instruction decoder: lengths of all that may exit, and the MOV, arithmetic and string forms that
 * kernels use on devices, in 16-, 32- and 64-bit mode. Pure: bytes in, description out. AMD APM 3, chapter 1
 * and appendix A.
 */
#ifndef HV_RUN_DECODE_H
#define HV_RUN_DECODE_H

#include "hv/lib/types.h"

#define INSTRUCTION_MAX 15

enum decode_mode { DECODE_16 = 2, DECODE_32 = 4, DECODE_64 = 8 };

/* clang-format off */
enum operation {
    OP_OTHER,   /* length is right, the rest says nothing */
    OP_MOV,     /* destination = source */
    OP_MOVZX,   /* source of source_size, zero extended to size */
    OP_MOVSX,
    OP_ADD, OP_OR, OP_ADC, OP_SBB, OP_AND, OP_SUB, OP_XOR, OP_CMP, OP_TEST,
    OP_XCHG, OP_CMPXCHG, OP_XADD, OP_INC, OP_DEC, OP_NOT, OP_NEG, OP_BT, OP_BTS, OP_BTR, OP_BTC,
    OP_MOVS, OP_STOS, OP_LODS, OP_SCAS, OP_CMPS, OP_INS, OP_OUTS,
    OP_MOV_FROM_CR, OP_MOV_TO_CR, OP_CLTS, OP_LMSW, OP_SMSW,
    OP_CPUID, OP_RDMSR, OP_WRMSR, OP_VMCALL, OP_VMMCALL, OP_HLT, OP_PAUSE, OP_XSETBV, OP_WBINVD, OP_INVD,
    OP_RDTSC, OP_RDTSCP, OP_RDPMC, OP_MONITOR, OP_MWAIT, OP_MONITORX, OP_MWAITX, OP_IRET, OP_SVM,
    OP_IN, OP_OUT,
};
/* clang-format on */

struct instruction {
    u8 length;       /* 1 .. 15 */
    u8 operation;    /* enum operation */
    u8 size;         /* operand size in bytes: 1, 2, 4, 8 */
    u8 source_size;  /* MOVZX, MOVSX: of the source */
    u8 address_size; /* 2, 4, 8 */
    u8 segment;      /* enum segment that the memory operand uses */
    bool has_memory; /* a memory operand through ModRM or moffs */
    bool memory_is_destination;
    bool has_immediate;
    bool lock, rep, repne;
    bool high_byte; /* the register operand is AH, CH, DH or BH: gpr is 0 .. 3 */
    u8 gpr;    /* register operand (ModRM.reg, or implied), when there is no immediate; CR number in cr */
    u8 rm_gpr; /* register named by ModRM.rm when it is not memory */
    u8 cr;
    u64 immediate; /* sign-extended to 64 bits */
    /* memory operand: base + index * scale + displacement, RIP-relative against the end of the instruction */
    s8 base, index; /* GPR number or -1 */
    u8 scale;
    bool rip_relative;
    s64 displacement;
};

/*
 * Decode one instruction out of the count bytes given (<= 15 used). 0; -EINVAL: not a legal encoding, or
 * longer than 15; -ENODATA: bytes are missing; -ENOTSUP: legal perhaps, but its length is not known here.
 */
int decode_instruction(const u8 *bytes, unsigned count, enum decode_mode mode, struct instruction *out);

/*
 * The linear or, without segment base, effective address of the memory operand, cut to the address size. read
 * gets a GPR by number.
 */
u64 decode_effective_address(const struct instruction *instruction, u64 next_rip,
                             u64 (*read)(void *context, unsigned gpr), void *context);

/*
 * Instructions of 64-bit code decoded before, by their bytes: decoding depends on nothing else, so that what
 * is remembered never gets old. All zero is empty. The vCPU's own CPU.
 */
#define DECODE_CACHE_ENTRIES 8
struct decode_cache {
    struct {
        u64 bytes[2]; /* the instruction's and what follows it */
        struct instruction instruction;
    } entries[DECODE_CACHE_ENTRIES];
};

/*
 * As decode_instruction for 64-bit mode, out of 16 readable bytes, read once. at: where they stand, for
 * choosing the entry.
 */
int decode_remembered(struct decode_cache *cache, const u8 *bytes, u64 at, struct instruction *out);

#endif
