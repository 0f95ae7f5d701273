/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic as the CPU does it, flags included: AMD APM 1, 3.1.4, and the pages of APM 3. Pure but for the
 * last function.
 */
#include "hv/run/emulate_parts.h"

#define RFLAGS_ARITHMETIC (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

static u64 sign_bit(unsigned size)
{
    return 1ull << (8 * size - 1);
}

/* ZF, SF and PF follow from the result alone. */
static u64 result_flags(unsigned size, u64 result)
{
    u64 flags = 0;

    if (result == 0)
        flags |= RFLAGS_ZF;
    if (result & sign_bit(size))
        flags |= RFLAGS_SF;
    if (!__builtin_parity((unsigned)(result & 0xff)))
        flags |= RFLAGS_PF;
    return flags;
}

static u64 add(unsigned size, u64 a, u64 b, bool carry, u64 *flags)
{
    u64 result = (a + b + carry) & emulate_mask(size);
    u64 carries = (a & b) | ((a | b) & ~result); /* out of each bit */

    *flags = result_flags(size, result);
    if (carries & sign_bit(size))
        *flags |= RFLAGS_CF;
    if (carries & 8)
        *flags |= RFLAGS_AF;
    if ((a ^ result) & (b ^ result) & sign_bit(size))
        *flags |= RFLAGS_OF;
    return result;
}

static u64 subtract(unsigned size, u64 a, u64 b, bool borrow, u64 *flags)
{
    u64 result = (a - b - borrow) & emulate_mask(size);
    u64 borrows = (~a & b) | ((~a | b) & result);

    *flags = result_flags(size, result);
    if (borrows & sign_bit(size))
        *flags |= RFLAGS_CF;
    if (borrows & 8)
        *flags |= RFLAGS_AF;
    if ((a ^ b) & (a ^ result) & sign_bit(size))
        *flags |= RFLAGS_OF;
    return result;
}

static u64 logic(unsigned size, u64 result, u64 *flags)
{
    *flags = result_flags(size, result);
    return result;
}

/* INC and DEC leave CF alone. */
static u64 keep_carry(u64 result, u64 old, u64 *flags)
{
    *flags = (*flags & ~RFLAGS_CF) | (old & RFLAGS_CF);
    return result;
}

/* BT, BTS, BTR, BTC: the bit goes to CF. */
static u64 bit(enum operation operation, unsigned size, u64 value, u64 number, u64 *flags)
{
    u64 mask = 1ull << (number & (8 * size - 1));

    *flags = (*flags & ~RFLAGS_CF) | (value & mask ? RFLAGS_CF : 0);
    switch (operation) {
    case OP_BTS: return value | mask;
    case OP_BTR: return value & ~mask;
    case OP_BTC: return value ^ mask;
    default: return value;
    }
}

static u64 compute(enum operation operation, unsigned size, u64 a, u64 b, u64 *flags)
{
    u64 old = *flags;

    switch (operation) {
    case OP_XADD:
    case OP_ADD: return add(size, a, b, false, flags);
    case OP_ADC: return add(size, a, b, old & RFLAGS_CF, flags);
    case OP_SUB: return subtract(size, a, b, false, flags);
    case OP_SBB: return subtract(size, a, b, old & RFLAGS_CF, flags);
    case OP_CMP: subtract(size, a, b, false, flags); return a;
    case OP_NEG: return subtract(size, 0, a, false, flags);
    case OP_INC: return keep_carry(add(size, a, 1, false, flags), old, flags);
    case OP_DEC: return keep_carry(subtract(size, a, 1, false, flags), old, flags);
    case OP_AND: return logic(size, a & b, flags);
    case OP_OR: return logic(size, a | b, flags);
    case OP_XOR: return logic(size, a ^ b, flags);
    case OP_TEST: logic(size, a & b, flags); return a;
    case OP_NOT: return ~a & emulate_mask(size);
    default: return bit(operation, size, a, b, flags);
    }
}

u64 emulate_alu(enum operation operation, unsigned size, u64 destination, u64 source, u64 *flags)
{
    u64 arithmetic = *flags & RFLAGS_ARITHMETIC;
    u64 result;

    result =
        compute(operation, size, destination & emulate_mask(size), source & emulate_mask(size), &arithmetic);
    *flags = (*flags & ~RFLAGS_ARITHMETIC) | arithmetic;
    return result;
}

u64 emulate_alu_on(struct vcpu *vcpu, enum operation operation, unsigned size, u64 destination, u64 source)
{
    u64 flags = engine->register_get(vcpu, REGISTER_RFLAGS);
    u64 result = emulate_alu(operation, size, destination, source, &flags);

    engine->register_set(vcpu, REGISTER_RFLAGS, flags);
    return result;
}
