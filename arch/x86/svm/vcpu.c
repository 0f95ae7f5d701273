/* SPDX-License-Identifier: MIT */
/*
 * One vCPU under SVM: its VMCB from creation on, what is switched when it gets and loses the CPU, and access
 * to its state. AMD APM 2, 15.5 (VMRUN), 15.9 and 15.10 (intercepts), 14.1.3 (initial state). The CPU that
 * owns the vCPU.
 */
#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/paging.h"
#include "arch/x86/machine/tsc.h"
#include "arch/x86/svm/svm.h"
#include "hv/lib/errno.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/run/exit.h"

struct intercept {
    u8 word; /* 1: offset 0x0c, 2: offset 0x10 */
    u64 bit;
    const char *reason;
};

/* What ends the guest's turn, and why. */
static const struct intercept intercepts[] = {
    {1, INTERCEPT_INTR, "physical interrupts are lintel's"},
    {1, INTERCEPT_NMI, "physical NMIs are lintel's"},
    {1, INTERCEPT_RDPMC, "the counters are the machine's, not the guest's"},
    {1, INTERCEPT_CPUID, "the policy decides what the guest sees"},
    {1, INTERCEPT_RSM, "guests have no system management mode"},
    {1, INTERCEPT_INVD, "would drop lintel's and other guests' dirty cache lines"},
    {1, INTERCEPT_HLT, "an idle vCPU gives its CPU away"},
    {1, INTERCEPT_INVLPGA, "acts on other address space identifiers"},
    {1, INTERCEPT_IOIO, "every port is virtual"},
    {1, INTERCEPT_MSR, "MSRs are the policy's but for those in the map"},
    {1, INTERCEPT_FERR_FREEZE, "a legacy x87 error would freeze the CPU"},
    {1, INTERCEPT_SHUTDOWN, "a triple fault is the guest's, not the machine's"},
    {2, INTERCEPT_VMRUN, "the architecture wants it; guests have no SVM"},
    {2, INTERCEPT_VMMCALL, "hypercalls"},
    {2, INTERCEPT_VMLOAD, "reads host memory by physical address"},
    {2, INTERCEPT_VMSAVE, "writes host memory by physical address"},
    {2, INTERCEPT_STGI, "guests have no SVM"},
    {2, INTERCEPT_CLGI, "would hold the host's interrupts"},
    {2, INTERCEPT_SKINIT, "guests have no SVM"},
    {2, INTERCEPT_WBINVD, "stalls the whole machine; guests have no device that bypasses caches"},
    {2, INTERCEPT_MONITOR, "MONITOR and MWAIT are hidden"},
    {2, INTERCEPT_MWAIT, "would idle the CPU with the guest on it"},
    {2, INTERCEPT_MWAIT_ARMED, "as MWAIT"},
    {2, INTERCEPT_XSETBV, "XCR0 is checked against what the CPU has"},
    {2, INTERCEPT_RDPRU, "reads the machine's counters"},
};

/*
 * #AC and #DB can repeat for ever inside their own delivery; #DF: not every implementation reports shutdown;
 * #MC is the machine's.
 */
#define INTERCEPTED_EXCEPTIONS \
    (BIT(VECTOR_DB) | BIT(VECTOR_UD) | BIT(VECTOR_DF) | BIT(VECTOR_AC) | BIT(VECTOR_MC))

#define INTERCEPT_CR8_READ  BIT(8)
#define INTERCEPT_CR8_WRITE BIT(24)

#define PAUSE_COUNT     3000 /* PAUSEs in a spin before the vCPU offers its CPU to others */
#define PAUSE_THRESHOLD 128

