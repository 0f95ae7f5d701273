/* SPDX-License-Identifier: MIT */
/*
 * A vCPU's snapshot out of its parts and back into them: what the engine holds (struct vcpu_state), what is
 * switched with the vCPU, its power state, and what the machine keeps for it (struct machine_ops). Boot CPU,
 * as work, no lock held.
 */
#include "hv/run/vcpu_snapshot.h"

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/fpu.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/run/engine.h"
#include "hv/run/vm.h"

#define REGISTER_AT(which, member) [REGISTER_##which] = offsetof(struct vcpu_snapshot, member)
static const u16 register_places[REGISTER_COUNT] = {
    REGISTER_AT(RSP, gpr[RSP]),
    REGISTER_AT(RFLAGS, rflags),
    REGISTER_AT(CR0, cr0),
    REGISTER_AT(CR2, cr2),
    REGISTER_AT(CR3, cr3),
    REGISTER_AT(CR4, cr4),
    REGISTER_AT(EFER, efer),
    REGISTER_AT(DR6, dr6),
    REGISTER_AT(DR7, dr7),
    REGISTER_AT(PAT, pat),
    REGISTER_AT(STAR, star),
    REGISTER_AT(LSTAR, lstar),
    REGISTER_AT(CSTAR, cstar),
    REGISTER_AT(SFMASK, sfmask),
    REGISTER_AT(KERNEL_GS_BASE, kernel_gs_base),
    REGISTER_AT(SYSENTER_CS, sysenter_cs),
    REGISTER_AT(SYSENTER_ESP, sysenter_esp),
    REGISTER_AT(SYSENTER_EIP, sysenter_eip),
};
#undef REGISTER_AT

u64 vcpu_snapshot_bytes(void)
{
    return sizeof(struct vcpu_snapshot) + fpu_area_bytes();
}

/* ---------------------------------------------------------------- read */

/*
 * Bits of a hidden part that mean nothing, as each CPU leaves them: all are the same behind this. Where the
 * segment can't be used nothing counts but SS's level; else it has been accessed, and the limit, which is in
 * bytes, says what its granularity must be.
 */
static void segment_normalise(enum segment which, struct vcpu_segment *segment)
{
    u16 *attributes = &segment->attributes;

    if (!(*attributes & SEGMENT_PRESENT)) {
        *attributes &= which == SEGMENT_SS ? SEGMENT_DPL : 0;
        return;
    }
    *attributes &= (u16) ~(SEGMENT_PAGES | SEGMENT_RESERVED);
    if (segment->limit > 0xfffff)
        *attributes |= SEGMENT_PAGES;
    if (which <= SEGMENT_GS)
        *attributes |= SEGMENT_ACCESSED;
}

/* Outside 64-bit code RIP wraps at 4 GiB; where lintel has stepped beyond, the entry sees to it. */
static u64 rip_wrapped(const struct vcpu_state *state)
{
    bool wide = (state->registers[REGISTER_EFER] & EFER_LMA) &&
                (state->segments[SEGMENT_CS].attributes & SEGMENT_LONG);

    return wide ? state->regs.rip : (u32)state->regs.rip;
}

static void state_read(struct vcpu *vcpu, struct vcpu_snapshot *snapshot)
{
    struct vcpu_state state;

    engine->state_get(vcpu, &state);
    memcpy(snapshot->gpr, state.regs.gpr, sizeof(snapshot->gpr));
    snapshot->rip = rip_wrapped(&state);
    for (unsigned i = 0; i < REGISTER_COUNT; i++)
        *(u64 *)((u8 *)snapshot + register_places[i]) = state.registers[i];
    for (unsigned i = 0; i < SEGMENT_COUNT; i++) {
        snapshot->segments[i] = state.segments[i];
        segment_normalise(i, &snapshot->segments[i]);
    }
    snapshot->gdtr.base = state.gdtr.base;
    snapshot->gdtr.limit = state.gdtr.limit;
    snapshot->idtr.base = state.idtr.base;
    snapshot->idtr.limit = state.idtr.limit;
    snapshot->event_type = state.event.type;
    snapshot->event_vector = state.event.vector;
    snapshot->event_has_error = state.event.has_error;
    snapshot->event_error = state.event.error_code;
    snapshot->shadow = state.shadow;
    snapshot->pending_debug = state.pending_debug;
    snapshot->nmi_blocked = state.nmi_blocked;
    snapshot->nmi_pending = state.nmi_waits || (READ_ONCE(vcpu->requests) & REQUEST_NMI);
}

static void power_read(struct vcpu *vcpu, struct snapshot_power *out)
{
    struct power power;

    power_get(vcpu, &power);
    *out = (struct snapshot_power){
        .state = power.state,
        .resume = power.resume,
        .due = power.due,
        .off = power.off,
        .masked = power.masked,
        .at_entry = power.begin.at_entry,
        .where = power.begin.where,
        .argument = power.begin.argument,
    };
}

