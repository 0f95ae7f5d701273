/* SPDX-License-Identifier: MIT */
/*
 * VMX on a physical CPU: can it, switch it on and off, which VMCS is current, what an exit must bring back,
 * and the flushing of nested translations. Intel SDM 3C, 24.7 (VMXON), 25.11 (VMCS pointers), 29.4 (caching
 * translations).
 */
#include "arch/x86/machine/descriptors.h"
#include "arch/x86/vmx/vmx.h"
#include "hv/lib/errno.h"
#include "hv/lib/log.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/run/vm.h"

#define MSR_FEATURE_CONTROL 0x3a
#define MSR_VMX_BASIC       0x480
#define MSR_VMX_PIN         0x481
#define MSR_VMX_MISC        0x485
#define MSR_VMX_CR0_FIXED0  0x486
#define MSR_VMX_CR0_FIXED1  0x487
#define MSR_VMX_CR4_FIXED0  0x488
#define MSR_VMX_CR4_FIXED1  0x489
#define MSR_VMX_PROCESSOR2  0x48b
#define MSR_VMX_EPT_VPID    0x48c
#define MSR_VMX_TRUE_PIN    0x48d
#define BASIC_TRUE_CONTROLS BIT(55)
#define PROCESSOR_SECONDARY BIT(63) /* bit 31 of what may be 1 */
#define PROCESSOR2_EPT_VPID (BIT(33) | BIT(37))

#define MSR_MAP_BYTES  0x1000
#define MSR_MAP_HIGH   0x400 /* read bits of c0000000; the write bits stand 0x800 behind */
#define MSR_MAP_WRITES 0x800

#define EPT_ACCESSED BIT(8) /* both set beforehand, as with AMD; ignored by CPUs without them (29.3.5) */
#define EPT_DIRTY    BIT(9)

/* An entry's rights and its memory type, write-back; SDM 3C, table 29-6 and 29.3.7. */
const struct nested_format nested_format_intel = {
    .table = BIT(0) | BIT(1) | BIT(2) | EPT_ACCESSED,
    .read = BIT(0) | 6ull << 3 | EPT_ACCESSED,
    .write = BIT(1) | EPT_DIRTY,
    .execute = BIT(2),
    .no_execute = 0,
    .large = BIT(7),
    .present = BIT(0) | BIT(1) | BIT(2),
    .levels = 4,
};

/* One per CPU; own CPU alone. */
static struct vmx_cpu {
    u8 region[PAGE_SIZE] ALIGNED(PAGE_SIZE); /* of VMXON */
    void *current;                           /* the VMCS that VMREAD reads */
} * vmx_cpus[CPU_MAX];
static u8 msr_maps[2][MSR_MAP_BYTES] ALIGNED(PAGE_SIZE); /* the second lets registers of an x2APIC pass */

/* MSRs that belong to the guest while its vCPU is loaded, or that the CPU switches itself. */
static const u32 passed_msrs[] = {
    0x174,      /* SYSENTER_CS */
    0x175,      /* SYSENTER_ESP */
    0x176,      /* SYSENTER_EIP */
    0xc0000081, /* STAR */
    0xc0000082, /* LSTAR */
    0xc0000083, /* CSTAR */
    0xc0000084, /* SFMASK */
    0xc0000100, /* FS base */
    0xc0000101, /* GS base */
    0xc0000102, /* kernel GS base */
};

/* What of an x2APIC is read from the vCPU's page; TPR is written, too. Others exit: #GP, or not kept. */
#define MSR_X2APIC_TPR 0x808
static const struct {
    u32 first, last;
} x2apic_msrs[] = {
    {0x802, 0x803},                   /* ID, version */
    {MSR_X2APIC_TPR, MSR_X2APIC_TPR}, /* */
    {0x80d, 0x80d},                   /* logical ID */
    {0x80f, 0x828},                   /* spurious vector, ISR, TMR, IRR, errors */
    {0x832, 0x838},                   /* LVT, initial count */
    {0x83e, 0x83e},                   /* divider */
};

