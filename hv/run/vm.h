/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine: its memory, its vCPUs, its buses, and its life from the configuration to the end. The
 * life cycle runs on the boot CPU under the VM's lock; what runs on exits says so.
 */
#ifndef HV_RUN_VM_H
#define HV_RUN_VM_H

#include "hv/lib/log.h"
#include "hv/run/budget.h"
#include "hv/run/bus.h"
#include "hv/run/engine.h"
#include "hv/run/vm_config.h"
#include "hv/run/work.h"

enum vm_state {
    VM_ABSENT, /* could not be created; `why` says it */
    VM_RUNNING,
    VM_POWERED_OFF, /* by itself */
    VM_STOPPED,     /* by the monitor, or by a fault: `why` */
};

struct vm;
struct vcpu_snapshot;
struct console;

/* What guest/ does for a VM; handed over by boot. */
struct machine_ops {
    /*
     * Put devices on the buses, load kernel and initrd, set the vCPUs' state. A sentence in why on failure.
     */
    int (*create)(struct vm *vm, char *why, size_t size);
    void (*destroy)(struct vm *vm);
    /* No device touches its memory from here on, until it is told to anew. No vCPU runs; no lock held. */
    void (*quiet)(struct vm *vm);
    /* The same machine as after create; memory is zeroed already. */
    int (*reset)(struct vm *vm, char *why, size_t size);
    /* Is there an interrupt for this vCPU above its priority? Vector, or -1. Sets apic.tpr_threshold. */
    int (*interrupt_pending)(struct vcpu *vcpu);
    /* Take it: returns the vector that the CPU gets, or -1 if it has gone. */
    int (*interrupt_accept)(struct vcpu *vcpu);
    /*
     * INIT: registers and local APIC as the architecture leaves them. Begin: registers as SIPI or CPU_ON want
     * them. Own CPU, the vCPU's state in memory. 0, or -EINVAL when the engine does not take them.
     */
    int (*vcpu_init)(struct vcpu *vcpu);
    int (*vcpu_begin)(struct vcpu *vcpu, const struct power_begin *begin);
    /*
     * The machine's part of a vCPU's snapshot (vcpu_snapshot.h): tsc_offset, msrs, lapic. set comes behind
     * the engine's state, and can't fail where is_possible said yes.
     */
    void (*vcpu_read)(struct vcpu *vcpu, struct vcpu_snapshot *snapshot);
    bool (*vcpu_is_possible)(struct vcpu *vcpu, const struct vcpu_snapshot *snapshot);
    void (*vcpu_set)(struct vcpu *vcpu, const struct vcpu_snapshot *snapshot);
    /* The operator's wish that the guest shuts down. */
    void (*power_button)(struct vm *vm);
    /*
     * The balloon's target has changed, or the operator looks at it: tell the guest's driver, and ask it for
     * its statistics. False: it has none that is told. Boot CPU, as work, no lock held.
     */
    bool (*balloon_ask)(struct vm *vm);
    /* REQUEST_DEVICE was set for it: a device goes on. It has its CPU, outside the guest; no lock held. */
    void (*device_work)(struct vcpu *vcpu);
    /* The vCPU comes to this CPU from another one: what belongs to it there follows. No lock held. */
    void (*vcpu_moved)(struct vcpu *vcpu);
    /* It has waited for a CPU (vcpu->sched.waited) and is about to run again. Own CPU, no lock held. */
    void (*vcpu_waited)(struct vcpu *vcpu);
    /* Text on the VM's console, as if its serial line had sent it. */
    void (*console_write)(struct vm *vm, const char *text, size_t size);
};

struct vm {
    char name[VM_NAME_MAX];
    u32 index; /* number; owner of frames, p2m window */
    enum vm_state state;
    char why[160]; /* why it is not running */
    const struct vm_config *config;
    struct spinlock lock;        /* RANK_VM: nested tables and p2m, as vCPUs and the boot CPU change them */
    struct spinlock device_lock; /* RANK_DEVICE: all devices but local APICs */
    struct guest_memory memory;
    struct vcpu *vcpus[VM_VCPUS_MAX];
    u32 vcpu_count;
    struct vcpu *boot_vcpu; /* the first that the creation switches on */
    struct port_bus *ports;
    struct mmio_bus mmio;
    void *machine;           /* guest/machine.c */
    struct console *console; /* hv/operator/console.c */
    u64 triple_faults[2];    /* host TSC of the latest ones, newest first; 0 = none */
    bool built;              /* memory, vCPUs and devices exist */
    bool reset_wanted;       /* done by work when its vCPUs have left the guest */
    struct sched_work work;
    struct budget budget;       /* of CPU time, all vCPUs together */
    u64 exits[EXIT_KIND_COUNT]; /* of vCPUs that are gone since the last start */
    u64 ran, waited;            /* ticks with and without a CPU, likewise */
    struct log_limit log_limit, reset_limit, wait_limit;
};

extern struct vm *vms[VM_MAX];
extern u32 vm_count;

/*
 * A VM that is absent yet: vm_start builds and runs it. config and console live on. NULL: no memory, or
 * VM_MAX reached.
 */
struct vm *vm_create(const struct vm_config *config, struct console *console);
/* Start a VM that is absent, off or stopped, anew. 0, -EALREADY, or what creation says. */
int vm_start(struct vm *vm);
struct vm *vm_find(const char *name);

/*
 * The one way for a VM to end by fault or order: a sentence. Any CPU, any context without the VM's lock;
 * vCPUs leave soon.
 */
void vm_stop(struct vm *vm, const char *format, ...) PRINTF_LIKE(2, 3);
/* The guest switched itself off. */
void vm_power_off(struct vm *vm);
/* The guest (or operator) wants its machine reset; done as soon as no vCPU is inside. why is for the log. */
void vm_request_reset(struct vm *vm, const char *why);
/* It ends or begins anew: its vCPUs get no turn any more, though the work is not done yet. Any CPU. */
static inline bool vm_is_leaving(const struct vm *vm)
{
    return READ_ONCE(vm->state) != VM_RUNNING || READ_ONCE(vm->reset_wanted);
}
/*
 * As the CPU does when a fault meets a double fault: prints state and code bytes, then resets, or stops at
 * the third within 10 s.
 */
void vm_triple_fault(struct vcpu *vcpu);

/*
 * Nothing of the VM moves until it is thawed: its vCPUs are off the CPUs with their state in memory, its
 * timers wait at this CPU, which takes no interrupt meanwhile. Boot CPU, as work, no lock held.
 */
void vm_freeze(struct vm *vm);
void vm_thaw(struct vm *vm);

/* Print registers and the bytes at RIP on the log. */
void vcpu_dump(struct vcpu *vcpu);

/*
 * Exits by kind, ticks of CPU, and ticks without one although a vCPU could have run; since the last start,
 * all vCPUs together. Boot CPU.
 */
void vm_exit_counts(const struct vm *vm, u64 counts[EXIT_KIND_COUNT]);
void vm_times(const struct vm *vm, u64 *ran, u64 *waited);

/* Called on the boot CPU after a VM has ended and given its memory back. Set once at boot. */
void vm_set_ended_hook(void (*ended)(void));

extern const struct machine_ops *machine;

#endif
