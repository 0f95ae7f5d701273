/* SPDX-License-Identifier: MIT */
/*
 * One vCPU under VMX: its VMCS from creation on, what is switched when it gets and loses the CPU, and access
 * to its state. Intel SDM 3C, chapters 25 and 27 (entries). The CPU that owns the vCPU.
 */
#include "arch/x86/machine/tsc.h"
#include "arch/x86/vmx/vmx.h"
#include "hv/lib/errno.h"
#include "hv/lib/panic.h"
#include "hv/run/exit.h"

#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_CSTAR          0xc0000083
#define MSR_SFMASK         0xc0000084
#define MSR_KERNEL_GS_BASE 0xc0000102

/* #AC and #DB can repeat for ever inside their own delivery; #UD may be a call; #MC is the machine's. */
#define INTERCEPTED_EXCEPTIONS (BIT(VECTOR_DB) | BIT(VECTOR_UD) | BIT(VECTOR_AC) | BIT(VECTOR_MC))

#define PAUSE_GAP    128  /* ticks between two PAUSEs of one spin */
#define PAUSE_WINDOW 4096 /* ticks of spinning before the vCPU offers its CPU to others */

/*
 * The longest turn without an exit. Bochs 2.7 lets no physical interrupt end the turn of a guest that was
 * entered with IF = 0 until it changes IF; elsewhere this merely adds 250 exits a second to one that has no
 * others.
 */
#define TURN_US 4000

#define NO_LINK (~0ull)

static void controls_init(struct vmx_vcpu *vmx, const struct vcpu *vcpu)
{
    vmx->processor = vmx_features.processor;
    vmcs_write32(VMCS_PIN_CONTROLS, vmx_features.pin);
    vmcs_write32(VMCS_PROCESSOR_CONTROLS, vmx->processor);
    vmcs_write32(VMCS_PROCESSOR_CONTROLS2, vmx_features.processor2);
    vmcs_write32(VMCS_EXIT_CONTROLS, vmx_features.exit);
    vmcs_write32(VMCS_ENTRY_CONTROLS, vmx_features.entry);
    vmcs_write32(VMCS_EXCEPTION_BITMAP, INTERCEPTED_EXCEPTIONS);
    vmcs_write32(VMCS_CR3_TARGETS, 0);
    vmcs_write32(VMCS_EXIT_MSR_STORES, 0);
    vmcs_write32(VMCS_EXIT_MSR_LOADS, 0);
    vmcs_write32(VMCS_ENTRY_MSR_LOADS, 0);
    vmcs_write64(VMCS_MSR_BITMAP, vmx_msr_map(false));
    vmcs_write64(VMCS_LINK_POINTER, NO_LINK);
    vmcs_write64(VMCS_GUEST_DEBUGCTL, 0);
    vmcs_write64(VMCS_EPT_POINTER, vcpu->vm->memory.nested.root | vmx_features.ept_flags);
    vmcs_write(VMCS_CR0_MASK, vmx_features.cr0_owned);
    vmcs_write(VMCS_CR4_MASK, vmx_features.cr4_owned);
    if (vmx_features.pin & PIN_PREEMPTION_TIMER)
        vmcs_write32(VMCS_PREEMPTION_TIMER, (tsc_from_us(TURN_US) >> vmx_features.timer_shift) + 1);
    if (vmx_features.vpid)
        vmcs_write16(VMCS_VPID, vmx->vpid);
    vmx_apic_init(vcpu);
    if (vmx_features.pause_loop) {
        vmcs_write32(VMCS_PAUSE_GAP, PAUSE_GAP);
        vmcs_write32(VMCS_PAUSE_WINDOW, PAUSE_WINDOW);
    }
}

