/* SPDX-License-Identifier: MIT */
/*
 * Which address space identifier a vCPU's translations are kept under, and when they are dropped. One counter
 * per CPU; pure, so that a unit test shows what no emulator does: a forgotten flush. Called by the engine on
 * the CPU itself. AMD APM 2, 15.16.
 */
#include "arch/x86/svm/svm.h"

void svm_asids_init(struct svm_asids *asids)
{
    *asids = (struct svm_asids){.next = 1, .generation = 1};
}

/*
 * Give the vCPU an ASID of this CPU's current generation. A fresh ASID has no translations, so a new one is
 * also how a vCPU's nested translations are flushed where the CPU can't flush by ASID. When they run out: a
 * new generation, and one flush of everything, by whichever vCPU is the next to enter.
 */
void svm_asid_give(struct svm_asids *asids, u32 cpu, struct svm_vcpu *svm)
{
    if (svm->asid_generation == asids->generation && svm->asid_cpu == cpu)
        return;
    if (asids->next >= svm_features.asids) {
        asids->generation++;
        asids->next = 1;
        asids->flush_due = true;
    }
    svm->asid_generation = asids->generation;
    svm->asid_cpu = cpu;
    vmcb_set_asid(svm, asids->next++);
}

void svm_asid_flush(struct svm_asids *asids, u32 cpu, struct svm_vcpu *svm)
{
    if (svm_features.flush_by_asid) {
        svm->vmcb.control.tlb_control = TLB_FLUSH_ASID;
        return;
    }
    svm->asid_generation = 0;
    svm_asid_give(asids, cpu, svm);
}

void svm_asid_enter(struct svm_asids *asids, struct svm_vcpu *svm)
{
    if (likely(!asids->flush_due))
        return;
    asids->flush_due = false;
    svm->vmcb.control.tlb_control = TLB_FLUSH_ALL;
}