static void controls_init(struct svm_vcpu *svm, const struct vcpu *vcpu)
{
    u64 words[3] = {0};

    for (size_t i = 0; i < ARRAY_SIZE(intercepts); i++)
        words[intercepts[i].word] |= intercepts[i].bit;
    if (svm_features.pause_filter)
        words[1] |= INTERCEPT_PAUSE;
    vmcb_set_intercept1(svm, (u32)words[1]);
    vmcb_set_intercept2(svm, (u32)words[2]);
    vmcb_set_pause_count(svm, svm_features.pause_filter ? PAUSE_COUNT : 0);
    vmcb_set_pause_threshold(svm, svm_features.pause_threshold ? PAUSE_THRESHOLD : 0);
    vmcb_set_intercept_cr(svm, INTERCEPT_CR8_READ | INTERCEPT_CR8_WRITE);
    vmcb_set_intercept_exceptions(svm, INTERCEPTED_EXCEPTIONS);
    vmcb_set_iopm(svm, svm_port_map());
    vmcb_set_msrpm(svm, svm_msr_map());
    vmcb_set_v_intr(svm, V_INTR_MASKING);
    vmcb_set_nested_enable(svm, 1);
    vmcb_set_nested_cr3(svm, vcpu->vm->memory.nested.root);
}

int svm_vcpu_create(struct vcpu *vcpu)
{
    frame_owner_t owner = frame_owner_support(vcpu->vm->index);
    struct svm_vcpu *svm = memory_alloc(sizeof(*svm), owner);

    if (!svm)
        return -ENOMEM;
    assert(IS_ALIGNED((u64)svm, PAGE_SIZE));
    vcpu->engine = svm;
    controls_init(svm, vcpu);
    return 0;
}

void svm_vcpu_destroy(struct vcpu *vcpu)
{
    frame_owner_t owner = frame_owner_support(vcpu->vm->index);
    struct svm_vcpu *svm = svm_of(vcpu);

    assert(!svm->loaded);
    memory_free(svm, sizeof(*svm), owner);
    vcpu->engine = NULL;
}

/*
 * From here until put, FS, GS, TR, LDTR and the syscall MSRs on the CPU are the guest's: no exit pays for
 * them. TR is why the IDT without own stacks is used meanwhile.
 */
void svm_vcpu_load(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = svm_of(vcpu);

    assert(!svm->loaded);
    exception_use_stacks(false);
    asm volatile("vmload %0" : : "a"(svm_vmcb_hpa(svm)) : "memory");
    svm->loaded = true;
    write_cr2(vmcb_cr2(svm));
    svm_asid_ensure(svm);
    /* Another vCPU may have run here, or this one elsewhere: nothing cached of this VMCB can be trusted. */
    svm_clean_forget(svm);
}

/* Bring the lazily switched part of the VMCB up to date before it is read. */
static void save_lazy_state(struct svm_vcpu *svm)
{
    if (svm->loaded)
        asm volatile("vmsave %0" : : "a"(svm_vmcb_hpa(svm)) : "memory");
}

/* ... and carry a change of it to the CPU. */
static void load_lazy_state(struct svm_vcpu *svm)
{
    if (svm->loaded)
        asm volatile("vmload %0" : : "a"(svm_vmcb_hpa(svm)) : "memory");
}

void svm_vcpu_put(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = svm_of(vcpu);

    assert(svm->loaded);
    asm volatile("vmsave %0" : : "a"(svm_vmcb_hpa(svm)) : "memory");
    svm->loaded = false;
    svm_host_state_load();
    exception_use_stacks(true);
}

void svm_vcpu_run(struct vcpu *vcpu)
{
    struct svm_vcpu *svm = svm_of(vcpu);

    svm_flush_due(svm);
    exit_check_entry(vcpu);
    svm_enter_guest(vcpu, svm_vmcb_hpa(svm));
}

/* Registers that have no clean bit; those that have one go through their accessors. */
static u64 *register_plain(struct svm_vcpu *svm, enum vcpu_register which)
{
    struct vmcb_save *save = &svm->vmcb.save;

    switch (which) {
    case REGISTER_RSP: return &save->rsp;
    case REGISTER_RFLAGS: return &save->rflags;
    case REGISTER_STAR: return &save->star;
    case REGISTER_LSTAR: return &save->lstar;
    case REGISTER_CSTAR: return &save->cstar;
    case REGISTER_SFMASK: return &save->sfmask;
    case REGISTER_KERNEL_GS_BASE: return &save->kernel_gs_base;
    case REGISTER_SYSENTER_CS: return &save->sysenter_cs;
    case REGISTER_SYSENTER_ESP: return &save->sysenter_esp;
    case REGISTER_SYSENTER_EIP: return &save->sysenter_eip;
    default: return NULL;
    }
}

static bool register_is_lazy(enum vcpu_register which)
{
    return which >= REGISTER_STAR;
}

