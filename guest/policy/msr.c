/* SPDX-License-Identifier: MIT */
/*
 * The table of model-specific registers. A row's handlers answer for its range; a row without a handler is
 * an MSR that kernels look for under a guard: #GP without a word in the log. Called from exits on the
 * vCPU's own CPU; the table is constant. AMD APM 2, appendix A, and the BKDG/PPR of the families; Intel SDM
 * 4, chapter 2.
 */
#include "guest/policy/msr.h"

#include "guest/machine.h"
#include "guest/policy/cpuid_table.h"
#include "hv/lib/errno.h"
#include "hv/run/exit.h"
#include "hv/run/memory_wait.h"
#include "hv/run/vcpu_snapshot.h"

#define MSR_TSC_ADJUST     0x3b
#define MSR_UCODE_REV      0x8b
#define MSR_SYSENTER_CS    0x174
#define MSR_SYSENTER_ESP   0x175
#define MSR_SYSENTER_EIP   0x176
#define MSR_MTRR_DEFAULT   0x2ff
#define MSR_X2APIC_FIRST   0x800u
#define MSR_X2APIC_LAST    0x8ffu
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_CSTAR          0xc0000083u
#define MSR_SFMASK         0xc0000084u
#define MSR_KERNEL_GS_BASE 0xc0000102u

#define MTRR_CAP_WC              BIT(10) /* no ranges: VCNT = 0, FIX = 0 */
#define MTRR_DEFAULT_ENABLE      BIT(11)
#define MTRR_DEFAULT_BITS        (BIT(11) | BITS(2, 0))
#define MTRR_WRITE_BACK          6
#define MISC_ENABLE_VALUE        (BIT(0) | BIT(11) | BIT(12)) /* fast strings; neither BTS nor PEBS */
#define DE_CFG_LFENCE_SERIALISES BIT(1)
#define HWCR_TSC_FREQ_SEL        BIT(24) /* the TSC counts at the rate of P0 */
#define DEBUGCTL_BITS            BITS(1, 0)

#define LOG_BURST       5
#define LOG_INTERVAL_NS 1000000000ull

static struct msr_state *state_of(const struct vcpu *vcpu)
{
    return &((struct machine *)vcpu->vm->machine)->vcpus[vcpu->index].msrs;
}

void msr_state_reset(struct msr_state *state)
{
    *state = (struct msr_state){.mtrr_default = MTRR_DEFAULT_ENABLE | MTRR_WRITE_BACK};
}

/* ------------------------------------------------------------------ handlers */

static int zero_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)vcpu;
    (void)msr;
    *value = 0;
    return 0;
}

static int write_ignored(struct vcpu *vcpu, u32 msr, u64 value)
{
    (void)vcpu;
    (void)msr;
    (void)value;
    return 0;
}

static u64 tsc_now(const struct vcpu *vcpu)
{
    return device_now() + vcpu->tsc_offset;
}

/* Move the guest's TSC; everything that is computed from it follows. */
static void tsc_move(struct vcpu *vcpu, u64 by)
{
    vcpu->tsc_offset += by;
    state_of(vcpu)->tsc_adjust += by;
    engine->tsc_offset_changed(vcpu);
    lapic_tsc_offset_changed(vcpu);
    kvmclock_update(vcpu); /* a page that has become bad in the meantime stays as it is */
}

static int tsc_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)msr;
    *value = tsc_now(vcpu);
    return 0;
}

static int tsc_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    (void)msr;
    tsc_move(vcpu, value - tsc_now(vcpu));
    return 0;
}

static int tsc_adjust_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)msr;
    *value = state_of(vcpu)->tsc_adjust;
    return 0;
}

static int tsc_adjust_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    u64 by = value - state_of(vcpu)->tsc_adjust;

    (void)msr;
    if (by)
        tsc_move(vcpu, by);
    return 0;
}

static int tsc_aux_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)msr;
    *value = vcpu->tsc_aux;
    return 0;
}

/* RDTSCP and RDPID read the real register: it is written at once, too, as the vCPU is loaded on this CPU. */
static int tsc_aux_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    if (value >> 32)
        return -EINVAL;
    vcpu->tsc_aux = value;
    return wrmsr_safe(msr, value);
}

