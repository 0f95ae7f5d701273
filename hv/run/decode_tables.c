/* SPDX-License-Identifier: MIT */
/*
 * The opcode maps; see decode_tables.h. A row that is not named is an instruction of its opcode byte alone.
 * Constant.
 */
#include "hv/run/decode_tables.h"

#define M  ROW_MODRM
#define B  ROW_BYTE
#define RM (ROW_MODRM | ROW_TO_RM)

/* clang-format off */

/* The six encodings that each of the eight classic operations has. */
#define ALU_ROWS(base, op)                                               \
    [(base) + 0] = { op, IMM_NONE, RM | B }, [(base) + 1] = { op, IMM_NONE, RM }, \
    [(base) + 2] = { op, IMM_NONE, M | B },  [(base) + 3] = { op, IMM_NONE, M },  \
    [(base) + 4] = { op, IMM_Z, B },         [(base) + 5] = { op, IMM_Z, 0 }

const struct opcode_row opcode_map_1[256] = {
    ALU_ROWS(0x00, OP_ADD), ALU_ROWS(0x08, OP_OR),  ALU_ROWS(0x10, OP_ADC), ALU_ROWS(0x18, OP_SBB),
    ALU_ROWS(0x20, OP_AND), ALU_ROWS(0x28, OP_SUB), ALU_ROWS(0x30, OP_XOR), ALU_ROWS(0x38, OP_CMP),

    /* PUSH and POP of segments, decimal adjustments: 64-bit mode has none of them */
    [0x06 ... 0x07] = { OP_OTHER, IMM_NONE, ROW_NO_64 },
    [0x0e]          = { OP_OTHER, IMM_NONE, ROW_NO_64 },
    [0x0f]          = { OP_OTHER, IMM_NONE, ROW_SPECIAL }, /* the way to the other maps */
    [0x16 ... 0x17] = { OP_OTHER, IMM_NONE, ROW_NO_64 },
    [0x1e ... 0x1f] = { OP_OTHER, IMM_NONE, ROW_NO_64 },
    [0x26]          = { OP_OTHER, IMM_NONE, ROW_PREFIX },
    [0x27]          = { OP_OTHER, IMM_NONE, ROW_NO_64 },
    [0x2e]          = { OP_OTHER, IMM_NONE, ROW_PREFIX },
    [0x2f]          = { OP_OTHER, IMM_NONE, ROW_NO_64 },
    [0x36]          = { OP_OTHER, IMM_NONE, ROW_PREFIX },
    [0x37]          = { OP_OTHER, IMM_NONE, ROW_NO_64 },
    [0x3e]          = { OP_OTHER, IMM_NONE, ROW_PREFIX },
    [0x3f]          = { OP_OTHER, IMM_NONE, ROW_NO_64 },

    [0x40 ... 0x47] = { OP_INC, IMM_NONE, ROW_NO_64 | ROW_OPCODE_R }, /* REX in 64-bit mode */
    [0x48 ... 0x4f] = { OP_DEC, IMM_NONE, ROW_NO_64 | ROW_OPCODE_R },

    [0x60 ... 0x61] = { OP_OTHER, IMM_NONE, ROW_NO_64 },               /* PUSHA, POPA */
    [0x62]          = { OP_OTHER, IMM_NONE, M | ROW_SPECIAL },         /* BOUND or EVEX */
    [0x63]          = { OP_MOVSX, IMM_NONE, M | ROW_SOURCE_4 | ROW_SPECIAL }, /* MOVSXD or ARPL */
    [0x64 ... 0x67] = { OP_OTHER, IMM_NONE, ROW_PREFIX },
    [0x68]          = { OP_OTHER, IMM_Z, 0 },
    [0x69]          = { OP_OTHER, IMM_Z, M },
    [0x6a]          = { OP_OTHER, IMM_8, 0 },
    [0x6b]          = { OP_OTHER, IMM_8, M },
    [0x6c]          = { OP_INS, IMM_NONE, B },
    [0x6d]          = { OP_INS, IMM_NONE, ROW_PORT },
    [0x6e]          = { OP_OUTS, IMM_NONE, B },
    [0x6f]          = { OP_OUTS, IMM_NONE, ROW_PORT },

    [0x70 ... 0x7f] = { OP_OTHER, IMM_8, 0 }, /* Jcc */
    [0x80]          = { GROUP_1, IMM_8, RM | B | ROW_GROUP },
    [0x81]          = { GROUP_1, IMM_Z, RM | ROW_GROUP },
    [0x82]          = { GROUP_1, IMM_8, RM | B | ROW_GROUP | ROW_NO_64 },
    [0x83]          = { GROUP_1, IMM_8, RM | ROW_GROUP },
    [0x84]          = { OP_TEST, IMM_NONE, RM | B },
    [0x85]          = { OP_TEST, IMM_NONE, RM },
    [0x86]          = { OP_XCHG, IMM_NONE, RM | B },
    [0x87]          = { OP_XCHG, IMM_NONE, RM },
    [0x88]          = { OP_MOV, IMM_NONE, RM | B },
    [0x89]          = { OP_MOV, IMM_NONE, RM },
    [0x8a]          = { OP_MOV, IMM_NONE, M | B },
    [0x8b]          = { OP_MOV, IMM_NONE, M },
    [0x8c ... 0x8e] = { OP_OTHER, IMM_NONE, M },               /* MOV of segments, LEA */
    [0x8f]          = { GROUP_1A, IMM_NONE, M | ROW_GROUP | ROW_SPECIAL }, /* POP or XOP */

    [0x90]          = { OP_XCHG, IMM_NONE, ROW_OPCODE_R | ROW_SPECIAL }, /* NOP, PAUSE */
    [0x91 ... 0x97] = { OP_XCHG, IMM_NONE, ROW_OPCODE_R },
    [0x9a]          = { OP_OTHER, IMM_FAR, ROW_NO_64 },
    [0xa0]          = { OP_MOV, IMM_MOFFS, B },
    [0xa1]          = { OP_MOV, IMM_MOFFS, 0 },
    [0xa2]          = { OP_MOV, IMM_MOFFS, B | ROW_TO_RM },
    [0xa3]          = { OP_MOV, IMM_MOFFS, ROW_TO_RM },
    [0xa4]          = { OP_MOVS, IMM_NONE, B },
    [0xa5]          = { OP_MOVS, IMM_NONE, 0 },
    [0xa6]          = { OP_CMPS, IMM_NONE, B },
    [0xa7]          = { OP_CMPS, IMM_NONE, 0 },
    [0xa8]          = { OP_TEST, IMM_Z, B },
    [0xa9]          = { OP_TEST, IMM_Z, 0 },
    [0xaa]          = { OP_STOS, IMM_NONE, B },
    [0xab]          = { OP_STOS, IMM_NONE, 0 },
    [0xac]          = { OP_LODS, IMM_NONE, B },
    [0xad]          = { OP_LODS, IMM_NONE, 0 },
    [0xae]          = { OP_SCAS, IMM_NONE, B },
    [0xaf]          = { OP_SCAS, IMM_NONE, 0 },
    [0xb0 ... 0xb7] = { OP_MOV, IMM_Z, B | ROW_OPCODE_R },
    [0xb8 ... 0xbf] = { OP_MOV, IMM_V, ROW_OPCODE_R },

    [0xc0 ... 0xc1] = { OP_OTHER, IMM_U8, M },                 /* shifts */
    [0xc2]          = { OP_OTHER, IMM_16, 0 },
    [0xc4 ... 0xc5] = { OP_OTHER, IMM_NONE, M | ROW_SPECIAL }, /* LES, LDS or VEX */
    [0xc6]          = { GROUP_11, IMM_Z, RM | B | ROW_GROUP },
    [0xc7]          = { GROUP_11, IMM_Z, RM | ROW_GROUP },
    [0xc8]          = { OP_OTHER, IMM_24, 0 },
    [0xca]          = { OP_OTHER, IMM_16, 0 },
    [0xcd]          = { OP_OTHER, IMM_U8, 0 },
    [0xce]          = { OP_OTHER, IMM_NONE, ROW_NO_64 },       /* INTO */
    [0xcf]          = { OP_IRET, IMM_NONE, 0 },
    [0xd0 ... 0xd3] = { OP_OTHER, IMM_NONE, M },               /* shifts */
    [0xd4 ... 0xd5] = { OP_OTHER, IMM_U8, ROW_NO_64 },         /* AAM, AAD */
    [0xd6]          = { OP_OTHER, IMM_NONE, ROW_NO_64 },       /* SALC */
    [0xd8 ... 0xdf] = { OP_OTHER, IMM_NONE, M },               /* x87 */
    [0xe0 ... 0xe3] = { OP_OTHER, IMM_8, 0 },                  /* LOOP, JCXZ */
    [0xe4]          = { OP_IN, IMM_U8, B },
    [0xe5]          = { OP_IN, IMM_U8, ROW_PORT },
    [0xe6]          = { OP_OUT, IMM_U8, B },
    [0xe7]          = { OP_OUT, IMM_U8, ROW_PORT },
    /* AMD lets 66 cut branches to 16 bits in 64-bit mode; Intel ignores it there. Branches never exit. */
    [0xe8 ... 0xe9] = { OP_OTHER, IMM_Z, 0 },
    [0xea]          = { OP_OTHER, IMM_FAR, ROW_NO_64 },
    [0xeb]          = { OP_OTHER, IMM_8, 0 },
    [0xec]          = { OP_IN, IMM_NONE, B },
    [0xed]          = { OP_IN, IMM_NONE, ROW_PORT },
    [0xee]          = { OP_OUT, IMM_NONE, B },
    [0xef]          = { OP_OUT, IMM_NONE, ROW_PORT },
    [0xf0]          = { OP_OTHER, IMM_NONE, ROW_PREFIX },
    [0xf2 ... 0xf3] = { OP_OTHER, IMM_NONE, ROW_PREFIX },
    [0xf4]          = { OP_HLT, IMM_NONE, 0 },
    [0xf6]          = { GROUP_3, IMM_NONE, RM | B | ROW_GROUP },
    [0xf7]          = { GROUP_3, IMM_NONE, RM | ROW_GROUP },
    [0xfe]          = { GROUP_4, IMM_NONE, RM | B | ROW_GROUP },
    [0xff]          = { GROUP_5, IMM_NONE, RM | ROW_GROUP },
};

