/* SPDX-License-Identifier: MIT */
/*
 * hv/run/decode.c: what each form means, and that truncated input never decodes. With the argument `lengths`
 * the program instead reads records of a mode byte and 15 code bytes and prints what it makes of them:
 * test_decode_objdump.py compares that with binutils.
 */
// sources: hv/run/decode.c hv/run/decode_tables.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/errno.h"
#include "hv/run/decode.h"
#include "hv/run/vcpu.h"

#define TEXT(...) (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__})

#define USES(operand, source, address, name) \
    .size = operand, .source_size = source, .address_size = address, .segment = SEGMENT_##name

/* clang-format off */
static const struct row {
    enum decode_mode mode;
    const u8 *bytes;
    size_t count;
    struct instruction expected; /* base and index one higher than in the real thing, so that 0 says none */
} rows[] = {
    /* mov -0xa04000(%rdi),%eax: how Linux reads its local APIC */
    { DECODE_64, TEXT(0x8b, 0x87, 0x00, 0xc0, 0x5f, 0xff),
      { .operation = OP_MOV, USES(4, 4, 8, DS), .has_memory = true,
        .gpr = RAX, .rm_gpr = RDI, .base = RDI + 1, .scale = 1, .displacement = -0xa04000 } },
    /* mov %eax,0xffffffffff5fc0b0: EOI */
    { DECODE_64, TEXT(0x89, 0x04, 0x25, 0xb0, 0xc0, 0x5f, 0xff),
      { .operation = OP_MOV, USES(4, 4, 8, DS), .has_memory = true,
        .memory_is_destination = true, .gpr = RAX, .rm_gpr = RSP, .scale = 1, .displacement = -0xa03f50 } },
    /* movl $0,0x10(%rip) */
    { DECODE_64, TEXT(0xc7, 0x05, 0x10, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff),
      { .operation = OP_MOV, USES(4, 4, 8, DS), .has_memory = true,
        .memory_is_destination = true, .has_immediate = true, .immediate = -2ull, .rm_gpr = RBP, .scale = 1,
        .rip_relative = true, .displacement = 0x10 } },
    /* movzbl %gs:-1(%r12,%r9,8),%r10d: high registers by REX, FS and GS count */
    { DECODE_64, TEXT(0x65, 0x47, 0x0f, 0xb6, 0x54, 0xcc, 0xff),
      { .operation = OP_MOVZX, USES(4, 1, 8, GS), .has_memory = true,
        .gpr = R10, .rm_gpr = R12, .base = R12 + 1, .index = R9 + 1, .scale = 8, .displacement = -1 } },
    /* mov %ah,(%rbp): no REX, so AH; RBP means SS */
    { DECODE_64, TEXT(0x88, 0x65, 0x00),
      { .operation = OP_MOV, USES(1, 1, 8, SS), .has_memory = true,
        .memory_is_destination = true, .high_byte = true, .gpr = RAX, .rm_gpr = RBP, .base = RBP + 1,
        .scale = 1 } },
    /* mov %spl,(%rdx): with REX it is SPL */
    { DECODE_64, TEXT(0x40, 0x88, 0x22),
      { .operation = OP_MOV, USES(1, 1, 8, DS), .has_memory = true,
        .memory_is_destination = true, .gpr = RSP, .rm_gpr = RDX, .base = RDX + 1, .scale = 1 } },
    /* a REX before a prefix is lost; ES is ignored and does not cancel FS */
    { DECODE_64, TEXT(0x64, 0x48, 0x26, 0x66, 0x01, 0x08),
      { .operation = OP_ADD, USES(2, 2, 8, FS), .has_memory = true,
        .memory_is_destination = true, .gpr = RCX, .scale = 1, .base = RAX + 1 } },
    /* REX.W beats 66; lock orq $0x7f,(%rbx) */
    { DECODE_64, TEXT(0x66, 0xf0, 0x48, 0x83, 0x0b, 0x7f),
      { .operation = OP_OR, USES(8, 8, 8, DS), .has_memory = true,
        .memory_is_destination = true, .has_immediate = true, .immediate = 0x7f, .lock = true, .gpr = RCX,
        .rm_gpr = RBX, .base = RBX + 1, .scale = 1 } },
    /* movabs 0x1122334455667788,%al */
    { DECODE_64, TEXT(0xa0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11),
      { .operation = OP_MOV, USES(1, 1, 8, DS), .has_memory = true,
        .scale = 1, .displacement = 0x1122334455667788 } },
    /* mov $0x8000000000000001,%r9 */
    { DECODE_64, TEXT(0x49, 0xb9, 1, 0, 0, 0, 0, 0, 0, 0x80),
      { .operation = OP_MOV, USES(8, 8, 8, DS), .has_immediate = true,
        .immediate = 0x8000000000000001, .gpr = R9, .scale = 1 } },
    /* mov %r8,%cr8; mod is ignored */
    { DECODE_64, TEXT(0x45, 0x0f, 0x22, 0x00),
      { .operation = OP_MOV_TO_CR, USES(8, 4, 8, DS), .gpr = R8,
        .rm_gpr = R8, .cr = 8, .scale = 1 } },
    /* lock mov %cr0,%eax is CR8 in 32-bit code of AMD */
    { DECODE_32, TEXT(0xf0, 0x0f, 0x20, 0xc0),
      { .operation = OP_MOV_FROM_CR, USES(4, 4, 4, DS), .lock = true,
        .cr = 8, .scale = 1 } },
    /* mov %es:0x10(%bp,%di),%cx: 16-bit forms */
    { DECODE_16, TEXT(0x26, 0x8b, 0x4b, 0x10),
      { .operation = OP_MOV, USES(2, 2, 2, ES), .has_memory = true,
        .gpr = RCX, .rm_gpr = RBX, .base = RBP + 1, .index = RDI + 1, .scale = 1, .displacement = 0x10 } },
    /* cmpl $0,(0x1234) in 16-bit code with 66 */
    { DECODE_16, TEXT(0x66, 0x83, 0x3e, 0x34, 0x12, 0x00),
      { .operation = OP_CMP, USES(4, 4, 2, DS), .has_memory = true,
        .memory_is_destination = true, .has_immediate = true, .gpr = RDI, .rm_gpr = RSI, .scale = 1,
        .displacement = 0x1234 } },
    /* rep insl with 32-bit addresses in 64-bit code; REX.W makes no 8-byte port */
    { DECODE_64, TEXT(0xf3, 0x67, 0x48, 0x6d),
      { .operation = OP_INS, USES(4, 4, 4, DS), .rep = true,
        .scale = 1 } },
    /* in $0xf8,%al: the port is not negative */
    { DECODE_32, TEXT(0xe4, 0xf8),
      { .operation = OP_IN, USES(1, 1, 4, DS), .has_immediate = true,
        .immediate = 0xf8, .scale = 1 } },
    /* inc %edx and, in 64-bit code, nothing but a prefix */
    { DECODE_32, TEXT(0x42),
      { .operation = OP_INC, USES(4, 4, 4, DS), .gpr = RDX,
        .scale = 1 } },
    { DECODE_64, TEXT(0xf3, 0x90),
      { .operation = OP_PAUSE, USES(4, 4, 8, DS), .rep = true,
        .scale = 1 } },
    { DECODE_64, TEXT(0x0f, 0x01, 0xd9),
      { .operation = OP_VMMCALL, USES(4, 4, 8, DS), .gpr = RBX,
        .rm_gpr = RCX, .scale = 1 } },
    { DECODE_64, TEXT(0x0f, 0xa2),
      { .operation = OP_CPUID, USES(4, 4, 8, DS), .scale = 1 } },
};