int vmx_vcpu_create(struct vcpu *vcpu)
{
    frame_owner_t owner = frame_owner_support(vcpu->vm->index);
    struct vmx_vcpu *vmx = memory_alloc(sizeof(*vmx), owner);
    void *previous;

    if (!vmx)
        return -ENOMEM;
    vmx->vmcs = memory_alloc(PAGE_SIZE, owner);
    if (!vmx->vmcs)
        goto fail_vmcs;
    if (vmx_apic_create(vcpu))
        goto fail_apic;
    *(u32 *)vmx->vmcs = vmx_features.revision;
    vmx->cpu = CPU_NONE;
    vmx->vpid = vmx_vpid_of(vcpu);
    vcpu->engine = vmx;
    vmx_forget(vmx);
    previous = vmx_enter_vmcs(vmx);
    controls_init(vmx, vcpu);
    vmx_leave_vmcs(previous);
    return 0;

fail_apic:
    memory_free(vmx->vmcs, PAGE_SIZE, owner);
fail_vmcs:
    memory_free(vmx, sizeof(*vmx), owner);
    return -ENOMEM;
}

void vmx_vcpu_destroy(struct vcpu *vcpu)
{
    frame_owner_t owner = frame_owner_support(vcpu->vm->index);
    struct vmx_vcpu *vmx = vmx_of(vcpu);

    assert(!vmx->loaded);
    vmx_forget(vmx);
    vmx_apic_destroy(vcpu);
    memory_free(vmx->vmcs, PAGE_SIZE, owner);
    memory_free(vmx, sizeof(*vmx), owner);
    vcpu->engine = NULL;
}

/*
 * A TLB keeps what it learned when the vCPU was here before; what the guest has flushed since, it has flushed
 * elsewhere.
 */
static void come_to_cpu(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);

    if (likely(vmx->cpu == cpu_this()->index))
        return;
    vmx->cpu = cpu_this()->index;
    vmx_tlb_flush(vcpu);
}

/* DR6, CR2 and the syscall MSRs are in no field of the VMCS: they stay on the CPU between a vCPU's exits. */
void vmx_vcpu_load(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);

    assert(!vmx->loaded);
    come_to_cpu(vcpu);
    vmx_select(vmx);
    vmx_host_state_write();
    wrmsr(MSR_STAR, vmx->star);
    wrmsr(MSR_LSTAR, vmx->lstar);
    wrmsr(MSR_CSTAR, vmx->cstar);
    wrmsr(MSR_SFMASK, vmx->sfmask);
    wrmsr(MSR_KERNEL_GS_BASE, vmx->kernel_gs_base);
    write_dr6(vmx->dr6);
    write_cr2(vmx->cr2);
    vmx->loaded = true;
}

static void save_lazy_state(struct vmx_vcpu *vmx)
{
    vmx->star = rdmsr(MSR_STAR);
    vmx->lstar = rdmsr(MSR_LSTAR);
    vmx->cstar = rdmsr(MSR_CSTAR);
    vmx->sfmask = rdmsr(MSR_SFMASK);
    vmx->kernel_gs_base = rdmsr(MSR_KERNEL_GS_BASE);
    vmx->dr6 = read_dr6();
}

void vmx_vcpu_put(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);

    assert(vmx->loaded);
    save_lazy_state(vmx);
    vmx->cr2 = read_cr2();
    vmx_blocking(vmx); /* does it mask NMIs itself? Behind another vCPU's turn the CPU may say so wrongly */
    vmx->loaded = false;
    vmx_forget(vmx);
}

void vmx_vcpu_run(struct vcpu *vcpu)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);

    vmx_select(vmx);
    vmx_apic_update(vcpu);
    exit_check_entry(vcpu);
    vmx_wrap_rip(vcpu); /* what failed now would have to be launched again */
    vmx_enter_guest(vcpu, vmx->launched);
}

/* Registers that live outside the VMCS; the rest: NULL. */
static u64 *register_lazy(struct vmx_vcpu *vmx, enum vcpu_register which)
{
    switch (which) {
    case REGISTER_DR6: return &vmx->dr6;
    case REGISTER_STAR: return &vmx->star;
    case REGISTER_LSTAR: return &vmx->lstar;
    case REGISTER_CSTAR: return &vmx->cstar;
    case REGISTER_SFMASK: return &vmx->sfmask;
    case REGISTER_KERNEL_GS_BASE: return &vmx->kernel_gs_base;
    default: return NULL;
    }
}

