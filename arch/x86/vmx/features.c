/* SPDX-License-Identifier: MIT */
/*
 * Is this CPU's VMX good enough, and which controls does lintel use? Pure: capability MSRs in, controls or a
 * sentence out, so that a unit test shows what no emulator can. Intel SDM 3D, appendix A; SDM 3C, 24.7
 * (feature control).
 */
#include "arch/x86/vmx/vmx.h"
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"

#define BASIC_REVISION   BITS(30, 0)
#define MISC_TIMER_SHIFT BITS(4, 0)
#define EPT_FOUR_LEVELS  BIT(6)
#define EPT_WRITE_BACK   BIT(14)
#define EPT_2M           BIT(16)
#define EPT_1G           BIT(17)
#define EPT_INVEPT       BIT(20)
#define EPT_HAS_NOTES    BIT(21) /* accessed and dirty */
#define EPT_SINGLE       BIT(25)
#define EPT_ALL          BIT(26)
#define VPID_INVVPID     BIT(32)
#define VPID_SINGLE      BIT(41)

#define EPT_POINTER_WRITE_BACK  6ull
#define EPT_POINTER_FOUR_LEVELS (3ull << 3)
#define EPT_POINTER_NOTES       BIT(6)

struct vmx_features vmx_features;

/* One control: in which word, why, and whether lintel needs it, wants it, or must be without it. */
enum wish { NEEDED, WANTED, FORBIDDEN };
enum word { WORD_PIN, WORD_PROCESSOR, WORD_PROCESSOR2, WORD_EXIT, WORD_ENTRY, WORD_COUNT };
static const struct control {
    u8 word, wish;
    u64 bit;
    const char *name, *reason;
} controls[] = {
    {WORD_PIN, NEEDED, PIN_EXTERNAL_INTERRUPT, "external-interrupt exiting", "interrupts are lintel's"},
    {WORD_PIN, NEEDED, PIN_NMI, "NMI exiting", "NMIs are lintel's"},
    {WORD_PIN, NEEDED, PIN_VIRTUAL_NMI, "virtual NMIs", "guests have their own masking"},
    {WORD_PIN, WANTED, PIN_PREEMPTION_TIMER, "VMX-preemption timer", "lintel looks up from every guest"},
    {WORD_PROCESSOR, NEEDED, PROC_TSC_OFFSET, "TSC offsetting", "guests' counters start at 0"},
    {WORD_PROCESSOR, NEEDED, PROC_HLT, "HLT exiting", "an idle vCPU gives its CPU away"},
    {WORD_PROCESSOR, NEEDED, PROC_MWAIT, "MWAIT exiting", "would idle the CPU with the guest on it"},
    {WORD_PROCESSOR, NEEDED, PROC_RDPMC, "RDPMC exiting", "the counters are the machine's"},
    {WORD_PROCESSOR, NEEDED, PROC_CR8_LOAD, "CR8-load exiting", "without the TPR shadow"},
    {WORD_PROCESSOR, NEEDED, PROC_CR8_STORE, "CR8-store exiting", "as CR8 loads"},
    {WORD_PROCESSOR, WANTED, PROC_TPR_SHADOW, "use TPR shadow", "CR8 needs no exit then"},
    {WORD_PROCESSOR, NEEDED, PROC_IO, "unconditional I/O exiting", "every port is virtual"},
    {WORD_PROCESSOR, NEEDED, PROC_MSR_BITMAPS, "MSR bitmaps", "the syscall MSRs are the guest's"},
    {WORD_PROCESSOR, NEEDED, PROC_MONITOR, "MONITOR exiting", "MONITOR and MWAIT are hidden"},
    {WORD_PROCESSOR, NEEDED, PROC_SECONDARY, "secondary controls", "EPT stands among them"},
    {WORD_PROCESSOR, FORBIDDEN, PROC_CR3_LOAD, "CR3-load exiting", "guests switch tables by themselves"},
    {WORD_PROCESSOR, FORBIDDEN, PROC_CR3_STORE, "CR3-store exiting", "as CR3 loads"},
    {WORD_PROCESSOR, FORBIDDEN, PROC_INVLPG, "INVLPG exiting", "guests flush by themselves"},
    {WORD_PROCESSOR, FORBIDDEN, PROC_MOV_DR, "MOV-DR exiting", "debug registers are switched with the vCPU"},
    {WORD_PROCESSOR, FORBIDDEN, PROC_RDTSC, "RDTSC exiting", "the offset suffices"},
    {WORD_PROCESSOR2, NEEDED, PROC2_EPT, "EPT", "memory is virtual"},
    {WORD_PROCESSOR2, NEEDED, PROC2_UNRESTRICTED, "unrestricted guest", "guests begin without paging"},
    {WORD_PROCESSOR2, WANTED, PROC2_WBINVD, "WBINVD exiting", "stalls the whole machine"},
    {WORD_PROCESSOR2, WANTED, PROC2_RDTSCP, "enable RDTSCP", "else it is #UD in guests"},
    {WORD_PROCESSOR2, WANTED, PROC2_INVPCID, "enable INVPCID", "else it is #UD in guests"},
    {WORD_PROCESSOR2, WANTED, PROC2_VPID, "VPID", "exits keep the TLB"},
    {WORD_PROCESSOR2, WANTED, PROC2_PAUSE_LOOP, "PAUSE-loop exiting", "a spinning vCPU offers its CPU"},
    {WORD_EXIT, NEEDED, EXIT_CONTROL_HOST_64, "host address-space size", "lintel is 64-bit"},
    {WORD_EXIT, NEEDED, EXIT_CONTROL_SAVE_PAT, "save IA32_PAT", "the PAT is the guest's"},
    {WORD_EXIT, NEEDED, EXIT_CONTROL_LOAD_PAT, "load IA32_PAT at exit", "lintel has its own"},
    {WORD_EXIT, NEEDED, EXIT_CONTROL_SAVE_EFER, "save IA32_EFER", "EFER is the guest's"},
    {WORD_EXIT, NEEDED, EXIT_CONTROL_LOAD_EFER, "load IA32_EFER at exit", "lintel has its own"},
    {WORD_EXIT, WANTED, EXIT_CONTROL_SAVE_DEBUG, "save debug controls", "DR7 is the guest's"},
    {WORD_EXIT, FORBIDDEN, EXIT_CONTROL_ACKNOWLEDGE, "acknowledge interrupt on exit",
     "lintel's IDT takes it"},
    {WORD_ENTRY, NEEDED, ENTRY_CONTROL_LOAD_PAT, "load IA32_PAT at entry", "the PAT is the guest's"},
    {WORD_ENTRY, NEEDED, ENTRY_CONTROL_LOAD_EFER, "load IA32_EFER at entry", "EFER is the guest's"},
    {WORD_ENTRY, WANTED, ENTRY_CONTROL_LOAD_DEBUG, "load debug controls", "DR7 is the guest's"},
};