u64 svm_register_get(struct vcpu *vcpu, enum vcpu_register which)
{
    struct svm_vcpu *svm = svm_of(vcpu);

    if (register_is_lazy(which))
        save_lazy_state(svm);
    switch (which) {
    case REGISTER_CR0: return vmcb_cr0(svm);
    case REGISTER_CR2: return vmcb_cr2(svm);
    case REGISTER_CR3: return vmcb_cr3(svm);
    case REGISTER_CR4: return vmcb_cr4(svm);
    case REGISTER_EFER: return vmcb_efer(svm) & ~EFER_SVME;
    case REGISTER_DR6: return vmcb_dr6(svm);
    case REGISTER_DR7: return vmcb_dr7(svm);
    case REGISTER_PAT: return vmcb_pat(svm);
    default: return *register_plain(svm, which);
    }
}

/*
 * Bochs 2.7 does not load CR2 at VMRUN. lintel itself never uses it, so that what is on the CPU stays there.
 */
static void cr2_set(struct svm_vcpu *svm, u64 value)
{
    vmcb_set_cr2(svm, value);
    if (svm->loaded)
        write_cr2(value);
}

void svm_register_set(struct vcpu *vcpu, enum vcpu_register which, u64 value)
{
    struct svm_vcpu *svm = svm_of(vcpu);

    switch (which) {
    case REGISTER_CR0: vmcb_set_cr0(svm, value); return;
    case REGISTER_CR2: cr2_set(svm, value); return;
    case REGISTER_CR3: vmcb_set_cr3(svm, value); return;
    case REGISTER_CR4: vmcb_set_cr4(svm, value); return;
    case REGISTER_EFER: vmcb_set_efer(svm, value | EFER_SVME); return;
    case REGISTER_DR6: vmcb_set_dr6(svm, value); return;
    case REGISTER_DR7: vmcb_set_dr7(svm, value); return;
    case REGISTER_PAT: vmcb_set_pat(svm, value); return;
    default: break;
    }
    if (register_is_lazy(which))
        save_lazy_state(svm);
    *register_plain(svm, which) = value;
    if (register_is_lazy(which))
        load_lazy_state(svm);
}

static struct vcpu_segment *segment_at(struct svm_vcpu *svm, enum segment which)
{
#define SEGMENT_AT(member) offsetof(struct vmcb_save, member)
    static const u16 offsets[SEGMENT_COUNT] = {
        [SEGMENT_ES] = SEGMENT_AT(es),     [SEGMENT_CS] = SEGMENT_AT(cs), [SEGMENT_SS] = SEGMENT_AT(ss),
        [SEGMENT_DS] = SEGMENT_AT(ds),     [SEGMENT_FS] = SEGMENT_AT(fs), [SEGMENT_GS] = SEGMENT_AT(gs),
        [SEGMENT_LDTR] = SEGMENT_AT(ldtr), [SEGMENT_TR] = SEGMENT_AT(tr),
    };
#undef SEGMENT_AT

    return (struct vcpu_segment *)((u8 *)&svm->vmcb.save + offsets[which]);
}

/*
 * What VMCBs hold and VMCSs do not: a CPL beside that of SS, and TR's type as the descriptor had it before it
 * became busy (QEMU). The state has what Intel's CPUs have.
 */
static void segments_normalise(const struct svm_vcpu *svm, struct vcpu_segment *segments)
{
    struct vcpu_segment *ss = &segments[SEGMENT_SS];

    ss->attributes = (u16)((ss->attributes & ~SEGMENT_DPL) | vmcb_cpl(svm) << SEGMENT_DPL_SHIFT);
    segments[SEGMENT_TR].attributes |= SEGMENT_BUSY;
}

/* An NMI that is to be delivered again blocks no others yet; a step over IRET is taken again. */
static void events_get(const struct vcpu *vcpu, struct vcpu_state *state)
{
    const struct svm_vcpu *svm = svm_of(vcpu);
    u64 *rflags = &state->registers[REGISTER_RFLAGS];

    state->event = (struct vcpu_event){0};
    svm_event_pending(vcpu, &state->event);
    state->nmi_blocked = svm->nmi_masked && state->event.type != EVENT_NMI;
    state->nmi_waits = svm->nmi_window;
    if (svm->nmi_step && !svm->nmi_step_guest)
        *rflags &= ~RFLAGS_TF;
    state->shadow = SHADOW_NONE;
    if (svm->vmcb.control.shadow & SHADOW_INTERRUPT)
        state->shadow = *rflags & RFLAGS_IF ? SHADOW_STI : SHADOW_MOV_SS;
    state->pending_debug = state->shadow && *rflags & RFLAGS_TF ? PENDING_STEP : 0;
}

