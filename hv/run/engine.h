/* SPDX-License-Identifier: MIT */
/*
 * The whole contract between lintel and a CPU vendor's virtualisation. One engine is chosen at boot by
 * feature bits; nothing above knows which. The set is closed: a new entry needs a reason in its commit.
 */
#ifndef HV_RUN_ENGINE_H
#define HV_RUN_ENGINE_H

#include "hv/memory/guest_walk.h"
#include "hv/run/vcpu.h"

struct engine_ops {
    const char *name;
    u8 hypercall_byte; /* third byte of the call instruction this CPU has: 0F 01 xx */

    /* Boot CPU: can this machine do it? 0, or negative with one sentence in why. */
    int (*probe)(char *why, size_t size);
    /* Switch virtualisation on, on this CPU. 0 or negative (said in the log). */
    int (*cpu_start)(void);
    void (*cpu_stop)(void);

    /* The format of nested tables for this engine. */
    const struct nested_format *(*nested_format)(bool *pages_1g);

    int (*vcpu_create)(struct vcpu *vcpu); /* 0 or -ENOMEM */
    void (*vcpu_destroy)(struct vcpu *vcpu);

    /*
     * Put the vCPU's lazily switched state on this CPU, and take it off again: then all of it is in memory,
     * and any CPU may load it. What a CPU remembers of the guest's translations from an earlier stay is
     * dropped at load.
     */
    void (*vcpu_load)(struct vcpu *vcpu);
    void (*vcpu_put)(struct vcpu *vcpu);
    /* Run the loaded vCPU until it must give the CPU back; every other exit is dispatched from within. */
    void (*vcpu_run)(struct vcpu *vcpu);

    /* One register, or all of the state. The vCPU is not in the guest. set: -EINVAL for impossible values. */
    u64 (*register_get)(struct vcpu *vcpu, enum vcpu_register which);
    void (*register_set)(struct vcpu *vcpu, enum vcpu_register which, u64 value);
    void (*state_get)(struct vcpu *vcpu, struct vcpu_state *state);
    int (*state_set)(struct vcpu *vcpu, const struct vcpu_state *state);
    void (*segment_get)(struct vcpu *vcpu, enum segment which, struct vcpu_segment *segment);
    void (*paging_get)(struct vcpu *vcpu, struct guest_paging *paging);

    /* Event delivery. inject takes effect at the next entry; only one event may be pending. */
    void (*inject)(struct vcpu *vcpu, const struct vcpu_event *event);
    bool (*event_pending)(const struct vcpu *vcpu, struct vcpu_event *event);
    bool (*interrupt_allowed)(const struct vcpu *vcpu); /* IF = 1, no shadow, nothing pending */
    bool (*nmi_allowed)(const struct vcpu *vcpu);
    void (*interrupt_window)(struct vcpu *vcpu, bool wanted); /* exit as soon as it could take one */
    void (*nmi_window)(struct vcpu *vcpu);

    /* The VM's nested translations are stale on the CPU that next runs this vCPU. */
    void (*tlb_flush)(struct vcpu *vcpu);
    /*
     * The guest's TSC offset changed, or the vCPU comes to a CPU, whose own counter may differ. The offset in
     * effect counts from this CPU's counter.
     */
    void (*tsc_offset_changed)(struct vcpu *vcpu);
};

extern const struct engine_ops *engine;    /* the chosen one */
extern const struct engine_ops engine_svm; /* arch/x86/svm */
extern const struct engine_ops engine_vmx; /* arch/x86/vmx */

#endif
