/* SPDX-License-Identifier: MIT */
/*
 * The virtual machine control block, its intercept bits, and accessors that keep the clean bits, so that
 * nobody can change a cached field and forget to say so. AMD APM 2, appendix B (layout) and 15.15.3 (VMCB
 * clean field).
 */
#ifndef ARCH_X86_SVM_VMCB_H
#define ARCH_X86_SVM_VMCB_H

#include "hv/run/vcpu.h"

/* Intercepts, word 3 (offset 0x0c) and word 4 (offset 0x10). */
#define INTERCEPT_INTR        BIT(0)
#define INTERCEPT_NMI         BIT(1)
#define INTERCEPT_VINTR       BIT(4)
#define INTERCEPT_RDPMC       BIT(15)
#define INTERCEPT_CPUID       BIT(18)
#define INTERCEPT_RSM         BIT(19)
#define INTERCEPT_IRET        BIT(20)
#define INTERCEPT_INVD        BIT(22)
#define INTERCEPT_PAUSE       BIT(23)
#define INTERCEPT_HLT         BIT(24)
#define INTERCEPT_INVLPGA     BIT(26)
#define INTERCEPT_IOIO        BIT(27)
#define INTERCEPT_MSR         BIT(28)
#define INTERCEPT_FERR_FREEZE BIT(30)
#define INTERCEPT_SHUTDOWN    BIT(31)
#define INTERCEPT_VMRUN       BIT(0)
#define INTERCEPT_VMMCALL     BIT(1)
#define INTERCEPT_VMLOAD      BIT(2)
#define INTERCEPT_VMSAVE      BIT(3)
#define INTERCEPT_STGI        BIT(4)
#define INTERCEPT_CLGI        BIT(5)
#define INTERCEPT_SKINIT      BIT(6)
#define INTERCEPT_WBINVD      BIT(9)
#define INTERCEPT_MONITOR     BIT(10)
#define INTERCEPT_MWAIT       BIT(11)
#define INTERCEPT_MWAIT_ARMED BIT(12)
#define INTERCEPT_XSETBV      BIT(13)
#define INTERCEPT_RDPRU       BIT(14)

/* Exit codes that the engine names one by one (appendix C). */
#define VMEXIT_CR_READ     0x00
#define VMEXIT_CR_WRITE    0x10
#define VMEXIT_EXCEPTION   0x40
#define VMEXIT_INTR        0x60
#define VMEXIT_NMI         0x61
#define VMEXIT_VINTR       0x64
#define VMEXIT_RDPMC       0x6f
#define VMEXIT_CPUID       0x72
#define VMEXIT_RSM         0x73
#define VMEXIT_IRET        0x74
#define VMEXIT_INVD        0x76
#define VMEXIT_PAUSE       0x77
#define VMEXIT_HLT         0x78
#define VMEXIT_INVLPGA     0x7a
#define VMEXIT_IOIO        0x7b
#define VMEXIT_MSR         0x7c
#define VMEXIT_FERR_FREEZE 0x7e
#define VMEXIT_SHUTDOWN    0x7f
#define VMEXIT_VMRUN       0x80
#define VMEXIT_VMMCALL     0x81
#define VMEXIT_VMLOAD      0x82
#define VMEXIT_VMSAVE      0x83
#define VMEXIT_STGI        0x84
#define VMEXIT_CLGI        0x85
#define VMEXIT_SKINIT      0x86
#define VMEXIT_WBINVD      0x89
#define VMEXIT_MONITOR     0x8a
#define VMEXIT_MWAIT       0x8b
#define VMEXIT_MWAIT_ARMED 0x8c
#define VMEXIT_XSETBV      0x8d
#define VMEXIT_RDPRU       0x8e
#define VMEXIT_NPF         0x400
#define VMEXIT_INVALID     0xffffffffu /* -1; QEMU 7.2 writes 32 bits of it */

/* V_INTR, offset 0x60 */
#define V_IRQ                   BIT(8)
#define V_INTR_PRIORITY_HIGHEST (0xfull << 16)
#define V_IGNORE_TPR            BIT(20)
#define V_INTR_MASKING          BIT(24)

/* Interrupt shadow, offset 0x68 */
#define SHADOW_INTERRUPT BIT(0)

/* EVENTINJ and EXITINTINFO (15.20, 15.7.2) */
#define EVENT_VECTOR         BITS(7, 0)
#define EVENT_TYPE_SHIFT     8
#define EVENT_TYPE           BITS(10, 8)
#define EVENT_TYPE_INTERRUPT (0ull << 8)
#define EVENT_TYPE_NMI       (2ull << 8)
#define EVENT_TYPE_EXCEPTION (3ull << 8)
#define EVENT_TYPE_SOFTWARE  (4ull << 8)
#define EVENT_ERROR_VALID    BIT(11)
#define EVENT_VALID          BIT(31)

