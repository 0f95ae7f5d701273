/* SPDX-License-Identifier: MIT */
/*
 * Why an entry failed, in words: the manual's checks on the guest state, one row each, tried in its order on
 * the current VMCS; and the errors of VMX instructions. Intel SDM 3C, 27.3 (checks), 31.4 (error numbers).
 * Only on the way to a VM's end.
 */
#include "arch/x86/vmx/vmx.h"

#define REASON_BASIC         BITS(15, 0)
#define REASON_INVALID_GUEST 33
#define REASON_MSR_LOADING   34
#define REASON_MACHINE_CHECK 41

#define RIGHTS_TYPE(rights) ((rights)&0xf)
#define RIGHTS_S            BIT(4)
#define RIGHTS_DPL(rights)  ((rights) >> 5 & 3)
#define RIGHTS_P            BIT(7)
#define RIGHTS_DB           BIT(14)
#define RIGHTS_G            BIT(15)
#define RIGHTS_RESERVED     (BITS(11, 8) | BITS(31, 17))
#define RIGHTS_VIRTUAL_8086 0xf3
#define TYPE_DATA           3 /* read/write, accessed: as CS it is real mode's */
#define TYPE_CONFORMING     BIT(2)
#define SELECTOR_TI         BIT(2)
#define DEBUGCTL_BTF        BIT(1)
#define PENDING_BS          BIT(14)
#define ACTIVITY_HLT        1
#define ACTIVITY_LAST       3

static u64 rights_of(enum segment which)
{
    return vmcs_read_raw(VMCS_GUEST_RIGHTS + 2 * (u32)which);
}

static u64 base_of(enum segment which)
{
    return vmcs_read_raw(VMCS_GUEST_BASE + 2 * (u32)which);
}

static u64 selector_of(enum segment which)
{
    return vmcs_read_raw(VMCS_GUEST_SELECTOR + 2 * (u32)which);
}

static bool usable(enum segment which)
{
    return !(rights_of(which) & RIGHTS_UNUSABLE);
}

static bool beyond_physical(u64 address)
{
    return address >> cpu_features.physical_bits;
}

static bool guest_64(void)
{
    return vmcs_read32(VMCS_ENTRY_CONTROLS) & ENTRY_CONTROL_GUEST_64;
}

static bool virtual_8086(void)
{
    return vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_VM;
}

/* ---------------------------------------------------------------- control registers, debugging, MSRs */

static bool bad_cr0(void)
{
    u64 cr0 = vmcs_read(VMCS_GUEST_CR0);

    return (vmx_features.cr0_set & ~cr0) || ((cr0 & CR0_PG) && !(cr0 & CR0_PE)) || cr0 >> 32;
}

static bool bad_cr3(void)
{
    return beyond_physical(vmcs_read(VMCS_GUEST_CR3));
}

static bool bad_cr4(void)
{
    return (vmx_features.cr4_set & ~vmcs_read(VMCS_GUEST_CR4)) || vmcs_read(VMCS_GUEST_CR4) >> 32;
}

static bool bad_long_mode(void)
{
    u64 cr4 = vmcs_read(VMCS_GUEST_CR4);

    if (!guest_64())
        return cr4 & CR4_PCIDE;
    return !(vmcs_read(VMCS_GUEST_CR0) & CR0_PG) || !(cr4 & CR4_PAE);
}

static bool bad_dr7(void)
{
    return vmcs_read(VMCS_GUEST_DR7) >> 32;
}

static bool bad_sysenter(void)
{
    return !address_is_canonical(vmcs_read(VMCS_GUEST_SYSENTER_ESP)) ||
           !address_is_canonical(vmcs_read(VMCS_GUEST_SYSENTER_EIP));
}

static bool bad_pat(void)
{
    for (u64 pat = vmcs_read64(VMCS_GUEST_PAT); pat; pat >>= 8)
        if ((pat & 0xff) > 7 || (pat & 0xff) == 2 || (pat & 0xff) == 3)
            return true;
    return false;
}

