/* SPDX-License-Identifier: MIT */
/*
 * The table of power states and what its actions do. Called by local APICs (guest/devices/lapic.c), exits,
 * hypercalls, the monitor and vm.c on any CPU; the scheduler calls power_carry_out on the vCPU's own. One
 * lock per vCPU (RANK_POWER) guards its struct power. Intel SDM 3A, 9.4 (INIT and SIPI), 11.4.7 (local APIC
 * after INIT); AMD APM 2, 14.1.
 */
#include "hv/run/power.h"

#include "hv/lib/errno.h"
#include "hv/run/vm.h"

const char *const power_state_names[POWER_STATE_COUNT] = {
    [POWER_RUNNABLE] = "runnable",           [POWER_HALTED] = "halted",
    [POWER_UNINITIALISED] = "uninitialised", [POWER_INIT_RECEIVED] = "init-received",
    [POWER_SIPI_RECEIVED] = "sipi-received", [POWER_STOPPED] = "stopped",
};

enum power_action {
    NOTHING,
    NMI,        /* one waits from now on */
    HALT,       /* give the CPU back */
    INIT,       /* registers and local APIC as after INIT; what was to be delivered is gone */
    BEGIN,      /* at the SIPI's vector */
    BEGIN_ANEW, /* INIT, then at the entry that CPU_ON names */
    SWITCH_OFF, /* leave the guest; registers stay */
    PAUSE,      /* the same by the operator: the state comes back */
    RESUME,     /* ... now */
    FORGET,     /* everything: a reset of the VM */
    RESET_VM,
};

struct transition {
    u8 to;     /* enum power_state, or SAME */
    u8 action; /* enum power_action */
    u8 error;  /* what the asker is told, positive */
};

#define SAME 0xff /* or, with RESUME, where it was stopped */
/* clang-format off */
#define TO(state, action) {POWER_##state, action, 0}
#define KEEP(action)      {SAME, action, 0}
#define IGNORED           {SAME, NOTHING, 0}
#define REFUSED(error)    {SAME, NOTHING, error}

/*
 * state x event -> state, action. The reason for each row of events stands above it.
 */