static u64 register_read(enum vcpu_register which)
{
    switch (which) {
    case REGISTER_RSP: return vmcs_read(VMCS_GUEST_RSP);
    case REGISTER_RFLAGS: return vmcs_read(VMCS_GUEST_RFLAGS);
    case REGISTER_CR0: return vmx_cr0_get();
    case REGISTER_CR2: return read_cr2(); /* in no field: the CPU holds the guest's */
    case REGISTER_CR3: return vmcs_read(VMCS_GUEST_CR3);
    case REGISTER_CR4: return vmx_cr4_get();
    case REGISTER_EFER: return vmcs_read64(VMCS_GUEST_EFER);
    case REGISTER_DR7: return vmcs_read(VMCS_GUEST_DR7);
    case REGISTER_PAT: return vmcs_read64(VMCS_GUEST_PAT);
    case REGISTER_SYSENTER_CS: return vmcs_read32(VMCS_GUEST_SYSENTER_CS);
    case REGISTER_SYSENTER_ESP: return vmcs_read(VMCS_GUEST_SYSENTER_ESP);
    case REGISTER_SYSENTER_EIP: return vmcs_read(VMCS_GUEST_SYSENTER_EIP);
    default: return 0;
    }
}

u64 vmx_register_get(struct vcpu *vcpu, enum vcpu_register which)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    const bool on_cpu = vmx->loaded;
    u64 *lazy = register_lazy(vmx, which);
    void *previous;
    u64 value;

    if (lazy) {
        if (on_cpu)
            save_lazy_state(vmx);
        return *lazy;
    }
    if (which == REGISTER_CR2 && !on_cpu)
        return vmx->cr2;
    previous = vmx_enter_vmcs(vmx);
    value = register_read(which);
    vmx_leave_vmcs(previous);
    return value;
}

static void register_write(struct vcpu *vcpu, enum vcpu_register which, u64 value)
{
    switch (which) {
    case REGISTER_RSP: vmcs_write(VMCS_GUEST_RSP, value); return;
    case REGISTER_RFLAGS: vmcs_write(VMCS_GUEST_RFLAGS, value | RFLAGS_FIXED); return;
    case REGISTER_CR0: vmx_cr0_set(vcpu, value); return;
    case REGISTER_CR3: vmcs_write(VMCS_GUEST_CR3, value); return;
    case REGISTER_CR4: vmx_cr4_set(value); return;
    case REGISTER_EFER: vmx_efer_set(value); return;
    case REGISTER_DR7: vmcs_write(VMCS_GUEST_DR7, value); return;
    case REGISTER_PAT: vmcs_write64(VMCS_GUEST_PAT, value); return;
    case REGISTER_SYSENTER_CS: vmcs_write32(VMCS_GUEST_SYSENTER_CS, value); return;
    case REGISTER_SYSENTER_ESP: vmcs_write(VMCS_GUEST_SYSENTER_ESP, value); return;
    case REGISTER_SYSENTER_EIP: vmcs_write(VMCS_GUEST_SYSENTER_EIP, value); return;
    default: return;
    }
}

/* Carry a change of one lazily switched register to the CPU. */
static void lazy_apply(enum vcpu_register which, u64 value)
{
    switch (which) {
    case REGISTER_DR6: write_dr6(value); return;
    case REGISTER_STAR: wrmsr(MSR_STAR, value); return;
    case REGISTER_LSTAR: wrmsr(MSR_LSTAR, value); return;
    case REGISTER_CSTAR: wrmsr(MSR_CSTAR, value); return;
    case REGISTER_SFMASK: wrmsr(MSR_SFMASK, value); return;
    case REGISTER_KERNEL_GS_BASE: wrmsr(MSR_KERNEL_GS_BASE, value); return;
    default: return;
    }
}