/* TLB_CONTROL */
#define TLB_KEEP       0
#define TLB_FLUSH_ALL  1
#define TLB_FLUSH_ASID 3

struct vmcb_control {
    u32 intercept_cr;         /* 0x000: reads 15:0, writes 31:16 */
    u32 intercept_dr;         /* 0x004 */
    u32 intercept_exceptions; /* 0x008: one bit per vector */
    u32 intercept1;           /* 0x00c */
    u32 intercept2;           /* 0x010 */
    u32 intercept3;           /* 0x014 */
    u8 reserved1[0x3c - 0x18];
    u16 pause_threshold; /* 0x03c */
    u16 pause_count;     /* 0x03e */
    u64 iopm;            /* 0x040 */
    u64 msrpm;           /* 0x048 */
    u64 tsc_offset;      /* 0x050 */
    u32 asid;            /* 0x058 */
    u32 tlb_control;     /* 0x05c */
    u64 v_intr;          /* 0x060 */
    u64 shadow;          /* 0x068: bit 0 interrupt shadow */
    u64 exit_code;       /* 0x070 */
    u64 exit_info1;      /* 0x078 */
    u64 exit_info2;      /* 0x080 */
    u64 exit_int_info;   /* 0x088 */
    u64 nested_enable;   /* 0x090 */
    u8 reserved2[0xa8 - 0x98];
    u64 event_inject; /* 0x0a8 */
    u64 nested_cr3;   /* 0x0b0 */
    u64 lbr_enable;   /* 0x0b8 */
    u32 clean;        /* 0x0c0 */
    u32 reserved3;    /* 0x0c4 */
    u64 next_rip;     /* 0x0c8 */
    u8 fetched_count; /* 0x0d0 */
    u8 fetched[15];   /* 0x0d1 */
    u8 reserved4[0x400 - 0xe0];
};

struct vmcb_save {
    struct vcpu_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr; /* 0x00 .. 0x9f */
    u8 reserved1[0xcb - 0xa0];
    u8 cpl;        /* 0x0cb */
    u32 reserved2; /* 0x0cc */
    u64 efer;      /* 0x0d0 */
    u8 reserved3[0x148 - 0xd8];
    u64 cr4, cr3, cr0, dr7, dr6, rflags, rip; /* 0x148 .. 0x17f */
    u8 reserved4[0x1d8 - 0x180];
    u64 rsp; /* 0x1d8 */
    u8 reserved5[0x1f8 - 0x1e0];
    u64 rax;                                          /* 0x1f8 */
    u64 star, lstar, cstar, sfmask, kernel_gs_base;   /* 0x200 .. 0x227 */
    u64 sysenter_cs, sysenter_esp, sysenter_eip, cr2; /* 0x228 .. 0x247 */
    u8 reserved6[0x268 - 0x248];
    u64 pat; /* 0x268 */
    u8 reserved7[0xc00 - 0x270];
};

struct vmcb {
    struct vmcb_control control;
    struct vmcb_save save;
};

#define VMCB_AT(member, at) _Static_assert(offsetof(struct vmcb, member) == (at), "APM 2, appendix B")
VMCB_AT(control.pause_threshold, 0x3c);
VMCB_AT(control.iopm, 0x40);
VMCB_AT(control.asid, 0x58);
VMCB_AT(control.v_intr, 0x60);
VMCB_AT(control.exit_code, 0x70);
VMCB_AT(control.nested_enable, 0x90);
VMCB_AT(control.event_inject, 0xa8);
VMCB_AT(control.clean, 0xc0);
VMCB_AT(control.next_rip, 0xc8);
VMCB_AT(control.fetched, 0xd1);
VMCB_AT(save.es, 0x400);
VMCB_AT(save.tr, 0x490);
VMCB_AT(save.cpl, 0x4cb);
VMCB_AT(save.efer, 0x4d0);
VMCB_AT(save.cr4, 0x548);
VMCB_AT(save.rip, 0x578);
VMCB_AT(save.rsp, 0x5d8);
VMCB_AT(save.rax, 0x5f8);
VMCB_AT(save.cr2, 0x640);
VMCB_AT(save.pat, 0x668);
_Static_assert(sizeof(struct vmcb) == PAGE_SIZE, "a VMCB fills one page");
_Static_assert(sizeof(struct vcpu_segment) == 16, "segments lie in the VMCB as vcpu.h describes them");
#undef VMCB_AT

/* Clean bits: what the CPU may keep cached from the last run of this VMCB. */
#define CLEAN_INTERCEPTS BIT(0)
#define CLEAN_MAPS       BIT(1)
#define CLEAN_ASID       BIT(2)
#define CLEAN_V_INTR     BIT(3)
#define CLEAN_NESTED     BIT(4)
#define CLEAN_CR         BIT(5)
#define CLEAN_DR         BIT(6)
#define CLEAN_TABLES     BIT(7)
#define CLEAN_SEGMENTS   BIT(8)
#define CLEAN_CR2        BIT(9)
#define CLEAN_ALL        BITS(9, 0)

