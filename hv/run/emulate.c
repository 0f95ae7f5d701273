/* SPDX-License-Identifier: MIT */
/*
 * One instruction on device memory: fetched once, decoded, checked against the address that the CPU reported,
 * carried out on the MMIO bus. The CPU has checked segments and rights of the operand already. Called from
 * exits, on the vCPU's own CPU; no lock but the device's, taken by the bus. String forms live in
 * emulate_string.c.
 */
#include "hv/run/emulate.h"
#include "hv/lib/errno.h"
#include "hv/run/emulate_parts.h"

/* ---- fetch ---- */

static enum decode_mode decode_mode_of(const struct guest_paging *paging, const struct vcpu_segment *cs)
{
    if ((paging->efer & EFER_LMA) && (cs->attributes & SEGMENT_LONG))
        return DECODE_64;
    return cs->attributes & SEGMENT_DEFAULT_32 ? DECODE_32 : DECODE_16;
}

bool emulate_canonical(const struct emulation *e, gva_t linear)
{
    unsigned shift = e->paging.cr4 & CR4_LA57 ? 64 - 57 : 64 - 48;

    return (u64)((s64)(linear << shift) >> shift) == linear;
}

/*
 * Where the instruction is, and how far CS reaches: an instruction that runs over the limit faults, it does
 * not wrap.
 */
static void locate_code(struct emulation *e, struct vcpu *vcpu)
{
    struct vcpu_segment cs;
    u32 ip = (u32)vcpu->regs.rip;

    e->vcpu = vcpu;
    engine->paging_get(vcpu, &e->paging);
    engine->segment_get(vcpu, SEGMENT_CS, &cs);
    e->mode = decode_mode_of(&e->paging, &cs);
    e->code = vcpu->regs.rip;
    e->reachable = INSTRUCTION_MAX;
    if (likely(e->mode == DECODE_64))
        return;
    e->code = (u32)(cs.base + ip);
    if (ip > cs.limit)
        e->reachable = 0;
    else if (cs.limit - ip < INSTRUCTION_MAX - 1)
        e->reachable = cs.limit - ip + 1;
}

/*
 * The 16 bytes from the instruction on, where 64-bit code has them in one page and the usual tables; else
 * NULL.
 */
static const u8 *find_code(const struct emulation *e)
{
    struct fetch_page *page = fetch_cache_page(&e->vcpu->fetch_cache, e->code);
    u64 offset = e->code & ~PAGE_MASK;

    if (unlikely(e->mode != DECODE_64 || (e->paging.cr4 & CR4_LA57) || offset > PAGE_SIZE - 16))
        return NULL;
    if (unlikely(!fetch_page_holds(page, e->paging.cr3, e->code) &&
                 !fetch_page_fill(page, &e->vcpu->vm->memory, e->paging.cr3, e->code)))
        return NULL;
    return page->code + offset;
}

/* Copy bytes of one page. Returns how many there are: all asked for, or 0. */
static unsigned fetch_from_page(const struct emulation *e, gva_t linear, u8 *bytes, unsigned most)
{
    struct guest_memory *memory = &e->vcpu->vm->memory;
    gpa_t gpa;

    if (guest_walk_fetched(memory, &e->paging, linear, &gpa))
        return 0;
    return guest_memory_read(memory, gpa, bytes, most) ? 0 : most;
}

/* What the first page has. */
static unsigned fetch_first(const struct emulation *e, u8 *bytes)
{
    unsigned left = (unsigned)(PAGE_SIZE - (e->code & ~PAGE_MASK));
    unsigned most = MIN(e->reachable, left);

    return most ? fetch_from_page(e, e->code, bytes, most) : 0;
}