/*
 * Combine what lintel says about one word with what the CPU allows (A.2 to A.5). 0, or -ENOTSUP with the
 * first control in the way.
 */
static int negotiate(unsigned int word, u64 allowed, u32 *result, char *why, size_t size)
{
    u32 must = (u32)allowed, may = (u32)(allowed >> 32);
    u32 value = must;

    for (size_t i = 0; i < ARRAY_SIZE(controls); i++) {
        const struct control *control = &controls[i];

        if (control->word != word)
            continue;
        if (control->wish == FORBIDDEN ? (must & control->bit) != 0
                                       : control->wish == NEEDED && !(may & control->bit)) {
            snprintf(why, size, "VMX can't %s \"%s\" (%s), which lintel needs: allowed are %#llx",
                     control->wish == FORBIDDEN ? "leave off" : "do", control->name, control->reason,
                     (unsigned long long)allowed);
            return -ENOTSUP;
        }
        if (control->wish != FORBIDDEN)
            value |= (u32)control->bit & may;
    }
    *result = value;
    return 0;
}

static int decide_controls(const struct vmx_capabilities *c, struct vmx_features *f, char *why, size_t size)
{
    const struct {
        u64 allowed;
        u32 *result;
    } words[WORD_COUNT] = {
        [WORD_PIN] = {c->pin, &f->pin},
        [WORD_PROCESSOR] = {c->processor, &f->processor},
        [WORD_PROCESSOR2] = {c->processor2, &f->processor2},
        [WORD_EXIT] = {c->exit, &f->exit},
        [WORD_ENTRY] = {c->entry, &f->entry},
    };

    for (unsigned int word = 0; word < WORD_COUNT; word++) {
        int error = negotiate(word, words[word].allowed, words[word].result, why, size);

        if (error)
            return error;
    }
    return 0;
}

