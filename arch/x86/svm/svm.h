/* SPDX-License-Identifier: MIT */
/* What the files of the SVM engine share among themselves; nobody outside this folder includes it. */
#ifndef ARCH_X86_SVM_SVM_H
#define ARCH_X86_SVM_SVM_H

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/paging.h"
#include "arch/x86/machine/percpu.h"
#include "arch/x86/svm/vmcb.h"
#include "hv/run/engine.h"

/* CPUID 8000000A, computed once at boot. */
struct svm_features {
    u32 asids;
    bool nested_paging, next_rip, decode_assists, flush_by_asid, pause_filter, pause_threshold;
    u32 clean_mask;     /* CLEAN_ALL where the CPU looks at clean bits, else 0 */
    bool injects_twice; /* a fault of QEMU with several CPUs: event_put of inject.c */
};
extern struct svm_features svm_features;

static inline struct svm_vcpu *svm_of(const struct vcpu *vcpu)
{
    return vcpu->engine;
}

#define CPUID_SVM_LEAF 0x8000000a
#define VM_CR_SVMDIS   BIT(4) /* SVM is locked off */

/* One CPU's address space identifiers; the CPU alone. */
struct svm_asids {
    u32 next;       /* the one to be given next */
    u32 generation; /* those given in older generations are stale */
    bool flush_due; /* ... and their translations may still be in the TLB */
};

/* asid.c */
void svm_asids_init(struct svm_asids *asids);
void svm_asid_give(struct svm_asids *asids, u32 cpu, struct svm_vcpu *svm);
/* Drop the translations of this vCPU, which has an ASID of this CPU, before it enters again. */
void svm_asid_flush(struct svm_asids *asids, u32 cpu, struct svm_vcpu *svm);
/* This vCPU enters now for sure: with it whatever flush is due. */
void svm_asid_enter(struct svm_asids *asids, struct svm_vcpu *svm);

/* features.c */
int svm_decide(const struct cpuid *feature_leaf, u32 extended_max, bool svm, u64 vm_cr, char *why,
               size_t size);

/* cpu.c */
int svm_probe(char *why, size_t size);
int svm_cpu_start(void);
void svm_cpu_stop(void);
const struct nested_format *svm_nested_format(bool *pages_1g);
void svm_host_state_load(void); /* FS, GS, TR, LDTR and syscall MSRs of lintel */
void svm_asid_ensure(struct svm_vcpu *svm);
void svm_tlb_flush(struct vcpu *vcpu);
void svm_flush_due(struct svm_vcpu *svm); /* the last thing before an entry */
hpa_t svm_port_map(void);
hpa_t svm_msr_map(void);

/* clean.c: the VMCB is as the CPU left it, with these clean bits set; has it been changed under one since? */
#ifdef LINTEL_DEBUG
void svm_clean_remember(struct svm_vcpu *svm, u32 set);
void svm_clean_check(const struct svm_vcpu *svm);
#else
static inline void svm_clean_remember(struct svm_vcpu *svm, u32 set)
{
    (void)svm, (void)set;
}

static inline void svm_clean_check(const struct svm_vcpu *svm)
{
    (void)svm;
}
#endif

/* vcpu.c */
int svm_vcpu_create(struct vcpu *vcpu);
void svm_vcpu_destroy(struct vcpu *vcpu);
void svm_vcpu_load(struct vcpu *vcpu);
void svm_vcpu_put(struct vcpu *vcpu);
void svm_vcpu_run(struct vcpu *vcpu);
u64 svm_register_get(struct vcpu *vcpu, enum vcpu_register which);
void svm_register_set(struct vcpu *vcpu, enum vcpu_register which, u64 value);
void svm_state_get(struct vcpu *vcpu, struct vcpu_state *state);
int svm_state_set(struct vcpu *vcpu, const struct vcpu_state *state);
void svm_segment_get(struct vcpu *vcpu, enum segment which, struct vcpu_segment *segment);
void svm_paging_get(struct vcpu *vcpu, struct guest_paging *paging);
void svm_tsc_offset_changed(struct vcpu *vcpu);

static inline hpa_t svm_vmcb_hpa(const struct svm_vcpu *svm)
{
    return virt_to_phys(&svm->vmcb);
}

/* What a walk of the guest's page tables starts from. */
static inline void svm_paging_fill(const struct vmcb *vmcb, struct guest_paging *paging)
{
    paging->cr0 = vmcb->save.cr0;
    paging->cr3 = vmcb->save.cr3;
    paging->cr4 = vmcb->save.cr4;
    paging->efer = vmcb->save.efer;
    paging->rflags = vmcb->save.rflags;
    paging->cpl = vmcb->save.cpl;
    paging->code_64 = (vmcb->save.cs.attributes & SEGMENT_LONG) && (paging->efer & EFER_LMA);
}

/* exit_light.c */
u32 svm_handle_light(struct vcpu *vcpu);

/* exit.c */
void svm_handle_exit(struct vcpu *vcpu);
bool svm_prepare_entry(struct vcpu *vcpu);

/* inject.c */
void svm_inject(struct vcpu *vcpu, const struct vcpu_event *event);
bool svm_event_pending(const struct vcpu *vcpu, struct vcpu_event *event);
bool svm_interrupt_allowed(const struct vcpu *vcpu);
bool svm_nmi_allowed(const struct vcpu *vcpu);
void svm_interrupt_window(struct vcpu *vcpu, bool wanted);
void svm_nmi_window(struct vcpu *vcpu);
void svm_redeliver(struct svm_vcpu *svm);
void svm_iret_exit(struct svm_vcpu *svm);
bool svm_step_exit(struct svm_vcpu *svm);

/* world_switch.asm */
void svm_enter_guest(struct vcpu *vcpu, hpa_t vmcb);

#endif