static const struct {
    enum decode_mode mode;
    const u8 *bytes;
    size_t count;
    int result;
} refused[] = {
    { DECODE_64, TEXT(0x06), -EINVAL },                                     /* push %es */
    { DECODE_64, TEXT(0x0f, 0x04), -EINVAL },
    { DECODE_32, TEXT(0xfe, 0xd0), -EINVAL },                               /* FE /2 */
    { DECODE_64, TEXT(0xc5, 0xf8, 0x77), -ENOTSUP },                        /* vzeroupper */
    { DECODE_32, TEXT(0xc4, 0xe2, 0x7b, 0xf2, 0xc0, 0), -ENOTSUP },         /* andn */
    { DECODE_64, TEXT(0x62, 0xf1, 0x7c, 0x48, 0x10, 0x00), -ENOTSUP },      /* EVEX */
    { DECODE_64, TEXT(0x8f, 0xe8, 0x78, 0xa2, 0xc0, 0x00), -ENOTSUP },      /* XOP */
    /* fifteen bytes are legal, sixteen are not */
    { DECODE_64, TEXT(0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                      0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90), 0 },
    { DECODE_64, TEXT(0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                      0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90), -EINVAL },
    { DECODE_32, TEXT(0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0xc7, 0x05,
                      1, 2, 3, 4, 5, 6, 7, 8), -EINVAL },
};
/* clang-format on */

