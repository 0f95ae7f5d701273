/* SPDX-License-Identifier: MIT */
/*
 * The decoder: prefixes, opcode, ModRM, immediate, in the order in which they stand. Called by whoever must
 * step over an instruction that the CPU did not measure, and by emulate.c for the meaning. Pure, no lock. AMD
 * APM 3, 1.2 and A.2.
 */
#include "hv/lib/errno.h"
#include "hv/run/decode_tables.h"
#include "hv/run/vcpu.h"

#define REX_B BIT(0)
#define REX_X BIT(1)
#define REX_R BIT(2)
#define REX_W BIT(3)

#define SEGMENT_DEFAULT SEGMENT_COUNT /* no prefix names one */

struct decoder {
    const u8 *bytes;
    unsigned at, limit; /* next byte; how many may be read */
    enum decode_mode mode;
    u8 rex; /* 0 without */
    bool operand_prefix, address_prefix;
    u8 segment; /* enum segment, or SEGMENT_DEFAULT */
    u8 opcode, modrm;
    u8 immediate; /* enum immediate_form */
    u16 flags;    /* ROW_* */
};

/* Bytes are missing: beyond 15 the instruction is too long, else the caller has fewer than it needs. */
static int bytes_missing(const struct decoder *d)
{
    return d->limit == INSTRUCTION_MAX ? -EINVAL : -ENODATA;
}

/*
 * Take a little-endian integer; the caller has checked that it is there. The usual sizes in one load each:
 * this is hot.
 */
static u64 take(struct decoder *d, unsigned bytes)
{
    const u8 *from = d->bytes + d->at;
    u64 value = 0;

    d->at += bytes;
    switch (bytes) {
    case 1: return *from;
    case 4: __builtin_memcpy(&value, from, 4); return value;
    case 8: __builtin_memcpy(&value, from, 8); return value;
    default: break;
    }
    for (unsigned i = 0; i < bytes; i++)
        value |= (u64)from[i] << (8 * i);
    return value;
}

/* bytes: 1 to 8 */
static s64 sign_extend(u64 value, unsigned bytes)
{
    unsigned shift = (64 - 8 * bytes) & 63;

    return (s64)(value << shift) >> shift;
}

/* In 64-bit mode FS and GS alone count; the others are ignored without cancelling them. */
static void take_segment_prefix(struct decoder *d, u8 byte)
{
    if (byte >= 0x64)
        d->segment = byte == 0x64 ? SEGMENT_FS : SEGMENT_GS;
    else if (d->mode != DECODE_64)
        d->segment = (byte >> 3) & 3; /* 26 ES, 2E CS, 36 SS, 3E DS */
}

static void take_prefix(struct decoder *d, u8 byte, struct instruction *out)
{
    switch (byte) {
    case 0x66: d->operand_prefix = true; break;
    case 0x67: d->address_prefix = true; break;
    case 0xf0: out->lock = true; break;
    case 0xf2: out->repne = true, out->rep = false; break;
    case 0xf3: out->rep = true, out->repne = false; break;
    default: take_segment_prefix(d, byte);
    }
}

/* Everything before the opcode, and its first byte. REX counts only when the opcode follows it at once. */
static int take_prefixes(struct decoder *d, struct instruction *out)
{
    for (;;) {
        if (unlikely(d->at >= d->limit))
            return bytes_missing(d);
        u8 byte = d->bytes[d->at++];

        if (d->mode == DECODE_64 && (byte & 0xf0) == 0x40) {
            d->rex = byte;
            continue;
        }
        if (likely(!(opcode_map_1[byte].flags & ROW_PREFIX))) {
            d->opcode = byte;
            return 0;
        }
        d->rex = 0;
        take_prefix(d, byte, out);
    }
}

/* After 0F: the row of the second map, or of the two behind it. NULL when bytes are missing. */
static const struct opcode_row *take_0f_opcode(struct decoder *d)
{
    if (d->at >= d->limit)
        return NULL;
    d->opcode = d->bytes[d->at++];
    if (d->opcode != 0x38 && d->opcode != 0x3a)
        return &opcode_map_0f[d->opcode];
    if (d->at >= d->limit)
        return NULL;
    d->at++;
    return d->opcode == 0x38 ? &opcode_map_0f38 : &opcode_map_0f3a;
}