void vcpu_snapshot_read(struct vcpu *vcpu, struct vcpu_snapshot *snapshot)
{
    memset(snapshot, 0, sizeof(*snapshot));
    snapshot->version = VCPU_SNAPSHOT_VERSION;
    snapshot->bytes = (u32)vcpu_snapshot_bytes();
    state_read(vcpu, snapshot);
    snapshot->dr0 = vcpu->debug[0];
    snapshot->dr1 = vcpu->debug[1];
    snapshot->dr2 = vcpu->debug[2];
    snapshot->dr3 = vcpu->debug[3];
    snapshot->xcr0 = vcpu->xcr0;
    snapshot->tsc_aux = vcpu->tsc_aux;
    snapshot->tsc_offset = vcpu->tsc_offset;
    power_read(vcpu, &snapshot->power);
    memcpy(snapshot->xsave, vcpu->fpu, fpu_area_bytes());
    machine->vcpu_read(vcpu, snapshot);
}

/* ---------------------------------------------------------------- set */

static void state_compose(const struct vcpu_snapshot *snapshot, struct vcpu_state *state)
{
    memset(state, 0, sizeof(*state));
    memcpy(state->regs.gpr, snapshot->gpr, sizeof(snapshot->gpr));
    state->regs.rip = snapshot->rip;
    for (unsigned i = 0; i < REGISTER_COUNT; i++)
        state->registers[i] = *(const u64 *)((const u8 *)snapshot + register_places[i]);
    memcpy(state->segments, snapshot->segments, sizeof(state->segments));
    state->gdtr = (struct vcpu_table){snapshot->gdtr.base, (u16)snapshot->gdtr.limit};
    state->idtr = (struct vcpu_table){snapshot->idtr.base, (u16)snapshot->idtr.limit};
    state->event = (struct vcpu_event){.type = snapshot->event_type,
                                       .vector = snapshot->event_vector,
                                       .has_error = snapshot->event_has_error,
                                       .error_code = snapshot->event_error};
    state->shadow = snapshot->shadow;
    state->pending_debug = snapshot->pending_debug;
    state->nmi_blocked = snapshot->nmi_blocked;
}

static void power_compose(const struct snapshot_power *from, struct power *power)
{
    *power = (struct power){
        .state = from->state,
        .resume = from->resume,
        .due = from->due,
        .off = from->off,
        .masked = from->masked,
        .begin = {.at_entry = from->at_entry, .where = from->where, .argument = from->argument},
    };
}

/* What the narrower types of lintel's own structures can't hold. */
static bool form_is_right(const struct vcpu_snapshot *snapshot)
{
    const struct snapshot_power *power = &snapshot->power;
    u64 zero = snapshot->gdtr.reserved | snapshot->idtr.reserved | power->reserved[0] | power->reserved[1];

    for (unsigned i = 0; i < sizeof(snapshot->reserved); i++)
        zero |= snapshot->reserved[i];
    for (unsigned i = 0; i < sizeof(snapshot->reserved_end); i++)
        zero |= snapshot->reserved_end[i];
    if (zero || snapshot->version != VCPU_SNAPSHOT_VERSION || snapshot->bytes != vcpu_snapshot_bytes())
        return false;
    if (snapshot->gdtr.limit > 0xffff || snapshot->idtr.limit > 0xffff)
        return false;
    return snapshot->event_has_error <= 1 && snapshot->nmi_blocked <= 1 && snapshot->nmi_pending <= 1 &&
           power->off <= 1 && power->masked <= 1 && power->at_entry <= 1;
}

static bool lazy_is_possible(const struct vcpu_snapshot *snapshot)
{
    bool xcr0_fits = cpu_features.xsave ? vcpu_xcr0_is_possible(snapshot->xcr0) : !snapshot->xcr0;

    return xcr0_fits && !(snapshot->tsc_aux >> 32) && (cpu_features.rdtscp || !snapshot->tsc_aux) &&
           fpu_area_is_possible(snapshot->xsave);
}

int vcpu_snapshot_set(struct vcpu *vcpu, const struct vcpu_snapshot *snapshot)
{
    struct vcpu_state state;
    struct power power;

    if (!form_is_right(snapshot) || !lazy_is_possible(snapshot))
        return -EINVAL;
    power_compose(&snapshot->power, &power);
    if (!power_is_possible(&power) || !machine->vcpu_is_possible(vcpu, snapshot))
        return -EINVAL;
    state_compose(snapshot, &state);
    if (engine->state_set(vcpu, &state))
        return -EINVAL;
    vcpu->debug[0] = snapshot->dr0;
    vcpu->debug[1] = snapshot->dr1;
    vcpu->debug[2] = snapshot->dr2;
    vcpu->debug[3] = snapshot->dr3;
    vcpu->xcr0 = snapshot->xcr0;
    vcpu->tsc_aux = snapshot->tsc_aux;
    memcpy(vcpu->fpu, snapshot->xsave, fpu_area_bytes());
    fetch_cache_clear(&vcpu->fetch_cache);
    machine->vcpu_set(vcpu, snapshot);
    if (snapshot->nmi_pending)
        vcpu_request(vcpu, REQUEST_NMI);
    else
        vcpu_request_done(vcpu, REQUEST_NMI);
    return power_set(vcpu, &power); /* last, as it may wake it */
}
