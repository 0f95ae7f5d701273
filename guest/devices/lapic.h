/* SPDX-License-Identifier: MIT */
/*
 * The local APIC of one vCPU, as xAPIC by MMIO and as x2APIC by MSRs. Registers are handled on the vCPU's
 * own CPU; interrupts arrive from any. Each has its own lock (RANK_LAPIC), never two at once. AMD APM 2, 16;
 * Intel SDM 3A, 11 (x2APIC, TSC deadline).
 */
#ifndef GUEST_DEVICES_LAPIC_H
#define GUEST_DEVICES_LAPIC_H

#include "guest/devices/clock.h"
#include "hv/lib/lock.h"
#include "hv/run/timer.h"

#define LAPIC_TIMER_HZ  1000000000ull /* before the divider */
#define LAPIC_BROADCAST 0xffffffffu

struct machine;
struct snapshot_lapic;
struct vcpu;
struct vm;
struct vmexit;

enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

/* 256 bits and which of the eight words hold any: finding the highest is two bit scans. */
struct lapic_vectors {
    u32 words[8];
    u8 summary;
    u32 *shown; /* the same register in vcpu->apic.page; NULL: there is none */
};

struct lapic {
    struct vcpu *vcpu;
    struct spinlock lock; /* RANK_LAPIC: everything below */
    struct lapic_vectors irr, isr, tmr;
    u64 base; /* the MSR */
    u32 id;
    u32 *tpr; /* in vcpu->apic.page, if there is one: its second owner is the CPU with the guest inside */
    u32 own_tpr;
    u32 svr, logical_id, destination_format;
    u32 error, error_pending; /* ESR as read, and what the next write shows */
    u64 icr;
    u32 lvt[LVT_COUNT];
    bool lint[2]; /* levels of the pins */
    bool extint;  /* an ExtINT message waits */

    struct timer timer;
    struct device_clock clock;
    u32 divide; /* register */
    u32 initial_count;
    u64 timer_start;  /* TSC at which the current period began */
    u64 timer_period; /* TSC ticks; 0: stopped */
    u64 deadline;     /* guest TSC; 0: not armed */
    u64 expiry;       /* host TSC the timer is set to, TIMER_NEVER: not set */
};

/* ICR's and redirection entries' encoding. */
enum lapic_delivery {
    LAPIC_FIXED = 0,
    LAPIC_LOWEST = 1,
    LAPIC_SMI = 2,
    LAPIC_NMI = 4,
    LAPIC_INIT = 5,
    LAPIC_STARTUP = 6,
    LAPIC_EXTINT = 7,
};

struct lapic_message {
    u32 destination; /* LAPIC_BROADCAST: all */
    bool logical;
    bool level;
    u8 mode; /* enum lapic_delivery */
    u8 vector;
    const struct vcpu *sender; /* NULL: no vCPU */
};

/* Bind to the vCPU (sets vcpu->lapic), state as after power-on. The vCPU's CPU is known. */
void lapic_init(struct lapic *lapic, struct vcpu *vcpu);
/*
 * Power-on state again; cancels the timer, so it also comes before the memory goes. The vCPU is not in the
 * guest.
 */
void lapic_reset(struct lapic *lapic);
/* What an INIT does: as reset, but keeps ID and base. The vCPU's own CPU. */
void lapic_init_received(struct lapic *lapic);
/* The MMIO range of all the VM's local APICs; once per VM. 0 or what the bus says. */
int lapic_register_mmio(struct machine *machine);

/*
 * Send to whom it concerns; returns how many took it. Any CPU; device lock may be held, no local APIC's
 * lock.
 */
unsigned lapic_deliver(struct vm *vm, const struct lapic_message *message);
/* LINT0 (pin 0: the PIC) or LINT1 changes level. Any CPU; device lock may be held. */
void lapic_set_lint(struct vcpu *vcpu, unsigned pin, bool level);

/*
 * For machine_ops. Highest deliverable vector, -1 for none (sets apic.tpr_threshold); taking it. Own CPU, no
 * lock held.
 */
int lapic_interrupt_pending(struct vcpu *vcpu);
int lapic_interrupt_accept(struct vcpu *vcpu);

/*
 * The exit's handler: the CPU has carried out a write to the window in vcpu->apic.page. As
 * lapic_mmio_write of what stands there.
 */
void lapic_page_written(struct vcpu *vcpu, struct vmexit *x);

/* CR8 = TPR >> 4. set: the caller has checked that value <= 15. Own CPU. */
u64 lapic_get_cr8(struct vcpu *vcpu);
void lapic_set_cr8(struct vcpu *vcpu, u64 value);

/* Handlers for struct msr_range. Negative: #GP. */
int lapic_base_read(struct vcpu *vcpu, u32 msr, u64 *value); /* 0x1b */
int lapic_base_write(struct vcpu *vcpu, u32 msr, u64 value);
int lapic_deadline_read(struct vcpu *vcpu, u32 msr, u64 *value); /* 0x6e0 */
int lapic_deadline_write(struct vcpu *vcpu, u32 msr, u64 value);
int lapic_msr_read(struct vcpu *vcpu, u32 msr, u64 *value); /* 0x800 .. 0x8ff */
int lapic_msr_write(struct vcpu *vcpu, u32 msr, u64 value);

/*
 * Its part of a vCPU's snapshot; times by tsc_offset. The VM is frozen, no lock held. set: what is_possible
 * agreed to. lapic_snapshot.c
 */
void lapic_snapshot_read(struct lapic *lapic, u64 tsc_offset, struct snapshot_lapic *snapshot);
bool lapic_snapshot_is_possible(const struct lapic *lapic, u64 tsc_offset,
                                const struct snapshot_lapic *snapshot);
void lapic_snapshot_set(struct lapic *lapic, u64 tsc_offset, const struct snapshot_lapic *snapshot);

/* The vCPU comes to another CPU, whose timer queue this is. No lock held. */
void lapic_timer_move(struct vcpu *vcpu, struct timer_queue *queue);
/* The guest's TSC jumped: a deadline must be looked at anew. Own CPU. */
void lapic_tsc_offset_changed(struct vcpu *vcpu);
/* Base MSR bit 11: CPUID's APIC bit follows it. Own CPU. */
bool lapic_is_enabled(const struct vcpu *vcpu);

#endif