void vmx_register_set(struct vcpu *vcpu, enum vcpu_register which, u64 value)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    const bool on_cpu = vmx->loaded;
    u64 *lazy = register_lazy(vmx, which);
    void *previous;

    if (lazy) {
        *lazy = value;
        if (on_cpu)
            lazy_apply(which, value);
        return;
    }
    if (which == REGISTER_CR2) {
        vmx->cr2 = value;
        if (on_cpu)
            write_cr2(value);
        return;
    }
    previous = vmx_enter_vmcs(vmx);
    register_write(vcpu, which, value);
    vmx_leave_vmcs(previous);
}

static void segment_read(enum segment which, struct vcpu_segment *segment)
{
    u32 at = 2 * (u32)which;
    u32 rights = (u32)vmcs_read_raw(VMCS_GUEST_RIGHTS + at);

    segment->selector = (u16)vmcs_read_raw(VMCS_GUEST_SELECTOR + at);
    segment->base = vmcs_read_raw(VMCS_GUEST_BASE + at);
    segment->limit = (u32)vmcs_read_raw(VMCS_GUEST_LIMIT + at);
    segment->attributes = (u16)(rights & RIGHTS_UNUSABLE ? rights & SEGMENT_DPL /* SS's is the CPL even so */
                                                         : (rights & 0xff) | (rights >> 4 & 0xf00));
}

static void segment_write(enum segment which, const struct vcpu_segment *segment)
{
    u32 at = 2 * (u32)which, attributes = segment->attributes;
    u32 rights = attributes & SEGMENT_PRESENT ? (attributes & 0xff) | (attributes & 0xf00) << 4
                                              : (attributes & SEGMENT_DPL) | RIGHTS_UNUSABLE;

    vmcs_write_raw(VMCS_GUEST_SELECTOR + at, segment->selector);
    vmcs_write_raw(VMCS_GUEST_BASE + at, segment->base);
    vmcs_write_raw(VMCS_GUEST_LIMIT + at, segment->limit);
    vmcs_write_raw(VMCS_GUEST_RIGHTS + at, rights);
}

static void events_get(const struct vcpu *vcpu, struct vcpu_state *state)
{
    u32 blocking = vmx_blocking(vmx_of(vcpu));

    if (!vmx_event_pending(vcpu, &state->event) || state->event.type == EVENT_SOFTWARE)
        state->event = (struct vcpu_event){0}; /* INT1 is executed again */
    if (!state->event.has_error)
        state->event.error_code = 0; /* the field keeps an older one */
    state->nmi_blocked = blocking & BLOCKING_NMI;
    state->nmi_waits = vmx_of(vcpu)->processor & PROC_NMI_WINDOW;
    state->shadow = blocking & BLOCKING_MOV_SS ? SHADOW_MOV_SS : blocking & BLOCKING_STI ? SHADOW_STI : 0;
    state->pending_debug = vmcs_read(VMCS_GUEST_PENDING_DEBUG);
}

static void events_set(struct vcpu *vcpu, const struct vcpu_state *state)
{
    static const u32 shadows[] = {[SHADOW_STI] = BLOCKING_STI, [SHADOW_MOV_SS] = BLOCKING_MOV_SS};
    struct vmx_vcpu *vmx = vmx_of(vcpu);

    vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY,
                 shadows[state->shadow] | (state->nmi_blocked ? BLOCKING_NMI : 0));
    vmcs_write32(VMCS_GUEST_ACTIVITY, 0);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG, state->pending_debug);
    vmcs_write32(VMCS_ENTRY_EVENT, 0);
    vmx->nmis_open = !state->nmi_blocked;
    vmx->processor = vmx_features.processor;
    vmcs_write32(VMCS_PROCESSOR_CONTROLS, vmx->processor);
    if (state->event.type != EVENT_NONE)
        vmx_inject(vcpu, &state->event);
}

