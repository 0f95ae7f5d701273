/* SPDX-License-Identifier: MIT */
/*
 * The opcode maps as data, for decode.c alone. A row says what follows the opcode (ModRM, immediate) and, for
 * the instructions lintel carries out itself, what they do. AMD APM 3, appendix A.2.
 */
#ifndef HV_RUN_DECODE_TABLES_H
#define HV_RUN_DECODE_TABLES_H

#include "hv/run/decode.h"

/* What stands behind opcode, ModRM and displacement. */
enum immediate_form {
    IMM_NONE,
    IMM_8,     /* one byte, sign-extended */
    IMM_U8,    /* one byte, zero-extended: port and bit numbers */
    IMM_Z,     /* as wide as the operand, but 4 bytes for 64 bits */
    IMM_V,     /* as wide as the operand */
    IMM_16,    /* RET n; EXTRQ and INSERTQ have two bytes, which is as long */
    IMM_24,    /* ENTER: word and byte */
    IMM_FAR,   /* selector and offset */
    IMM_MOFFS, /* an address as wide as addresses are: the memory operand itself */
};

#define ROW_MODRM    BIT(0)
#define ROW_BYTE     BIT(1)  /* operands of one byte, whatever the prefixes say */
#define ROW_TO_RM    BIT(2)  /* ModRM.rm (or moffs) is the first operand */
#define ROW_GROUP    BIT(3)  /* operation is a number of opcode_groups: ModRM.reg chooses */
#define ROW_NO_64    BIT(4)  /* illegal in 64-bit mode */
#define ROW_NEVER    BIT(5)  /* illegal always */
#define ROW_PREFIX   BIT(6)  /* a legacy prefix; REX is not among them */
#define ROW_OPCODE_R BIT(7)  /* the opcode's low three bits name the register */
#define ROW_NO_RM    BIT(8)  /* ModRM.rm is a register whatever mod says: MOV CR and DR */
#define ROW_SPECIAL  BIT(9)  /* decode.c looks at it by hand */
#define ROW_SOURCE_1 BIT(10) /* MOVZX, MOVSX of a byte */
#define ROW_SOURCE_2 BIT(11) /* of a word */
#define ROW_SOURCE_4 BIT(12) /* of a doubleword */
#define ROW_PORT     BIT(13) /* ports are at most 4 bytes wide */
#define ROW_WIDE     BIT(14) /* operands of 4 bytes or, with REX.W, 8: MOVNTI */

struct opcode_row {
    u8 operation; /* enum operation, or enum opcode_group */
    u8 immediate; /* enum immediate_form */
    u16 flags;    /* ROW_* */
};

enum opcode_group { GROUP_1, GROUP_1A, GROUP_3, GROUP_4, GROUP_5, GROUP_8, GROUP_11, GROUP_COUNT };

extern const struct opcode_row opcode_map_1[256];  /* one byte */
extern const struct opcode_row opcode_map_0f[256]; /* 0F and one byte */
extern const struct opcode_row opcode_map_0f38;    /* all rows of 0F 38 are alike as far as lengths go */
extern const struct opcode_row opcode_map_0f3a;    /* and those of 0F 3A */
extern const struct opcode_row opcode_groups[GROUP_COUNT][8];

/* 0F 01 with mod = 3: the second byte after 0F is the rest of the opcode. */
extern const u8 opcode_0f01_operations[64]; /* enum operation, by ModRM & 63 */

#endif
