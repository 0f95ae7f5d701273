/* SPDX-License-Identifier: MIT */
/*
 * Which states of a vCPU can be: what a CPU of either vendor refuses at an entry, or would have refused to an
 * instruction, stated once. Both engines' state_set and vcpu_snapshot.c ask before anything is changed. Pure,
 * any CPU. Intel SDM 3C, 27.3.1; AMD APM 2, 15.5.1.
 */
#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/exception.h"
#include "hv/run/vcpu.h"

#define TYPE(segment)           ((segment)->attributes & 0xf)
#define DPL(segment)            ((segment)->attributes >> 5 & 3)
#define SEGMENT_S               BIT(4)
#define ATTRIBUTES_VIRTUAL_8086 0xf3
#define TYPE_READABLE           2 /* of code; of data: writable */
#define TYPE_CONFORMING         4
#define TYPE_CODE               8
#define TYPE_REAL_MODE          3 /* CS as real mode has it: writable data */
#define TYPE_LDT                2
#define TYPE_TASK_16            3 /* both are busy */
#define TYPE_TASK               11
#define SELECTOR_TI             4

#define CR0_KNOWN \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define RFLAGS_RESERVED (BITS(63, 22) | BIT(15) | BIT(5) | BIT(3))
#define DR6_ONES        (BITS(31, 17) | BITS(10, 4)) /* bits 16 and 11 are causes that count the other way */
#define DR6_ZEROS       (BITS(63, 32) | BIT(12))
#define DR7_ZEROS       (BITS(63, 32) | BITS(15, 14) | BIT(12))

#define PENDING_KNOWN (BITS(3, 0) | BIT(12) | PENDING_STEP)

static u64 reg(const struct vcpu_state *state, enum vcpu_register which)
{
    return state->registers[which];
}

static bool is_long(const struct vcpu_state *state)
{
    return reg(state, REGISTER_EFER) & EFER_LMA;
}

static bool is_virtual_8086(const struct vcpu_state *state)
{
    return reg(state, REGISTER_RFLAGS) & RFLAGS_VM;
}

static bool present(const struct vcpu_segment *segment)
{
    return segment->attributes & SEGMENT_PRESENT;
}

/* Linear addresses have 48 bits, or 57 with five levels of page tables. */
static bool canonical(const struct vcpu_state *state, u64 address)
{
    unsigned above = reg(state, REGISTER_CR4) & CR4_LA57 ? 64 - 57 : 64 - 48;

    return (u64)((s64)(address << above) >> above) == address;
}

/* ---------------------------------------------------------------- registers */

static bool bad_cr0(const struct vcpu_state *state)
{
    u64 cr0 = reg(state, REGISTER_CR0);

    return (cr0 & ~CR0_KNOWN) || !(cr0 & CR0_ET) || ((cr0 & CR0_PG) && !(cr0 & CR0_PE)) ||
           ((cr0 & CR0_NW) && !(cr0 & CR0_CD));
}

static bool bad_cr3(const struct vcpu_state *state)
{
    return reg(state, REGISTER_CR3) >> cpu_features.physical_bits;
}

static bool bad_cr4(const struct vcpu_state *state)
{
    u64 cr4 = reg(state, REGISTER_CR4);

    return (cr4 & ~cpu_features.cr4_known) || ((cr4 & CR4_PCIDE) && !is_long(state));
}

static bool bad_efer(const struct vcpu_state *state)
{
    u64 efer = reg(state, REGISTER_EFER), known = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_FFXSR;
    bool active = (reg(state, REGISTER_CR0) & CR0_PG) && (efer & EFER_LME);

    return (efer & ~known) || is_long(state) != active || (active && !(reg(state, REGISTER_CR4) & CR4_PAE));
}

static bool bad_debug(const struct vcpu_state *state)
{
    u64 dr6 = reg(state, REGISTER_DR6), dr7 = reg(state, REGISTER_DR7);

    return (dr6 & DR6_ONES) != DR6_ONES || (dr6 & DR6_ZEROS) || !(dr7 & BIT(10)) || (dr7 & DR7_ZEROS);
}

static bool bad_msrs(const struct vcpu_state *state)
{
    static const u8 addresses[] = {REGISTER_LSTAR, REGISTER_CSTAR, REGISTER_KERNEL_GS_BASE,
                                   REGISTER_SYSENTER_ESP, REGISTER_SYSENTER_EIP};

    for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++)
        if (!canonical(state, state->registers[addresses[i]]))
            return true;
    return reg(state, REGISTER_SFMASK) >> 32 || reg(state, REGISTER_SYSENTER_CS) >> 32 ||
           !vcpu_pat_is_possible(reg(state, REGISTER_PAT));
}