static bool bad_efer(void)
{
    u64 efer = vmcs_read64(VMCS_GUEST_EFER);

    return !!(efer & EFER_LMA) != guest_64() ||
           ((vmcs_read(VMCS_GUEST_CR0) & CR0_PG) && !!(efer & EFER_LMA) != !!(efer & EFER_LME));
}

/* ---------------------------------------------------------------- segments */

static bool bad_tr(void)
{
    u64 type = RIGHTS_TYPE(rights_of(SEGMENT_TR));

    return !usable(SEGMENT_TR) || !(rights_of(SEGMENT_TR) & RIGHTS_P) || (rights_of(SEGMENT_TR) & RIGHTS_S) ||
           (selector_of(SEGMENT_TR) & SELECTOR_TI) || (type != 11 && (type != 3 || guest_64()));
}

static bool bad_ldtr(void)
{
    u64 rights = rights_of(SEGMENT_LDTR);

    return usable(SEGMENT_LDTR) && (RIGHTS_TYPE(rights) != 2 || (rights & RIGHTS_S) || !(rights & RIGHTS_P) ||
                                    (selector_of(SEGMENT_LDTR) & SELECTOR_TI));
}

static bool bad_virtual_8086(void)
{
    for (u32 i = 0; virtual_8086() && i <= SEGMENT_GS; i++)
        if (rights_of(i) != RIGHTS_VIRTUAL_8086 || vmcs_read_raw(VMCS_GUEST_LIMIT + 2 * i) != 0xffff ||
            base_of(i) != selector_of(i) << 4)
            return true;
    return false;
}

static bool bad_cs(void)
{
    u64 rights = rights_of(SEGMENT_CS), type = RIGHTS_TYPE(rights);

    return !(rights & RIGHTS_S) || !(rights & RIGHTS_P) || (type != TYPE_DATA && (type & 9) != 9) ||
           (guest_64() && (rights & RIGHTS_LONG) && (rights & RIGHTS_DB));
}

static bool bad_ss(void)
{
    u64 rights = rights_of(SEGMENT_SS);

    return usable(SEGMENT_SS) &&
           ((RIGHTS_TYPE(rights) & 0xb) != 3 || !(rights & RIGHTS_S) || !(rights & RIGHTS_P));
}

static bool bad_data_segments(void)
{
    for (u32 i = 0; i <= SEGMENT_GS; i++) {
        u64 rights = rights_of(i), type = RIGHTS_TYPE(rights);

        if (i == SEGMENT_CS || i == SEGMENT_SS || !usable(i))
            continue;
        if (!(type & 1) || (type & 0xa) == 8 || !(rights & RIGHTS_S) || !(rights & RIGHTS_P))
            return true;
    }
    return false;
}

static bool bad_privileges(void)
{
    u64 cs = rights_of(SEGMENT_CS), cs_dpl = RIGHTS_DPL(cs), ss_dpl = RIGHTS_DPL(rights_of(SEGMENT_SS));

    if (virtual_8086())
        return false;
    if (RIGHTS_TYPE(cs) == TYPE_DATA)
        return cs_dpl || ss_dpl;
    if (!(vmcs_read(VMCS_GUEST_CR0) & CR0_PE) && ss_dpl)
        return true;
    return RIGHTS_TYPE(cs) & TYPE_CONFORMING ? cs_dpl > ss_dpl : cs_dpl != ss_dpl;
}

static bool bad_rights(void)
{
    for (u32 i = 0; i < SEGMENT_COUNT; i++)
        if (usable(i) && (rights_of(i) & RIGHTS_RESERVED))
            return true;
    return false;
}

static bool bad_granularity(void)
{
    for (u32 i = 0; i < SEGMENT_COUNT; i++) {
        u64 rights = rights_of(i), limit = vmcs_read_raw(VMCS_GUEST_LIMIT + 2 * i);

        if (rights & RIGHTS_UNUSABLE)
            continue;
        if ((limit >> 20 && !(rights & RIGHTS_G)) || ((limit & 0xfff) != 0xfff && (rights & RIGHTS_G)))
            return true;
    }
    return false;
}

