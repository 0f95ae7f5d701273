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
 * Called before each entry when requests != 0: injects events or asks for windows. Returns false when the
 * vCPU must give the CPU back.
 */
bool exit_prepare_entry(struct vcpu *vcpu);

/* Handlers that hv itself provides; exit.c unless said otherwise. */
/* IN or OUT by far the commonest exit: engines go there straight, with RIP moved on already. exit_io.c */
void exit_port_plain(struct vcpu *vcpu, u16 port, unsigned size, bool in);
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