const struct opcode_row opcode_map_0f[256] = {
    [0x00]          = { OP_OTHER, IMM_NONE, M },
    [0x01]          = { OP_OTHER, IMM_NONE, RM | ROW_SPECIAL }, /* descriptor tables, LMSW, hypercalls, SVM */
    [0x02 ... 0x03] = { OP_OTHER, IMM_NONE, M },
    [0x04]          = { OP_OTHER, IMM_NONE, ROW_NEVER },
    [0x06]          = { OP_CLTS, IMM_NONE, 0 },
    [0x08]          = { OP_INVD, IMM_NONE, 0 },
    [0x09]          = { OP_WBINVD, IMM_NONE, 0 },
    [0x0a]          = { OP_OTHER, IMM_NONE, ROW_NEVER },
    [0x0c]          = { OP_OTHER, IMM_NONE, ROW_NEVER },
    [0x0d]          = { OP_OTHER, IMM_NONE, M },               /* PREFETCHW */
    [0x0f]          = { OP_OTHER, IMM_U8, M },                 /* 3DNow: the opcode comes last */
    [0x10 ... 0x1f] = { OP_OTHER, IMM_NONE, M },
    [0x20]          = { OP_MOV_FROM_CR, IMM_NONE, M | ROW_NO_RM },
    [0x21]          = { OP_OTHER, IMM_NONE, M | ROW_NO_RM },
    [0x22]          = { OP_MOV_TO_CR, IMM_NONE, M | ROW_NO_RM },
    [0x23]          = { OP_OTHER, IMM_NONE, M | ROW_NO_RM },
    [0x24 ... 0x27] = { OP_OTHER, IMM_NONE, ROW_NEVER },
    [0x28 ... 0x2f] = { OP_OTHER, IMM_NONE, M },
    [0x30]          = { OP_WRMSR, IMM_NONE, 0 },
    [0x31]          = { OP_RDTSC, IMM_NONE, 0 },
    [0x32]          = { OP_RDMSR, IMM_NONE, 0 },
    [0x33]          = { OP_RDPMC, IMM_NONE, 0 },
    [0x36]          = { OP_OTHER, IMM_NONE, ROW_NEVER },
    [0x38]          = { OP_OTHER, IMM_NONE, ROW_SPECIAL },     /* the third map */
    [0x39]          = { OP_OTHER, IMM_NONE, ROW_NEVER },
    [0x3a]          = { OP_OTHER, IMM_NONE, ROW_SPECIAL },     /* the fourth */
    [0x3b ... 0x3f] = { OP_OTHER, IMM_NONE, ROW_NEVER },
    [0x40 ... 0x6f] = { OP_OTHER, IMM_NONE, M },               /* CMOV, SSE */
    [0x70 ... 0x73] = { OP_OTHER, IMM_U8, M },
    [0x74 ... 0x76] = { OP_OTHER, IMM_NONE, M },
    [0x78]          = { OP_OTHER, IMM_NONE, M | ROW_SPECIAL }, /* VMREAD, or EXTRQ and INSERTQ of SSE4a */
    [0x79]          = { OP_OTHER, IMM_NONE, M },
    [0x7a ... 0x7b] = { OP_OTHER, IMM_NONE, ROW_NEVER },
    [0x7c ... 0x7f] = { OP_OTHER, IMM_NONE, M },
    [0x80 ... 0x8f] = { OP_OTHER, IMM_Z, 0 },                  /* Jcc */
    [0x90 ... 0x9f] = { OP_OTHER, IMM_NONE, M },               /* SETcc */
    [0xa2]          = { OP_CPUID, IMM_NONE, 0 },
    [0xa3]          = { OP_BT, IMM_NONE, RM },
    [0xa4]          = { OP_OTHER, IMM_U8, M },
    [0xa5]          = { OP_OTHER, IMM_NONE, M },
    [0xa6 ... 0xa7] = { OP_OTHER, IMM_NONE, ROW_NEVER },
    [0xab]          = { OP_BTS, IMM_NONE, RM },
    [0xac]          = { OP_OTHER, IMM_U8, M },
    [0xad ... 0xaf] = { OP_OTHER, IMM_NONE, M },
    [0xb0]          = { OP_CMPXCHG, IMM_NONE, RM | B },
    [0xb1]          = { OP_CMPXCHG, IMM_NONE, RM },
    [0xb2]          = { OP_OTHER, IMM_NONE, M },
    [0xb3]          = { OP_BTR, IMM_NONE, RM },
    [0xb4 ... 0xb5] = { OP_OTHER, IMM_NONE, M },
    [0xb6]          = { OP_MOVZX, IMM_NONE, M | ROW_SOURCE_1 },
    [0xb7]          = { OP_MOVZX, IMM_NONE, M | ROW_SOURCE_2 },
    [0xb8]          = { OP_OTHER, IMM_NONE, M | ROW_SPECIAL }, /* POPCNT needs F3 */
    [0xb9]          = { OP_OTHER, IMM_NONE, M },
    [0xba]          = { GROUP_8, IMM_U8, RM | ROW_GROUP },
    [0xbb]          = { OP_BTC, IMM_NONE, RM },
    [0xbc ... 0xbd] = { OP_OTHER, IMM_NONE, M },
    [0xbe]          = { OP_MOVSX, IMM_NONE, M | ROW_SOURCE_1 },
    [0xbf]          = { OP_MOVSX, IMM_NONE, M | ROW_SOURCE_2 },
    [0xc0]          = { OP_XADD, IMM_NONE, RM | B },
    [0xc1]          = { OP_XADD, IMM_NONE, RM },
    [0xc2]          = { OP_OTHER, IMM_U8, M },
    [0xc3]          = { OP_MOV, IMM_NONE, RM | ROW_WIDE },     /* MOVNTI */
    [0xc4 ... 0xc6] = { OP_OTHER, IMM_U8, M },
    [0xc7]          = { OP_OTHER, IMM_NONE, M },
    [0xd0 ... 0xff] = { OP_OTHER, IMM_NONE, M },
};

