/* SPDX-License-Identifier: MIT */
/*
 * CR0, CR4 and EFER of a VMX guest: some bits VMX itself wants set or lintel keeps; the guest sees those
 * through the shadows. Intel SDM 3C, 25.6.6 (masks and shadows), 26.8 (restrictions). The current VMCS is the
 * vCPU's.
 */
#include "arch/x86/vmx/vmx.h"
#include "hv/run/vm.h"

#define QUALIFICATION_CR(q)   ((u8)((q)&0xf))
#define QUALIFICATION_TYPE(q) ((u8)((q) >> 4 & 3))
#define QUALIFICATION_GPR(q)  ((u8)((q) >> 8 & 0xf))
#define QUALIFICATION_LMSW(q) ((u16)((q) >> 16))
enum { CR_WRITE, CR_READ, CR_CLTS, CR_LMSW };

#define LMSW_BITS (CR0_PE | CR0_MP | CR0_EM | CR0_TS)
#define CR0_KNOWN \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

u64 vmx_cr0_get(void)
{
    u64 owned = vmx_features.cr0_owned;

    return (vmcs_read(VMCS_GUEST_CR0) & ~owned) | (vmcs_read(VMCS_CR0_SHADOW) & owned);
}

u64 vmx_cr4_get(void)
{
    u64 owned = vmx_features.cr4_owned;

    return (vmcs_read(VMCS_GUEST_CR4) & ~owned) | (vmcs_read(VMCS_CR4_SHADOW) & owned);
}

/* PAE paging keeps four entries in the CPU, which an entry checks as MOV CR3 does (27.3.1.6). */
static bool is_pae(u64 cr0)
{
    return (cr0 & CR0_PG) && (vmcs_read(VMCS_GUEST_CR4) & CR4_PAE) &&
           !(vmcs_read64(VMCS_GUEST_EFER) & EFER_LME);
}

/* Read them as MOV CR3 would. false: one of them is impossible. */
static bool pdptes_read(struct vcpu *vcpu, u64 entries[4])
{
    gpa_t gpa = vmcs_read(VMCS_GUEST_CR3) & BITS(31, 5);

    for (u32 i = 0; i < 4; i++)
        entries[i] = 0;
    guest_memory_read(&vcpu->vm->memory, gpa, entries, 4 * sizeof(entries[0]));
    for (u32 i = 0; i < 4; i++)
        if ((entries[i] & PTE_PRESENT) &&
            ((entries[i] & PDPTE_RESERVED) || entries[i] >> cpu_features.physical_bits))
            return false;
    return true;
}

static void pdptes_write(const u64 entries[4])
{
    for (u32 i = 0; i < 4; i++)
        vmcs_write_raw(VMCS_GUEST_PDPTE0 + 2 * i, entries[i]);
}

/* EFER.LMA follows CR0.PG and EFER.LME; so does the entry control. */
static void long_mode_update(u64 cr0, u64 efer)
{
    bool active = (cr0 & CR0_PG) && (efer & EFER_LME);
    u64 controls = vmx_features.entry;

    vmcs_write64(VMCS_GUEST_EFER, active ? efer | EFER_LMA : efer & ~EFER_LMA);
    vmcs_write32(VMCS_ENTRY_CONTROLS, active ? controls | ENTRY_CONTROL_GUEST_64 : controls);
}

static void cr0_apply(u64 value)
{
    vmcs_write(VMCS_GUEST_CR0, (value & ~(CR0_CD | CR0_NW)) | vmx_features.cr0_set | CR0_ET);
    vmcs_write(VMCS_CR0_SHADOW, value);
    long_mode_update(value, vmcs_read64(VMCS_GUEST_EFER));
}

void vmx_cr0_set(struct vcpu *vcpu, u64 value)
{
    u64 entries[4];

    cr0_apply(value);
    if (!is_pae(value))
        return;
    pdptes_read(vcpu, entries);
    pdptes_write(entries);
}

void vmx_cr4_set(u64 value)
{
    vmcs_write(VMCS_GUEST_CR4, value | vmx_features.cr4_set);
    vmcs_write(VMCS_CR4_SHADOW, value);
}

void vmx_efer_set(u64 value)
{
    long_mode_update(vmcs_read(VMCS_GUEST_CR0), value);
}

/* MOV to CR0 by the guest: what the CPU would have refused is #GP (SDM 3A, 2.5). */
static bool cr0_is_legal(u64 value)
{
    u64 efer = vmcs_read64(VMCS_GUEST_EFER), cr4 = vmcs_read(VMCS_GUEST_CR4);
    bool was_paging = vmcs_read(VMCS_GUEST_CR0) & CR0_PG;

    if (value >> 32 || ((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
        return false;
    if ((value & CR0_PG) && !was_paging && (efer & EFER_LME))
        return (cr4 & CR4_PAE) && !(vmcs_read_raw(VMCS_GUEST_RIGHTS + 2 * SEGMENT_CS) & BIT(13));
    return (value & CR0_PG) || !was_paging || !(cr4 & CR4_PCIDE);
}

static void cr0_write(struct vcpu *vcpu, struct vmexit *x, u64 value)
{
    u64 changes = value ^ vmcs_read(VMCS_GUEST_CR0), entries[4];

    if (!cr0_is_legal(value) || (is_pae(value) && !pdptes_read(vcpu, entries))) {
        vcpu_inject_fault(vcpu, VECTOR_GP, 0);
        return;
    }
    cr0_apply((value & CR0_KNOWN) | CR0_ET);
    if (is_pae(value))
        pdptes_write(entries);
    if (changes & CR0_PG)
        vmx_tlb_flush(vcpu); /* as the instruction does (SDM 3A, 4.10.4.1) */
    vcpu_skip(vcpu, x);
}

/* The guest wants a bit of CR4 that is lintel's: VMXE, which no guest has. */
static void cr4_write(struct vcpu *vcpu, struct vmexit *x, u64 value)
{
    if (value >> 32 || (value & CR4_VMXE)) {
        vcpu_inject_fault(vcpu, VECTOR_GP, 0);
        return;
    }
    vmx_cr4_set(value);
    vcpu_skip(vcpu, x);
}

/* A control-register exit: CR8 is for the dispatcher (true); CR0 and CR4 are answered here. */
bool vmx_cr_exit(struct vcpu *vcpu, struct vmexit *x)
{
    u64 qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    u64 cr0 = vmx_cr0_get();

    x->kind = EXIT_CR;
    x->cr.cr = QUALIFICATION_CR(qualification);
    x->cr.gpr = QUALIFICATION_GPR(qualification);
    x->cr.write = QUALIFICATION_TYPE(qualification) == CR_WRITE;
    if (x->cr.cr == 8)
        return true;
    switch (QUALIFICATION_TYPE(qualification)) {
    case CR_CLTS: cr0_write(vcpu, x, cr0 & ~CR0_TS); return false;
    case CR_LMSW: /* may set PE, never clear it */
        cr0_write(vcpu, x, (cr0 & ~(LMSW_BITS & ~CR0_PE)) | (QUALIFICATION_LMSW(qualification) & LMSW_BITS));
        return false;
    case CR_WRITE:
        if (x->cr.cr == 0)
            cr0_write(vcpu, x, vcpu_gpr_get(vcpu, x->cr.gpr));
        else
            cr4_write(vcpu, x, vcpu_gpr_get(vcpu, x->cr.gpr));
        return false;
    default: vcpu_inject_exception(vcpu, VECTOR_UD); return false;
    }
}