/* What the next page adds to the count bytes of the first. Beyond the canonical edge is nothing. */
static unsigned fetch_rest(const struct emulation *e, u8 *bytes, unsigned count)
{
    gva_t next = (e->code & PAGE_MASK) + PAGE_SIZE;

    if (count == 0 || count == e->reachable)
        return count;
    if (e->mode != DECODE_64)
        next = (u32)next;
    else if (!emulate_canonical(e, next))
        return count;
    return count + fetch_from_page(e, next, bytes + count, e->reachable - count);
}

/*
 * The long way: any mode, across pages. The next page is looked at only when the instruction reaches there.
 */
static __attribute__((noinline)) int fetch_and_decode(struct emulation *e)
{
    u8 bytes[INSTRUCTION_MAX];
    unsigned count = fetch_first(e, bytes);
    int err = decode_instruction(bytes, count, e->mode, &e->instruction);

    if (err != -ENODATA)
        return err;
    return decode_instruction(bytes, fetch_rest(e, bytes, count), e->mode, &e->instruction);
}

int emulate_begin(struct emulation *e, struct vcpu *vcpu)
{
    const u8 *code;

    locate_code(e, vcpu);
    code = find_code(e);
    if (unlikely(!code))
        return fetch_and_decode(e);
    return decode_remembered(&vcpu->decode_cache, code, e->code, &e->instruction);
}

int emulate_fetch(struct vcpu *vcpu, struct instruction *instruction)
{
    struct emulation e;
    int err = emulate_begin(&e, vcpu);

    if (!err)
        *instruction = e.instruction;
    return err;
}

unsigned emulate_fetch_bytes(struct vcpu *vcpu, u8 *bytes, unsigned most)
{
    struct emulation e;
    u8 copy[INSTRUCTION_MAX];
    unsigned count;

    locate_code(&e, vcpu);
    count = fetch_rest(&e, copy, fetch_first(&e, copy));
    count = MIN(count, most);
    for (unsigned i = 0; i < count; i++)
        bytes[i] = copy[i];
    return count;
}

/* ---- registers and device memory ---- */

void emulate_end(const struct emulation *e)
{
    struct vmexit done;

    done.kind = EXIT_NESTED_FAULT;
    done.length = e->instruction.length;
    vcpu_skip(e->vcpu, &done);
}

u64 emulate_gpr_get(struct vcpu *vcpu, unsigned gpr, unsigned size)
{
    u64 value = gpr == RSP ? vcpu_gpr_get(vcpu, gpr) : vcpu->regs.gpr[gpr];

    return value & emulate_mask(size);
}

void emulate_gpr_set(struct vcpu *vcpu, unsigned gpr, unsigned size, u64 value)
{
    u64 mask = emulate_mask(size);

    value &= mask;
    if (size < 4)
        value |= emulate_gpr_get(vcpu, gpr, 8) & ~mask;
    if (gpr == RSP)
        vcpu_gpr_set(vcpu, gpr, value);
    else
        vcpu->regs.gpr[gpr] = value;
}

/* The largest power of two that divides the address and fits what is left. */
static unsigned natural_piece(gpa_t gpa, unsigned left)
{
    unsigned piece = 8;

    while (piece > left || !IS_ALIGNED(gpa, piece))
        piece /= 2;
    return piece;
}

u64 emulate_device_read(struct vcpu *vcpu, gpa_t gpa, unsigned size)
{
    u64 value = 0;

    if (likely(IS_ALIGNED(gpa, size)))
        return mmio_bus_read(&vcpu->vm->mmio, vcpu, gpa, size);
    for (unsigned at = 0, piece; at < size; at += piece) {
        piece = natural_piece(gpa + at, size - at);
        value |= mmio_bus_read(&vcpu->vm->mmio, vcpu, gpa + at, piece) << (8 * at);
    }
    return value;
}

void emulate_device_write(struct vcpu *vcpu, gpa_t gpa, unsigned size, u64 value)
{
    for (unsigned at = 0, piece; at < size; at += piece) {
        piece = natural_piece(gpa + at, size - at);
        mmio_bus_write(&vcpu->vm->mmio, vcpu, gpa + at, piece, value >> (8 * at) & emulate_mask(piece));
    }
}