static void msr_pass(u8 *map, u32 msr)
{
    u32 at = (msr >= 0xc0000000 ? MSR_MAP_HIGH * 8 : 0) + (msr & 0x1fff);

    map[at / 8] &= (u8) ~(1u << (at % 8));
}

static void msr_maps_build(void)
{
    memset(msr_maps, 0xff, sizeof(msr_maps));
    for (unsigned map = 0; map < ARRAY_SIZE(msr_maps); map++)
        for (size_t i = 0; i < ARRAY_SIZE(passed_msrs); i++) {
            msr_pass(msr_maps[map], passed_msrs[i]);
            msr_pass(msr_maps[map] + MSR_MAP_WRITES, passed_msrs[i]);
        }
    for (size_t i = 0; i < ARRAY_SIZE(x2apic_msrs); i++)
        for (u32 msr = x2apic_msrs[i].first; msr <= x2apic_msrs[i].last; msr++)
            msr_pass(msr_maps[1], msr);
    msr_pass(msr_maps[1] + MSR_MAP_WRITES, MSR_X2APIC_TPR);
}

hpa_t vmx_msr_map(bool x2apic)
{
    return virt_to_phys(msr_maps[x2apic]);
}

static u64 capability(u32 msr)
{
    u64 value = 0;

    return rdmsr_safe(msr, &value) ? 0 : value;
}

static void capabilities_read(struct vmx_capabilities *c)
{
    c->vmx = cpu_features.vmx;
    if (!c->vmx)
        return;
    c->basic = capability(MSR_VMX_BASIC);
    c->feature_control = capability(MSR_FEATURE_CONTROL);
    u32 first = c->basic & BASIC_TRUE_CONTROLS ? MSR_VMX_TRUE_PIN : MSR_VMX_PIN;
    c->pin = capability(first);
    c->processor = capability(first + 1);
    c->exit = capability(first + 2);
    c->entry = capability(first + 3);
    if (c->processor & PROCESSOR_SECONDARY)
        c->processor2 = capability(MSR_VMX_PROCESSOR2);
    if (c->processor2 & PROCESSOR2_EPT_VPID)
        c->ept_vpid = capability(MSR_VMX_EPT_VPID);
    c->misc = capability(MSR_VMX_MISC);
    c->cr0_fixed0 = capability(MSR_VMX_CR0_FIXED0);
    c->cr0_fixed1 = capability(MSR_VMX_CR0_FIXED1);
    c->cr4_fixed0 = capability(MSR_VMX_CR4_FIXED0);
    c->cr4_fixed1 = capability(MSR_VMX_CR4_FIXED1);
}

static const char *yes_no(bool value)
{
    return value ? "yes" : "no";
}

int vmx_probe(char *why, size_t size)
{
    struct vmx_capabilities capabilities = {0};
    int error;

    capabilities_read(&capabilities);
    error = vmx_decide(&capabilities, why, size);
    if (error)
        return error;
    msr_maps_build();
    log_info("VMX: revision %#x, 1 GiB pages %s, VPID %s, PAUSE-loop exiting %s, feature control %s",
             vmx_features.revision, yes_no(vmx_features.pages_1g), yes_no(vmx_features.vpid),
             yes_no(vmx_features.pause_loop),
             vmx_features.must_lock ? "set by lintel" : "set by the firmware");
    log_info("VMX: TPR shadow %s, APIC-register virtualisation %s; found but not used: virtual-interrupt "
             "delivery %s, posted interrupts %s",
             yes_no(vmx_features.tpr_shadow), yes_no(vmx_features.apic_registers),
             yes_no(vmx_features.interrupt_delivery), yes_no(vmx_features.posted_interrupts));
    return 0;
}

const struct nested_format *vmx_nested_format(bool *pages_1g)
{
    *pages_1g = vmx_features.pages_1g;
    return &nested_format_intel;
}

