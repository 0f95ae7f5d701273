/* SPDX-License-Identifier: MIT */
/*
 * What the CPU does of the local APIC's work: the TPR shadow, and APIC-register virtualisation, as a window
 * and as MSRs. Interrupts are lintel's: virtual-interrupt delivery and posted interrupts are left off
 * (docs/caveats.md). The vCPU's own CPU; its VMCS is current but for creation and end. Intel SDM 3C, 30.
 */
#include "arch/x86/vmx/vmx.h"
#include "hv/lib/errno.h"
#include "hv/run/vm.h"

/* Exit qualification of an access to the window (table 28-6). */
#define ACCESS_OFFSET  BITS(11, 0)
#define ACCESS_TYPE(q) ((q) >> 12 & 0xf)
enum { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };

/* The first vCPU makes the page that stands for the window of all of them. */
static void *window_page(struct vcpu *vcpu)
{
    if (vcpu->index)
        return vcpu->vm->vcpus[0]->apic.window;
    return memory_alloc(PAGE_SIZE, frame_owner_support(vcpu->vm->index));
}

int vmx_apic_create(struct vcpu *vcpu)
{
    struct vcpu_apic *apic = &vcpu->apic;

    if (!vmx_features.tpr_shadow)
        return 0;
    apic->page = memory_alloc(PAGE_SIZE, frame_owner_support(vcpu->vm->index));
    if (!apic->page)
        return -ENOMEM;
    if (!vmx_features.apic_registers)
        return 0;
    apic->window = window_page(vcpu);
    if (apic->window)
        return 0;
    vmx_apic_destroy(vcpu);
    return -ENOMEM;
}

void vmx_apic_destroy(struct vcpu *vcpu)
{
    frame_owner_t owner = frame_owner_support(vcpu->vm->index);
    struct vcpu_apic *apic = &vcpu->apic;

    if (apic->window && vcpu->index == 0)
        memory_free(apic->window, PAGE_SIZE, owner);
    if (apic->page)
        memory_free(apic->page, PAGE_SIZE, owner);
    *apic = (struct vcpu_apic){.page = NULL};
}

void vmx_apic_init(const struct vcpu *vcpu)
{
    if (vcpu->apic.page) {
        vmcs_write64(VMCS_VIRTUAL_APIC, virt_to_phys(vcpu->apic.page));
        vmcs_write32(VMCS_TPR_THRESHOLD, 0);
    }
    if (vcpu->apic.window)
        vmcs_write64(VMCS_APIC_ACCESS, virt_to_phys(vcpu->apic.window));
}

/* Controls and bitmap of each way to the registers; window and MSRs exclude each other (27.2.1.1). */
static void mode_write(struct vcpu *vcpu, u8 mode)
{
    static const u32 controls[] = {
        [VCPU_APIC_PLAIN] = 0,
        [VCPU_APIC_WINDOW_MODE] = PROC2_APIC_ACCESSES | PROC2_APIC_REGISTERS,
        [VCPU_APIC_MSR_MODE] = PROC2_X2APIC | PROC2_APIC_REGISTERS,
    };

    struct vmx_vcpu *vmx = vmx_of(vcpu);

    vmx->apic_mode = mode;
    vmcs_write32(VMCS_PROCESSOR_CONTROLS2, vmx_features.processor2 | controls[mode]);
    vmcs_write64(VMCS_MSR_BITMAP, vmx_msr_map(mode == VCPU_APIC_MSR_MODE));
    /* Translations remember whether they lead to the window (29.4.3.3), on the CPU that runs the vCPU. */
    if (vmx->loaded)
        vmx_tlb_flush(vcpu);
    else
        vcpu_request(vcpu, REQUEST_FLUSH);
}

/*
 * Carry the local APIC's wishes to the VMCS, behind each look at its interrupts. The threshold is never above
 * TPR, as an entry would refuse that (27.2.1.1); without the TPR shadow TPR falls by exits alone.
 */
void vmx_apic_update(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    const struct vcpu_apic *apic = &vcpu->apic;

    if (apic->page && vmx->tpr_threshold != apic->tpr_threshold) {
        vmx->tpr_threshold = apic->tpr_threshold;
        vmcs_write32(VMCS_TPR_THRESHOLD, vmx->tpr_threshold);
    }
    if (unlikely(apic->window && vmx->apic_mode != apic->mode))
        mode_write(vcpu, apic->mode);
}

/* The window's page was written, and RIP is behind the instruction (30.4.3.2). */
void vmx_apic_decode_write(struct vmexit *x)
{
    x->kind = EXIT_APIC_WRITE;
    x->length = 0;
    x->apic.offset = (u16)(vmcs_read(VMCS_EXIT_QUALIFICATION) & ACCESS_OFFSET);
}

/* An access that the CPU leaves to lintel: as if nothing were mapped there. */
void vmx_apic_decode_access(struct vmexit *x)
{
    u64 qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);

    x->kind = EXIT_NESTED_FAULT;
    x->length = 0;
    x->fault.gpa = VCPU_APIC_WINDOW | (qualification & ACCESS_OFFSET);
    x->fault.access = (ACCESS_TYPE(qualification) == ACCESS_WRITE ? FAULT_WRITE : 0) |
                      (ACCESS_TYPE(qualification) == ACCESS_FETCH ? FAULT_FETCH : 0);
}
