/* SPDX-License-Identifier: MIT */
/*
 * hv/run/emulate*.c and exit_io.c. The first half compares instructions on device memory with the CPU of this
 * machine: same registers, flags and memory before, same after. The second half is what only a guest sees:
 * faults, borders, fetches.
 */
// sources: hv/run/emulate.c hv/run/emulate_string.c hv/run/emulate_alu.c hv/run/exit_io.c hv/run/decode.c
// sources: hv/run/decode_tables.c hv/run/bus.c hv/memory/fetch_cache.c
// sources: tests/unit/fake_engine.c tests/unit/fake_machine.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/errno.h"
#include "hv/run/emulate.h"
#include "hv/run/emulate_parts.h"
#include "hv/run/exit.h"
#include "tests/unit/fake_machine.h"
#include "tests/unit/native.h"

#define FLAGS_ALL   (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)
#define FLAGS_LOGIC (FLAGS_ALL & ~RFLAGS_AF) /* AF is undefined */
#define FLAGS_BIT   RFLAGS_CF                /* the others are */

#define CODE   0x1000 /* where the guest's code lies */
#define SOURCE 0x4800 /* RAM that RSI points into */
#define MIDDLE (FAKE_DEVICE + 0x800)
#define WINDOW 0x400 /* bytes on either side that instructions reach */
#define ROUNDS 200

static u8 *native;
static u8 native_memory[2 * WINDOW] ALIGNED(4096), native_source[2 * WINDOW];

static u64 random_word(void)
{
    static const u64 edges[] = {0,
                                1,
                                0x7f,
                                0x80,
                                0xff,
                                0x7fff,
                                0x8000,
                                0xffff,
                                0x7fffffff,
                                0x80000000,
                                0xffffffff,
                                0x7fffffffffffffff,
                                0x8000000000000000,
                                0xffffffffffffffff};
    u64 word = (u64)rand() << 42 ^ (u64)rand() << 21 ^ (u64)rand();

    return rand() % 4 ? word : edges[(unsigned)rand() % ARRAY_SIZE(edges)];
}

static void fill(void *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 8) {
        u64 word = random_word();

        memcpy((u8 *)at + i, &word, 8);
    }
}

static int setup(void **state)
{
    (void)state;
    srand(2);
    fake_machine_reset(FAKE_64);
    fake.vcpu.regs.rip = CODE;
    return 0;
}

static void put_code(const u8 *code, size_t bytes)
{
    memset(fake_ram + CODE, 0x90, 64);
    memcpy(fake_ram + CODE, code, bytes);
}

#define PUT_CODE(...) put_code((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

/* ---- compared with the CPU ---- */

/* The same start for both machines. */
static void make_state(struct native_state *s, bool bit_number, bool string)
{
    *s = (struct native_state){random_word(),
                               random_word(),
                               random_word(),
                               random_word(),
                               0,
                               0,
                               random_word(),
                               RFLAGS_FIXED | (random_word() & FLAGS_ALL)};
    fill(native_memory, sizeof(native_memory));
    fill(native_source, sizeof(native_source));
    if (bit_number)
        s->rax = (u64)(s64)(rand() % 4000 - 2000);
    if (string) {
        s->rcx = (u64)rand() % 12;
        s->rflags |= rand() % 2 ? RFLAGS_DF : 0;
        memset(native_memory, 0x55,
               sizeof(native_memory) * (unsigned)(rand() % 2)); /* so that REPE has something to do */
        memcpy(native_source + WINDOW - 16, native_memory + WINDOW - 16, rand() % 2 ? 64 : 0);
    }
    if (rand() % 2)
        memcpy(&s->rax, native_memory + WINDOW, bit_number ? 0 : 8); /* CMPXCHG succeeds */
    memcpy((u8 *)fake.device + 0x800 - WINDOW, native_memory, sizeof(native_memory));
    memcpy(fake_ram + SOURCE - WINDOW, native_source, sizeof(native_source));
    fake.vcpu.regs = (struct vcpu_regs){.gpr = {[RAX] = s->rax,
                                                [RCX] = s->rcx,
                                                [RDX] = s->rdx,
                                                [RBX] = s->rbx,
                                                [RSI] = SOURCE,
                                                [RDI] = MIDDLE,
                                                [R8] = s->r8},
                                        .rip = CODE};
    s->rsi = (u64)(native_source + WINDOW);
    s->rdi = (u64)(native_memory + WINDOW);
    fake_state.registers[REGISTER_RFLAGS] = s->rflags;
}