/* The boot CPU's has been looked at by vmx_probe; each CPU has one of its own, locked or not. */
static bool feature_control_open(void)
{
    u64 control = capability(MSR_FEATURE_CONTROL);

    if (!(control & FEATURE_CONTROL_LOCKED)) {
        wrmsr(MSR_FEATURE_CONTROL, control | FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX);
        return true;
    }
    if (control & FEATURE_CONTROL_VMX)
        return true;
    log_warning("CPU %u: VMX is locked off, unlike on the boot CPU (IA32_FEATURE_CONTROL is %#llx)",
                cpu_this()->index, (unsigned long long)control);
    return false;
}

int vmx_cpu_start(void)
{
    struct vmx_cpu *cpu = memory_alloc(sizeof(*cpu), FRAME_OWNER_HYPERVISOR);
    hpa_t region;
    bool failed;

    if (!cpu) {
        log_warning("CPU %u: no memory is left for VMX's page", cpu_this()->index);
        return -ENOMEM;
    }
    region = virt_to_phys(cpu->region);
    vmx_cpus[cpu_this()->index] = cpu;
    if (!feature_control_open())
        return -EPERM;
    write_cr0(read_cr0() | vmx_features.cr0_set);
    write_cr4(read_cr4() | vmx_features.cr4_set | CR4_VMXE);
    *(u32 *)cpu->region = vmx_features.revision;
    asm volatile("vmxon %1; setna %0" : "=qm"(failed) : "m"(region) : "cc", "memory");
    return failed ? -EIO : 0;
}

void vmx_cpu_stop(void)
{
    asm volatile("vmxoff" : : : "cc", "memory");
    write_cr4(read_cr4() & ~CR4_VMXE);
}

static void select(void *vmcs)
{
    struct vmx_cpu *cpu = vmx_cpus[cpu_this()->index];
    hpa_t hpa;

    if (cpu->current == vmcs)
        return;
    cpu->current = vmcs;
    if (!vmcs)
        return;
    hpa = virt_to_phys(vmcs);
    asm volatile("vmptrld %0" : : "m"(hpa) : "cc", "memory");
}

void *vmx_select(const struct vmx_vcpu *vmx)
{
    void *previous = vmx_cpus[cpu_this()->index]->current;

    select(vmx->vmcs);
    return previous;
}

static void clear(void *vmcs)
{
    struct vmx_cpu *cpu = vmx_cpus[cpu_this()->index];
    hpa_t hpa = virt_to_phys(vmcs);

    asm volatile("vmclear %0" : : "m"(hpa) : "cc", "memory");
    if (cpu->current == vmcs)
        cpu->current = NULL;
}

void vmx_select_back(void *previous)
{
    clear(vmx_cpus[cpu_this()->index]->current);
    select(previous);
}

void vmx_forget(struct vmx_vcpu *vmx)
{
    clear(vmx->vmcs);
    vmx->launched = false;
}

/*
 * VPIDs name vCPUs for the TLBs of all CPUs; 0 is lintel's. One follows from the vCPU's place, so that no two
 * that live have the same. What an earlier owner left in a TLB goes when the vCPU comes to that CPU.
 */
_Static_assert((VM_MAX)*VM_VCPUS_MAX < BIT(16), "a VPID has 16 bits");

u16 vmx_vpid_of(const struct vcpu *vcpu)
{
    return (u16)(1 + vcpu->vm->index * VM_VCPUS_MAX + vcpu->index);
}

#define INVEPT_SINGLE  1
#define INVEPT_ALL     2
#define INVVPID_SINGLE 1

static void invept(u64 type, u64 pointer)
{
    u64 descriptor[2] = {pointer, 0};

    asm volatile("invept %0, %1" : : "m"(descriptor), "r"(type) : "cc", "memory");
}

static void invvpid(u64 type, u64 vpid)
{
    u64 descriptor[2] = {vpid, 0};

    asm volatile("invvpid %0, %1" : : "m"(descriptor), "r"(type) : "cc", "memory");
}

