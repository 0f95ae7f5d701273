/* SPDX-License-Identifier: MIT */
/*
 * Virtual CPUs: creation, what is switched with them, and the delivery of exceptions by the rules of the
 * architecture.
 */
#include "hv/run/vcpu.h"

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/fpu.h"
#include "arch/x86/machine/lapic.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/run/engine.h"
#include "hv/run/sched.h"
#include "hv/run/vm.h"

const struct engine_ops *engine;

static bool is_on_at_creation(const struct vcpu *vcpu)
{
    return vcpu->vm->config->vcpus_on & BIT(vcpu->index);
}

int vcpu_create(struct vm *vm, u32 index)
{
    frame_owner_t owner = frame_owner_support(vm->index);
    struct vcpu *vcpu = memory_alloc(sizeof(*vcpu), owner);
    int error = -ENOMEM;

    if (!vcpu)
        return error;
    vcpu->vm = vm;
    vcpu->index = index;
    list_init(&vcpu->sched.node);
    spinlock_init(&vcpu->power.lock, RANK_POWER);
    vcpu->fpu = memory_alloc(fpu_area_bytes(), owner);
    if (!vcpu->fpu)
        goto fail_fpu;
    error = engine->vcpu_create(vcpu);
    if (error)
        goto fail_engine;
    vm->vcpus[index] = vcpu;
    if (!vm->boot_vcpu && is_on_at_creation(vcpu))
        vm->boot_vcpu = vcpu;
    vcpu_reset(vcpu);
    vm->vcpu_count = index + 1;
    return 0;

fail_engine:
    memory_free(vcpu->fpu, fpu_area_bytes(), owner);
fail_fpu:
    memory_free(vcpu, sizeof(*vcpu), owner);
    return error;
}

void vcpu_destroy(struct vcpu *vcpu)
{
    frame_owner_t owner = frame_owner_support(vcpu->vm->index);

    engine->vcpu_destroy(vcpu);
    flush_debt_settle(&vcpu->vm->memory.flush_debt, vcpu->index);
    memory_free(vcpu->fpu, fpu_area_bytes(), owner);
    memory_free(vcpu, sizeof(*vcpu), owner);
}

void vcpu_reset_lazy(struct vcpu *vcpu)
{
    memset(vcpu->debug, 0, sizeof(vcpu->debug));
    vcpu->xcr0 = cpu_features.xsave ? 1 : 0; /* x87 alone: SDM 3A, table 10-1 */
    vcpu->tsc_aux = 0;
    memset(vcpu->fpu, 0, fpu_area_bytes());
    fpu_area_init(vcpu->fpu);
}

void vcpu_reset(struct vcpu *vcpu)
{
    vcpu_reset_lazy(vcpu);
    fetch_cache_clear(&vcpu->fetch_cache);
    vcpu->requests &= REQUEST_FLUSH; /* translations do not become right by a reset */
    power_event(vcpu, is_on_at_creation(vcpu) ? POWER_RESET_ON : POWER_RESET_OFF, 0, 0);
}

void vcpu_load(struct vcpu *vcpu)
{
    fpu_load(vcpu->fpu, vcpu->xcr0);
    write_dr0(vcpu->debug[0]);
    write_dr1(vcpu->debug[1]);
    write_dr2(vcpu->debug[2]);
    write_dr3(vcpu->debug[3]);
    if (cpu_features.rdtscp)
        wrmsr(MSR_TSC_AUX, vcpu->tsc_aux);
    engine->vcpu_load(vcpu);
    engine->tsc_offset_changed(vcpu);
}

void vcpu_put(struct vcpu *vcpu)
{
    engine->vcpu_put(vcpu);
    vcpu->debug[0] = read_dr0();
    vcpu->debug[1] = read_dr1();
    vcpu->debug[2] = read_dr2();
    vcpu->debug[3] = read_dr3();
    /*
     * QEMU's TCG has no XSETBV intercept: the guest's XCR0 is what the CPU says, not what the last exit said.
     */
    vcpu->xcr0 = fpu_xcr0();
    fpu_save(vcpu->fpu);
}

void vcpu_wake(struct vcpu *vcpu, u32 request)
{
    vcpu_request(vcpu, request);
    sched_vcpu_wake(vcpu);
}

u64 vcpu_gpr_get(struct vcpu *vcpu, unsigned gpr)
{
    return gpr == RSP ? engine->register_get(vcpu, REGISTER_RSP) : vcpu->regs.gpr[gpr];
}

void vcpu_gpr_set(struct vcpu *vcpu, unsigned gpr, u64 value)
{
    if (gpr == RSP)
        engine->register_set(vcpu, REGISTER_RSP, value);
    else
        vcpu->regs.gpr[gpr] = value;
}

/* How two exceptions combine (APM 2, 8.2.9, table 8-3). */
enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT };

static enum fault_class fault_class_of(u8 vector)
{
    switch (vector) {
    case VECTOR_DE:
    case VECTOR_TS:
    case VECTOR_NP:
    case VECTOR_SS:
    case VECTOR_GP: return CONTRIBUTORY;
    case VECTOR_PF: return PAGE_FAULT;
    default: return BENIGN;
    }
}

static bool makes_double_fault(u8 first, u8 second)
{
    enum fault_class a = fault_class_of(first), b = fault_class_of(second);

    return (a == CONTRIBUTORY && b == CONTRIBUTORY) || (a == PAGE_FAULT && b != BENIGN);
}

static void inject(struct vcpu *vcpu, u8 vector, bool has_error, u32 error_code)
{
    struct vcpu_event event = {
        .type = EVENT_EXCEPTION, .vector = vector, .has_error = has_error, .error_code = error_code};
    struct vcpu_event first;

    if (engine->event_pending(vcpu, &first) && first.type == EVENT_EXCEPTION) {
        if (first.vector == VECTOR_DF) {
            vm_triple_fault(vcpu);
            return;
        }
        if (makes_double_fault(first.vector, vector)) {
            event.vector = VECTOR_DF;
            event.has_error = true;
            event.error_code = 0;
        }
    }
    engine->inject(vcpu, &event);
}

void vcpu_inject_exception(struct vcpu *vcpu, u8 vector)
{
    inject(vcpu, vector, false, 0);
}

void vcpu_inject_fault(struct vcpu *vcpu, u8 vector, u32 error_code)
{
    inject(vcpu, vector, true, error_code);
}

void vcpu_inject_page_fault(struct vcpu *vcpu, u64 address, u32 error_code)
{
    engine->register_set(vcpu, REGISTER_CR2, address);
    inject(vcpu, VECTOR_PF, true, error_code);
}