static const struct transition transitions[POWER_EVENT_COUNT][POWER_STATE_COUNT] = {
    /* 9.4.3: INIT ends whatever the processor does, also a beginning at SIPI; stopped is without power. */
    [POWER_INIT] = {
        [POWER_RUNNABLE]      = TO(INIT_RECEIVED, INIT),
        [POWER_HALTED]        = TO(INIT_RECEIVED, INIT),
        [POWER_UNINITIALISED] = TO(INIT_RECEIVED, INIT),
        [POWER_INIT_RECEIVED] = TO(INIT_RECEIVED, INIT),
        [POWER_SIPI_RECEIVED] = TO(INIT_RECEIVED, INIT),
        [POWER_STOPPED]       = IGNORED,
    },
    /* The boot processor goes on in the firmware after INIT; there is none: the machine begins anew. */
    [POWER_INIT_BOOT] = {
        [POWER_RUNNABLE]      = KEEP(RESET_VM),
        [POWER_HALTED]        = KEEP(RESET_VM),
        [POWER_UNINITIALISED] = KEEP(RESET_VM),
        [POWER_INIT_RECEIVED] = KEEP(RESET_VM),
        [POWER_SIPI_RECEIVED] = KEEP(RESET_VM),
        [POWER_STOPPED]       = IGNORED,
    },
    /* 9.4.4: only who waits for SIPI listens; the second of Linux's two finds the processor started. */
    [POWER_SIPI] = {
        [POWER_RUNNABLE]      = IGNORED,
        [POWER_HALTED]        = IGNORED,
        [POWER_UNINITIALISED] = IGNORED,
        [POWER_INIT_RECEIVED] = TO(SIPI_RECEIVED, BEGIN),
        [POWER_SIPI_RECEIVED] = IGNORED,
        [POWER_STOPPED]       = IGNORED,
    },
    /* 9.4.2: one that waits for INIT or SIPI hears nothing else. Stopped: the NMI waits, and wakes nobody. */
    [POWER_NMI] = {
        [POWER_RUNNABLE]      = KEEP(NMI),
        [POWER_HALTED]        = TO(RUNNABLE, NMI),
        [POWER_UNINITIALISED] = IGNORED,
        [POWER_INIT_RECEIVED] = IGNORED,
        [POWER_SIPI_RECEIVED] = KEEP(NMI),
        [POWER_STOPPED]       = KEEP(NMI),
    },
    /* Only a halt can be ended by an interrupt; INIT or a stop may have come in between. */
    [POWER_INTERRUPT] = {
        [POWER_RUNNABLE]      = IGNORED,
        [POWER_HALTED]        = TO(RUNNABLE, NOTHING),
        [POWER_UNINITIALISED] = IGNORED,
        [POWER_INIT_RECEIVED] = IGNORED,
        [POWER_SIPI_RECEIVED] = IGNORED,
        [POWER_STOPPED]       = IGNORED,
    },
    /* The vCPU itself executed HLT; anything but runnable means that another CPU's event was faster. */
    [POWER_HLT] = {
        [POWER_RUNNABLE]      = TO(HALTED, HALT),
        [POWER_HALTED]        = IGNORED,
        [POWER_UNINITIALISED] = IGNORED,
        [POWER_INIT_RECEIVED] = IGNORED,
        [POWER_SIPI_RECEIVED] = IGNORED,
        [POWER_STOPPED]       = IGNORED,
    },
    /* Starts what does not run; what runs, or is about to, says so. */
    [POWER_ON] = {
        [POWER_RUNNABLE]      = REFUSED(EALREADY),
        [POWER_HALTED]        = REFUSED(EALREADY),
        [POWER_UNINITIALISED] = TO(SIPI_RECEIVED, BEGIN_ANEW),
        [POWER_INIT_RECEIVED] = TO(SIPI_RECEIVED, BEGIN_ANEW),
        [POWER_SIPI_RECEIVED] = REFUSED(EINPROGRESS),
        [POWER_STOPPED]       = TO(SIPI_RECEIVED, BEGIN_ANEW),
    },
    /* As HLT: the caller was runnable when it called. */
    [POWER_OFF] = {
        [POWER_RUNNABLE]      = TO(STOPPED, SWITCH_OFF),
        [POWER_HALTED]        = IGNORED,
        [POWER_UNINITIALISED] = IGNORED,
        [POWER_INIT_RECEIVED] = IGNORED,
        [POWER_SIPI_RECEIVED] = IGNORED,
        [POWER_STOPPED]       = IGNORED,
    },
    /* The operator may stop anything, and later lead it back to where it was. */
    [POWER_STOP] = {
        [POWER_RUNNABLE]      = TO(STOPPED, PAUSE),
        [POWER_HALTED]        = TO(STOPPED, PAUSE),
        [POWER_UNINITIALISED] = TO(STOPPED, PAUSE),
        [POWER_INIT_RECEIVED] = TO(STOPPED, PAUSE),
        [POWER_SIPI_RECEIVED] = TO(STOPPED, PAUSE),
        [POWER_STOPPED]       = REFUSED(EALREADY),
    },
    /* Only what is stopped has something to continue with: the others wait for what the guest does. */
    [POWER_START] = {
        [POWER_RUNNABLE]      = REFUSED(EALREADY),
        [POWER_HALTED]        = REFUSED(EALREADY),
        [POWER_UNINITIALISED] = REFUSED(EPERM),
        [POWER_INIT_RECEIVED] = REFUSED(EPERM),
        [POWER_SIPI_RECEIVED] = REFUSED(EALREADY),
        [POWER_STOPPED]       = KEEP(RESUME),
    },
    /* INIT or a stop may have come while the registers were set. */
    [POWER_BEGUN] = {
        [POWER_RUNNABLE]      = IGNORED,
        [POWER_HALTED]        = IGNORED,
        [POWER_UNINITIALISED] = IGNORED,
        [POWER_INIT_RECEIVED] = IGNORED,
        [POWER_SIPI_RECEIVED] = TO(RUNNABLE, NOTHING),
        [POWER_STOPPED]       = IGNORED,
    },
    /* The flags of the creation, and never what was last the case. */
    [POWER_RESET_ON] = {
        [POWER_RUNNABLE]      = TO(RUNNABLE, FORGET),
        [POWER_HALTED]        = TO(RUNNABLE, FORGET),
        [POWER_UNINITIALISED] = TO(RUNNABLE, FORGET),
        [POWER_INIT_RECEIVED] = TO(RUNNABLE, FORGET),
        [POWER_SIPI_RECEIVED] = TO(RUNNABLE, FORGET),
        [POWER_STOPPED]       = TO(RUNNABLE, FORGET),
    },
    [POWER_RESET_OFF] = {
        [POWER_RUNNABLE]      = TO(UNINITIALISED, FORGET),
        [POWER_HALTED]        = TO(UNINITIALISED, FORGET),
        [POWER_UNINITIALISED] = TO(UNINITIALISED, FORGET),
        [POWER_INIT_RECEIVED] = TO(UNINITIALISED, FORGET),
        [POWER_SIPI_RECEIVED] = TO(UNINITIALISED, FORGET),
        [POWER_STOPPED]       = TO(UNINITIALISED, FORGET),
    },
};
/* clang-format on */
_Static_assert(EALREADY < 256 && EINPROGRESS < 256 && EPERM < 256, "struct transition's error is a byte");