void vmx_tlb_flush(struct vcpu *vcpu)
{
    u64 pointer = vcpu->vm->memory.nested.root | vmx_features.ept_flags;

    invept(vmx_features.invept_single ? INVEPT_SINGLE : INVEPT_ALL, pointer);
    if (vmx_features.vpid)
        invvpid(INVVPID_SINGLE, vmx_of(vcpu)->vpid);
}

struct table_pointer {
    u16 limit;
    u64 base;
} PACKED;

/* Where TR's descriptor says the TSS lies (SDM 3A, 8.2.3). */
static u64 task_base(const struct table_pointer *gdt, u16 selector)
{
    const u64 *entry = (const u64 *)(gdt->base + (selector & ~7u));

    return (entry[0] >> 16 & 0xffffff) | (entry[0] >> 32 & 0xff000000) | entry[1] << 32;
}

/* What an exit loads: this CPU as it is now. Into the current VMCS, each time the vCPU comes to a CPU. */
void vmx_host_state_write(void)
{
    struct table_pointer gdt, idt;
    u16 tr;

    asm volatile("sgdt %0" : "=m"(gdt));
    asm volatile("sidt %0" : "=m"(idt));
    asm volatile("str %0" : "=r"(tr));
    vmcs_write(VMCS_HOST_CR0, read_cr0());
    vmcs_write(VMCS_HOST_CR3, read_cr3());
    vmcs_write(VMCS_HOST_CR4, read_cr4());
    vmcs_write64(VMCS_HOST_EFER, rdmsr(MSR_EFER));
    vmcs_write64(VMCS_HOST_PAT, rdmsr(MSR_PAT));
    vmcs_write16(VMCS_HOST_CS, SELECTOR_CODE);
    vmcs_write16(VMCS_HOST_SS, SELECTOR_DATA);
    vmcs_write16(VMCS_HOST_DS, SELECTOR_DATA);
    vmcs_write16(VMCS_HOST_ES, SELECTOR_DATA);
    vmcs_write16(VMCS_HOST_FS, 0);
    vmcs_write16(VMCS_HOST_GS, 0);
    vmcs_write16(VMCS_HOST_TR, tr);
    vmcs_write(VMCS_HOST_FS_BASE, 0);
    vmcs_write(VMCS_HOST_GS_BASE, 0);
    vmcs_write(VMCS_HOST_TR_BASE, task_base(&gdt, tr));
    vmcs_write(VMCS_HOST_GDTR_BASE, gdt.base);
    vmcs_write(VMCS_HOST_IDTR_BASE, idt.base);
    vmcs_write32(VMCS_HOST_SYSENTER_CS, 0);
    vmcs_write(VMCS_HOST_SYSENTER_ESP, 0);
    vmcs_write(VMCS_HOST_SYSENTER_EIP, 0);
    vmcs_write(VMCS_HOST_RIP, (u64)vmx_exit_entry);
}

const struct engine_ops engine_vmx = {
    .name = "Intel VMX",
    .hypercall_byte = 0xc1, /* VMCALL */
    .probe = vmx_probe,
    .cpu_start = vmx_cpu_start,
    .cpu_stop = vmx_cpu_stop,
    .nested_format = vmx_nested_format,
    .vcpu_create = vmx_vcpu_create,
    .vcpu_destroy = vmx_vcpu_destroy,
    .vcpu_load = vmx_vcpu_load,
    .vcpu_put = vmx_vcpu_put,
    .vcpu_run = vmx_vcpu_run,
    .register_get = vmx_register_get,
    .register_set = vmx_register_set,
    .state_get = vmx_state_get,
    .state_set = vmx_state_set,
    .segment_get = vmx_segment_get,
    .paging_get = vmx_paging_get,
    .inject = vmx_inject,
    .event_pending = vmx_event_pending,
    .interrupt_allowed = vmx_interrupt_allowed,
    .nmi_allowed = vmx_nmi_allowed,
    .interrupt_window = vmx_interrupt_window,
    .nmi_window = vmx_nmi_window,
    .tlb_flush = vmx_tlb_flush,
    .tsc_offset_changed = vmx_tsc_offset_changed,
};