static void assert_same(const u8 *code, size_t bytes, const struct native_state *s, u64 flags)
{
    const u64 *gpr = fake.vcpu.regs.gpr;
    bool same = gpr[RAX] == s->rax && gpr[RCX] == s->rcx && gpr[RDX] == s->rdx && gpr[RBX] == s->rbx &&
                gpr[R8] == s->r8;

    same = same && gpr[RSI] - SOURCE == s->rsi - (u64)(native_source + WINDOW);
    same = same && gpr[RDI] - MIDDLE == s->rdi - (u64)(native_memory + WINDOW);
    same = same && !((fake_state.registers[REGISTER_RFLAGS] ^ s->rflags) & flags);
    same = same && !memcmp((u8 *)fake.device + 0x800 - WINDOW, native_memory, sizeof(native_memory));
    same = same && !memcmp(fake_ram + SOURCE - WINDOW, native_source, sizeof(native_source));
    if (same)
        return;
    for (size_t i = 0; i < bytes; i++)
        print_error("%02x ", code[i]);
    fail_msg("differs from the CPU: rax %#lx %#lx flags %#lx %#lx", gpr[RAX], s->rax,
             fake_state.registers[REGISTER_RFLAGS], s->rflags);
}

/* Where the instruction will touch the device: BT with a register reaches far, all others are at RDI. */
static gpa_t touched(const u8 *code, size_t bytes)
{
    struct instruction i;
    s64 number;

    assert_int_equal(decode_instruction(code, (unsigned)bytes, DECODE_64, &i), 0);
    if (i.operation < OP_BT || i.operation > OP_BTC || i.has_immediate)
        return MIDDLE + (u64)i.displacement;
    number = (s64)(fake.vcpu.regs.gpr[RAX] << (64 - 8 * i.size)) >> (64 - 8 * i.size);
    return MIDDLE + (u64)((number >> (i.size == 8 ? 6 : i.size == 4 ? 5 : 4)) * i.size);
}

static void compare_with_cpu(const u8 *code, size_t bytes, u64 flags)
{
    bool string = false;
    struct native_state s;
    struct instruction i;

    assert_int_equal(decode_instruction(code, (unsigned)bytes, DECODE_64, &i), 0);
    string = emulate_is_string(i.operation);
    put_code(code, bytes);
    for (unsigned n = 0; n < ROUNDS; n++) {
        make_state(&s, i.operation >= OP_BT && i.operation <= OP_BTC && !i.has_immediate, string);
        native_run(native, code, bytes, &s);
        assert_int_equal(emulate_mmio(&fake.vcpu, touched(code, bytes)), 0);
        assert_int_equal(fake.vcpu.regs.rip, CODE + bytes);
        assert_same(code, bytes, &s, flags);
    }
}

#define COMPARE(flags, ...) \
    compare_with_cpu((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}), flags)

static void test_moves(void **state)
{
    (void)state;
    COMPARE(FLAGS_ALL, 0x88, 0x07);       /* mov %al,(%rdi) */
    COMPARE(FLAGS_ALL, 0x88, 0x27);       /* mov %ah,(%rdi) */
    COMPARE(FLAGS_ALL, 0x44, 0x88, 0x07); /* mov %r8b,(%rdi) */
    COMPARE(FLAGS_ALL, 0x66, 0x89, 0x0f);
    COMPARE(FLAGS_ALL, 0x89, 0x17);
    COMPARE(FLAGS_ALL, 0x48, 0x89, 0x1f);
    COMPARE(FLAGS_ALL, 0x8a, 0x07);
    COMPARE(FLAGS_ALL, 0x8a, 0x3f); /* mov (%rdi),%bh */
    COMPARE(FLAGS_ALL, 0x66, 0x8b, 0x07);
    COMPARE(FLAGS_ALL, 0x8b, 0x07);
    COMPARE(FLAGS_ALL, 0x4c, 0x8b, 0x47, 0x08);
    COMPARE(FLAGS_ALL, 0xc6, 0x07, 0x81);
    COMPARE(FLAGS_ALL, 0x66, 0xc7, 0x07, 0x81, 0x82);
    COMPARE(FLAGS_ALL, 0xc7, 0x47, 0x10, 0x81, 0x82, 0x83, 0x84);
    COMPARE(FLAGS_ALL, 0x48, 0xc7, 0x07, 0x81, 0x82, 0x83, 0x84);
    COMPARE(FLAGS_ALL, 0x0f, 0xc3, 0x07);       /* movnti */
    COMPARE(FLAGS_ALL, 0x0f, 0xb6, 0x07);       /* movzbl */
    COMPARE(FLAGS_ALL, 0x66, 0x0f, 0xb6, 0x17); /* movzbw */
    COMPARE(FLAGS_ALL, 0x48, 0x0f, 0xb7, 0x07); /* movzwq */
    COMPARE(FLAGS_ALL, 0x0f, 0xbe, 0x07);
    COMPARE(FLAGS_ALL, 0x66, 0x0f, 0xbe, 0x07);
    COMPARE(FLAGS_ALL, 0x48, 0x0f, 0xbf, 0x07);
    COMPARE(FLAGS_ALL, 0x48, 0x63, 0x07);
    COMPARE(FLAGS_ALL, 0x8b, 0x47, 0x03); /* misaligned: cut into pieces */
    COMPARE(FLAGS_ALL, 0x48, 0x89, 0x47, 0x05);
}