/* LES, LDS, BOUND and POP share their opcodes with VEX, EVEX and XOP: what follows tells them apart. */
static int check_vector_prefix(const struct decoder *d)
{
    if (d->opcode == 0x8f)
        return (d->modrm & 0x1f) >= 8 ? -ENOTSUP : 0;
    return d->mode == DECODE_64 || d->modrm >= 0xc0 ? -ENOTSUP : 0;
}

static int decode_special_1(struct decoder *d, struct instruction *out)
{
    switch (d->opcode) {
    case 0x62:
    case 0x8f:
    case 0xc4:
    case 0xc5: return check_vector_prefix(d);
    case 0x63:
        if (d->mode != DECODE_64)
            out->operation = OP_OTHER; /* ARPL */
        return 0;
    case 0x90:
        if (!(d->rex & REX_B))
            out->operation = out->rep ? OP_PAUSE : OP_OTHER;
        return 0;
    default: return 0;
    }
}

/* 0F 01: LMSW and SMSW take any operand, most others are told apart by all of ModRM. */
static void decode_0f01(const struct decoder *d, struct instruction *out)
{
    unsigned reg = (d->modrm >> 3) & 7;

    if (d->modrm >= 0xc0)
        out->operation = opcode_0f01_operations[d->modrm & 63];
    else if (reg == 4)
        out->operation = OP_SMSW;
    else if (reg == 6)
        out->operation = OP_LMSW;
}

static int decode_special_0f(struct decoder *d, struct instruction *out)
{
    switch (d->opcode) {
    case 0x01: decode_0f01(d, out); return 0;
    case 0x78:
        if (d->operand_prefix || out->repne)
            d->immediate = IMM_16; /* EXTRQ, INSERTQ with two immediate bytes */
        return 0;
    case 0xb8: return out->rep ? 0 : -EINVAL;
    default: return 0;
    }
}

/* A base and an index register, or none, for each of the eight 16-bit forms. */
static const struct {
    s8 base, index;
} forms_16[8] = {{RBX, RSI}, {RBX, RDI}, {RBP, RSI}, {RBP, RDI}, {RSI, -1}, {RDI, -1}, {RBP, -1}, {RBX, -1}};

static int take_displacement(struct decoder *d, struct instruction *out, unsigned bytes)
{
    if (unlikely(d->at + bytes > d->limit))
        return bytes_missing(d);
    out->displacement = sign_extend(take(d, bytes), bytes);
    return 0;
}

static int take_memory_16(struct decoder *d, struct instruction *out)
{
    unsigned mod = d->modrm >> 6, rm = d->modrm & 7;

    if (mod == 0 && rm == 6)
        return take_displacement(d, out, 2);
    out->base = forms_16[rm].base;
    out->index = forms_16[rm].index;
    return mod == 0 ? 0 : take_displacement(d, out, mod);
}

/* The SIB byte; returns the base's low bits, 5 with mod = 0 meaning none. */
static unsigned take_sib(struct decoder *d, struct instruction *out)
{
    u8 sib = d->bytes[d->at++];
    unsigned index = ((sib >> 3) & 7) | (d->rex & REX_X ? 8 : 0);

    out->scale = (u8)(1 << (sib >> 6));
    out->index = index == RSP ? -1 : (s8)index;
    return sib & 7;
}

static int take_memory_32(struct decoder *d, struct instruction *out)
{
    unsigned mod = d->modrm >> 6, base = d->modrm & 7;
    bool sib = base == 4;

    if (sib) {
        if (unlikely(d->at >= d->limit))
            return bytes_missing(d);
        base = take_sib(d, out);
    }
    if (mod == 0 && base == 5) {
        out->rip_relative = !sib && d->mode == DECODE_64;
        return take_displacement(d, out, 4);
    }
    out->base = (s8)(base | (d->rex & REX_B ? 8 : 0));
    return mod == 0 ? 0 : take_displacement(d, out, mod == 1 ? 1 : 4);
}