static int microcode_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)vcpu;
    return rdmsr_safe(msr, value);
}

static int mtrr_cap_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)vcpu;
    (void)msr;
    *value = MTRR_CAP_WC;
    return 0;
}

static int mtrr_default_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)msr;
    *value = state_of(vcpu)->mtrr_default;
    return 0;
}

static bool mtrr_default_is_possible(u64 value)
{
    u64 type = value & 0xff;

    return !(value & ~MTRR_DEFAULT_BITS) && type != 2 && type != 3 && type != 7;
}

/* Kept for the reader; it decides nothing, as nested paging takes the host's MTRRs. */
static int mtrr_default_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    (void)msr;
    if (!mtrr_default_is_possible(value))
        return -EINVAL;
    state_of(vcpu)->mtrr_default = value;
    return 0;
}

static int misc_enable_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)vcpu;
    (void)msr;
    *value = MISC_ENABLE_VALUE;
    return 0;
}

static int debugctl_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    (void)vcpu;
    (void)msr;
    return value & ~DEBUGCTL_BITS ? -EINVAL : 0;
}

static int pat_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)msr;
    *value = engine->register_get(vcpu, REGISTER_PAT);
    return 0;
}

/* A memory type that does not exist is #GP on a CPU as well. */
static int pat_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    (void)msr;
    if (!vcpu_pat_is_possible(value))
        return -EINVAL;
    engine->register_set(vcpu, REGISTER_PAT, value);
    return 0;
}

static int efer_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)msr;
    *value = engine->register_get(vcpu, REGISTER_EFER);
    return 0;
}

/* A bit without its CPUID bit is reserved. */
static u64 efer_known(const struct vcpu *vcpu)
{
    u64 known = EFER_SCE | EFER_LME | EFER_LMA;
    struct cpuid features = cpuid_policy_get(&((struct machine *)vcpu->vm->machine)->cpuid, 0x80000001u, 0);

    if (features.edx & CPUID_80000001_EDX_NX)
        known |= EFER_NXE;
    if (features.edx & CPUID_80000001_EDX_FFXSR)
        known |= EFER_FFXSR;
    return known;
}

/* LMA is the CPU's alone and keeps its value; LME is fixed while paging is on. */
static int efer_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    u64 now = engine->register_get(vcpu, REGISTER_EFER);

    (void)msr;
    if (value & ~efer_known(vcpu))
        return -EINVAL;
    if (((value ^ now) & EFER_LME) && (engine->register_get(vcpu, REGISTER_CR0) & CR0_PG))
        return -EINVAL;
    engine->register_set(vcpu, REGISTER_EFER, (value & ~EFER_LMA) | (now & EFER_LMA));
    return 0;
}

/* The registers of SYSCALL, SYSENTER and SWAPGS; an address must be canonical. */
struct system_call_msr {
    u32 msr;
    u8 which; /* enum vcpu_register */
    bool address;
};
static const struct system_call_msr system_call_msrs[] = {
    {MSR_SYSENTER_CS, REGISTER_SYSENTER_CS, false},
    {MSR_SYSENTER_ESP, REGISTER_SYSENTER_ESP, true},
    {MSR_SYSENTER_EIP, REGISTER_SYSENTER_EIP, true},
    {MSR_STAR, REGISTER_STAR, false},
    {MSR_LSTAR, REGISTER_LSTAR, true},
    {MSR_CSTAR, REGISTER_CSTAR, true},
    {MSR_SFMASK, REGISTER_SFMASK, false},
    {MSR_KERNEL_GS_BASE, REGISTER_KERNEL_GS_BASE, true},
};

static const struct system_call_msr *system_call_find(u32 msr)
{
    unsigned i = 0;

    while (i < ARRAY_SIZE(system_call_msrs) - 1 && system_call_msrs[i].msr != msr)
        i++;
    return &system_call_msrs[i];
}

static int system_call_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    *value = engine->register_get(vcpu, system_call_find(msr)->which);
    return 0;
}

static int system_call_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    const struct system_call_msr *row = system_call_find(msr);

    if (row->address && !address_is_canonical(value))
        return -EINVAL;
    engine->register_set(vcpu, row->which, value);
    return 0;
}