static bool bad_rflags(const struct vcpu_state *state)
{
    u64 rflags = reg(state, REGISTER_RFLAGS);

    return !(rflags & RFLAGS_FIXED) || (rflags & RFLAGS_RESERVED) ||
           (is_virtual_8086(state) && (is_long(state) || !(reg(state, REGISTER_CR0) & CR0_PE)));
}

/* One beyond the canonical edge is where an instruction that ends there leads: the next fetch is #GP. */
static bool bad_rip(const struct vcpu_state *state)
{
    bool wide = is_long(state) && (state->segments[SEGMENT_CS].attributes & SEGMENT_LONG);
    u64 rip = state->regs.rip;

    return wide ? !canonical(state, rip) && !canonical(state, rip - 1) : rip >> 32;
}

static bool bad_tables(const struct vcpu_state *state)
{
    return !canonical(state, state->gdtr.base) || !canonical(state, state->idtr.base);
}

/* ---------------------------------------------------------------- segments */

static bool bad_attributes(const struct vcpu_state *state)
{
    for (unsigned i = 0; i < SEGMENT_COUNT; i++) {
        const struct vcpu_segment *segment = &state->segments[i];
        bool pages = segment->attributes & SEGMENT_PAGES;

        if (segment->attributes & SEGMENT_RESERVED)
            return true;
        if (present(segment) &&
            ((segment->limit >> 20 && !pages) || (pages && (segment->limit & 0xfff) != 0xfff)))
            return true;
    }
    return false;
}

static bool bad_system_segments(const struct vcpu_state *state)
{
    const struct vcpu_segment *tr = &state->segments[SEGMENT_TR], *ldtr = &state->segments[SEGMENT_LDTR];

    if (!present(tr) || (tr->attributes & SEGMENT_S) || (tr->selector & SELECTOR_TI))
        return true;
    if (TYPE(tr) != TYPE_TASK && (TYPE(tr) != TYPE_TASK_16 || is_long(state)))
        return true;
    return present(ldtr) &&
           (TYPE(ldtr) != TYPE_LDT || (ldtr->attributes & SEGMENT_S) || (ldtr->selector & SELECTOR_TI));
}

static bool bad_virtual_8086(const struct vcpu_state *state)
{
    for (unsigned i = 0; is_virtual_8086(state) && i <= SEGMENT_GS; i++) {
        const struct vcpu_segment *segment = &state->segments[i];

        if (segment->attributes != ATTRIBUTES_VIRTUAL_8086 || segment->limit != 0xffff ||
            segment->base != (u64)segment->selector << 4)
            return true;
    }
    return false;
}

static bool bad_cs(const struct vcpu_state *state)
{
    const struct vcpu_segment *cs = &state->segments[SEGMENT_CS];
    bool code = (TYPE(cs) & (TYPE_CODE | SEGMENT_ACCESSED)) == (TYPE_CODE | SEGMENT_ACCESSED);

    return !present(cs) || !(cs->attributes & SEGMENT_S) || (!code && TYPE(cs) != TYPE_REAL_MODE) ||
           (is_long(state) && (cs->attributes & SEGMENT_LONG) && (cs->attributes & SEGMENT_DEFAULT_32));
}

static bool bad_data_segment(const struct vcpu_segment *segment, bool stack)
{
    unsigned type = TYPE(segment);

    if (!present(segment))
        return false;
    if (!(segment->attributes & SEGMENT_S) || !(type & SEGMENT_ACCESSED))
        return true;
    if (type & TYPE_CODE)
        return stack || !(type & TYPE_READABLE);
    return stack && !(type & TYPE_READABLE);
}

static bool bad_data_segments(const struct vcpu_state *state)
{
    for (unsigned i = SEGMENT_ES; i <= SEGMENT_GS; i++)
        if (i != SEGMENT_CS && bad_data_segment(&state->segments[i], i == SEGMENT_SS))
            return true;
    return false;
}