static bool bad_bases(void)
{
    for (u32 i = 0; i <= SEGMENT_DS; i++)
        if ((i == SEGMENT_CS || usable(i)) && base_of(i) >> 32)
            return true;
    return !address_is_canonical(base_of(SEGMENT_FS)) || !address_is_canonical(base_of(SEGMENT_GS)) ||
           !address_is_canonical(base_of(SEGMENT_TR)) ||
           (usable(SEGMENT_LDTR) && !address_is_canonical(base_of(SEGMENT_LDTR)));
}

static bool bad_tables(void)
{
    return !address_is_canonical(vmcs_read(VMCS_GUEST_GDTR_BASE)) ||
           !address_is_canonical(vmcs_read(VMCS_GUEST_IDTR_BASE)) ||
           vmcs_read32(VMCS_GUEST_GDTR_LIMIT) >> 16 || vmcs_read32(VMCS_GUEST_IDTR_LIMIT) >> 16;
}

/* ---------------------------------------------------------------- where it runs, and what is to happen */

static bool bad_rip(void)
{
    bool wide = guest_64() && (rights_of(SEGMENT_CS) & RIGHTS_LONG);

    return wide ? !address_is_canonical(vmcs_read(VMCS_GUEST_RIP)) : vmcs_read(VMCS_GUEST_RIP) >> 32;
}

static bool bad_rflags(void)
{
    u64 rflags = vmcs_read(VMCS_GUEST_RFLAGS), reserved = BITS(63, 22) | BIT(15) | BIT(5) | BIT(3);

    return !(rflags & RFLAGS_FIXED) || (rflags & reserved) ||
           (virtual_8086() && (guest_64() || !(vmcs_read(VMCS_GUEST_CR0) & CR0_PE)));
}

static bool bad_event(void)
{
    u32 event = vmcs_read32(VMCS_ENTRY_EVENT), blocking = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);

    if (!(event & EVENT_VALID))
        return false;
    if ((event & EVENT_TYPE) == EVENT_TYPE_INTERRUPT)
        return !(vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF) || (blocking & (BLOCKING_STI | BLOCKING_MOV_SS));
    return (event & EVENT_TYPE) == EVENT_TYPE_NMI && (blocking & (BLOCKING_MOV_SS | BLOCKING_NMI));
}

static bool bad_blocking(void)
{
    u32 blocking = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);

    return (blocking & BLOCKING_STI) &&
           (blocking & BLOCKING_MOV_SS || !(vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF));
}

static bool shadowed(void)
{
    return vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS);
}

static bool bad_activity(void)
{
    u32 activity = vmcs_read32(VMCS_GUEST_ACTIVITY);

    return activity > ACTIVITY_LAST || (activity && shadowed()) ||
           (activity == ACTIVITY_HLT && RIGHTS_DPL(rights_of(SEGMENT_SS)));
}