/* ---------------------------------------------------------------- the end of a machine */

/* Nothing inside the machine can make this vCPU run again, and the operator has not stopped it. */
static bool sleeps_for_good(struct vcpu *vcpu)
{
    struct power power;

    power_get(vcpu, &power);
    switch (power.state) {
    case POWER_UNINITIALISED:
    case POWER_INIT_RECEIVED: return true;
    case POWER_HALTED: return power.masked && !(READ_ONCE(vcpu->requests) & REQUEST_NMI);
    case POWER_STOPPED: return power.off;
    default: return false;
    }
}

/* Whoever goes to sleep last sees all the others asleep: each has changed its state before it looks. */
static void judge_end(struct vm *vm)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (u32 i = 0; i < vm->vcpu_count; i++)
        if (!sleeps_for_good(vm->vcpus[i]))
            return;
    log_info("VM %s: has halted for good: every vCPU waits in HLT with interrupts off, or is off", vm->name);
    vm_power_off(vm);
}

/* ---------------------------------------------------------------- actions */

/* What INIT does at once: what waited to be delivered is gone, and so is a beginning that was due. */
static void init_note(struct vcpu *vcpu)
{
    struct power *power = &vcpu->power.now;

    power->due = POWER_DUE_INIT;
    power->off = false;
    vcpu_request_done(vcpu, REQUEST_INTERRUPT | REQUEST_NMI);
}

static void begin_note(struct power *power, bool at_entry, u32 where, u32 argument)
{
    power->due |= POWER_DUE_BEGIN;
    power->begin = (struct power_begin){at_entry, where, argument};
}

/* Lock held. state: before the event. Returns what to request of the vCPU's CPU. */
static u32 action_note(struct vcpu *vcpu, enum power_action action, u8 state, u32 value, u32 argument)
{
    struct power *power = &vcpu->power.now;

    lock_assert_held(&vcpu->power.lock);
    switch (action) {
    case NMI: return REQUEST_NMI;
    case HALT: power->masked = value; return REQUEST_RESCHEDULE;
    case INIT: init_note(vcpu); return REQUEST_POWER;
    case BEGIN: begin_note(power, false, value, 0); return REQUEST_POWER;
    case BEGIN_ANEW:
        init_note(vcpu);
        begin_note(power, true, value, argument);
        return REQUEST_POWER;
    case SWITCH_OFF: power->off = true; return REQUEST_POWER;
    case PAUSE: power->resume = state; return REQUEST_POWER;
    case RESUME:
        power->state = power->off ? POWER_RUNNABLE : power->resume;
        power->off = false;
        return REQUEST_POWER | REQUEST_INTERRUPT; /* what came meanwhile is looked at */
    case FORGET: *power = (struct power){.state = power->state}; return 0;
    default: return 0;
    }
}

/* The events that can put the last vCPU to sleep for good. */
static bool may_end_machine(enum power_event event, u32 value)
{
    return event == POWER_OFF || event == POWER_INIT || (event == POWER_HLT && value);
}

/*
 * Lock held. What has begun is overtaken when INIT and another SIPI came meanwhile, what a vCPU sends to
 * itself when it is not runnable any more.
 */
static const struct transition *transition_find(const struct vcpu *vcpu, enum power_event event, bool self)
{
    static const struct transition overtaken = IGNORED;

    lock_assert_held(&vcpu->power.lock);
    if (event == POWER_BEGUN && vcpu->power.now.due)
        return &overtaken;
    if (self && vcpu->power.now.state != POWER_RUNNABLE)
        return &overtaken;
    if (event == POWER_INIT && vcpu == vcpu->vm->boot_vcpu)
        event = POWER_INIT_BOOT;
    return &transitions[event][vcpu->power.now.state];
}

