/* SPDX-License-Identifier: MIT */
/*
 * All that a vCPU is, in one structure of fixed layout: for the monitor, for the proof that a reset forgets
 * everything, for snapshots to come. docs/state.md is its manual: each field, and which values are refused. A
 * change of any kind is a new VCPU_SNAPSHOT_VERSION. Little endian; times are the guest's TSC.
 */
#ifndef HV_RUN_VCPU_SNAPSHOT_H
#define HV_RUN_VCPU_SNAPSHOT_H

#include "hv/run/vcpu.h"

#define VCPU_SNAPSHOT_VERSION 1
#define SNAPSHOT_NEVER        (~0ull) /* timer_expiry: not set */

/* struct power (power.h). */
struct snapshot_power {
    u8 state, resume, due, off;
    u8 masked, at_entry, reserved[2];
    u32 where, argument;
};

/* MSRs that neither engine nor local APIC keeps. */
struct snapshot_msrs {
    u64 tsc_adjust, mtrr_default, hwcr;
    u64 kvm_system_time, kvm_wall_clock, steal_record;
};

struct snapshot_lapic {
    u32 irr[8], isr[8], tmr[8];
    u64 base; /* the MSR APIC_BASE */
    u64 icr;
    u32 id, tpr, svr;
    u32 logical_id, destination_format;
    u32 error, error_pending; /* ESR as read, and what the next write shows */
    u32 lvt[6];
    u32 divide, initial_count;
    u32 extint;                     /* an ExtINT message waits */
    u64 timer_start, timer_period;  /* the period that runs: since when; how many ticks of the TSC */
    u64 timer_expiry, tsc_deadline; /* the next interrupt; the MSR as written */
};

struct vcpu_snapshot {
    u32 version, bytes; /* of all, XSAVE area included */
    u64 gpr[GPR_COUNT]; /* RSP among them, as enum gpr numbers them */
    u64 rip, rflags;
    u64 cr0, cr2, cr3, cr4; /* CR8 is TPR >> 4 */
    u64 dr0, dr1, dr2, dr3, dr6, dr7;
    struct vcpu_segment segments[SEGMENT_COUNT];
    struct {
        u64 base;
        u32 limit, reserved;
    } gdtr, idtr;
    u64 efer, star, lstar, cstar, sfmask, kernel_gs_base;
    u64 sysenter_cs, sysenter_esp, sysenter_eip;
    u64 pat, xcr0, tsc_aux;
    u64 tsc_offset; /* guest's TSC - the boot CPU's */
    u64 pending_debug;
    u8 event_type, event_vector, event_has_error; /* enum event_type */
    u8 shadow;                                    /* enum vcpu_shadow */
    u32 event_error;
    u8 nmi_blocked, nmi_pending, reserved[6];
    struct snapshot_power power;
    struct snapshot_msrs msrs;
    struct snapshot_lapic lapic;
    u8 reserved_end[40];
    u8 xsave[] ALIGNED(64); /* as this CPU's XSAVE writes it, fpu_area_bytes() */
};

#define SNAPSHOT_AT(member, at) \
    _Static_assert(offsetof(struct vcpu_snapshot, member) == (at), "docs/state.md, version 1")
