/* SPDX-License-Identifier: MIT */
/*
 * SVM on a physical CPU: can it, switch it on and off, what must be handed back to the host, and its ASIDs.
 * AMD APM 2, 15.4 (enabling), 15.30.1 (VM_CR).
 */
#include "arch/x86/machine/paging.h"
#include "arch/x86/svm/svm.h"
#include "hv/lib/errno.h"
#include "hv/lib/log.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"

#define MSR_VM_CR       0xc0010114
#define MSR_VM_HSAVE_PA 0xc0010117

#define PORT_MAP_BYTES 0x3000
#define MSR_MAP_BYTES  0x2000

/* Every port exits; shared by all vCPUs. The third page covers accesses that run over port 65535. */
static u8 port_map[PORT_MAP_BYTES] ALIGNED(PAGE_SIZE);
static u8 msr_map[MSR_MAP_BYTES] ALIGNED(PAGE_SIZE);

/* One per CPU; own CPU alone. */
static struct svm_cpu {
    u8 save_area[PAGE_SIZE] ALIGNED(PAGE_SIZE); /* VM_HSAVE_PA: the CPU's own scratch page */
    struct vmcb host;                           /* lintel's FS, GS, TR, LDTR, syscall MSRs for VMLOAD */
    struct svm_asids asids;
} * svm_cpus[CPU_MAX];

/* MSRs that the CPU switches with the VMCB (VMLOAD, VMSAVE): the guest may touch the real ones. */
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

/* Two bits per MSR (15.11): the low range at byte 0, c0000000 at 0x800, c0010000 at 0x1000. */
static void msr_map_pass(u32 msr)
{
    u32 at = (msr >= 0xc0000000 ? 0x800 * 8 : 0) + (msr & 0x1fff) * 2;

    msr_map[at / 8] &= (u8) ~(3u << (at % 8));
}

static void maps_build(void)
{
    memset(port_map, 0xff, sizeof(port_map));
    memset(msr_map, 0xff, sizeof(msr_map));
    for (size_t i = 0; i < ARRAY_SIZE(passed_msrs); i++)
        msr_map_pass(passed_msrs[i]);
}

hpa_t svm_port_map(void)
{
    return virt_to_phys(port_map);
}

hpa_t svm_msr_map(void)
{
    return virt_to_phys(msr_map);
}

int svm_probe(char *why, size_t size)
{
    struct cpuid leaf = {0};
    u64 vm_cr = 0;
    int error;

    if (cpu_features.extended_max >= CPUID_SVM_LEAF)
        leaf = cpuid(CPUID_SVM_LEAF, 0);
    if (cpu_features.svm && rdmsr_safe(MSR_VM_CR, &vm_cr))
        vm_cr = 0; /* Bochs has no VM_CR: then nothing can be locked */
    error = svm_decide(&leaf, cpu_features.extended_max, cpu_features.svm, vm_cr, why, size);
    if (error)
        return error;
    maps_build();
    log_info(
        "SVM: %u ASIDs, next RIP %s, decode assists %s, flush by ASID %s, clean bits %s, pause filter %s",
        svm_features.asids, svm_features.next_rip ? "yes" : "no", svm_features.decode_assists ? "yes" : "no",
        svm_features.flush_by_asid ? "yes" : "no", svm_features.clean_mask ? "yes" : "no",
        svm_features.pause_filter ? "yes" : "no");
    return 0;
}

const struct nested_format *svm_nested_format(bool *pages_1g)
{
    *pages_1g = cpu_features.pages_1g;
    return &nested_format_amd;
}

/* QEMU without acceleration, by the name that it gives in the hypervisors' leaf. */
static bool is_qemu_tcg(void)
{
    struct cpuid leaf = cpuid(0x40000000, 0);

    return leaf.ebx == 0x54474354 && leaf.ecx == 0x43544743 && leaf.edx == 0x47435447; /* TCGTCGTCGTCG */
}

int svm_cpu_start(void)
{
    struct svm_cpu *svm_cpu = memory_alloc(sizeof(*svm_cpu), FRAME_OWNER_HYPERVISOR);
    u64 vm_cr = 0;

    if (!svm_cpu) {
        log_warning("CPU %u: no memory is left for SVM's pages", cpu_this()->index);
        return -ENOMEM;
    }
    /* The boot CPU's has been looked at by svm_probe; each CPU has one of its own. */
    if (rdmsr_safe(MSR_VM_CR, &vm_cr) == 0 && (vm_cr & VM_CR_SVMDIS)) {
        log_warning("CPU %u: SVM is switched off, unlike on the boot CPU (VM_CR is %#llx)", cpu_this()->index,
                    (unsigned long long)vm_cr);
        memory_free(svm_cpu, sizeof(*svm_cpu), FRAME_OWNER_HYPERVISOR);
        return -EPERM;
    }
    if (cpu_this()->index > 0)
        WRITE_ONCE(svm_features.injects_twice, is_qemu_tcg());
    svm_cpus[cpu_this()->index] = svm_cpu;
    svm_asids_init(&svm_cpu->asids);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
    wrmsr(MSR_VM_HSAVE_PA, virt_to_phys(svm_cpu->save_area));
    asm volatile("vmsave %0" : : "a"(virt_to_phys(&svm_cpu->host)) : "memory");
    return 0;
}

void svm_cpu_stop(void)
{
    svm_host_state_load();
    wrmsr(MSR_VM_HSAVE_PA, 0);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SVME);
}

void svm_host_state_load(void)
{
    asm volatile("vmload %0" : : "a"(virt_to_phys(&svm_cpus[cpu_this()->index]->host)) : "memory");
}

static struct svm_asids *asids_this(void)
{
    return &svm_cpus[cpu_this()->index]->asids;
}

void svm_asid_ensure(struct svm_vcpu *svm)
{
    svm_asid_give(asids_this(), cpu_this()->index, svm);
}

void svm_tlb_flush(struct vcpu *vcpu)
{
    svm_asid_flush(asids_this(), cpu_this()->index, svm_of(vcpu));
}

void svm_flush_due(struct svm_vcpu *svm)
{
    svm_asid_enter(asids_this(), svm);
}

const struct engine_ops engine_svm = {
    .name = "AMD SVM",
    .hypercall_byte = 0xd9, /* VMMCALL */
    .probe = svm_probe,
    .cpu_start = svm_cpu_start,
    .cpu_stop = svm_cpu_stop,
    .nested_format = svm_nested_format,
    .vcpu_create = svm_vcpu_create,
    .vcpu_destroy = svm_vcpu_destroy,
    .vcpu_load = svm_vcpu_load,
    .vcpu_put = svm_vcpu_put,
    .vcpu_run = svm_vcpu_run,
    .register_get = svm_register_get,
    .register_set = svm_register_set,
    .state_get = svm_state_get,
    .state_set = svm_state_set,
    .segment_get = svm_segment_get,
    .paging_get = svm_paging_get,
    .inject = svm_inject,
    .event_pending = svm_event_pending,
    .interrupt_allowed = svm_interrupt_allowed,
    .nmi_allowed = svm_nmi_allowed,
    .interrupt_window = svm_interrupt_window,
    .nmi_window = svm_nmi_window,
    .tlb_flush = svm_tlb_flush,
    .tsc_offset_changed = svm_tsc_offset_changed,
};