static int hwcr_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)msr;
    *value = state_of(vcpu)->hwcr | HWCR_TSC_FREQ_SEL;
    return 0;
}

static int hwcr_write(struct vcpu *vcpu, u32 msr, u64 value)
{
    (void)msr;
    state_of(vcpu)->hwcr = value;
    return 0;
}

static int de_cfg_read(struct vcpu *vcpu, u32 msr, u64 *value)
{
    (void)vcpu;
    (void)msr;
    *value = DE_CFG_LFENCE_SERIALISES;
    return 0;
}

/* ------------------------------------------------------------------ snapshots */

bool msr_snapshot_is_possible(const struct vcpu *vcpu, const struct vcpu_snapshot *snapshot)
{
    const struct snapshot_msrs *msrs = &snapshot->msrs;

    return !(snapshot->efer & ~efer_known(vcpu)) && mtrr_default_is_possible(msrs->mtrr_default) &&
           kvmclock_is_possible(vcpu, msrs->kvm_system_time, msrs->kvm_wall_clock) &&
           stealtime_is_possible(vcpu, msrs->steal_record);
}

void msr_snapshot_set(struct vcpu *vcpu, const struct vcpu_snapshot *snapshot)
{
    const struct snapshot_msrs *msrs = &snapshot->msrs;
    bool tsc_moves = vcpu->tsc_offset != snapshot->tsc_offset;

    *state_of(vcpu) = (struct msr_state){
        .tsc_adjust = msrs->tsc_adjust, .mtrr_default = msrs->mtrr_default, .hwcr = msrs->hwcr};
    vcpu->tsc_offset = snapshot->tsc_offset; /* the engine is told when the vCPU is loaded */
    kvmclock_set(vcpu, msrs->kvm_system_time, msrs->kvm_wall_clock, tsc_moves);
    stealtime_set(vcpu, msrs->steal_record);
}

/* ------------------------------------------------------------------ the table */