/* Decode out of a buffer of just that size, so that ASan sees a byte too far. */
static int decode_exactly(const u8 *bytes, size_t count, enum decode_mode mode, struct instruction *out)
{
    u8 *copy = malloc(count ? count : 1);
    int err;

    memcpy(copy, bytes, count);
    err = decode_instruction(copy, (unsigned)count, mode, out);
    free(copy);
    return err;
}

/* All members; four bytes before displacement are padding. */
static bool same(const struct instruction *a, const struct instruction *b)
{
    return !memcmp(a, b, offsetof(struct instruction, rip_relative) + 1) &&
           a->displacement == b->displacement;
}

static void test_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct instruction expected = rows[i].expected, got;

        expected.length = (u8)rows[i].count;
        expected.base--;
        expected.index--;
        assert_int_equal(decode_exactly(rows[i].bytes, rows[i].count, rows[i].mode, &got), 0);
        if (!same(&got, &expected))
            fail_msg("row %zu means something else", i);
    }
}

static void test_refusals(void **state)
{
    struct instruction out;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        assert_int_equal(decode_exactly(refused[i].bytes, refused[i].count, refused[i].mode, &out),
                         refused[i].result);
}

static void test_truncation_says_so(void **state)
{
    struct instruction out;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (size_t count = 0; count < rows[i].count; count++)
            assert_int_equal(decode_exactly(rows[i].bytes, count, rows[i].mode, &out), -ENODATA);
}

static u64 numbered_gpr(void *context, unsigned gpr)
{
    return ((u64 *)context)[gpr];
}

static void test_effective_addresses(void **state)
{
    u64 gprs[GPR_COUNT] = {[RAX] = 0xffffffff, [RBX] = 0xfff0, [RSI] = 0x20, [R9] = 0x1000};
    struct instruction i = {.address_size = 8, .base = RAX, .index = -1, .scale = 1, .displacement = 2};

    (void)state;
    assert_true(decode_effective_address(&i, 0, numbered_gpr, gprs) == 0x100000001);
    i.address_size = 4;
    assert_true(decode_effective_address(&i, 0, numbered_gpr, gprs) == 1);
    i = (struct instruction){.address_size = 2, .base = RBX, .index = RSI, .scale = 1, .displacement = -1};
    assert_true(decode_effective_address(&i, 0, numbered_gpr, gprs) == 0xf);
    i = (struct instruction){.address_size = 8, .base = -1, .index = R9, .scale = 8, .displacement = -8};
    assert_true(decode_effective_address(&i, 0, numbered_gpr, gprs) == 0x7ff8);
    i = (struct instruction){
        .address_size = 8, .base = -1, .index = -1, .rip_relative = true, .displacement = -8};
    assert_true(decode_effective_address(&i, 0x400010, numbered_gpr, gprs) == 0x400008);
}

/*
 * Records of one mode byte and 15 code bytes in; "length operation has_memory source_size" or an error out.
 */
static int print_lengths(void)
{
    u8 record[1 + INSTRUCTION_MAX];
    struct instruction i;

    while (fread(record, sizeof(record), 1, stdin) == 1) {
        int err = decode_instruction(record + 1, INSTRUCTION_MAX, (enum decode_mode)record[0], &i);

        if (err)
            printf("%d 0 0 0\n", err);
        else
            printf("%d %d %d %d\n", i.length, i.operation, i.has_memory, i.source_size);
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_truncation_says_so),
        cmocka_unit_test(test_effective_addresses),
    };

    if (argc > 1 && !strcmp(argv[1], "lengths"))
        return print_lengths();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