static void test_arithmetic(void **state)
{
    (void)state;
    for (u8 op = 0; op < 8; op++) {
        u64 flags = op == 1 || op == 4 || op == 6 ? FLAGS_LOGIC : FLAGS_ALL; /* OR, AND, XOR */
        u8 base = (u8)(op << 3);

        COMPARE(flags, base, 0x27);                                        /* op %ah,(%rdi) */
        COMPARE(flags, op == 7 ? 0x3e : 0xf0, 0x66, (u8)(base | 1), 0x07); /* CMP takes no LOCK */
        COMPARE(flags, (u8)(base | 1), 0x07);
        COMPARE(flags, 0x48, (u8)(base | 1), 0x17);
        COMPARE(flags, (u8)(base | 2), 0x0f); /* op (%rdi),%cl */
        COMPARE(flags, 0x66, (u8)(base | 3), 0x07);
        COMPARE(flags, (u8)(base | 3), 0x07);
        COMPARE(flags, 0x4c, (u8)(base | 3), 0x07);
        COMPARE(flags, 0x80, (u8)(base | 7), 0x80);
        COMPARE(flags, 0x81, (u8)(base | 7), 0xff, 0xff, 0xff, 0x7f);
        COMPARE(flags, 0x83, (u8)(base | 7), 0xff);
        COMPARE(flags, 0x48, 0x83, (u8)(base | 7), 0x01);
    }
}

static void test_single_operands(void **state)
{
    static const struct {
        u8 opcode, reg;
        u64 flags;
    } rows[] = {{0xf6, 2, FLAGS_ALL}, {0xf6, 3, FLAGS_ALL}, {0xfe, 0, FLAGS_ALL}, {0xfe, 1, FLAGS_ALL}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        u8 modrm = (u8)(rows[i].reg << 3 | 7);

        COMPARE(rows[i].flags, rows[i].opcode, modrm);
        COMPARE(rows[i].flags, 0x66, (u8)(rows[i].opcode | 1), modrm);
        COMPARE(rows[i].flags, (u8)(rows[i].opcode | 1), modrm);
        COMPARE(rows[i].flags, 0x48, (u8)(rows[i].opcode | 1), modrm);
    }
    COMPARE(FLAGS_LOGIC, 0x84, 0x27); /* test */
    COMPARE(FLAGS_LOGIC, 0x85, 0x07);
    COMPARE(FLAGS_LOGIC, 0xf6, 0x07, 0x80);
    COMPARE(FLAGS_LOGIC, 0xf7, 0x07, 0, 0, 0, 0x80);
}

static void test_exchanges(void **state)
{
    (void)state;
    COMPARE(FLAGS_ALL, 0x86, 0x37); /* xchg %dh,(%rdi) */
    COMPARE(FLAGS_ALL, 0x87, 0x07);
    COMPARE(FLAGS_ALL, 0x48, 0x87, 0x17);
    COMPARE(FLAGS_ALL, 0x0f, 0xc0, 0x0f); /* xadd */
    COMPARE(FLAGS_ALL, 0xf0, 0x0f, 0xc1, 0x07);
    COMPARE(FLAGS_ALL, 0x48, 0x0f, 0xc1, 0x07);
    COMPARE(FLAGS_ALL, 0x0f, 0xb0, 0x17); /* cmpxchg */
    COMPARE(FLAGS_ALL, 0x66, 0x0f, 0xb1, 0x17);
    COMPARE(FLAGS_ALL, 0xf0, 0x48, 0x0f, 0xb1, 0x17);
}

static void test_bits(void **state)
{
    static const u8 opcodes[] = {0xa3, 0xab, 0xb3, 0xbb};

    (void)state;
    for (u8 i = 0; i < ARRAY_SIZE(opcodes); i++) {
        COMPARE(FLAGS_BIT, 0x66, 0x0f, opcodes[i], 0x07);
        COMPARE(FLAGS_BIT, 0x0f, opcodes[i], 0x07);
        COMPARE(FLAGS_BIT, 0x48, 0x0f, opcodes[i], 0x07);
        COMPARE(FLAGS_BIT, 0x0f, 0xba, (u8)(0x27 | i << 3), 0xff); /* the number is cut to the operand */
        COMPARE(FLAGS_BIT, 0x48, 0x0f, 0xba, (u8)(0x27 | i << 3), 0x21);
    }
}

