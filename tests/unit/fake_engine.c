/* SPDX-License-Identifier: MIT */
/* See fake_engine.h. */
#include "tests/unit/fake_engine.h"

#include "arch/x86/machine/cpu.h"

struct fake_state fake_state;

static int vcpu_make(struct vcpu *vcpu)
{
    vcpu->engine = &fake_state;
    return 0;
}

static void vcpu_nothing(struct vcpu *vcpu)
{
    (void)vcpu;
}

static void vcpu_run(struct vcpu *vcpu)
{
    (void)vcpu;
    fake_state.runs++;
}

static u64 register_get(struct vcpu *vcpu, enum vcpu_register which)
{
    (void)vcpu;
    return fake_state.registers[which];
}

static void register_set(struct vcpu *vcpu, enum vcpu_register which, u64 value)
{
    (void)vcpu;
    fake_state.registers[which] = value;
}

static void state_get(struct vcpu *vcpu, struct vcpu_state *state)
{
    *state = (struct vcpu_state){.regs = vcpu->regs,
                                 .event = fake_state.event,
                                 .pending_debug = fake_state.pending_debug,
                                 .shadow = fake_state.shadow,
                                 .nmi_blocked = fake_state.nmi_blocked,
                                 .nmi_waits = fake_state.nmi_window};
    state->regs.gpr[RSP] = fake_state.registers[REGISTER_RSP];
    __builtin_memcpy(state->registers, fake_state.registers, sizeof(state->registers));
    __builtin_memcpy(state->segments, fake_state.segments, sizeof(state->segments));
    state->gdtr = fake_state.gdtr;
    state->idtr = fake_state.idtr;
}

static int state_set(struct vcpu *vcpu, const struct vcpu_state *state)
{
    vcpu->regs = state->regs;
    __builtin_memcpy(fake_state.registers, state->registers, sizeof(state->registers));
    __builtin_memcpy(fake_state.segments, state->segments, sizeof(state->segments));
    fake_state.gdtr = state->gdtr;
    fake_state.idtr = state->idtr;
    fake_state.event = state->event;
    fake_state.pending_debug = state->pending_debug;
    fake_state.shadow = state->shadow;
    fake_state.nmi_blocked = state->nmi_blocked;
    fake_state.nmi_window = false;
    return 0;
}

static void segment_get(struct vcpu *vcpu, enum segment which, struct vcpu_segment *segment)
{
    (void)vcpu;
    *segment = fake_state.segments[which];
}

static void paging_get(struct vcpu *vcpu, struct guest_paging *paging)
{
    (void)vcpu;
    *paging = (struct guest_paging){
        .cr0 = fake_state.registers[REGISTER_CR0],
        .cr3 = fake_state.registers[REGISTER_CR3],
        .cr4 = fake_state.registers[REGISTER_CR4],
        .efer = fake_state.registers[REGISTER_EFER],
        .rflags = fake_state.registers[REGISTER_RFLAGS],
        .cpl = fake_state.cpl,
    };
}

static void inject(struct vcpu *vcpu, const struct vcpu_event *event)
{
    (void)vcpu;
    fake_state.event = *event;
    fake_state.injections++;
}

static bool event_pending(const struct vcpu *vcpu, struct vcpu_event *event)
{
    (void)vcpu;
    *event = fake_state.event;
    return event->type != EVENT_NONE;
}

static bool interrupt_allowed(const struct vcpu *vcpu)
{
    (void)vcpu;
    return fake_state.interrupt_allowed;
}

static bool nmi_allowed(const struct vcpu *vcpu)
{
    (void)vcpu;
    return fake_state.nmi_allowed;
}

static void interrupt_window(struct vcpu *vcpu, bool wanted)
{
    (void)vcpu;
    fake_state.interrupt_window = wanted;
}

static void nmi_window(struct vcpu *vcpu)
{
    (void)vcpu;
    fake_state.nmi_window = true;
}

static void tlb_flush(struct vcpu *vcpu)
{
    (void)vcpu;
    fake_state.flushes++;
}

static const struct engine_ops fake_engine = {
    .name = "fake",
    .vcpu_create = vcpu_make,
    .vcpu_destroy = vcpu_nothing,
    .vcpu_load = vcpu_nothing,
    .vcpu_put = vcpu_nothing,
    .vcpu_run = vcpu_run,
    .register_get = register_get,
    .register_set = register_set,
    .state_get = state_get,
    .state_set = state_set,
    .segment_get = segment_get,
    .paging_get = paging_get,
    .inject = inject,
    .event_pending = event_pending,
    .interrupt_allowed = interrupt_allowed,
    .nmi_allowed = nmi_allowed,
    .interrupt_window = interrupt_window,
    .nmi_window = nmi_window,
    .tlb_flush = tlb_flush,
    .tsc_offset_changed = vcpu_nothing,
};
const struct engine_ops *engine = &fake_engine;

/* Present, S, type read/write accessed (data) or execute/read accessed (code). */
#define ATTRIBUTES_DATA 0x93
#define ATTRIBUTES_CODE 0x9b

void fake_engine_reset(enum fake_mode mode)
{
    u16 width = mode == FAKE_64 ? SEGMENT_LONG : mode == FAKE_32 ? SEGMENT_DEFAULT_32 : 0;

    fake_state = (struct fake_state){.interrupt_allowed = true, .nmi_allowed = true};
    for (unsigned i = 0; i < SEGMENT_COUNT; i++)
        fake_state.segments[i] = (struct vcpu_segment){
            .attributes = ATTRIBUTES_DATA | (mode == FAKE_32 ? SEGMENT_DEFAULT_32 : 0),
            .limit = mode == FAKE_16 ? 0xffff : 0xffffffff,
        };
    fake_state.segments[SEGMENT_CS].attributes = ATTRIBUTES_CODE | width;
    fake_state.registers[REGISTER_RFLAGS] = RFLAGS_FIXED;
    if (mode != FAKE_16)
        fake_state.registers[REGISTER_CR0] = CR0_PE;
    if (mode == FAKE_64) {
        fake_state.registers[REGISTER_CR0] |= CR0_PG;
        fake_state.registers[REGISTER_CR4] = CR4_PAE;
        fake_state.registers[REGISTER_EFER] = EFER_LME | EFER_LMA;
    }
}
