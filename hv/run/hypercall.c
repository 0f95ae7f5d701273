/* SPDX-License-Identifier: MIT */
/* The calls themselves: who may call, how many bits count, and one row per number. docs/abi.md. */
#include "hv/run/hypercall.h"

#include "arch/x86/machine/cpu.h"
#include "hv/lib/errno.h"
#include "hv/run/exit.h"
#include "hv/run/sched.h"
#include "hv/run/vm_flush.h"

/* A call looks at its arguments alone: it may be a light exit (exit.h), without the other registers. */
typedef s64 (*hypercall_fn)(struct vcpu *vcpu, const u64 arguments[4]);

static s64 call_version(struct vcpu *vcpu, const u64 arguments[4])
{
    (void)vcpu;
    (void)arguments;
    return HYPERCALL_ABI_VERSION;
}

static s64 call_features(struct vcpu *vcpu, const u64 arguments[4])
{
    u64 always = HYPERCALL_FEATURE_CONSOLE_WRITE | HYPERCALL_FEATURE_YIELD | HYPERCALL_FEATURE_CPU_POWER |
                 HYPERCALL_FEATURE_SYSTEM_POWER;

    if (arguments[0] != 0)
        return 0;
    return (s64)(vcpu->vm->config->p2m_shared ? always | HYPERCALL_FEATURE_P2M : always);
}

/* All or nothing: the range is looked at before the first byte is shown. */
static s64 call_console_write(struct vcpu *vcpu, const u64 arguments[4])
{
    struct guest_memory *memory = &vcpu->vm->memory;
    gpa_t gpa = arguments[0];
    u64 left = arguments[1];
    char chunk[256];

    if (left > HYPERCALL_CONSOLE_MAX)
        return -EINVAL;
    if (!guest_memory_is_backed(memory, gpa, left))
        return -EFAULT;
    while (left > 0) {
        u64 bytes = MIN(left, sizeof(chunk));

        if (guest_memory_read(memory, gpa, chunk, bytes))
            return -EFAULT;
        machine->console_write(vcpu->vm, chunk, bytes);
        gpa += bytes;
        left -= bytes;
    }
    return (s64)arguments[1];
}

static s64 call_yield(struct vcpu *vcpu, const u64 arguments[4])
{
    (void)arguments;
    sched_vcpu_yield(vcpu);
    return 0;
}

/* The vCPU of the caller's VM with this number, or NULL. */
static struct vcpu *vcpu_numbered(const struct vcpu *vcpu, u64 number)
{
    return number < vcpu->vm->vcpu_count ? vcpu->vm->vcpus[number] : NULL;
}

static s64 call_cpu_on(struct vcpu *vcpu, const u64 arguments[4])
{
    struct vcpu *target = vcpu_numbered(vcpu, arguments[0]);

    if (!target || arguments[1] >> 32 || arguments[2] >> 32)
        return -EINVAL;
    return power_event(target, POWER_ON, (u32)arguments[1], (u32)arguments[2]);
}

static s64 call_cpu_off(struct vcpu *vcpu, const u64 arguments[4])
{
    (void)arguments;
    return power_event(vcpu, POWER_OFF, 0, 0);
}

static s64 call_cpu_state(struct vcpu *vcpu, const u64 arguments[4])
{
    static const u8 answers[POWER_STATE_COUNT] = {
        [POWER_RUNNABLE] = HYPERCALL_CPU_IS_ON,           [POWER_HALTED] = HYPERCALL_CPU_IS_ON,
        [POWER_UNINITIALISED] = HYPERCALL_CPU_IS_OFF,     [POWER_INIT_RECEIVED] = HYPERCALL_CPU_IS_OFF,
        [POWER_SIPI_RECEIVED] = HYPERCALL_CPU_IS_PENDING, [POWER_STOPPED] = HYPERCALL_CPU_IS_OFF,
    };
    struct vcpu *target = vcpu_numbered(vcpu, arguments[0]);
    struct power power;

    if (!target)
        return -EINVAL;
    power_get(target, &power);
    return answers[power.state];
}

static s64 call_system_off(struct vcpu *vcpu, const u64 arguments[4])
{
    (void)arguments;
    vm_power_off(vcpu->vm);
    return 0;
}

static s64 call_system_reset(struct vcpu *vcpu, const u64 arguments[4])
{
    (void)arguments;
    vm_request_reset(vcpu->vm, "reset by hypercall");
    return 0;
}

