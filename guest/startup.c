/* SPDX-License-Identifier: MIT */
/*
 * How a vCPU is started by another: INIT makes it wait, the first SIPI behind it starts it in real mode at
 * the vector's page. The local APICs tell of both (guest/devices/lapic.h), on the CPU of whoever sent them,
 * without locks. Intel SDM 3A, 9.4; guest-visible order of Linux: INIT, INIT deassert, SIPI, SIPI, of which
 * the last is ignored.
 */
#include "guest/load/start_state.h"
#include "guest/machine.h"
#include "hv/run/sched.h"

/* What each event does in each state; `ignored` pairs are in the table too. */
enum startup_action { IGNORED, WAIT, START, RESET_MACHINE };
static const u8 actions[][2] = {
    /*                       INIT  SIPI */
    [VCPU_RUNNABLE] = {WAIT, IGNORED},
    [VCPU_HALTED] = {WAIT, IGNORED},
    [VCPU_UNINITIALISED] = {WAIT, START},
    [VCPU_STOPPED] = {IGNORED, IGNORED},
};
_Static_assert(VCPU_STARTUP_INIT == 0 && VCPU_STARTUP_SIPI == 1, "columns of actions");

/* Off the CPU, with nothing pending, until a SIPI comes. */
static void startup_wait(struct vcpu *vcpu)
{
    vcpu->power = VCPU_UNINITIALISED;
    vcpu->halted_masked = false;
    lapic_init_received(vcpu->lapic);
    vcpu_request_done(vcpu, REQUEST_INTERRUPT | REQUEST_NMI);
    vcpu_request(vcpu, REQUEST_RESCHEDULE);
}

static void startup_start(struct vcpu *vcpu, u8 vector)
{
    struct vcpu_state state;

    start_state_reset(&state);
    state.segments[SEGMENT_CS].selector = (u16)(vector << 8);
    state.segments[SEGMENT_CS].base = (u64)vector << 12;
    state.regs.rip = 0;
    if (engine->state_set(vcpu, &state)) {
        vm_stop(vcpu->vm, "the CPU does not take the state in which vCPU %u starts at %#x", vcpu->index,
                vector << 12);
        return;
    }
    vcpu->power = VCPU_RUNNABLE;
    sched_vcpu_wake(vcpu);
}

void vcpu_startup_event(struct vcpu *vcpu, enum vcpu_startup event, u8 vector)
{
    enum startup_action action = actions[vcpu->power][event];

    /*
     * The boot processor begins at the firmware's reset vector after INIT; the whole machine begins anew
     * here.
     */
    if (action == WAIT && vcpu->index == 0)
        action = RESET_MACHINE;
    switch (action) {
    case WAIT: startup_wait(vcpu); break;
    case START: startup_start(vcpu, vector); break;
    case RESET_MACHINE: vm_request_reset(vcpu->vm, "INIT to the boot processor"); break;
    case IGNORED: break;
    }
}