static void test_strings(void **state)
{
    static const u8 opcodes[] = {0xa4, 0xa5, 0xaa, 0xab, 0xae, 0xaf, 0xa6, 0xa7};

    (void)state;
    for (u8 i = 0; i < ARRAY_SIZE(opcodes); i++) {
        COMPARE(FLAGS_ALL, opcodes[i]);
        COMPARE(FLAGS_ALL, 0x66, opcodes[i]);
        COMPARE(FLAGS_ALL, 0xf3, opcodes[i]);
        COMPARE(FLAGS_ALL, 0xf2, opcodes[i]);
        COMPARE(FLAGS_ALL, 0xf3, 0x48, opcodes[i]);
    }
}

/* ---- what a guest sees ---- */

static void test_32_bit_results_clear_the_upper_half(void **state)
{
    (void)state;
    fake.device[0] = 0x1122334455667788;
    fake.vcpu.regs.gpr[RAX] = ~0ull;
    fake.vcpu.regs.gpr[RDI] = FAKE_DEVICE;
    PUT_CODE(0x8b, 0x07);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), 0);
    assert_true(fake.vcpu.regs.gpr[RAX] == 0x55667788);
    assert_int_equal(fake.device_reads, 1);
    assert_int_equal(fake.device_size, 4);
    assert_int_equal(fake.vcpu.regs.rip, CODE + 2);
}

static void test_misaligned_accesses_are_cut_naturally(void **state)
{
    (void)state;
    fake.vcpu.regs.gpr[RDI] = FAKE_DEVICE + 3;
    PUT_CODE(0x48, 0x8b, 0x07);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE + 3), 0);
    assert_int_equal(fake.device_reads, 4); /* 1 at 3, 4 at 4, 2 at 8, 1 at 10 */
}

static void test_nobody_reads_ones(void **state)
{
    (void)state;
    fake.vcpu.regs.gpr[RDI] = 0xa0000;
    PUT_CODE(0x66, 0x8b, 0x07);
    assert_int_equal(emulate_mmio(&fake.vcpu, 0xa0000), 0);
    assert_true(fake.vcpu.regs.gpr[RAX] == 0xffff);
    assert_int_equal(fake.device_reads, 0);
}

static void test_other_bytes_mean_try_again(void **state)
{
    (void)state;
    fake.vcpu.regs.gpr[RDI] = FAKE_DEVICE;
    PUT_CODE(0x8b, 0x07);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE + 4), -EAGAIN); /* it does not touch that */
    PUT_CODE(0x89, 0xc0);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), -EAGAIN); /* mov %eax,%eax */
    PUT_CODE(0xa5);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE + 8), -EAGAIN);
    PUT_CODE(0x6d);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), -ENOTSUP); /* ports have a right of their own */
    assert_int_equal(fake.device_reads + fake.device_writes, 0);
    PUT_CODE(0x8b, 0x07);
    fake_state.event.type = EVENT_INTERRUPT; /* delivering it touched the hole: no re-entry will help */
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE + 4), -ENOTSUP);
    assert_int_equal(fake.vcpu.regs.rip, CODE);
}

static void test_what_no_kernel_does_is_refused(void **state)
{
    (void)state;
    fake.vcpu.regs.gpr[RDI] = FAKE_DEVICE + 0xffe;
    PUT_CODE(0x8b, 0x07);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE + 0xffe), -ENOTSUP); /* into the next page */
    PUT_CODE(0xff, 0x37);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), -ENOTSUP); /* push (%rdi) */
    PUT_CODE(0xc5, 0xfd, 0x6f, 0x07);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), -ENOTSUP); /* vmovdqa */
}

static void test_rsp_is_fetched_from_the_engine(void **state)
{
    (void)state;
    fake_state.registers[REGISTER_RSP] = FAKE_DEVICE + 8;
    fake.device[1] = 0xabcdef;
    PUT_CODE(0x48, 0x8b, 0x24, 0x24); /* mov (%rsp),%rsp */
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE + 8), 0);
    assert_true(fake_state.registers[REGISTER_RSP] == 0xabcdef);
}

static void test_segment_bases_count(void **state)
{
    (void)state;
    fake.device[2] = 0x77;
    fake_state.segments[SEGMENT_GS].base = FAKE_DEVICE;
    fake_state.segments[SEGMENT_DS].base = 0x123; /* ignored in 64-bit mode */
    PUT_CODE(0x65, 0x8b, 0x04, 0x25, 0x10, 0, 0, 0);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE + 0x10), 0);
    assert_true(fake.vcpu.regs.gpr[RAX] == 0x77);
    fake_machine_reset(FAKE_16);
    fake_state.segments[SEGMENT_CS].base = CODE - 0x200;
    fake_state.segments[SEGMENT_DS].base = FAKE_DEVICE;
    fake.vcpu.regs.rip = 0x200;
    PUT_CODE(0xa1, 0x10, 0x00);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE + 0x10), 0);
    assert_true(fake.vcpu.regs.gpr[RAX] == 0x77);
}