/* Everything that hangs on ModRM.mod and .rm. */
static int take_rm(struct decoder *d, struct instruction *out)
{
    int err;

    out->rm_gpr = (u8)((d->modrm & 7) | (d->rex & REX_B ? 8 : 0));
    if (d->modrm >= 0xc0 || (d->flags & ROW_NO_RM))
        return 0;
    out->has_memory = true;
    err = out->address_size == 2 ? take_memory_16(d, out) : take_memory_32(d, out);
    if (out->base == RSP || out->base == RBP)
        out->segment = SEGMENT_SS;
    return err;
}

static unsigned immediate_size(const struct decoder *d, const struct instruction *out)
{
    switch (d->immediate) {
    case IMM_8:
    case IMM_U8: return 1;
    case IMM_Z: return MIN(out->size, 4);
    case IMM_V: return out->size;
    case IMM_16: return 2;
    case IMM_24: return 3;
    case IMM_FAR: return 2 + MIN(out->size, 4);
    case IMM_MOFFS: return out->address_size;
    default: return 0;
    }
}

static int take_immediate(struct decoder *d, struct instruction *out)
{
    unsigned bytes = immediate_size(d, out);
    u64 value;

    if (unlikely(d->at + bytes > d->limit))
        return bytes_missing(d);
    value = take(d, bytes);
    if (d->immediate == IMM_MOFFS) {
        out->has_memory = true;
        out->displacement = (s64)value;
        return 0;
    }
    out->has_immediate = true;
    out->immediate = d->immediate == IMM_U8 ? value : (u64)sign_extend(value, bytes);
    return 0;
}

static u8 operand_size(const struct decoder *d)
{
    if (d->flags & ROW_BYTE)
        return 1;
    if (d->rex & REX_W)
        return d->flags & ROW_PORT ? 4 : 8;
    if (d->mode == DECODE_64 || (d->flags & ROW_WIDE))
        return d->operand_prefix && !(d->flags & ROW_WIDE) ? 2 : 4;
    return d->operand_prefix ? 6 - d->mode : d->mode; /* the other of 2 and 4 */
}

static void set_sizes(const struct decoder *d, struct instruction *out)
{
    out->size = operand_size(d);
    out->source_size = out->size;
    if (unlikely(d->flags & (ROW_SOURCE_1 | ROW_SOURCE_2 | ROW_SOURCE_4)))
        out->source_size = d->flags & ROW_SOURCE_1 ? 1 : d->flags & ROW_SOURCE_2 ? 2 : 4;
}

static u8 address_size(const struct decoder *d)
{
    if (!d->address_prefix)
        return d->mode;
    return d->mode == DECODE_32 ? 2 : 4;
}

/* The register operand: from ModRM, from the opcode, or the accumulator. AH .. BH exist only without REX. */
static void set_register(const struct decoder *d, struct instruction *out)
{
    unsigned gpr = RAX;

    if (d->flags & ROW_MODRM)
        gpr = ((d->modrm >> 3) & 7) | (d->rex & REX_R ? 8 : 0);
    else if (d->flags & ROW_OPCODE_R)
        gpr = (d->opcode & 7) | (d->rex & REX_B ? 8 : 0);
    if (out->size == 1 && !d->rex && gpr >= 4 && (d->flags & (ROW_MODRM | ROW_OPCODE_R))) {
        out->high_byte = true;
        gpr -= 4;
    }
    out->gpr = (u8)gpr;
}

/*
 * MOV CR: the operands are whole registers. LOCK makes CR8 out of CR0 (APM 3, MOV CRn), for code without REX.
 */
static void set_control_register(const struct decoder *d, struct instruction *out)
{
    out->cr = (u8)(out->gpr | (out->lock ? 8 : 0));
    out->gpr = out->rm_gpr;
    out->size = d->mode == DECODE_64 ? 8 : 4;
}