/* ---- one operand in device memory ---- */

static u64 read_gpr(void *context, unsigned gpr)
{
    return emulate_gpr_get(context, gpr, 8);
}

/* The register operand, AH .. BH included. */
static u64 register_operand(const struct emulation *e)
{
    const struct instruction *i = &e->instruction;

    return emulate_gpr_get(e->vcpu, i->gpr, 8) >> (i->high_byte ? 8 : 0) & emulate_mask(i->size);
}

static void set_register_operand(const struct emulation *e, u64 value)
{
    const struct instruction *i = &e->instruction;

    if (i->high_byte)
        emulate_gpr_set(e->vcpu, i->gpr, 2, (value & 0xff) << 8 | emulate_gpr_get(e->vcpu, i->gpr, 1));
    else
        emulate_gpr_set(e->vcpu, i->gpr, i->size, value);
}

static u64 source_operand(const struct emulation *e)
{
    return e->instruction.has_immediate ? e->instruction.immediate : register_operand(e);
}

static bool is_bit_test(u8 operation)
{
    return operation >= OP_BT && operation <= OP_BTC;
}

/*
 * With the bit's number in a register, BT and its kin reach beyond the operand: signed, in steps of its size.
 */
static s64 bit_displacement(const struct emulation *e)
{
    unsigned size = e->instruction.size, shift = 64 - 8 * size;
    s64 number = (s64)(register_operand(e) << shift) >> shift;

    return (number >> 3) & ~((s64)size - 1);
}

static gva_t operand_linear(const struct emulation *e)
{
    const struct instruction *i = &e->instruction;
    struct vcpu *vcpu = e->vcpu;
    u64 address = decode_effective_address(i, vcpu->regs.rip + i->length, read_gpr, vcpu);
    struct vcpu_segment segment;

    if (is_bit_test(i->operation) && !i->has_immediate)
        address = (address + (u64)bit_displacement(e)) & emulate_mask(i->address_size);
    if (e->mode == DECODE_64 && i->segment < SEGMENT_FS)
        return address;
    engine->segment_get(vcpu, i->segment, &segment);
    address += segment.base;
    return e->mode == DECODE_64 ? address : (u32)address;
}

static void carry_out_move(const struct emulation *e, gpa_t gpa)
{
    const struct instruction *i = &e->instruction;

    if (i->memory_is_destination)
        emulate_device_write(e->vcpu, gpa, i->size, source_operand(e));
    else
        set_register_operand(e, emulate_device_read(e->vcpu, gpa, i->size));
}

static void carry_out_extension(const struct emulation *e, gpa_t gpa)
{
    const struct instruction *i = &e->instruction;
    u64 value = emulate_device_read(e->vcpu, gpa, i->source_size);
    unsigned shift = 64 - 8 * i->source_size;

    if (i->operation == OP_MOVSX)
        value = (u64)((s64)(value << shift) >> shift);
    emulate_gpr_set(e->vcpu, i->gpr, i->size, value);
}

/* XCHG and XADD: the register gets what memory had. */
static void carry_out_exchange(const struct emulation *e, gpa_t gpa)
{
    const struct instruction *i = &e->instruction;
    u64 memory = emulate_device_read(e->vcpu, gpa, i->size), value = register_operand(e);

    if (i->operation == OP_XADD)
        value = emulate_alu_on(e->vcpu, OP_XADD, i->size, memory, value);
    emulate_device_write(e->vcpu, gpa, i->size, value);
    set_register_operand(e, memory);
}