const struct opcode_row opcode_map_0f38 = { OP_OTHER, IMM_NONE, M };
const struct opcode_row opcode_map_0f3a = { OP_OTHER, IMM_U8, M };

/* Of a group's row, immediate and flags add to those of the opcode's row. */
const struct opcode_row opcode_groups[GROUP_COUNT][8] = {
    [GROUP_1]  = { { OP_ADD, 0, 0 }, { OP_OR, 0, 0 },  { OP_ADC, 0, 0 }, { OP_SBB, 0, 0 },
                   { OP_AND, 0, 0 }, { OP_SUB, 0, 0 }, { OP_XOR, 0, 0 }, { OP_CMP, 0, 0 } },
    [GROUP_1A] = { [1 ... 7] = { OP_OTHER, 0, ROW_NEVER } },
    [GROUP_3]  = { { OP_TEST, IMM_Z, 0 }, { OP_TEST, IMM_Z, 0 }, { OP_NOT, 0, 0 }, { OP_NEG, 0, 0 } },
    [GROUP_4]  = { { OP_INC, 0, 0 }, { OP_DEC, 0, 0 }, [2 ... 7] = { OP_OTHER, 0, ROW_NEVER } },
    [GROUP_5]  = { { OP_INC, 0, 0 }, { OP_DEC, 0, 0 }, [7] = { OP_OTHER, 0, ROW_NEVER } },
    [GROUP_8]  = { [0 ... 3] = { OP_OTHER, 0, ROW_NEVER },
                   { OP_BT, 0, 0 }, { OP_BTS, 0, 0 }, { OP_BTR, 0, 0 }, { OP_BTC, 0, 0 } },
    [GROUP_11] = { { OP_MOV, 0, 0 }, [1 ... 6] = { OP_OTHER, 0, ROW_NEVER } }, /* 7: XABORT, XBEGIN */
};

const u8 opcode_0f01_operations[64] = {
    [0x01]          = OP_VMCALL,   [0x08] = OP_MONITOR, [0x09] = OP_MWAIT, [0x11] = OP_XSETBV,
    [0x18]          = OP_SVM,      [0x19] = OP_VMMCALL, /* VMRUN stands at 18 */
    [0x1a ... 0x1f] = OP_SVM,      /* VMLOAD, VMSAVE, STGI, CLGI, SKINIT, INVLPGA */
    [0x20 ... 0x27] = OP_SMSW,     [0x30 ... 0x37] = OP_LMSW,
    [0x39]          = OP_RDTSCP,   [0x3a] = OP_MONITORX, [0x3b] = OP_MWAITX,
};

/* clang-format on */