SNAPSHOT_AT(version, 0x0);
SNAPSHOT_AT(bytes, 0x4);
SNAPSHOT_AT(gpr, 0x8);
SNAPSHOT_AT(rip, 0x88);
SNAPSHOT_AT(rflags, 0x90);
SNAPSHOT_AT(cr0, 0x98);
SNAPSHOT_AT(cr2, 0xa0);
SNAPSHOT_AT(cr3, 0xa8);
SNAPSHOT_AT(cr4, 0xb0);
SNAPSHOT_AT(dr0, 0xb8);
SNAPSHOT_AT(dr1, 0xc0);
SNAPSHOT_AT(dr2, 0xc8);
SNAPSHOT_AT(dr3, 0xd0);
SNAPSHOT_AT(dr6, 0xd8);
SNAPSHOT_AT(dr7, 0xe0);
SNAPSHOT_AT(segments, 0xe8);
SNAPSHOT_AT(gdtr, 0x168);
SNAPSHOT_AT(idtr, 0x178);
SNAPSHOT_AT(efer, 0x188);
SNAPSHOT_AT(star, 0x190);
SNAPSHOT_AT(lstar, 0x198);
SNAPSHOT_AT(cstar, 0x1a0);
SNAPSHOT_AT(sfmask, 0x1a8);
SNAPSHOT_AT(kernel_gs_base, 0x1b0);
SNAPSHOT_AT(sysenter_cs, 0x1b8);
SNAPSHOT_AT(sysenter_esp, 0x1c0);
SNAPSHOT_AT(sysenter_eip, 0x1c8);
SNAPSHOT_AT(pat, 0x1d0);
SNAPSHOT_AT(xcr0, 0x1d8);
SNAPSHOT_AT(tsc_aux, 0x1e0);
SNAPSHOT_AT(tsc_offset, 0x1e8);
SNAPSHOT_AT(pending_debug, 0x1f0);
SNAPSHOT_AT(event_type, 0x1f8);
SNAPSHOT_AT(event_vector, 0x1f9);
SNAPSHOT_AT(event_has_error, 0x1fa);
SNAPSHOT_AT(shadow, 0x1fb);
SNAPSHOT_AT(event_error, 0x1fc);
SNAPSHOT_AT(nmi_blocked, 0x200);
SNAPSHOT_AT(nmi_pending, 0x201);
SNAPSHOT_AT(reserved, 0x202);
SNAPSHOT_AT(power.state, 0x208);
SNAPSHOT_AT(power.resume, 0x209);
SNAPSHOT_AT(power.due, 0x20a);
SNAPSHOT_AT(power.off, 0x20b);
SNAPSHOT_AT(power.masked, 0x20c);
SNAPSHOT_AT(power.at_entry, 0x20d);
SNAPSHOT_AT(power.reserved, 0x20e);
SNAPSHOT_AT(power.where, 0x210);
SNAPSHOT_AT(power.argument, 0x214);
SNAPSHOT_AT(msrs.tsc_adjust, 0x218);
SNAPSHOT_AT(msrs.mtrr_default, 0x220);
SNAPSHOT_AT(msrs.hwcr, 0x228);
SNAPSHOT_AT(msrs.kvm_system_time, 0x230);
SNAPSHOT_AT(msrs.kvm_wall_clock, 0x238);
SNAPSHOT_AT(msrs.steal_record, 0x240);
SNAPSHOT_AT(lapic.irr, 0x248);
SNAPSHOT_AT(lapic.isr, 0x268);
SNAPSHOT_AT(lapic.tmr, 0x288);
SNAPSHOT_AT(lapic.base, 0x2a8);
SNAPSHOT_AT(lapic.icr, 0x2b0);
SNAPSHOT_AT(lapic.id, 0x2b8);
SNAPSHOT_AT(lapic.tpr, 0x2bc);
SNAPSHOT_AT(lapic.svr, 0x2c0);
SNAPSHOT_AT(lapic.logical_id, 0x2c4);
SNAPSHOT_AT(lapic.destination_format, 0x2c8);
SNAPSHOT_AT(lapic.error, 0x2cc);
SNAPSHOT_AT(lapic.error_pending, 0x2d0);
SNAPSHOT_AT(lapic.lvt, 0x2d4);
SNAPSHOT_AT(lapic.divide, 0x2ec);
SNAPSHOT_AT(lapic.initial_count, 0x2f0);
SNAPSHOT_AT(lapic.extint, 0x2f4);
SNAPSHOT_AT(lapic.timer_start, 0x2f8);
SNAPSHOT_AT(lapic.timer_period, 0x300);
SNAPSHOT_AT(lapic.timer_expiry, 0x308);
SNAPSHOT_AT(lapic.tsc_deadline, 0x310);
SNAPSHOT_AT(reserved_end, 0x318);
SNAPSHOT_AT(xsave, 0x340);
#undef SNAPSHOT_AT

/* Bytes of a snapshot on this machine. */
u64 vcpu_snapshot_bytes(void);

/*
 * The vCPU has no turn and its state is in memory: its VM is frozen (vm_freeze), or has not begun. Read fills
 * every byte. Set takes all of it or nothing: -EINVAL for what can't be, also for what this machine or this
 * VM does not have; what it holds in guest memory (kvm-clock's page) follows. A snapshot that was read here
 * is set without anybody noticing.
 */
void vcpu_snapshot_read(struct vcpu *vcpu, struct vcpu_snapshot *snapshot);
int vcpu_snapshot_set(struct vcpu *vcpu, const struct vcpu_snapshot *snapshot);

#endif
