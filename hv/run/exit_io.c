/* SPDX-License-Identifier: MIT */
/*
 * The answers to exits that touch devices: ports and memory without RAM. Called by the dispatcher on the
 * vCPU's own CPU; no lock but those that buses and memory take. IN and OUT are the hot path.
 */
#include "arch/x86/machine/cpu.h"
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"
#include "hv/run/emulate.h"
#include "hv/run/exit.h"
#include "hv/run/memory_wait.h"

/* The guest did what nobody can carry out: where it stands and why it ends there. */
#define stop_here(vcpu, ...)              \
    do {                                  \
        vcpu_dump(vcpu);                  \
        vm_stop((vcpu)->vm, __VA_ARGS__); \
    } while (0)

static __attribute__((noinline)) void port_string(struct vcpu *vcpu, struct vmexit *x)
{
    int err = emulate_string_io(vcpu, x);

    if (!err || err == -EAGAIN)
        return;
    stop_here(vcpu, "vCPU %u at rip %#lx: string I/O on port %#x that lintel cannot carry out", vcpu->index,
              vcpu->regs.rip, x->io.port);
}

/* AL and AX leave the rest of RAX alone, EAX clears the upper half; value has rubbish above size. */
static inline u64 merge_rax(u64 rax, unsigned size, u32 value)
{
    if (likely(size == 1))
        return (rax & ~0xffull) | (u8)value;
    return size == 2 ? (rax & ~0xffffull) | (u16)value : value;
}

static inline void port_in(struct vcpu *vcpu, u16 port, unsigned size)
{
    u64 *rax = &vcpu->regs.gpr[RAX];

    *rax = merge_rax(*rax, size, port_bus_read_hot(vcpu->vm->ports, vcpu, port, size));
}

static inline void port_out(struct vcpu *vcpu, u16 port, unsigned size)
{
    port_bus_write(vcpu->vm->ports, vcpu, port, size, (u32)vcpu->regs.gpr[RAX]);
}

/* Calls are of four bytes; the byte, the commonest access, never comes here on the light way. */
static __attribute__((noinline)) enum port_call port_in_wide(struct vcpu *vcpu, u16 port, unsigned size)
{
    enum port_call call = size == 4 ? port_bus_call(vcpu->vm->ports, vcpu, port) : PORT_CALL_NONE;

    if (call == PORT_CALL_NONE)
        port_in(vcpu, port, size);
    return call;
}

static __attribute__((noinline)) u32 in_light_wide(struct vcpu *vcpu, u32 port, u32 size)
{
    if (port_in_wide(vcpu, (u16)port, size) == PORT_CALL_AGAIN)
        return EXIT_NOT_LIGHT; /* the full way does more of it, and knows where RIP was */
    return exit_light_done(vcpu, EXIT_PORT);
}

u32 exit_in_light(struct vcpu *vcpu, u32 port, u32 size)
{
    if (unlikely(size != 1))
        return in_light_wide(vcpu, port, size);
    port_in(vcpu, (u16)port, 1);
    return exit_light_done(vcpu, EXIT_PORT);
}

u32 exit_out_light(struct vcpu *vcpu, u32 port, u32 size)
{
    port_out(vcpu, (u16)port, size);
    return exit_light_done(vcpu, EXIT_PORT);
}

void exit_port(struct vcpu *vcpu, struct vmexit *x)
{
    if (unlikely(x->io.flags & IO_STRING)) {
        port_string(vcpu, x);
        return;
    }
    vcpu_skip(vcpu, x);
    if (!(x->io.flags & IO_IN))
        port_out(vcpu, x->io.port, x->io.size);
    else if (port_in_wide(vcpu, x->io.port, x->io.size) == PORT_CALL_AGAIN)
        vcpu->regs.rip -= x->length;
}

static void access_hole(struct vcpu *vcpu, const struct vmexit *x)
{
    if (unlikely(x->fault.access & FAULT_TABLE_WALK)) {
        stop_here(vcpu, "vCPU %u at rip %#lx has a page table at gpa %#lx, where no RAM is", vcpu->index,
                  vcpu->regs.rip, x->fault.gpa);
        return;
    }
    if (unlikely(x->fault.access & FAULT_FETCH)) {
        stop_here(vcpu, "vCPU %u jumped to rip %#lx, gpa %#lx, where no RAM is", vcpu->index, vcpu->regs.rip,
                  x->fault.gpa);
        return;
    }
    if (likely(emulate_mmio(vcpu, x->fault.gpa) != -ENOTSUP))
        return;
    stop_here(vcpu, "vCPU %u at rip %#lx: %s gpa %#lx, where no RAM is, by no instruction for devices",
              vcpu->index, vcpu->regs.rip, x->fault.access & FAULT_WRITE ? "wrote" : "read", x->fault.gpa);
}

/*
 * Where the guest sees its p2m list: reads find a page, writes are #GP(0). Nothing runs there, no table of
 * the guest's and no stack lies there: as in any place without RAM (-ENXIO).
 */
static __attribute__((noinline)) int access_list(struct vcpu *vcpu, const struct vmexit *x)
{
    struct vcpu_event event;

    if (x->fault.access & (FAULT_TABLE_WALK | FAULT_FETCH))
        return -ENXIO;
    if (!(x->fault.access & FAULT_WRITE))
        return guest_memory_list_fault(&vcpu->vm->memory, x->fault.gpa);
    if (engine->event_pending(vcpu, &event))
        return -ENXIO;
    vcpu_inject_fault(vcpu, VECTOR_GP, 0);
    return 0;
}

/* Neither RAM that there is memory for nor a device. */
static __attribute__((noinline)) void fault_special(struct vcpu *vcpu, const struct vmexit *x, int err)
{
    if (err == -ENXIO)
        err = access_list(vcpu, x);
    if (err == -ENXIO)
        access_hole(vcpu, x);
    else if (err)
        memory_wait(vcpu, x->fault.gpa, NULL);
}

void exit_nested_fault(struct vcpu *vcpu, struct vmexit *x)
{
    int err = guest_memory_give(&vcpu->vm->memory, x->fault.gpa, SIZE_2M);

    if (likely(!err))
        return;
    if (likely(err == -ENXIO && !guest_memory_in_list(&vcpu->vm->memory, x->fault.gpa)))
        access_hole(vcpu, x);
    else
        fault_special(vcpu, x, err);
}