/* ModRM, when there is one, and what the row becomes by it. */
static int take_modrm(struct decoder *d, const struct opcode_row *row, struct instruction *out)
{
    if (unlikely(d->at >= d->limit))
        return bytes_missing(d);
    d->modrm = d->bytes[d->at++];
    if (row->flags & ROW_GROUP) {
        const struct opcode_row *member = &opcode_groups[row->operation][(d->modrm >> 3) & 7];

        d->immediate |= member->immediate;
        d->flags |= member->flags;
        out->operation = member->operation;
    }
    return 0;
}

static int decode_row(struct decoder *d, const struct opcode_row *row, bool map_1, struct instruction *out)
{
    int err;

    d->flags = row->flags;
    d->immediate = row->immediate;
    out->operation = row->operation;
    if ((d->flags & ROW_MODRM) && (err = take_modrm(d, row, out)))
        return err;
    if ((d->flags & ROW_SPECIAL) && (err = map_1 ? decode_special_1(d, out) : decode_special_0f(d, out)))
        return err;
    if (unlikely(d->flags & (d->mode == DECODE_64 ? ROW_NEVER | ROW_NO_64 : ROW_NEVER)))
        return -EINVAL;
    set_sizes(d, out);
    if ((d->flags & ROW_MODRM) && (err = take_rm(d, out)))
        return err;
    if (d->immediate != IMM_NONE && (err = take_immediate(d, out)))
        return err;
    out->memory_is_destination = out->has_memory && (d->flags & ROW_TO_RM);
    set_register(d, out);
    return 0;
}

int decode_instruction(const u8 *bytes, unsigned count, enum decode_mode mode, struct instruction *out)
{
    struct decoder d = {
        .bytes = bytes, .limit = MIN(count, INSTRUCTION_MAX), .mode = mode, .segment = SEGMENT_DEFAULT};
    const struct opcode_row *row;
    bool map_1;
    int err;

    *out = (struct instruction){.base = -1, .index = -1, .scale = 1, .segment = SEGMENT_DS};
    err = take_prefixes(&d, out);
    if (err)
        return err;
    map_1 = d.opcode != 0x0f;
    row = map_1 ? &opcode_map_1[d.opcode] : take_0f_opcode(&d);
    if (!row)
        return bytes_missing(&d);
    out->address_size = address_size(&d);
    err = decode_row(&d, row, map_1, out);
    if (err)
        return err;
    if (d.segment != SEGMENT_DEFAULT)
        out->segment = d.segment;
    if (out->operation == OP_MOV_FROM_CR || out->operation == OP_MOV_TO_CR)
        set_control_register(&d, out);
    out->length = (u8)d.at;
    return 0;
}

int decode_remembered(struct decode_cache *cache, const u8 *bytes, u64 at, struct instruction *out)
{
    __typeof__(&cache->entries[0]) entry = &cache->entries[at / 2 % DECODE_CACHE_ENTRIES];
    u64 copy[2];
    int err;

    __builtin_memcpy(copy, bytes, sizeof(copy));
    if (likely(entry->bytes[0] == copy[0] && entry->bytes[1] == copy[1] && entry->instruction.length)) {
        *out = entry->instruction;
        return 0;
    }
    err = decode_instruction((const u8 *)copy, INSTRUCTION_MAX, DECODE_64, out);
    if (err)
        return err;
    entry->instruction = *out;
    entry->bytes[0] = copy[0];
    entry->bytes[1] = copy[1];
    return 0;
}

u64 decode_effective_address(const struct instruction *instruction, u64 next_rip,
                             u64 (*read)(void *context, unsigned gpr), void *context)
{
    u64 address = (u64)instruction->displacement;

    if (instruction->rip_relative)
        address += next_rip;
    if (instruction->base >= 0)
        address += read(context, (unsigned)instruction->base);
    if (instruction->index >= 0)
        address += read(context, (unsigned)instruction->index) * instruction->scale;
    return instruction->address_size == 8 ? address : address & BITS(8 * instruction->address_size - 1, 0);
}