static void test_code_across_pages_and_borders(void **state)
{
    u8 bytes[15];

    (void)state;
    fake.vcpu.regs.gpr[RDI] = FAKE_DEVICE;
    memcpy(fake_ram + 0x1ffe, (const u8[]){0xc7, 0x07, 1, 2, 3, 4}, 6);
    fake.vcpu.regs.rip = 0x1ffe;
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), 0);
    assert_int_equal((u32)fake.device[0], 0x04030201);
    fake.vcpu.regs.rip = 0x1ffe;
    fake.not_present[2] = true; /* only two bytes are left */
    assert_int_equal(emulate_fetch_bytes(&fake.vcpu, bytes, 15), 2);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), -EAGAIN);
    fake.vcpu.regs.rip = 0x7ffffffffffe; /* the canonical edge; the fake wraps it into RAM's last page */
    fake.not_present[0xff] = false;
    assert_int_equal(emulate_fetch_bytes(&fake.vcpu, bytes, 15), 0);
    fake.vcpu.regs.rip = 0xffe;
    assert_int_equal(emulate_fetch_bytes(&fake.vcpu, bytes, 3), 3);
    fake_machine_reset(FAKE_16);
    fake.vcpu.regs.rip = 0xfffe; /* the limit of CS: no wrap inside an instruction */
    assert_int_equal(emulate_fetch_bytes(&fake.vcpu, bytes, 15), 2);
    fake.vcpu.regs.rip = 0x10000;
    assert_int_equal(emulate_fetch_bytes(&fake.vcpu, bytes, 15), 0);
}

static void test_changed_code_is_decoded_anew(void **state)
{
    (void)state;
    fake.vcpu.regs.gpr[RDI] = FAKE_DEVICE;
    for (u8 value = 1; value < 4; value++) {
        fake.vcpu.regs.rip = CODE;
        PUT_CODE(0xc6, 0x07, value);
        assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), 0);
        assert_int_equal(fake.device[0] & 0xff, value);
    }
    fake.vcpu.regs.rip = CODE;
    PUT_CODE(0x66, 0xc7, 0x07, 1, 2);
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), 0);
    assert_int_equal(fake.vcpu.regs.rip, CODE + 5);
}

static void test_string_faults_are_precise(void **state)
{
    (void)state;
    PUT_CODE(0xf3, 0xa5);
    fake.vcpu.regs.gpr[RCX] = 8;
    fake.vcpu.regs.gpr[RSI] = FAKE_DEVICE;
    fake.vcpu.regs.gpr[RDI] = 0x5ff2; /* the fourth element lies across the border */
    fake.read_only[6] = true;
    fake_state.cpl = 3;
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), 0);
    assert_int_equal(fake.vector, 14);
    assert_int_equal(fake.error_code, 7); /* present, write, user */
    assert_int_equal(fake.address, 0x6000);
    assert_int_equal(fake.device_reads, 3); /* none for the element that faulted */
    assert_int_equal(fake.vcpu.regs.gpr[RCX], 5);
    assert_int_equal(fake.vcpu.regs.gpr[RDI], 0x5ffe);
    assert_int_equal(fake.vcpu.regs.gpr[RSI], FAKE_DEVICE + 12);
    assert_int_equal(fake.vcpu.regs.rip, CODE);
}

static void test_strings_are_bounded_and_go_on(void **state)
{
    unsigned exits = 0;

    (void)state;
    PUT_CODE(0xf3, 0xa4);
    fill(fake.device, sizeof(fake.device));
    fake.vcpu.regs.gpr[RCX] = 1000;
    fake.vcpu.regs.gpr[RSI] = FAKE_DEVICE;
    fake.vcpu.regs.gpr[RDI] = 0x5ff0;
    while (fake.vcpu.regs.rip == CODE && exits < 10) {
        assert_int_equal(emulate_mmio(&fake.vcpu, fake.vcpu.regs.gpr[RSI]), 0);
        exits++;
    }
    assert_int_equal(exits, 4);
    assert_memory_equal(fake_ram + 0x5ff0, fake.device, 1000);
    assert_int_equal(fake.vcpu.regs.gpr[RCX], 0);
}