static int event_happens(struct vcpu *vcpu, enum power_event event, bool self, u32 value, u32 argument)
{
    const struct transition *row;
    u32 request;
    u8 before;

    spinlock_take(&vcpu->power.lock);
    before = vcpu->power.now.state;
    row = transition_find(vcpu, event, self);
    if (row->to != SAME)
        vcpu->power.now.state = row->to;
    request = action_note(vcpu, row->action, before, value, argument);
    spinlock_release(&vcpu->power.lock);
    if (request)
        vcpu_wake(vcpu, request);
    if (row->action == RESET_VM)
        vm_request_reset(vcpu->vm, "INIT to the boot processor");
    if (may_end_machine(event, value) && row->action != NOTHING)
        judge_end(vcpu->vm);
    return -row->error;
}

int power_event(struct vcpu *vcpu, enum power_event event, u32 value, u32 argument)
{
    return event_happens(vcpu, event, false, value, argument);
}

void power_event_self(struct vcpu *vcpu, enum power_event event, u32 value)
{
    event_happens(vcpu, event, true, value, 0);
}

/* ---------------------------------------------------------------- the own CPU's part */

bool power_wants_turn(const struct vcpu *vcpu)
{
    u32 requests = READ_ONCE(vcpu->requests);
    u8 state = READ_ONCE(vcpu->power.now.state);

    if (state == POWER_RUNNABLE)
        return true;
    if (state == POWER_HALTED && (requests & (REQUEST_INTERRUPT | REQUEST_NMI)))
        return true;
    return requests & (REQUEST_POWER | REQUEST_DEVICE);
}

/* What is due, unless the vCPU is stopped: then it waits with it. */
static u8 due_take(struct vcpu *vcpu, struct power_begin *begin)
{
    struct power *power = &vcpu->power.now;
    u8 due = 0;

    spinlock_take(&vcpu->power.lock);
    if (power->state != POWER_STOPPED) {
        due = power->due;
        power->due = 0;
        *begin = power->begin;
    }
    spinlock_release(&vcpu->power.lock);
    return due;
}

void power_carry_out(struct vcpu *vcpu)
{
    struct power_begin begin = {0};
    int error = 0;
    u8 due;

    vcpu_request_done(vcpu, REQUEST_POWER);
    due = due_take(vcpu, &begin);
    if (due & POWER_DUE_INIT)
        error = machine->vcpu_init(vcpu);
    if (!error && (due & POWER_DUE_BEGIN))
        error = machine->vcpu_begin(vcpu, &begin);
    if (error)
        vm_stop(vcpu->vm, "the CPU does not take the state in which vCPU %u starts at %#x", vcpu->index,
                begin.at_entry ? begin.where : begin.where << PAGE_SHIFT);
    else if (due & POWER_DUE_BEGIN)
        power_event(vcpu, POWER_BEGUN, 0, 0);
}

/* ---------------------------------------------------------------- reading and setting */

void power_get(struct vcpu *vcpu, struct power *power)
{
    spinlock_take(&vcpu->power.lock);
    *power = vcpu->power.now;
    spinlock_release(&vcpu->power.lock);
}

/* A vector where one is meant, a beginning due exactly where the state promises it. */
bool power_is_possible(const struct power *power)
{
    u8 state = power->state == POWER_STOPPED && !power->off ? power->resume : power->state;
    bool begins = power->due & POWER_DUE_BEGIN;

    if (power->state >= POWER_STATE_COUNT || power->resume >= POWER_STOPPED)
        return false;
    if (power->due & ~(POWER_DUE_INIT | POWER_DUE_BEGIN) || (power->off && power->state != POWER_STOPPED))
        return false;
    if (!power->begin.at_entry && (power->begin.where > 0xff || power->begin.argument))
        return false;
    return begins == (state == POWER_SIPI_RECEIVED);
}

int power_set(struct vcpu *vcpu, const struct power *power)
{
    if (!power_is_possible(power))
        return -EINVAL;
    spinlock_take(&vcpu->power.lock);
    vcpu->power.now = *power;
    spinlock_release(&vcpu->power.lock);
    vcpu_wake(vcpu, REQUEST_POWER | REQUEST_INTERRUPT);
    return 0;
}
