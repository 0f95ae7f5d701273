/* SPDX-License-Identifier: MIT */
/*
 * What lintel answers to exits that need no device, and the door back into the guest: pending events,
 * windows, the scheduler's wish. Vendor-neutral. The vCPU's own CPU.
 */
#include "hv/run/exit.h"

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/lapic.h"
#include "hv/memory/guest_take.h"
#include "hv/run/hypercall.h"
#include "hv/run/sched.h"
#include "hv/run/vm_flush.h"

const char *const exit_kind_names[EXIT_KIND_COUNT] = {
#define EXIT_KIND_NAME(name, text) text,
    EXIT_KINDS(EXIT_KIND_NAME)
#undef EXIT_KIND_NAME
};

/* Hand the most urgent interrupt over if the guest can take it, else ask to be told when. */
static void deliver_interrupt(struct vcpu *vcpu)
{
    struct vcpu_event event = {.type = EVENT_INTERRUPT};
    int vector;

    vcpu_request_done(vcpu, REQUEST_INTERRUPT);
    if (machine->interrupt_pending(vcpu) < 0) {
        engine->interrupt_window(vcpu, false);
        return;
    }
    if (!engine->interrupt_allowed(vcpu)) {
        engine->interrupt_window(vcpu, true);
        return;
    }
    vector = machine->interrupt_accept(vcpu);
    if (vector < 0)
        return;
    event.vector = (u8)vector;
    engine->inject(vcpu, &event);
    engine->interrupt_window(vcpu, machine->interrupt_pending(vcpu) >= 0);
}

static void deliver_nmi(struct vcpu *vcpu)
{
    struct vcpu_event event = {.type = EVENT_NMI, .vector = VECTOR_NMI};
    struct vcpu_event pending;

    if (engine->nmi_allowed(vcpu)) {
        vcpu_request_done(vcpu, REQUEST_NMI);
        engine->inject(vcpu, &event);
    } else if (engine->event_pending(vcpu, &pending)) {
        /* Right behind that event: a physical interrupt ends the guest's turn as soon as it is delivered. */
        host_lapic_send_ipi(host_lapic_id(), HOST_VECTOR_KICK);
    } else {
        vcpu_request_done(vcpu, REQUEST_NMI);
        engine->nmi_window(vcpu);
    }
}

bool exit_prepare_entry(struct vcpu *vcpu)
{
    u32 requests = __atomic_load_n(&vcpu->requests, __ATOMIC_ACQUIRE);

    if (requests & (REQUEST_RESCHEDULE | REQUEST_POWER | REQUEST_DEVICE))
        return false;
    if (requests & REQUEST_FLUSH) {
        vcpu_request_done(vcpu, REQUEST_FLUSH);
        vcpu_flush_promise(vcpu);
        engine->tlb_flush(vcpu);
        flush_debt_settle(&vcpu->vm->memory.flush_debt, vcpu->index);
        fetch_cache_clear(&vcpu->fetch_cache);
        guest_memory_settle(
            &vcpu->vm->memory); /* a table taken out asks for a flush, so nobody looks elsewhere */
    }
    if (requests & REQUEST_NMI)
        deliver_nmi(vcpu);
    if (requests & REQUEST_INTERRUPT)
        deliver_interrupt(vcpu);
    return true;
}

void exit_interrupt(struct vcpu *vcpu, struct vmexit *x)
{
    (void)vcpu;
    (void)x;
    cpu_take_interrupts();
}

void exit_interrupt_window(struct vcpu *vcpu, struct vmexit *x)
{
    (void)x;
    vcpu_request(vcpu, REQUEST_INTERRUPT);
}

void exit_nmi_window(struct vcpu *vcpu, struct vmexit *x)
{
    (void)x;
    vcpu_request(vcpu, REQUEST_NMI);
}

void exit_hlt(struct vcpu *vcpu, struct vmexit *x)
{
    bool open = engine->register_get(vcpu, REGISTER_RFLAGS) & RFLAGS_IF;

    vcpu_skip(vcpu, x);
    if ((READ_ONCE(vcpu->requests) & REQUEST_NMI) || (open && machine->interrupt_pending(vcpu) >= 0))
        return;
    power_event(vcpu, POWER_HLT, !open, 0);
}

/* A spinning guest offers its CPU, if anybody wants it. */
void exit_pause(struct vcpu *vcpu, struct vmexit *x)
{
    vcpu_skip(vcpu, x);
    sched_vcpu_yield(vcpu);
}

void exit_xsetbv(struct vcpu *vcpu, struct vmexit *x)
{
    u64 value = (u64)(u32)vcpu->regs.gpr[RDX] << 32 | (u32)vcpu->regs.gpr[RAX];
    struct guest_paging paging;

    engine->paging_get(vcpu, &paging);
    if (paging.cpl != 0 || (u32)vcpu->regs.gpr[RCX] != 0 || !vcpu_xcr0_is_possible(value)) {
        vcpu_inject_fault(vcpu, VECTOR_GP, 0);
        return;
    }
    vcpu->xcr0 = value;
    xsetbv(0, value);
    vcpu_skip(vcpu, x);
}

void exit_skip(struct vcpu *vcpu, struct vmexit *x)
{
    vcpu_skip(vcpu, x);
}

/* Exceptions are only watched so that none can repeat for ever unseen: the guest gets what it caused. */
void exit_exception(struct vcpu *vcpu, struct vmexit *x)
{
    switch (x->exception.vector) {
    case VECTOR_MC:
        vm_stop(vcpu->vm, "the processor reported a machine check while vCPU %u ran", vcpu->index);
        return;
    case VECTOR_UD:
        if (!hypercall_undefined(vcpu))
            vcpu_inject_exception(vcpu, VECTOR_UD);
        return;
    case VECTOR_AC:
    case VECTOR_DF: vcpu_inject_fault(vcpu, x->exception.vector, 0); return;
    case VECTOR_PF: vcpu_inject_page_fault(vcpu, x->exception.address, x->exception.error_code); return;
    default: vcpu_inject_exception(vcpu, x->exception.vector); return;
    }
}

void exit_forbidden(struct vcpu *vcpu, struct vmexit *x)
{
    if (x->exception.vector == VECTOR_GP)
        vcpu_inject_fault(vcpu, VECTOR_GP, 0);
    else
        vcpu_inject_exception(vcpu, x->exception.vector);
}

void exit_triple_fault(struct vcpu *vcpu, struct vmexit *x)
{
    (void)x;
    vm_triple_fault(vcpu);
}

void exit_stop(struct vcpu *vcpu, struct vmexit *x)
{
    vcpu_dump(vcpu);
    vm_stop(vcpu->vm,
            "vCPU %u: %s: code %#llx, information %#llx and %#llx; lintel expected a state the CPU can run",
            vcpu->index, exit_kind_names[x->kind], (unsigned long long)x->raw.reason,
            (unsigned long long)x->raw.info1, (unsigned long long)x->raw.info2);
}