static void events_set(struct vcpu *vcpu, const struct vcpu_state *state)
{
    struct svm_vcpu *svm = svm_of(vcpu);

    svm->vmcb.control.shadow = state->shadow ? SHADOW_INTERRUPT : 0;
    svm->vmcb.control.event_inject = 0;
    svm->nmi_masked = state->nmi_blocked;
    svm->nmi_step = false;
    svm->nmi_window = false;
    vmcb_set_v_intr(svm, V_INTR_MASKING);
    vmcb_set_intercept1(svm, (vmcb_intercept1(svm) & ~(u32)(INTERCEPT_VINTR | INTERCEPT_IRET)) |
                                 (state->nmi_blocked ? (u32)INTERCEPT_IRET : 0));
    if (state->event.type != EVENT_NONE)
        svm_inject(vcpu, &state->event);
}

void svm_segment_get(struct vcpu *vcpu, enum segment which, struct vcpu_segment *segment)
{
    struct svm_vcpu *svm = svm_of(vcpu);

    if (which >= SEGMENT_FS)
        save_lazy_state(svm);
    *segment = *segment_at(svm, which);
}

void svm_state_get(struct vcpu *vcpu, struct vcpu_state *state)
{
    struct svm_vcpu *svm = svm_of(vcpu);

    save_lazy_state(svm);
    state->regs = vcpu->regs;
    for (unsigned i = 0; i < REGISTER_COUNT; i++)
        state->registers[i] = svm_register_get(vcpu, (enum vcpu_register)i);
    state->regs.gpr[RSP] = state->registers[REGISTER_RSP];
    for (unsigned i = 0; i < SEGMENT_COUNT; i++)
        state->segments[i] = *segment_at(svm, (enum segment)i);
    segments_normalise(svm, state->segments);
    events_get(vcpu, state);
    state->gdtr = (struct vcpu_table){.base = vmcb_gdtr(svm).base, .limit = (u16)vmcb_gdtr(svm).limit};
    state->idtr = (struct vcpu_table){.base = vmcb_idtr(svm).base, .limit = (u16)vmcb_idtr(svm).limit};
}

int svm_state_set(struct vcpu *vcpu, const struct vcpu_state *state)
{
    struct svm_vcpu *svm = svm_of(vcpu);
    struct vmcb_save *save = &svm->vmcb.save;

    if (!vcpu_state_is_possible(state) || (state->pending_debug && !state->shadow))
        return -EINVAL;
    save_lazy_state(svm);
    vcpu->regs = state->regs;
    for (unsigned i = 0; i < SEGMENT_COUNT; i++)
        *segment_at(svm, (enum segment)i) = state->segments[i];
    save->gdtr = (struct vcpu_segment){.base = state->gdtr.base, .limit = state->gdtr.limit};
    save->idtr = (struct vcpu_segment){.base = state->idtr.base, .limit = state->idtr.limit};
    save->cpl = (u8)((state->segments[SEGMENT_SS].attributes & SEGMENT_DPL) >> SEGMENT_DPL_SHIFT);
    load_lazy_state(svm);
    for (unsigned i = 0; i < REGISTER_COUNT; i++)
        svm_register_set(vcpu, (enum vcpu_register)i, state->registers[i]);
    events_set(vcpu, state);
    vcpu_request(vcpu, REQUEST_FLUSH); /* translations are those of another state */
    svm_clean_forget(svm);
    return 0;
}

void svm_paging_get(struct vcpu *vcpu, struct guest_paging *paging)
{
    svm_paging_fill(&svm_of(vcpu)->vmcb, paging);
}

void svm_tsc_offset_changed(struct vcpu *vcpu)
{
    vmcb_set_tsc_offset(svm_of(vcpu), tsc_to_boot(cpu_this(), vcpu->tsc_offset));
}