/* The guest's own view of its p2m list, where neither RAM nor a device is. */
static s64 call_p2m_map(struct vcpu *vcpu, const u64 arguments[4])
{
    struct vm *vm = vcpu->vm;
    u64 bytes = guest_memory_list_bytes(&vm->memory);
    int error;

    if (!vm->config->p2m_shared)
        return -EPERM;
    if (!guest_memory_list_fits(&vm->memory, arguments[0]))
        return -EINVAL;
    if (!mmio_bus_is_free(&vm->mmio, arguments[0], bytes))
        return -EBUSY;
    error = guest_memory_show_list(&vm->memory, arguments[0]);
    return error ? error : (s64)(bytes / sizeof(u64));
}

static s64 call_p2m_unmap(struct vcpu *vcpu, const u64 arguments[4])
{
    int error;

    (void)arguments;
    if (!vcpu->vm->config->p2m_shared)
        return -EPERM;
    error = guest_memory_hide_list(&vcpu->vm->memory);
    if (!error)
        vm_flush_finish(vcpu->vm); /* no other vCPU sees it any more, either */
    return error;
}

static const hypercall_fn calls[HYPERCALL_COUNT] = {
    [HYPERCALL_VERSION] = call_version,
    [HYPERCALL_FEATURES] = call_features,
    [HYPERCALL_CONSOLE_WRITE] = call_console_write,
    [HYPERCALL_YIELD] = call_yield,
    [HYPERCALL_CPU_ON] = call_cpu_on,
    [HYPERCALL_CPU_OFF] = call_cpu_off,
    [HYPERCALL_CPU_STATE] = call_cpu_state,
    [HYPERCALL_SYSTEM_OFF] = call_system_off,
    [HYPERCALL_SYSTEM_RESET] = call_system_reset,
    [HYPERCALL_P2M_MAP] = call_p2m_map,
    [HYPERCALL_P2M_UNMAP] = call_p2m_unmap,
};

/* Kernels may call; user programs, real mode and virtual-8086 mode may not. */
static inline bool may_call(const struct guest_paging *paging)
{
    if (unlikely(paging->cpl != 0))
        return false;
    return likely(paging->code_64) || ((paging->cr0 & CR0_PE) && !(paging->rflags & RFLAGS_VM));
}

static __attribute__((noinline)) s64 call_known(struct vcpu *vcpu, u64 call, u64 mask)
{
    const u64 *gpr = vcpu->regs.gpr;
    u64 arguments[4] = {gpr[RBX] & mask, gpr[RCX] & mask, gpr[RDX] & mask, gpr[RSI] & mask};

    return calls[call](vcpu, arguments);
}

static inline s64 unknown(const struct vcpu *vcpu, u64 call)
{
    bool kvm = vcpu->vm->config->personality == PERSONALITY_KVM;

    return kvm && call > HYPERCALL_RANGE ? -HYPERCALL_KVM_ENOSYS : -ENOSYS;
}

static inline s64 answer(struct vcpu *vcpu, u64 mask)
{
    u64 call = (vcpu->regs.gpr[RAX] & mask) - HYPERCALL_BASE;

    return call < HYPERCALL_COUNT ? call_known(vcpu, call, mask) : unknown(vcpu, call);
}

static inline void perform(struct vcpu *vcpu, const struct guest_paging *paging)
{
    u64 mask = likely(paging->code_64) ? ~0ull : 0xffffffffull;
    s64 result = likely(may_call(paging)) ? answer(vcpu, mask) : -EPERM;

    vcpu->regs.gpr[RAX] = (u64)result & mask;
    vcpu->regs.rip = (vcpu->regs.rip + HYPERCALL_BYTES) & mask;
}

void hypercall_perform(struct vcpu *vcpu, const struct guest_paging *paging)
{
    perform(vcpu, paging);
}

static __attribute__((noinline)) u32 call_known_light(struct vcpu *vcpu)
{
    vcpu->regs.gpr[RAX] = (u64)call_known(vcpu, vcpu->regs.gpr[RAX] - HYPERCALL_BASE, ~0ull);
    return exit_light_done(vcpu, EXIT_HYPERCALL);
}

u32 exit_hypercall_light(struct vcpu *vcpu)
{
    u64 call = vcpu->regs.gpr[RAX] - HYPERCALL_BASE;

    if (call < HYPERCALL_COUNT)
        return call_known_light(vcpu);
    vcpu->regs.gpr[RAX] = (u64)unknown(vcpu, call);
    return exit_light_done(vcpu, EXIT_HYPERCALL);
}

void exit_hypercall(struct vcpu *vcpu, struct vmexit *x)
{
    struct guest_paging paging;

    if (unlikely(x->length != HYPERCALL_BYTES)) {
        vcpu_inject_exception(vcpu, VECTOR_UD); /* CPUs differ about prefixes: behind one it is no call */
        return;
    }
    engine->paging_get(vcpu, &paging);
    perform(vcpu, &paging);
}