void vmx_segment_get(struct vcpu *vcpu, enum segment which, struct vcpu_segment *segment)
{
    void *previous = vmx_enter_vmcs(vmx_of(vcpu));

    segment_read(which, segment);
    vmx_leave_vmcs(previous);
}

void vmx_state_get(struct vcpu *vcpu, struct vcpu_state *state)
{
    void *previous = vmx_enter_vmcs(vmx_of(vcpu));

    state->regs = vcpu->regs;
    for (unsigned i = 0; i < REGISTER_COUNT; i++)
        state->registers[i] = vmx_register_get(vcpu, (enum vcpu_register)i);
    state->regs.gpr[RSP] = state->registers[REGISTER_RSP];
    for (unsigned i = 0; i < SEGMENT_COUNT; i++)
        segment_read((enum segment)i, &state->segments[i]);
    events_get(vcpu, state);
    state->gdtr.base = vmcs_read(VMCS_GUEST_GDTR_BASE);
    state->gdtr.limit = (u16)vmcs_read32(VMCS_GUEST_GDTR_LIMIT);
    state->idtr.base = vmcs_read(VMCS_GUEST_IDTR_BASE);
    state->idtr.limit = (u16)vmcs_read32(VMCS_GUEST_IDTR_LIMIT);
    vmx_leave_vmcs(previous);
}

int vmx_state_set(struct vcpu *vcpu, const struct vcpu_state *state)
{
    struct vmx_vcpu *vmx = vmx_of(vcpu);
    void *previous;

    if (!vcpu_state_is_possible(state))
        return -EINVAL;
    previous = vmx_enter_vmcs(vmx);
    vcpu->regs = state->regs;
    for (unsigned i = 0; i < SEGMENT_COUNT; i++)
        segment_write((enum segment)i, &state->segments[i]);
    vmcs_write(VMCS_GUEST_GDTR_BASE, state->gdtr.base);
    vmcs_write32(VMCS_GUEST_GDTR_LIMIT, state->gdtr.limit);
    vmcs_write(VMCS_GUEST_IDTR_BASE, state->idtr.base);
    vmcs_write32(VMCS_GUEST_IDTR_LIMIT, state->idtr.limit);
    for (unsigned i = 0; i < REGISTER_COUNT; i++)
        vmx_register_set(vcpu, (enum vcpu_register)i, state->registers[i]);
    vmx_cr0_set(vcpu, state->registers[REGISTER_CR0]); /* again: PAE's four entries follow CR3, CR4, EFER */
    events_set(vcpu, state);
    vcpu_request(vcpu, REQUEST_FLUSH); /* translations are those of another state */
    vcpu->apic.tpr_threshold = 0;      /* nothing waits yet */
    vmx_apic_update(vcpu);
    vmx_leave_vmcs(previous);
    return 0;
}

void vmx_paging_get(struct vcpu *vcpu, struct guest_paging *paging)
{
    void *previous = vmx_enter_vmcs(vmx_of(vcpu));

    paging->cr0 = vmx_cr0_get();
    paging->cr3 = vmcs_read(VMCS_GUEST_CR3);
    paging->cr4 = vmx_cr4_get();
    paging->efer = vmcs_read64(VMCS_GUEST_EFER);
    paging->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    paging->code_64 =
        (vmcs_read_raw(VMCS_GUEST_RIGHTS + 2 * SEGMENT_CS) & RIGHTS_LONG) && (paging->efer & EFER_LMA);
    paging->cpl = (u8)(vmcs_read_raw(VMCS_GUEST_RIGHTS + 2 * SEGMENT_SS) >> 5 & 3);
    vmx_leave_vmcs(previous);
}

void vmx_tsc_offset_changed(struct vcpu *vcpu)
{
    void *previous = vmx_enter_vmcs(vmx_of(vcpu));

    vmcs_write64(VMCS_TSC_OFFSET, tsc_to_boot(cpu_this(), vcpu->tsc_offset));
    vmx_leave_vmcs(previous);
}