/* The CPU writes memory in either case (APM 3, CMPXCHG). */
static void carry_out_compare_exchange(const struct emulation *e, gpa_t gpa)
{
    const struct instruction *i = &e->instruction;
    u64 memory = emulate_device_read(e->vcpu, gpa, i->size);
    u64 expected = emulate_gpr_get(e->vcpu, RAX, i->size);

    emulate_alu_on(e->vcpu, OP_CMP, i->size, expected, memory);
    if (memory == expected) {
        emulate_device_write(e->vcpu, gpa, i->size, register_operand(e));
        return;
    }
    emulate_device_write(e->vcpu, gpa, i->size, memory);
    emulate_gpr_set(e->vcpu, RAX, i->size, memory);
}

static void carry_out_arithmetic(const struct emulation *e, gpa_t gpa)
{
    const struct instruction *i = &e->instruction;
    u64 memory = emulate_device_read(e->vcpu, gpa, i->size), other = source_operand(e), result;

    if (!i->memory_is_destination)
        result = emulate_alu_on(e->vcpu, i->operation, i->size, other, memory);
    else
        result = emulate_alu_on(e->vcpu, i->operation, i->size, memory, other);
    if (i->operation == OP_CMP || i->operation == OP_TEST || i->operation == OP_BT)
        return;
    if (i->memory_is_destination)
        emulate_device_write(e->vcpu, gpa, i->size, result);
    else
        set_register_operand(e, result);
}

static void carry_out(const struct emulation *e, gpa_t gpa)
{
    switch (e->instruction.operation) {
    case OP_MOV: carry_out_move(e, gpa); break;
    case OP_MOVZX:
    case OP_MOVSX: carry_out_extension(e, gpa); break;
    case OP_XCHG:
    case OP_XADD: carry_out_exchange(e, gpa); break;
    case OP_CMPXCHG: carry_out_compare_exchange(e, gpa); break;
    default: carry_out_arithmetic(e, gpa);
    }
}

/* An operand that reaches into another page, where RAM may be, is nothing that kernels do to devices. */
static int emulate_operand(const struct emulation *e, gpa_t gpa)
{
    unsigned offset = (unsigned)(gpa & ~PAGE_MASK);
    unsigned start = (unsigned)(operand_linear(e) & ~PAGE_MASK);

    if (unlikely(start + e->instruction.source_size > PAGE_SIZE))
        return -ENOTSUP;
    if (unlikely(start != offset))
        return -EAGAIN;
    carry_out(e, gpa);
    emulate_end(e);
    return 0;
}

static int emulate_access(struct emulation *e, gpa_t gpa)
{
    u8 operation = e->instruction.operation;

    if (emulate_is_string(operation) && operation != OP_INS && operation != OP_OUTS)
        return emulate_string(e, &gpa, 0);
    if (operation < OP_MOV || operation > OP_BTC)
        return -ENOTSUP;
    return e->instruction.has_memory ? emulate_operand(e, gpa) : -EAGAIN;
}

int emulate_mmio(struct vcpu *vcpu, gpa_t gpa)
{
    struct emulation e;
    struct vcpu_event event;
    int err = emulate_begin(&e, vcpu);

    if (likely(!err))
        err = emulate_access(&e, gpa);
    else
        err = err == -ENODATA ? -EAGAIN : -ENOTSUP;
    /*
     * The access was no operand of the instruction but part of delivering an event: a stack or table lies in
     * the hole.
     */
    if (err == -EAGAIN && engine->event_pending(vcpu, &event))
        return -ENOTSUP;
    return err;
}

int emulate_string_io(struct vcpu *vcpu, struct vmexit *x)
{
    struct emulation e;
    int err = emulate_begin(&e, vcpu);

    if (err)
        return err == -ENODATA ? -EAGAIN : -ENOTSUP;
    /* The CPU checked the guest's right to this very access: another one must go through the same check. */
    if (e.instruction.operation != (x->io.flags & IO_IN ? OP_INS : OP_OUTS) ||
        e.instruction.size != x->io.size)
        return -EAGAIN;
    return emulate_string(&e, NULL, x->io.port);
}