/*
 * With the TPR shadow CR8 is the virtual APIC's TPR, and a threshold tells when it falls below an interrupt
 * that waits. Without it CR8 has to exit, or it would be the machine's. The registers are virtualised if that
 * can be done both ways, by window and by MSR; these controls follow the guest (virtual_apic.c). Delivery is
 * lintel's, whatever the CPU offers: Bochs 2.7 does it where it must not (docs/caveats.md).
 */
static void decide_apic(const struct vmx_capabilities *c, struct vmx_features *f)
{
    const u64 registers = PROC2_APIC_ACCESSES | PROC2_X2APIC | PROC2_APIC_REGISTERS;

    f->tpr_shadow = f->processor & PROC_TPR_SHADOW;
    if (f->tpr_shadow)
        f->processor &= ~(u32)(PROC_CR8_LOAD | PROC_CR8_STORE) | (u32)c->processor;
    f->apic_registers = f->tpr_shadow && (c->processor2 >> 32 & registers) == registers;
    f->interrupt_delivery = c->processor2 >> 32 & PROC2_INTERRUPT_DELIVERY;
    f->posted_interrupts = c->pin >> 32 & PIN_POSTED_INTERRUPTS;
}

static int decide_ept(const struct vmx_capabilities *c, struct vmx_features *f, char *why, size_t size)
{
    const u64 needed = EPT_FOUR_LEVELS | EPT_WRITE_BACK | EPT_2M | EPT_INVEPT | EPT_ALL;

    if ((c->ept_vpid & needed) != needed) {
        snprintf(
            why, size,
            "EPT lacks four levels, write-back, 2 MiB pages or INVEPT (capabilities %#llx, needed %#llx)",
            (unsigned long long)c->ept_vpid, (unsigned long long)needed);
        return -ENOTSUP;
    }
    f->ept_flags = EPT_POINTER_WRITE_BACK | EPT_POINTER_FOUR_LEVELS;
    /* Nobody reads them, but then a walk of a guest's table is a write, as with AMD (29.3.5): none reads
     * one in a page that the guest may only read. */
    if (c->ept_vpid & EPT_HAS_NOTES)
        f->ept_flags |= EPT_POINTER_NOTES;
    f->pages_1g = c->ept_vpid & EPT_1G;
    f->invept_single = c->ept_vpid & EPT_SINGLE;
    f->invvpid_single = (c->ept_vpid & VPID_INVVPID) && (c->ept_vpid & VPID_SINGLE);
    if (!f->invvpid_single)
        f->processor2 &= ~(u32)PROC2_VPID;
    f->vpid = f->processor2 & PROC2_VPID;
    f->pause_loop = f->processor2 & PROC2_PAUSE_LOOP;
    return 0;
}

int vmx_decide(const struct vmx_capabilities *c, char *why, size_t size)
{
    struct vmx_features f = {0};
    int error;

    if (!c->vmx) {
        snprintf(why, size, "the CPU has no VMX (CPUID 1 ECX bit 5 is clear)");
        return -ENODEV;
    }
    if ((c->feature_control & FEATURE_CONTROL_LOCKED) && !(c->feature_control & FEATURE_CONTROL_VMX)) {
        snprintf(
            why, size,
            "VMX is locked off by the firmware (IA32_FEATURE_CONTROL is %#llx, bit 2 is clear): switch on "
            "\"virtualization\" or VT-x in the firmware's setup",
            (unsigned long long)c->feature_control);
        return -EPERM;
    }
    error = decide_controls(c, &f, why, size);
    if (!error)
        error = decide_ept(c, &f, why, size);
    if (error)
        return error;
    decide_apic(c, &f);
    f.must_lock = !(c->feature_control & FEATURE_CONTROL_LOCKED);
    f.timer_shift = c->misc & MISC_TIMER_SHIFT;
    f.revision = (u32)(c->basic & BASIC_REVISION);
    /* With unrestricted guests PE and PG may be clear although the MSR says otherwise (A.7). */
    f.cr0_set = c->cr0_fixed0 & ~(CR0_PE | CR0_PG);
    f.cr4_set = c->cr4_fixed0;
    /* CD and NW: exits leave them as the guest had them (28.5.1), so the guest must not have them. */
    f.cr0_owned = f.cr0_set | CR0_CD | CR0_NW;
    f.cr4_owned = f.cr4_set;
    vmx_features = f;
    return 0;
}