/* clang-format off */
static const struct msr_range rows[] = {
    {0x10, 0x10, tsc_read, tsc_write, "TSC: the guest's own, by offset"},
    {0x11, 0x12, kvmclock_msr_read, kvmclock_msr_write, "kvm-clock, the old pair (CPUID 40000001 EAX bit 0)"},
    {0x17, 0x17, zero_read, NULL, "PLATFORM_ID: Intel's microcode loader reads it"},
    {0x1b, 0x1b, lapic_base_read, lapic_base_write, "APIC_BASE: off, xAPIC, x2APIC"},
    {0x34, 0x34, NULL, NULL, "SMI_COUNT: looked for by turbostat-like probes; there is no SMM"},
    {0x3a, 0x3a, NULL, NULL, "FEATURE_CONTROL: Linux on Intel looks whether VMX is on; VMX is hidden"},
    {MSR_TSC_ADJUST, MSR_TSC_ADJUST, tsc_adjust_read, tsc_adjust_write, "TSC_ADJUST: CPUID 7 EBX bit 1"},
    {0x48, 0x49, NULL, NULL, "SPEC_CTRL, PRED_CMD: not offered, as they are not switched with the vCPU"},
    {0x79, 0x79, NULL, write_ignored, "microcode update (Intel): guests do not patch the host's CPU"},
    {MSR_UCODE_REV, MSR_UCODE_REV, microcode_read, write_ignored,
        "microcode revision: the real one decides about errata"},
    {0xce, 0xce, NULL, NULL, "PLATFORM_INFO: looked for on Intel; no ratios to tell"},
    {0xfe, 0xfe, mtrr_cap_read, NULL, "MTRRcap: MTRRs exist, without fixed and variable ranges"},
    {0x10a, 0x10a, NULL, NULL, "ARCH_CAPABILITIES: not offered"},
    {0x122, 0x122, NULL, NULL, "TSX_CTRL: no TSX"},
    {0x140, 0x140, NULL, NULL, "MISC_FEATURES_ENABLES: Linux probes it for CPUID faulting"},
    {MSR_SYSENTER_CS, MSR_SYSENTER_EIP, system_call_read, system_call_write, "SYSENTER: if the engine exits"},
    {0x179, 0x179, zero_read, NULL, "MCG_CAP: machine checks without a bank"},
    {0x17a, 0x17a, zero_read, write_ignored, "MCG_STATUS: cleared by kernels at start"},
    {0x1a0, 0x1a0, misc_enable_read, write_ignored, "MISC_ENABLE: Linux on Intel reads it unguarded"},
    {0x1d9, 0x1d9, zero_read, debugctl_write, "DEBUGCTL: branch tracing is not offered; kernels clear it"},
    {MSR_PAT, MSR_PAT, pat_read, pat_write, "PAT: the guest's own memory types"},
    {MSR_MTRR_DEFAULT, MSR_MTRR_DEFAULT, mtrr_default_read, mtrr_default_write,
        "MTRRdefType: on, all of memory write-back"},
    {0x345, 0x345, NULL, NULL, "PERF_CAPABILITIES: no counters"},
    {0x606, 0x606, NULL, NULL, "RAPL_POWER_UNIT: no power meter"},
    {MSR_TSC_DEADLINE, MSR_TSC_DEADLINE, lapic_deadline_read, lapic_deadline_write,
        "TSC_DEADLINE: the tick of every guest"},
    {MSR_X2APIC_FIRST, MSR_X2APIC_LAST, lapic_msr_read, lapic_msr_write, "x2APIC registers"},
    {MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_SYSTEM_TIME_NEW, kvmclock_msr_read, kvmclock_msr_write,
        "kvm-clock, the new pair (CPUID 40000001 EAX bit 3)"},
    {MSR_KVM_STEAL_TIME, MSR_KVM_STEAL_TIME, stealtime_msr_read, stealtime_msr_write,
        "steal time (CPUID 40000001 EAX bit 5)"},
    {MSR_EFER, MSR_EFER, efer_read, efer_write, "EFER: SVME is lintel's, LMA the CPU's"},
    {MSR_STAR, MSR_SFMASK, system_call_read, system_call_write, "SYSCALL: where an engine lets them exit"},
    {MSR_KERNEL_GS_BASE, MSR_KERNEL_GS_BASE, system_call_read, system_call_write,
        "SWAPGS: where an engine lets it exit"},
    {MSR_TSC_AUX, MSR_TSC_AUX, tsc_aux_read, tsc_aux_write, "TSC_AUX: RDTSCP and RDPID read it"},
    {0xc0010000u, 0xc0010007u, zero_read, write_ignored,
        "the first four counters (AMD) have no CPUID bit; they count nothing"},
    {0xc0010010u, 0xc0010010u, zero_read, write_ignored,
        "SYSCFG: Linux on AMD reads it unguarded; no encryption, no TOM2"},
    {0xc0010015u, 0xc0010015u, hwcr_read, hwcr_write,
        "HWCR: Linux on AMD reads it unguarded; the TSC runs at P0's rate"},
    {0xc001001fu, 0xc001001fu, zero_read, write_ignored,
        "NB_CFG: Linux on old AMD families reads it unguarded"},
    {0xc0010055u, 0xc0010055u, zero_read, write_ignored,
        "INT_PENDING_MSG: no C1E that stops the APIC timer (erratum 400)"},
    {0xc0010114u, 0xc0010114u, NULL, NULL, "VM_CR: SVM is hidden"},
    {0xc0010117u, 0xc0010117u, NULL, NULL, "VM_HSAVE_PA: SVM is hidden"},
    {0xc0010140u, 0xc0010141u, NULL, NULL, "OSVW: not offered"},
    {0xc0011020u, 0xc0011028u, NULL, NULL,
        "LS_CFG and its neighbours: the host's errata settings stay as they are"},
    {0xc0011029u, 0xc0011029u, de_cfg_read, write_ignored,
        "DE_CFG: Linux sets bit 1 to make LFENCE serialise; it does"},
};
/* clang-format on */

const struct msr_bus policy_msrs = {.ranges = rows, .count = ARRAY_SIZE(rows)};

/* ------------------------------------------------------------------ exits */

/*
 * A guest asks for the same MSR again and again, so the last row that answered is tried first. Any CPU may
 * replace it: one pointer.
 */