static void test_string_segments_are_checked(void **state)
{
    (void)state;
    fake_machine_reset(FAKE_32);
    fake.vcpu.regs.rip = CODE;
    PUT_CODE(0xa5);
    fake.vcpu.regs.gpr[RSI] = FAKE_DEVICE;
    fake.vcpu.regs.gpr[RDI] = 0x3ffe;
    fake_state.segments[SEGMENT_ES].limit = 0x3fff;
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), 0);
    assert_int_equal(fake.vector, 13);
    assert_int_equal(fake.device_reads, 0);
    fake.vector = -1;
    fake_state.segments[SEGMENT_ES].attributes = 0x91; /* read-only data */
    fake_state.segments[SEGMENT_ES].limit = 0xffffffff;
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), 0);
    assert_int_equal(fake.vector, 13);
    fake.vector = -1;
    fake_state.segments[SEGMENT_ES].attributes = 0x97; /* expands down: what lies above the limit */
    fake_state.segments[SEGMENT_ES].limit = 0x2fff;
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), 0);
    assert_int_equal(fake.vector, -1);
    assert_int_equal(fake.vcpu.regs.rip, CODE + 1);
}

static u32 port_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    (void)vcpu, (void)size;
    return port + (*(u32 *)device)++;
}

static u64 written;

static void port_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    (void)vcpu, (void)device, (void)port, (void)size;
    written = written << 8 | value;
}

static u32 port_count;
static const struct port_range port_row = {0x80,        0x83, port_read, port_write,
                                           &port_count, NULL, "test",    NULL};

static void run_port(u8 size, bool in, bool string)
{
    struct vmexit x = {
        .kind = EXIT_PORT,
        .length = 1,
        .io = {.port = 0x80, .size = size, .flags = (u8)((in ? IO_IN : 0) | (string ? IO_STRING : 0))}};

    port_count = 0;
    exit_port(&fake.vcpu, &x);
}

/* Where the host has no frame for what a device says, the device is not asked. */
static void test_input_waits_for_memory(void **state)
{
    u64 *entry = (u64 *)(uintptr_t)&fake.vm.memory.p2m.list[0x5000 >> PAGE_SHIFT], before = *entry;

    (void)state;
    assert_int_equal(port_bus_add(&fake.ports, &port_row), 0);
    PUT_CODE(0x6c); /* INSB */
    fake.vcpu.regs.gpr[RDI] = 0x5010;
    *entry = P2M_INVALID;
    fake.memory_fault = -ENOMEM;
    run_port(1, true, true);
    assert_int_equal(fake.waits_for, 0x5010);
    assert_int_equal(port_count, 0);
    assert_int_equal(fake.vcpu.regs.rip, CODE);
    assert_int_equal(fake.vcpu.regs.gpr[RDI], 0x5010);
    assert_string_equal(fake.stopped, "");
    fake.memory_fault = 0;
    run_port(1, true, true);
    assert_int_equal(port_count, 1);
    assert_int_equal(fake.vcpu.regs.rip, CODE + 1);
    *entry = before;
}

static void test_ports_and_the_accumulator(void **state)
{
    (void)state;
    assert_int_equal(port_bus_add(&fake.ports, &port_row), 0);
    fake.vcpu.regs.gpr[RAX] = 0x1122334455667788;
    run_port(1, true, false);
    assert_true(fake.vcpu.regs.gpr[RAX] == 0x1122334455667780);
    run_port(2, true, false);
    assert_true(fake.vcpu.regs.gpr[RAX] == 0x1122334455660080);
    run_port(4, true, false);
    assert_true(fake.vcpu.regs.gpr[RAX] == 0x80);
    fake.vcpu.regs.gpr[RAX] = ~0ull << 8 | 0x42;
    written = 0;
    run_port(1, false, false);
    assert_true(written == 0x42);
    assert_int_equal(fake.vcpu.regs.rip, CODE + 4);
}

static void test_string_ports(void **state)
{
    (void)state;
    assert_int_equal(port_bus_add(&fake.ports, &port_row), 0);
    PUT_CODE(0xf3, 0x67, 0x6c); /* rep insb with EDI and ECX */
    fake.vcpu.regs.gpr[RCX] = 0xffffffff00000004;
    fake.vcpu.regs.gpr[RDI] = 0x3ffe;
    run_port(1, true, true);
    assert_memory_equal(fake_ram + 0x3ffe, "\x80\x81\x82\x83", 4);
    assert_true(fake.vcpu.regs.gpr[RCX] == 0 && fake.vcpu.regs.gpr[RDI] == 0x4002);
    assert_int_equal(fake.vcpu.regs.rip, CODE + 3);
    fake.vcpu.regs.rip = CODE;
    PUT_CODE(0xf3, 0x64, 0x6e); /* rep outsb %fs:(%rsi) */
    fake_state.segments[SEGMENT_FS].base = 0x3000;
    fake.vcpu.regs.gpr[RCX] = 3;
    fake.vcpu.regs.gpr[RSI] = 0xffe;
    written = 0;
    run_port(1, false, true);
    assert_true(written == 0x808182);
    fake.vcpu.regs.rip = CODE;
    written = 0;
    run_port(2, false, true); /* the bytes say another access than the CPU checked: nothing is done */
    run_port(1, true, true);
    assert_true(written == 0 && fake.vcpu.regs.rip == CODE);
    assert_string_equal(fake.stopped, "");
}