/* The engine's part of a vCPU; page aligned. */
struct svm_vcpu {
    struct vmcb vmcb;    /* first: one pointer finds both */
    u32 asid_generation; /* of asid_cpu's counter when the ASID was given */
    u32 asid_cpu;
    bool loaded;         /* FS, GS, TR, LDTR and the syscall MSRs are on the CPU, not in the VMCB */
    bool nmi_masked;     /* an NMI was delivered and its IRET has not been seen */
    bool nmi_step;       /* stepping over that IRET */
    bool nmi_step_guest; /* the guest was stepping by itself */
    bool nmi_window;     /* somebody waits for the end of the masking */
#ifdef LINTEL_DEBUG
    u32 clean;        /* as the clean bits would be on a CPU that has them */
    struct vmcb last; /* as the CPU left it */
#endif
};

/* This part of the VMCB is not what the CPU may have cached. */
static inline void svm_clean_clear(struct svm_vcpu *svm, u32 bits)
{
    svm->vmcb.control.clean &= ~bits;
#ifdef LINTEL_DEBUG
    svm->clean &= ~bits;
#endif
}

static inline void svm_clean_forget(struct svm_vcpu *svm)
{
    svm_clean_clear(svm, CLEAN_ALL);
}

/*
 * Each field that clean bits cover: name, type, member, bit. Accessors and the debug check follow from this
 * list.
 */
#define VMCB_CACHED_FIELDS(X)                                                    \
    X(intercept_cr, u32, control.intercept_cr, CLEAN_INTERCEPTS)                 \
    X(intercept_exceptions, u32, control.intercept_exceptions, CLEAN_INTERCEPTS) \
    X(intercept1, u32, control.intercept1, CLEAN_INTERCEPTS)                     \
    X(intercept2, u32, control.intercept2, CLEAN_INTERCEPTS)                     \
    X(pause_count, u16, control.pause_count, CLEAN_INTERCEPTS)                   \
    X(pause_threshold, u16, control.pause_threshold, CLEAN_INTERCEPTS)           \
    X(tsc_offset, u64, control.tsc_offset, CLEAN_INTERCEPTS)                     \
    X(iopm, u64, control.iopm, CLEAN_MAPS)                                       \
    X(msrpm, u64, control.msrpm, CLEAN_MAPS)                                     \
    X(asid, u32, control.asid, CLEAN_ASID)                                       \
    X(v_intr, u64, control.v_intr, CLEAN_V_INTR)                                 \
    X(nested_enable, u64, control.nested_enable, CLEAN_NESTED)                   \
    X(nested_cr3, u64, control.nested_cr3, CLEAN_NESTED)                         \
    X(pat, u64, save.pat, CLEAN_NESTED)                                          \
    X(efer, u64, save.efer, CLEAN_CR)                                            \
    X(cr0, u64, save.cr0, CLEAN_CR)                                              \
    X(cr3, u64, save.cr3, CLEAN_CR)                                              \
    X(cr4, u64, save.cr4, CLEAN_CR)                                              \
    X(dr6, u64, save.dr6, CLEAN_DR)                                              \
    X(dr7, u64, save.dr7, CLEAN_DR)                                              \
    X(gdtr, struct vcpu_segment, save.gdtr, CLEAN_TABLES)                        \
    X(idtr, struct vcpu_segment, save.idtr, CLEAN_TABLES)                        \
    X(cs, struct vcpu_segment, save.cs, CLEAN_SEGMENTS)                          \
    X(ds, struct vcpu_segment, save.ds, CLEAN_SEGMENTS)                          \
    X(es, struct vcpu_segment, save.es, CLEAN_SEGMENTS)                          \
    X(ss, struct vcpu_segment, save.ss, CLEAN_SEGMENTS)                          \
    X(cpl, u8, save.cpl, CLEAN_SEGMENTS)                                         \
    X(cr2, u64, save.cr2, CLEAN_CR2)

#define VMCB_ACCESSORS(name, type, member, bit)                          \
    static inline type vmcb_##name(const struct svm_vcpu *svm)           \
    {                                                                    \
        return svm->vmcb.member;                                         \
    }                                                                    \
    static inline void vmcb_set_##name(struct svm_vcpu *svm, type value) \
    {                                                                    \
        svm->vmcb.member = value;                                        \
        svm_clean_clear(svm, (u32)(bit));                                \
    }
VMCB_CACHED_FIELDS(VMCB_ACCESSORS)
#undef VMCB_ACCESSORS

#endif