/* A step that was due when the shadow began is kept in a bit of its own. */
static bool bad_pending_step(void)
{
    bool due =
        (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF) && !(vmcs_read64(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF);

    if (!shadowed() && vmcs_read32(VMCS_GUEST_ACTIVITY) != ACTIVITY_HLT)
        return false;
    return due != !!(vmcs_read(VMCS_GUEST_PENDING_DEBUG) & PENDING_BS);
}

static bool bad_link(void)
{
    return vmcs_read64(VMCS_LINK_POINTER) != ~0ull;
}

static bool bad_pdptes(void)
{
    if (guest_64() || !(vmcs_read(VMCS_GUEST_CR0) & CR0_PG) || !(vmcs_read(VMCS_GUEST_CR4) & CR4_PAE))
        return false;
    for (u32 i = 0; i < 4; i++) {
        u64 entry = vmcs_read_raw(VMCS_GUEST_PDPTE0 + 2 * i);

        if ((entry & PTE_PRESENT) && ((entry & PDPTE_RESERVED) || beyond_physical(entry)))
            return true;
    }
    return false;
}

static const struct entry_check {
    bool (*fails)(void);
    const char *sentence;
} entry_checks[] = {
    {bad_cr0, "CR0 has a bit VMX forbids, or lacks one it wants (27.3.1.1)"},
    {bad_cr4, "CR4 has a bit VMX forbids, or lacks one it wants (27.3.1.1)"},
    {bad_long_mode, "a 64-bit guest without CR0.PG or CR4.PAE, or another one with CR4.PCIDE (27.3.1.1)"},
    {bad_cr3, "CR3 is beyond the CPU's physical addresses (27.3.1.1)"},
    {bad_dr7, "DR7 has upper bits (27.3.1.1)"},
    {bad_sysenter, "a SYSENTER address is not canonical (27.3.1.1)"},
    {bad_pat, "PAT has a memory type that does not exist (27.3.1.1)"},
    {bad_efer, "EFER.LMA, EFER.LME and the 64-bit entry control disagree (27.3.1.1)"},
    {bad_tr, "TR is not a busy task segment (27.3.1.2)"},
    {bad_ldtr, "LDTR is neither unusable nor a descriptor table (27.3.1.2)"},
    {bad_virtual_8086, "a segment is not as virtual-8086 mode has them (27.3.1.2)"},
    {bad_cs, "CS is no code segment that can run (27.3.1.2)"},
    {bad_ss, "SS is usable but no writable data segment (27.3.1.2)"},
    {bad_data_segments, "a data segment is usable but not present, accessed and readable (27.3.1.2)"},
    {bad_privileges, "the privilege levels of CS and SS disagree (27.3.1.2)"},
    {bad_rights, "a segment's rights have reserved bits (27.3.1.2)"},
    {bad_granularity, "a segment's limit and its granularity disagree (27.3.1.2)"},
    {bad_bases, "a segment's base is not canonical, or has upper bits (27.3.1.2)"},
    {bad_tables, "GDTR or IDTR: base not canonical, or limit beyond 16 bits (27.3.1.3)"},
    {bad_rip, "RIP is not canonical, or has upper bits outside 64-bit code (27.3.1.4)"},
    {bad_rflags, "RFLAGS has reserved bits, lacks bit 1, or has VM where that can't be (27.3.1.4)"},
    {bad_event, "an interrupt or NMI is injected while it is blocked (27.3.1.4, 27.3.1.5)"},
    {bad_blocking, "STI blocking with MOV SS blocking or with IF = 0 (27.3.1.5)"},
    {bad_activity, "an activity state that is unknown, or can't be where the guest is (27.3.1.5)"},
    {bad_pending_step, "in a shadow or HLT, TF and the pending single step disagree (27.3.1.5)"},
    {bad_link, "the VMCS link pointer is set (27.3.1.5)"},
    {bad_pdptes, "a PAE page-directory pointer has reserved bits (27.3.1.6)"},
};

const char *vmx_explain_entry(u32 reason)
{
    if ((reason & REASON_BASIC) == REASON_MSR_LOADING)
        return "an MSR of the entry's list could not be loaded (27.4)";
    if ((reason & REASON_BASIC) == REASON_MACHINE_CHECK)
        return "a machine check came during the entry (27.9)";
    for (size_t i = 0; i < ARRAY_SIZE(entry_checks); i++)
        if (entry_checks[i].fails())
            return entry_checks[i].sentence;
    return "the guest's state is invalid by a check that lintel does not know";
}

static const char *const instruction_errors[] = {
    [1] = "VMCALL in VMX root operation",
    [2] = "VMCLEAR with an invalid address",
    [3] = "VMCLEAR with the VMXON pointer",
    [4] = "VMLAUNCH with a VMCS that is not clear",
    [5] = "VMRESUME with a VMCS that was not launched",
    [6] = "VMRESUME after VMXOFF",
    [7] = "invalid control fields",
    [8] = "invalid host state",
    [9] = "VMPTRLD with an invalid address",
    [10] = "VMPTRLD with the VMXON pointer",
    [11] = "VMPTRLD with a wrong revision",
    [12] = "VMREAD or VMWRITE of a field that does not exist",
    [13] = "VMWRITE to a read-only field",
    [15] = "VMXON in VMX root operation",
    [26] = "entry with events blocked by MOV SS",
    [28] = "invalid operand to INVEPT or INVVPID",
};

const char *vmx_explain_error(u32 error)
{
    if (error < ARRAY_SIZE(instruction_errors) && instruction_errors[error])
        return instruction_errors[error];
    return "an error number that the manual does not list";
}