static void test_insb_faults_before_the_port_is_read(void **state)
{
    (void)state;
    assert_int_equal(port_bus_add(&fake.ports, &port_row), 0);
    PUT_CODE(0x6c);
    fake.vcpu.regs.gpr[RDI] = 0x3000;
    fake.not_present[3] = true;
    run_port(1, true, true);
    assert_int_equal(fake.vector, 14);
    assert_int_equal(fake.error_code, 2);
    assert_int_equal(port_count, 0);
}

static void test_real_mode_strings_keep_the_upper_halves(void **state)
{
    (void)state;
    fake_machine_reset(FAKE_16);
    assert_int_equal(port_bus_add(&fake.ports, &port_row), 0);
    fake_state.segments[SEGMENT_CS].base = CODE;
    PUT_CODE(0xf3, 0x6d); /* rep insw */
    fake_state.registers[REGISTER_RFLAGS] |= RFLAGS_DF;
    fake.vcpu.regs.gpr[RCX] = 0xabcd0002;
    fake.vcpu.regs.gpr[RDI] = 0xabcd0000;
    run_port(2, true, true);
    assert_true(fake.vcpu.regs.gpr[RCX] == 0xabcd0000 && fake.vcpu.regs.gpr[RDI] == 0xabcdfffc);
}

static void run_fault(gpa_t gpa, bool fetch, bool table_walk)
{
    struct vmexit x = {
        .kind = EXIT_NESTED_FAULT,
        .fault = {.gpa = gpa, .access = (fetch ? FAULT_FETCH : 0) | (table_walk ? FAULT_TABLE_WALK : 0)}};

    exit_nested_fault(&fake.vcpu, &x);
}

static void test_nested_faults(void **state)
{
    (void)state;
    run_fault(0x1000, false, false); /* RAM was missing: nothing but to go on */
    assert_int_equal(fake.vcpu.regs.rip, CODE);
    fake.vcpu.regs.gpr[RDI] = FAKE_DEVICE;
    PUT_CODE(0x89, 0x07);
    run_fault(FAKE_DEVICE, false, false);
    assert_int_equal(fake.vcpu.regs.rip, CODE + 2);
    assert_string_equal(fake.stopped, "");
    fake.memory_fault = -ENOMEM;
    run_fault(0x1000, false, false);
    assert_int_equal(fake.waits_for, 0x1000);
    assert_int_equal(fake.vcpu.regs.rip, CODE + 2); /* it comes back to where it was */
    assert_string_equal(fake.stopped, "");
}

static void show_list(void)
{
    fake.vm.memory.list.start = FAKE_LIST;
    fake.vm.memory.list.bytes = PAGE_SIZE;
    fill(fake.list, sizeof(fake.list));
}

/* The guest's own p2m list may be read, and nothing else, by whichever instruction. */
static void test_the_list_is_for_reading_alone(void **state)
{
    struct vmexit write = {.kind = EXIT_NESTED_FAULT, .fault = {.gpa = FAKE_LIST + 8, .access = FAULT_WRITE}};

    (void)state;
    show_list();
    run_fault(FAKE_LIST + 8, false, false);
    assert_int_equal(fake.list_faults, 1);
    assert_int_equal(fake.vector, -1);
    exit_nested_fault(&fake.vcpu, &write);
    assert_int_equal(fake.list_faults, 1);
    assert_int_equal(fake.vector, VECTOR_GP);
    assert_int_equal(fake.error_code, 0);
    assert_int_equal(fake.vcpu.regs.rip, CODE);
    assert_string_equal(fake.stopped, "");
    run_fault(FAKE_LIST, true, false);
    assert_non_null(strstr(fake.stopped, "jumped to"));
    run_fault(FAKE_LIST, false, true);
    assert_non_null(strstr(fake.stopped, "page table at gpa 0x90000"));
    fake.memory_fault = -ENOMEM;
    run_fault(FAKE_LIST, false, false);
    assert_int_equal(fake.waits_for, FAKE_LIST);
    fake.vm.memory.list.bytes = 0;
    run_fault(FAKE_LIST, true, false);
    assert_int_equal(fake.list_faults, 2);
}