static const struct msr_range *recent_read = &rows[0], *recent_write = &rows[0];

static __attribute__((noinline)) const struct msr_range *readable_find(u32 msr)
{
    const struct msr_range *range = msr_bus_find(&policy_msrs, msr);

    if (!range || !range->read)
        return NULL;
    __atomic_store_n(&recent_read, range, __ATOMIC_RELAXED);
    return range;
}

static __attribute__((noinline)) const struct msr_range *writable_find(u32 msr)
{
    const struct msr_range *range = msr_bus_find(&policy_msrs, msr);

    if (!range || !range->write)
        return NULL;
    __atomic_store_n(&recent_write, range, __ATOMIC_RELAXED);
    return range;
}

/* Nothing of the fast path is kept for this. */
static __attribute__((noinline)) void refuse(struct vcpu *vcpu, const char *verb)
{
    u32 msr = (u32)vcpu->regs.gpr[RCX];
    struct vm *vm = vcpu->vm;

    if (!msr_bus_find(&policy_msrs, msr) &&
        log_limit_pass(&vm->log_limit, device_now(), tsc_from_ns(LOG_INTERVAL_NS), LOG_BURST))
        log_warning("VM %s: vCPU %u %s MSR %#x, which does not exist; it gets #GP.", vm->name, vcpu->index,
                    verb, msr);
    vcpu_inject_fault(vcpu, VECTOR_GP, 0);
}

static inline bool read_answered(struct vcpu *vcpu)
{
    u32 msr = (u32)vcpu->regs.gpr[RCX];
    const struct msr_range *range = __atomic_load_n(&recent_read, __ATOMIC_RELAXED);
    u64 value;

    if (unlikely(msr != range->first)) {
        range = readable_find(msr);
        if (!range)
            return false;
    }
    if (unlikely(range->read(vcpu, msr, &value) < 0))
        return false;
    vcpu->regs.gpr[RAX] = (u32)value;
    vcpu->regs.gpr[RDX] = value >> 32;
    return true;
}

u32 policy_msr_read_light(struct vcpu *vcpu)
{
    return read_answered(vcpu) ? exit_light_done(vcpu, EXIT_MSR_READ) : EXIT_NOT_LIGHT;
}

void policy_msr_read(struct vcpu *vcpu, struct vmexit *x)
{
    if (read_answered(vcpu))
        vcpu_skip(vcpu, x);
    else
        refuse(vcpu, "reads");
}

/* 0, or negative: nothing has changed. */
static inline int write_answer(struct vcpu *vcpu)
{
    u32 msr = (u32)vcpu->regs.gpr[RCX];
    u64 value = vcpu->regs.gpr[RDX] << 32 | (u32)vcpu->regs.gpr[RAX];
    const struct msr_range *range;

    /* What kernels write with each tick and each interrupt is not looked up. */
    if (likely(msr == MSR_TSC_DEADLINE))
        return lapic_deadline_write(vcpu, msr, value);
    if (likely(msr - MSR_X2APIC_FIRST <= MSR_X2APIC_LAST - MSR_X2APIC_FIRST))
        return lapic_msr_write(vcpu, msr, value);
    range = __atomic_load_n(&recent_write, __ATOMIC_RELAXED);
    if (unlikely(msr - range->first > range->last - range->first)) {
        range = writable_find(msr);
        if (!range)
            return -ENXIO;
    }
    return range->write(vcpu, msr, value);
}

u32 policy_msr_write_light(struct vcpu *vcpu)
{
    return write_answer(vcpu) >= 0 ? exit_light_done(vcpu, EXIT_MSR_WRITE) : EXIT_NOT_LIGHT;
}

/* A record of the guest's (a clock, stolen time) may lie where the host has no memory yet. */
void policy_msr_write(struct vcpu *vcpu, struct vmexit *x)
{
    int error = write_answer(vcpu);

    if (error >= 0)
        vcpu_skip(vcpu, x);
    else if (error == -ENOMEM)
        memory_wait(vcpu, vcpu->regs.gpr[RDX] << 32 | (u32)vcpu->regs.gpr[RAX], NULL);
    else
        refuse(vcpu, "writes");
}
