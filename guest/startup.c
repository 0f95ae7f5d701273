/* SPDX-License-Identifier: MIT */
/*
 * What INIT, SIPI and CPU_ON make of a vCPU's registers; hv/run/power.c decides whether, and calls by
 * machine_ops on the vCPU's own CPU while its state is in memory. No lock held. Intel SDM 3A, 9.1.1 (table
 * 9-1, INIT), 9.4.4 (SIPI), 11.4.7.3 (local APIC after INIT); AMD APM 2, table 14-1.
 */
#include "guest/startup.h"

#include "guest/load/load.h"
#include "guest/load/start_state.h"
#include "guest/machine.h"

/* What INIT leaves alone: MSRs (PAT and those of system calls). EFER is no such MSR: APM 2, table 14-1. */
static const u8 kept_registers[] = {
    REGISTER_PAT,         REGISTER_STAR,         REGISTER_LSTAR,
    REGISTER_CSTAR,       REGISTER_SFMASK,       REGISTER_KERNEL_GS_BASE,
    REGISTER_SYSENTER_CS, REGISTER_SYSENTER_ESP, REGISTER_SYSENTER_EIP,
};

/* The processor's signature stands in EDX. */
static u64 signature(const struct vcpu *vcpu)
{
    const struct machine *m = vcpu->vm->machine;

    return cpuid_policy_get(&m->cpuid, 1, 0).eax;
}

/*
 * Beside kept_registers INIT keeps the caches' switches, x87, vector and XCR0 state, TSC, APIC ID and base,
 * all of guest/policy's MSRs.
 */
int startup_init(struct vcpu *vcpu)
{
    struct vcpu_state before, after;

    engine->state_get(vcpu, &before);
    start_state_reset(&after);
    after.regs.gpr[RDX] = signature(vcpu);
    for (unsigned i = 0; i < ARRAY_SIZE(kept_registers); i++)
        after.registers[kept_registers[i]] = before.registers[kept_registers[i]];
    after.registers[REGISTER_CR0] = CR0_ET | (before.registers[REGISTER_CR0] & (CR0_CD | CR0_NW));
    for (unsigned i = 0; i < ARRAY_SIZE(vcpu->debug); i++)
        vcpu->debug[i] = 0;
    fetch_cache_clear(&vcpu->fetch_cache);
    lapic_init_received(vcpu->lapic);
    return engine->state_set(vcpu, &after);
}

/* Real mode, at the page that the vector names; all else is as INIT left it. */
static void begin_at_vector(struct vcpu_state *state, u8 vector)
{
    state->segments[SEGMENT_CS].selector = (u16)(vector << 8);
    state->segments[SEGMENT_CS].base = (u64)vector << 12;
    state->regs.rip = 0;
}

int startup_begin(struct vcpu *vcpu, const struct power_begin *begin)
{
    struct vcpu_state state;

    engine->state_get(vcpu, &state);
    if (begin->at_entry) {
        vcpu_reset_lazy(vcpu);
        start_state_protected(&state, LOAD_GDT, begin->where);
        state.regs.gpr[RBX] = begin->argument;
    } else {
        begin_at_vector(&state, (u8)begin->where);
    }
    return engine->state_set(vcpu, &state);
}
