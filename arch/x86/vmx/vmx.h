/* SPDX-License-Identifier: MIT */
/* What the files of the VMX engine share among themselves; nobody outside this folder includes it. */
#ifndef ARCH_X86_VMX_VMX_H
#define ARCH_X86_VMX_VMX_H

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/paging.h"
#include "arch/x86/machine/percpu.h"
#include "arch/x86/vmx/vmcs.h"
#include "hv/run/engine.h"

#define FEATURE_CONTROL_LOCKED BIT(0)
#define FEATURE_CONTROL_VMX    BIT(2) /* outside SMX */

/* The capability MSRs (SDM 3D, appendix A) that decide. */
struct vmx_capabilities {
    u64 basic, feature_control;
    u64 pin, processor, processor2, exit, entry; /* allowed-0 in the low half, allowed-1 in the high half */
    u64 misc, ept_vpid;
    u64 cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    bool vmx; /* CPUID 1 ECX bit 5 */
};

/* What follows from them, computed once at boot. */
struct vmx_features {
    u32 revision;
    u32 pin, processor, processor2, exit, entry; /* the controls lintel uses */
    u64 ept_flags;                               /* of the EPT pointer */
    u8 timer_shift;                              /* TSC ticks to those of the preemption timer */
    bool pages_1g, vpid, invept_single, invvpid_single, pause_loop;
    bool tpr_shadow, apic_registers; /* of a virtual local APIC; what else there is for it is left off: */
    bool interrupt_delivery, posted_interrupts;
    bool must_lock;           /* IA32_FEATURE_CONTROL is open: lintel sets and locks it */
    u64 cr0_owned, cr4_owned; /* bits the guest sees through the shadow */
    u64 cr0_set, cr4_set;     /* bits VMX operation wants set */
};
extern struct vmx_features vmx_features;

/* The engine's part of a vCPU. */
struct vmx_vcpu {
    void *vmcs;
    u16 vpid;
    bool launched;               /* VMRESUME, not VMLAUNCH */
    u32 cpu;                     /* where it ran last, or CPU_NONE: its translations elsewhere are stale */
    bool nmis_open;              /* seen so, and no NMI was delivered since */
    bool loaded;                 /* DR6, CR2 and the syscall MSRs are on the CPU */
    u32 processor;               /* PROCESSOR_CONTROLS as the VMCS has them */
    u8 tpr_threshold, apic_mode; /* as the VMCS has them */
    u64 dr6, cr2;
    u64 star, lstar, cstar, sfmask, kernel_gs_base;
};

static inline struct vmx_vcpu *vmx_of(const struct vcpu *vcpu)
{
    return vcpu->engine;
}

/* features.c */
int vmx_decide(const struct vmx_capabilities *capabilities, char *why, size_t size);

/* cpu.c */
int vmx_probe(char *why, size_t size);
int vmx_cpu_start(void);
void vmx_cpu_stop(void);
const struct nested_format *vmx_nested_format(bool *pages_1g);
void vmx_tlb_flush(struct vcpu *vcpu);
hpa_t vmx_msr_map(bool x2apic);
/* Make this vCPU's VMCS the CPU's current one; returns what was. */
void *vmx_select(const struct vmx_vcpu *vmx);
/*
 * Back to what vmx_select returned. The VMCS of a vCPU that is not loaded goes back into memory whole, since
 * another CPU may be the next to load it.
 */
void vmx_select_back(void *previous);

/*
 * The same around a few accesses. A loaded vCPU's VMCS is the current one already: nobody leaves another one
 * selected. Each enter is followed by its leave.
 */
#define VMCS_NOT_SWITCHED ((void *)~0ull)
static inline void *vmx_enter_vmcs(const struct vmx_vcpu *vmx)
{
    return likely(vmx->loaded) ? VMCS_NOT_SWITCHED : vmx_select(vmx);
}

static inline void vmx_leave_vmcs(void *previous)
{
    if (unlikely(previous != VMCS_NOT_SWITCHED))
        vmx_select_back(previous);
}

void vmx_forget(struct vmx_vcpu *vmx); /* VMCLEAR: the VMCS is in memory whole */
u16 vmx_vpid_of(const struct vcpu *vcpu);
void vmx_host_state_write(void);

/* vcpu.c */
int vmx_vcpu_create(struct vcpu *vcpu);
void vmx_vcpu_destroy(struct vcpu *vcpu);
void vmx_vcpu_load(struct vcpu *vcpu);
void vmx_vcpu_put(struct vcpu *vcpu);
void vmx_vcpu_run(struct vcpu *vcpu);
u64 vmx_register_get(struct vcpu *vcpu, enum vcpu_register which);
void vmx_register_set(struct vcpu *vcpu, enum vcpu_register which, u64 value);
void vmx_state_get(struct vcpu *vcpu, struct vcpu_state *state);
int vmx_state_set(struct vcpu *vcpu, const struct vcpu_state *state);
void vmx_segment_get(struct vcpu *vcpu, enum segment which, struct vcpu_segment *segment);
void vmx_paging_get(struct vcpu *vcpu, struct guest_paging *paging);
void vmx_tsc_offset_changed(struct vcpu *vcpu);

/* control_registers.c */
void vmx_cr0_set(struct vcpu *vcpu, u64 value);
void vmx_cr4_set(u64 value);
u64 vmx_cr0_get(void);
u64 vmx_cr4_get(void);
void vmx_efer_set(u64 value);
bool vmx_cr_exit(struct vcpu *vcpu, struct vmexit *x);

/* exit_light.c */
u32 vmx_handle_light(struct vcpu *vcpu);

/* exit.c */
void vmx_handle_exit(struct vcpu *vcpu);
bool vmx_wrap_rip(struct vcpu *vcpu);
bool vmx_prepare_entry(struct vcpu *vcpu);
void vmx_entry_failed(struct vcpu *vcpu);

/* entry_checks.c */
const char *vmx_explain_entry(u32 reason);
const char *vmx_explain_error(u32 error);

/* inject.c */
void vmx_inject(struct vcpu *vcpu, const struct vcpu_event *event);
bool vmx_event_pending(const struct vcpu *vcpu, struct vcpu_event *event);
bool vmx_interrupt_allowed(const struct vcpu *vcpu);
bool vmx_nmi_allowed(const struct vcpu *vcpu);
void vmx_interrupt_window(struct vcpu *vcpu, bool wanted);
void vmx_nmi_window(struct vcpu *vcpu);
void vmx_nmi_window_close(struct vcpu *vcpu);
void vmx_redeliver(void);
void vmx_redeliver_int1(void);
void vmx_mask_nmis_again(void);
u32 vmx_blocking(struct vmx_vcpu *vmx);

/* virtual_apic.c */
int vmx_apic_create(struct vcpu *vcpu); /* 0 or -ENOMEM */
void vmx_apic_destroy(struct vcpu *vcpu);
void vmx_apic_init(const struct vcpu *vcpu);
void vmx_apic_update(struct vcpu *vcpu);
void vmx_apic_decode_write(struct vmexit *x);
void vmx_apic_decode_access(struct vmexit *x);

/* world_switch.asm */
void vmx_enter_guest(struct vcpu *vcpu, u64 launched);
void vmx_exit_entry(void);

#endif