/* SS has the current level, also where it can't be used. */
static bool bad_privileges(const struct vcpu_state *state)
{
    const struct vcpu_segment *cs = &state->segments[SEGMENT_CS], *ss = &state->segments[SEGMENT_SS];

    if (is_virtual_8086(state))
        return false;
    if (TYPE(cs) == TYPE_REAL_MODE)
        return DPL(cs) || DPL(ss);
    if (!(reg(state, REGISTER_CR0) & CR0_PE) && DPL(ss))
        return true;
    return TYPE(cs) & TYPE_CONFORMING ? DPL(cs) > DPL(ss) : DPL(cs) != DPL(ss);
}

static bool bad_bases(const struct vcpu_state *state)
{
    for (unsigned i = SEGMENT_ES; i <= SEGMENT_DS; i++)
        if (present(&state->segments[i]) && state->segments[i].base >> 32)
            return true;
    for (unsigned i = SEGMENT_FS; i < SEGMENT_COUNT; i++)
        if (!canonical(state, state->segments[i].base))
            return true;
    return false;
}

/* ---------------------------------------------------------------- what is to happen next */

static bool exception_has_error(u8 vector)
{
    return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF) || vector == VECTOR_AC;
}

static bool bad_event(const struct vcpu_state *state)
{
    const struct vcpu_event *event = &state->event;

    if ((event->error_code && !event->has_error) || event->length)
        return true;
    switch (event->type) {
    case EVENT_NONE: return event->vector || event->has_error;
    case EVENT_INTERRUPT:
        return event->has_error || state->shadow || !(reg(state, REGISTER_RFLAGS) & RFLAGS_IF);
    case EVENT_NMI: return event->vector != VECTOR_NMI || event->has_error || state->nmi_blocked;
    case EVENT_EXCEPTION:
        return event->vector > 31 || event->vector == VECTOR_NMI ||
               (event->has_error && !exception_has_error(event->vector));
    default: return true; /* software events are executed again instead */
    }
}

/* In a shadow the single step that follows is pending already (SDM 3C, 27.3.1.5). */
static bool bad_shadow(const struct vcpu_state *state)
{
    bool step = reg(state, REGISTER_RFLAGS) & RFLAGS_TF;

    if (state->shadow > SHADOW_MOV_SS || (state->pending_debug & ~PENDING_KNOWN))
        return true;
    if (state->shadow && !!(state->pending_debug & PENDING_STEP) != step)
        return true;
    return state->shadow == SHADOW_STI && !(reg(state, REGISTER_RFLAGS) & RFLAGS_IF);
}

static bool (*const checks[])(const struct vcpu_state *state) = {
    bad_cr0,    bad_cr3,           bad_cr4,        bad_efer,       bad_debug,           bad_msrs,
    bad_rflags, bad_rip,           bad_tables,     bad_attributes, bad_system_segments, bad_virtual_8086,
    bad_cs,     bad_data_segments, bad_privileges, bad_bases,      bad_event,           bad_shadow,
};

bool vcpu_state_is_possible(const struct vcpu_state *state)
{
    for (unsigned i = 0; i < ARRAY_SIZE(checks); i++)
        if (checks[i](state))
            return false;
    return true;
}

/* ---------------------------------------------------------------- single values */

/* Each of the eight fields: UC, WC, WT, WP, WB or UC-. */
bool vcpu_pat_is_possible(u64 pat)
{
    for (unsigned i = 0; i < 64; i += 8) {
        u64 type = pat >> i & 0xff;

        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    return true;
}

/*
 * Parts of XCR0 that come and go together (SDM 1, 13.3): all of a row's bits, or none; and what they rest on.
 */
static const struct xcr0_rule {
    u64 bits, needs;
    const char *what;
} xcr0_rules[] = {
    {BIT(0), 0, "x87"},
    {BIT(1), 0, "SSE"},
    {BIT(2), BIT(1), "AVX rests on SSE"},
    {BIT(3) | BIT(4), 0, "the two halves of MPX"},
    {BIT(5) | BIT(6) | BIT(7), BIT(2), "the three parts of AVX-512, on AVX"},
    {BIT(9), 0, "protection keys"},
    {BIT(17) | BIT(18), 0, "the two parts of AMX"},
};

bool vcpu_xcr0_is_possible(u64 value)
{
    if (!(value & BIT(0)) || (value & ~cpu_features.xsave_mask))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(xcr0_rules); i++) {
        u64 set = value & xcr0_rules[i].bits;

        if (set && (set != xcr0_rules[i].bits || (value & xcr0_rules[i].needs) != xcr0_rules[i].needs))
            return false;
    }
    return true;
}