/* A stack in the list, met while an event is delivered, is no write of the instruction that stands there. */
static void test_no_stack_lies_in_the_list(void **state)
{
    struct vmexit write = {.kind = EXIT_NESTED_FAULT, .fault = {.gpa = FAKE_LIST, .access = FAULT_WRITE}};

    (void)state;
    show_list();
    PUT_CODE(0x90);
    fake_state.event = (struct vcpu_event){.type = EVENT_INTERRUPT, .vector = 0x30};
    exit_nested_fault(&fake.vcpu, &write);
    assert_int_equal(fake.vector, -1);
    assert_non_null(strstr(fake.stopped, "wrote gpa 0x90000"));
}

static void test_strings_and_the_list(void **state)
{
    (void)state;
    show_list();
    PUT_CODE(0xa5); /* movsl */
    fake.vcpu.regs.gpr[RSI] = FAKE_LIST + 16;
    fake.vcpu.regs.gpr[RDI] = FAKE_DEVICE;
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), 0);
    assert_int_equal(fake.device_writes, 1);
    assert_true((u32)fake.device[0] == (u32)fake.list[2]);
    fake.vcpu.regs.rip = CODE;
    fake.vcpu.regs.gpr[RSI] = FAKE_DEVICE;
    fake.vcpu.regs.gpr[RDI] = FAKE_LIST - 2; /* its second half lies there */
    assert_int_equal(emulate_mmio(&fake.vcpu, FAKE_DEVICE), 0);
    assert_int_equal(fake.vector, VECTOR_GP);
    assert_int_equal(fake.device_reads, 0);
    assert_int_equal(fake.vcpu.regs.rip, CODE);
    fake.vector = -1;
    assert_int_equal(port_bus_add(&fake.ports, &port_row), 0);
    port_count = 0;
    PUT_CODE(0x6c); /* insb */
    fake.vcpu.regs.gpr[RDI] = FAKE_LIST;
    run_port(1, true, true);
    assert_int_equal(fake.vector, VECTOR_GP);
    assert_int_equal(port_count, 0);
}

static void test_a_guest_that_leaves_its_ram_is_stopped(void **state)
{
    (void)state;
    run_fault(0xa0000, true, false);
    assert_non_null(strstr(fake.stopped, "jumped to"));
    run_fault(0xa0000, false, true);
    assert_non_null(strstr(fake.stopped, "page table at gpa 0xa0000"));
    fake.vcpu.regs.gpr[RDI] = 0xa0000;
    PUT_CODE(0x0f, 0x11, 0x07); /* movups */
    run_fault(0xa0000, false, false);
    assert_non_null(strstr(fake.stopped, "by no instruction for devices"));
    assert_int_equal(fake.dumps, 3); /* registers and code bytes stand in the log each time */
    assert_true(strlen(fake.stopped) < sizeof(fake.vm.why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_moves, setup),
        cmocka_unit_test_setup(test_arithmetic, setup),
        cmocka_unit_test_setup(test_single_operands, setup),
        cmocka_unit_test_setup(test_exchanges, setup),
        cmocka_unit_test_setup(test_bits, setup),
        cmocka_unit_test_setup(test_strings, setup),
        cmocka_unit_test_setup(test_32_bit_results_clear_the_upper_half, setup),
        cmocka_unit_test_setup(test_misaligned_accesses_are_cut_naturally, setup),
        cmocka_unit_test_setup(test_nobody_reads_ones, setup),
        cmocka_unit_test_setup(test_other_bytes_mean_try_again, setup),
        cmocka_unit_test_setup(test_what_no_kernel_does_is_refused, setup),
        cmocka_unit_test_setup(test_rsp_is_fetched_from_the_engine, setup),
        cmocka_unit_test_setup(test_segment_bases_count, setup),
        cmocka_unit_test_setup(test_code_across_pages_and_borders, setup),
        cmocka_unit_test_setup(test_changed_code_is_decoded_anew, setup),
        cmocka_unit_test_setup(test_string_faults_are_precise, setup),
        cmocka_unit_test_setup(test_strings_are_bounded_and_go_on, setup),
        cmocka_unit_test_setup(test_string_segments_are_checked, setup),
        cmocka_unit_test_setup(test_ports_and_the_accumulator, setup),
        cmocka_unit_test_setup(test_string_ports, setup),
        cmocka_unit_test_setup(test_insb_faults_before_the_port_is_read, setup),
        cmocka_unit_test_setup(test_the_list_is_for_reading_alone, setup),
        cmocka_unit_test_setup(test_no_stack_lies_in_the_list, setup),
        cmocka_unit_test_setup(test_strings_and_the_list, setup),
        cmocka_unit_test_setup(test_real_mode_strings_keep_the_upper_halves, setup),
        cmocka_unit_test_setup(test_nested_faults, setup),
        cmocka_unit_test_setup(test_input_waits_for_memory, setup),
        cmocka_unit_test_setup(test_a_guest_that_leaves_its_ram_is_stopped, setup),
    };

    native = native_page();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
