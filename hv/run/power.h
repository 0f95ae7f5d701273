/* SPDX-License-Identifier: MIT */
/*
 * The power states of vCPUs. Whoever has an event for a vCPU, on any CPU, walks one table under the vCPU's
 * power lock (RANK_POWER) and the logical state changes at once; what touches registers is noted and done by
 * the vCPU's own CPU before its next entry. Intel SDM 3A, 9.4 and 11.4.7; docs/abi.md for guests.
 */
#ifndef HV_RUN_POWER_H
#define HV_RUN_POWER_H

#include "hv/lib/lock.h"

enum power_state {
    POWER_RUNNABLE,
    POWER_HALTED,        /* HLT: an interrupt (if IF was 1) or an NMI ends it */
    POWER_UNINITIALISED, /* off since the machine's reset: waits for INIT */
    POWER_INIT_RECEIVED, /* waits for SIPI */
    POWER_SIPI_RECEIVED, /* begins at its next turn: at a SIPI's vector, or where CPU_ON said */
    POWER_STOPPED,       /* by CPU_OFF or the operator: keeps its registers */
    POWER_STATE_COUNT,
};
extern const char *const power_state_names[POWER_STATE_COUNT];

enum power_event {
    POWER_INIT,      /* from a local APIC */
    POWER_INIT_BOOT, /* the same to the boot vCPU; power_event makes it out of POWER_INIT */
    POWER_SIPI,      /* value: the vector */
    POWER_NMI,
    POWER_INTERRUPT, /* there is one that ends the halt; own CPU */
    POWER_HLT,       /* value: interrupts are off; own CPU */
    POWER_ON,        /* hypercall; value: the entry, argument: its EBX */
    POWER_OFF,       /* hypercall; own CPU */
    POWER_STOP,      /* operator */
    POWER_START,     /* operator */
    POWER_BEGUN,     /* own CPU: registers are as SIPI or CPU_ON want them */
    POWER_RESET_ON,  /* reset of the VM, by the flag of its creation */
    POWER_RESET_OFF,
    POWER_EVENT_COUNT,
};

/* Where a vCPU begins. */
struct power_begin {
    bool at_entry; /* as a PVH entry does, else in real mode at a SIPI's vector */
    u32 where;     /* address, or vector */
    u32 argument;  /* EBX of a PVH entry */
};

/* What the own CPU has yet to do to the registers, in this order. */
#define POWER_DUE_INIT  BIT(0)
#define POWER_DUE_BEGIN BIT(1)

/* All there is to know about one vCPU's power. */
struct power {
    u8 state;    /* enum power_state */
    u8 resume;   /* the state in which the operator stopped it, to which `vcpu start` leads back */
    u8 due;      /* POWER_DUE_* */
    bool off;    /* stopped by itself: only CPU_ON, the operator or a reset bring it back */
    bool masked; /* halted with IF = 0: only an NMI wakes it */
    struct power_begin begin;
};

struct vcpu;

/*
 * Something happened to this vCPU. Any CPU and context but for the events marked "own CPU"; a local APIC's
 * lock may be held except for INIT. 0, also for what is ignored; -EALREADY, -EINPROGRESS or -EPERM for
 * requests that come at the wrong time.
 */
int power_event(struct vcpu *vcpu, enum power_event event, u32 value, u32 argument);
/*
 * The vCPU sends it to itself, by an instruction: it was runnable then. If it is no more, another CPU's event
 * was faster and comes behind that instruction: this one has been overtaken. Own CPU.
 */
void power_event_self(struct vcpu *vcpu, enum power_event event, u32 value);

/*
 * The one pair that reads and sets all of it. Any CPU; set: own CPU, or the vCPU has no turn. -EINVAL for
 * what can't be.
 */
void power_get(struct vcpu *vcpu, struct power *power);
int power_set(struct vcpu *vcpu, const struct power *power);
bool power_is_possible(const struct power *power);

/* Does it want a turn: to run, to look what woke it, or for what is due? Any CPU; may be old at once. */
bool power_wants_turn(const struct vcpu *vcpu);
/* Do what is due. Own CPU, while no state of the vCPU is on it (sched.c). */
void power_carry_out(struct vcpu *vcpu);

#endif
