/* SPDX-License-Identifier: MIT */
/* The dispatcher: from struct vmexit to the one function that answers this kind. The vCPU's own CPU. */
#ifndef HV_RUN_EXIT_H
#define HV_RUN_EXIT_H

#include "hv/run/vm.h"

typedef void (*exit_handler_fn)(struct vcpu *vcpu, struct vmexit *x);

/* One row per kind; boot/main.c states it (guest/policy answers CPUID and MSRs, hv/run the rest). */
extern const exit_handler_fn exit_handlers[EXIT_KIND_COUNT];

/* Called by the engine for each decoded exit. */
static inline void exit_dispatch(struct vcpu *vcpu, struct vmexit *x)
{
    vcpu->exits[x->kind]++;
    exit_handlers[x->kind](vcpu, x);
}

/*
 * The light way of the exits that kernels make most: R12 to R15 stay in the CPU, as the compiler keeps them,
 * so an answer must not look for them in vcpu->regs; RIP there is behind the instruction already. An answer
 * returns the requests that wait by then (none: the guest is entered at once), or EXIT_NOT_LIGHT: nothing has
 * been done, and the exit takes the full way. Engines ask the rows CPUID, HYPERCALL (of a 64-bit kernel),
 * MSR_READ and MSR_WRITE.
 */
#define EXIT_NOT_LIGHT BIT(31) /* no REQUEST_* */
typedef u32 (*exit_light_fn)(struct vcpu *vcpu);
extern const exit_light_fn exit_light[EXIT_KIND_COUNT];

/* How a light answer ends: counted, as exit_dispatch counts the others. */
static inline u32 exit_light_done(struct vcpu *vcpu, enum exit_kind kind)
{
    lock_assert_none();
    vcpu->exits[kind]++;
    return READ_ONCE(vcpu->requests);
}

/*
 * Called before each entry when requests != 0: injects events or asks for windows. Returns false when the
 * vCPU must give the CPU back.
 */
bool exit_prepare_entry(struct vcpu *vcpu);

/* The guest is about to be entered, unless a request waits: debug builds look for what was forgotten. */
static inline void exit_check_entry(struct vcpu *vcpu)
{
    struct guest_memory *memory = &vcpu->vm->memory;

    lock_assert_none();
    flush_debt_enter(&memory->flush_debt, vcpu->index, memory->lock, &vcpu->requests, REQUEST_FLUSH);
}

/* Handlers that hv itself provides; exit.c unless said otherwise. */
/* IN and OUT, by far the commonest exits: light ways of their own, which always answer. exit_io.c */
u32 exit_in_light(struct vcpu *vcpu, u32 port, u32 size);
u32 exit_out_light(struct vcpu *vcpu, u32 port, u32 size);
void exit_port(struct vcpu *vcpu, struct vmexit *x);         /* exit_io.c */
void exit_nested_fault(struct vcpu *vcpu, struct vmexit *x); /* exit_io.c */
void exit_hlt(struct vcpu *vcpu, struct vmexit *x);
void exit_pause(struct vcpu *vcpu, struct vmexit *x);
void exit_interrupt(struct vcpu *vcpu, struct vmexit *x); /* physical interrupts and NMIs */
void exit_interrupt_window(struct vcpu *vcpu, struct vmexit *x);
void exit_nmi_window(struct vcpu *vcpu, struct vmexit *x);
void exit_xsetbv(struct vcpu *vcpu, struct vmexit *x);
void exit_skip(struct vcpu *vcpu, struct vmexit *x); /* instructions that need nothing done */
void exit_exception(struct vcpu *vcpu, struct vmexit *x);
void exit_forbidden(struct vcpu *vcpu, struct vmexit *x);
void exit_triple_fault(struct vcpu *vcpu, struct vmexit *x);
void exit_stop(struct vcpu *vcpu, struct vmexit *x); /* what no handler can answer */

#endif
