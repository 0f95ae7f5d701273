/* SPDX-License-Identifier: MIT */
/*
 * The fields of the VMCS in the manual's groups, the bits of its controls, and typed access. Intel SDM 3D,
 * appendix B (encodings), SDM 3C, chapters 25 (VMCS) and 26 to 28. Fields are those of the current VMCS of
 * this CPU.
 */
#ifndef ARCH_X86_VMX_VMCS_H
#define ARCH_X86_VMX_VMCS_H

#include "hv/run/vcpu.h"

enum vmcs_field {
    /* 16-bit control */
    VMCS_VPID = 0x0000,
    /* 16-bit guest state: 0x0800 + 2 * enum segment */
    VMCS_GUEST_SELECTOR = 0x0800,
    /* 16-bit host state */
    VMCS_HOST_ES = 0x0c00,
    VMCS_HOST_CS = 0x0c02,
    VMCS_HOST_SS = 0x0c04,
    VMCS_HOST_DS = 0x0c06,
    VMCS_HOST_FS = 0x0c08,
    VMCS_HOST_GS = 0x0c0a,
    VMCS_HOST_TR = 0x0c0c,
    /* 64-bit control */
    VMCS_MSR_BITMAP = 0x2004,
    VMCS_TSC_OFFSET = 0x2010,
    VMCS_VIRTUAL_APIC = 0x2012,
    VMCS_APIC_ACCESS = 0x2014,
    VMCS_EPT_POINTER = 0x201a,
    /* 64-bit read-only */
    VMCS_GUEST_PHYSICAL = 0x2400,
    /* 64-bit guest state */
    VMCS_LINK_POINTER = 0x2800,
    VMCS_GUEST_DEBUGCTL = 0x2802,
    VMCS_GUEST_PAT = 0x2804,
    VMCS_GUEST_EFER = 0x2806,
    VMCS_GUEST_PDPTE0 = 0x280a,
    /* 64-bit host state */
    VMCS_HOST_PAT = 0x2c00,
    VMCS_HOST_EFER = 0x2c02,
    /* 32-bit control */
    VMCS_PIN_CONTROLS = 0x4000,
    VMCS_PROCESSOR_CONTROLS = 0x4002,
    VMCS_EXCEPTION_BITMAP = 0x4004,
    VMCS_CR3_TARGETS = 0x400a,
    VMCS_EXIT_CONTROLS = 0x400c,
    VMCS_EXIT_MSR_STORES = 0x400e,
    VMCS_EXIT_MSR_LOADS = 0x4010,
    VMCS_ENTRY_CONTROLS = 0x4012,
    VMCS_ENTRY_MSR_LOADS = 0x4014,
    VMCS_ENTRY_EVENT = 0x4016,
    VMCS_ENTRY_ERROR_CODE = 0x4018,
    VMCS_ENTRY_LENGTH = 0x401a,
    VMCS_TPR_THRESHOLD = 0x401c,
    VMCS_PROCESSOR_CONTROLS2 = 0x401e,
    VMCS_PAUSE_GAP = 0x4020,
    VMCS_PAUSE_WINDOW = 0x4022,
    /* 32-bit read-only */
    VMCS_INSTRUCTION_ERROR = 0x4400,
    VMCS_EXIT_REASON = 0x4402,
    VMCS_EXIT_EVENT = 0x4404,
    VMCS_EXIT_ERROR_CODE = 0x4406,
    VMCS_VECTORING_EVENT = 0x4408,
    VMCS_VECTORING_ERROR_CODE = 0x440a,
    VMCS_EXIT_LENGTH = 0x440c,
    /* 32-bit guest state; limits and rights: + 2 * enum segment */
    VMCS_GUEST_LIMIT = 0x4800,
    VMCS_GUEST_GDTR_LIMIT = 0x4810,
    VMCS_GUEST_IDTR_LIMIT = 0x4812,
    VMCS_GUEST_RIGHTS = 0x4814,
    VMCS_GUEST_INTERRUPTIBILITY = 0x4824,
    VMCS_GUEST_ACTIVITY = 0x4826,
    VMCS_GUEST_SYSENTER_CS = 0x482a,
    VMCS_PREEMPTION_TIMER = 0x482e,
    /* 32-bit host state */
    VMCS_HOST_SYSENTER_CS = 0x4c00,
    /* natural-width control */
    VMCS_CR0_MASK = 0x6000,
    VMCS_CR4_MASK = 0x6002,
    VMCS_CR0_SHADOW = 0x6004,
    VMCS_CR4_SHADOW = 0x6006,
    /* natural-width read-only */
    VMCS_EXIT_QUALIFICATION = 0x6400,
    /* natural-width guest state; bases: + 2 * enum segment */
    VMCS_GUEST_CR0 = 0x6800,
    VMCS_GUEST_CR3 = 0x6802,
    VMCS_GUEST_CR4 = 0x6804,
    VMCS_GUEST_BASE = 0x6806,
    VMCS_GUEST_GDTR_BASE = 0x6816,
    VMCS_GUEST_IDTR_BASE = 0x6818,
    VMCS_GUEST_DR7 = 0x681a,
    VMCS_GUEST_RSP = 0x681c,
    VMCS_GUEST_RIP = 0x681e,
    VMCS_GUEST_RFLAGS = 0x6820,
    VMCS_GUEST_PENDING_DEBUG = 0x6822,
    VMCS_GUEST_SYSENTER_ESP = 0x6824,
    VMCS_GUEST_SYSENTER_EIP = 0x6826,
    /* natural-width host state */
    VMCS_HOST_CR0 = 0x6c00,
    VMCS_HOST_CR3 = 0x6c02,
    VMCS_HOST_CR4 = 0x6c04,
    VMCS_HOST_FS_BASE = 0x6c06,
    VMCS_HOST_GS_BASE = 0x6c08,
    VMCS_HOST_TR_BASE = 0x6c0a,
    VMCS_HOST_GDTR_BASE = 0x6c0c,
    VMCS_HOST_IDTR_BASE = 0x6c0e,
    VMCS_HOST_SYSENTER_ESP = 0x6c10,
    VMCS_HOST_SYSENTER_EIP = 0x6c12,
    VMCS_HOST_RSP = 0x6c14,
    VMCS_HOST_RIP = 0x6c16,
};

/* Bits 14:13 of an encoding (B.1). */
enum vmcs_width { VMCS_16, VMCS_64, VMCS_32, VMCS_NATURAL };
#define VMCS_WIDTH(field) ((field) >> 13 & 3)

/* Pin-based controls (25.6.1). */
#define PIN_EXTERNAL_INTERRUPT BIT(0)
#define PIN_NMI                BIT(3)
#define PIN_VIRTUAL_NMI        BIT(5)
#define PIN_POSTED_INTERRUPTS  BIT(7)
#define PIN_PREEMPTION_TIMER   BIT(6)
/* Processor-based controls (25.6.2). */
#define PROC_INTERRUPT_WINDOW    BIT(2)
#define PROC_TSC_OFFSET          BIT(3)
#define PROC_HLT                 BIT(7)
#define PROC_INVLPG              BIT(9)
#define PROC_MWAIT               BIT(10)
#define PROC_RDPMC               BIT(11)
#define PROC_RDTSC               BIT(12)
#define PROC_CR3_LOAD            BIT(15)
#define PROC_CR3_STORE           BIT(16)
#define PROC_CR8_LOAD            BIT(19)
#define PROC_CR8_STORE           BIT(20)
#define PROC_TPR_SHADOW          BIT(21)
#define PROC_NMI_WINDOW          BIT(22)
#define PROC_MOV_DR              BIT(23)
#define PROC_IO                  BIT(24)
#define PROC_MSR_BITMAPS         BIT(28)
#define PROC_MONITOR             BIT(29)
#define PROC_SECONDARY           BIT(31)
#define PROC2_APIC_ACCESSES      BIT(0)
#define PROC2_EPT                BIT(1)
#define PROC2_RDTSCP             BIT(3)
#define PROC2_X2APIC             BIT(4)
#define PROC2_VPID               BIT(5)
#define PROC2_WBINVD             BIT(6)
#define PROC2_UNRESTRICTED       BIT(7)
#define PROC2_APIC_REGISTERS     BIT(8)
#define PROC2_INTERRUPT_DELIVERY BIT(9)
#define PROC2_PAUSE_LOOP         BIT(10)
#define PROC2_INVPCID            BIT(12)
/* Exit and entry controls (25.7.1, 25.8.1). */
#define EXIT_CONTROL_SAVE_DEBUG  BIT(2)
#define EXIT_CONTROL_HOST_64     BIT(9)
#define EXIT_CONTROL_ACKNOWLEDGE BIT(15)
#define EXIT_CONTROL_SAVE_PAT    BIT(18)
#define EXIT_CONTROL_LOAD_PAT    BIT(19)
#define EXIT_CONTROL_SAVE_EFER   BIT(20)
#define EXIT_CONTROL_LOAD_EFER   BIT(21)
#define ENTRY_CONTROL_LOAD_DEBUG BIT(2)
#define ENTRY_CONTROL_GUEST_64   BIT(9)
#define ENTRY_CONTROL_LOAD_PAT   BIT(14)
#define ENTRY_CONTROL_LOAD_EFER  BIT(15)

/* Interruptibility (25.4.2). */
#define BLOCKING_STI    BIT(0)
#define BLOCKING_MOV_SS BIT(1)
#define BLOCKING_NMI    BIT(3)

/* Event words: entry interruption, exit interruption, IDT vectoring (25.8.3, 25.9.2, 25.9.3). */
#define EVENT_VECTOR              BITS(7, 0)
#define EVENT_TYPE                BITS(10, 8)
#define EVENT_TYPE_INTERRUPT      (0ull << 8)
#define EVENT_TYPE_NMI            (2ull << 8)
#define EVENT_TYPE_EXCEPTION      (3ull << 8)
#define EVENT_TYPE_SOFTWARE       (4ull << 8)
#define EVENT_TYPE_PRIVILEGED     (5ull << 8) /* INT1 */
#define EVENT_TYPE_SOFT_EXCEPTION (6ull << 8) /* INT3, INTO */
#define EVENT_ERROR_VALID         BIT(11)
#define EVENT_VALID               BIT(31)

/*
 * Segment rights: as vcpu.h describes attributes, but the upper four stand four bits higher; bit 16:
 * unusable.
 */
#define RIGHTS_PRIVILEGE BITS(6, 5)
#define RIGHTS_LONG      BIT(13)
#define RIGHTS_UNUSABLE  BIT(16)

/* A present PAE page-directory pointer, beside what lies beyond physical addresses (27.3.1.6). */
#define PDPTE_RESERVED (BITS(2, 1) | BITS(8, 5))

#ifdef LINTEL_HOST_TEST
u64 vmcs_read_raw(u32 field); /* of the test's own VMCS */
void vmcs_write_raw(u32 field, u64 value);
#else
static inline u64 vmcs_read_raw(u32 field)
{
    u64 value;

    asm volatile("vmread %1, %0" : "=rm"(value) : "r"((u64)field) : "cc");
    return value;
}

static inline void vmcs_write_raw(u32 field, u64 value)
{
    asm volatile("vmwrite %1, %0" : : "r"((u64)field), "rm"(value) : "cc");
}
#endif

/* A field of one width can't be accessed as another: the compiler looks. */
#define VMCS_CHECKED(field, width) _Static_assert(VMCS_WIDTH(field) == (width), "field width")
#define vmcs_read32(field)            \
    ({                                \
        VMCS_CHECKED(field, VMCS_32); \
        (u32) vmcs_read_raw(field);   \
    })
#define vmcs_read64(field)            \
    ({                                \
        VMCS_CHECKED(field, VMCS_64); \
        vmcs_read_raw(field);         \
    })
#define vmcs_read(field)                   \
    ({                                     \
        VMCS_CHECKED(field, VMCS_NATURAL); \
        vmcs_read_raw(field);              \
    })
#define vmcs_write16(field, value)           \
    ({                                       \
        VMCS_CHECKED(field, VMCS_16);        \
        vmcs_write_raw(field, (u16)(value)); \
    })
#define vmcs_write32(field, value)           \
    ({                                       \
        VMCS_CHECKED(field, VMCS_32);        \
        vmcs_write_raw(field, (u32)(value)); \
    })
#define vmcs_write64(field, value)    \
    ({                                \
        VMCS_CHECKED(field, VMCS_64); \
        vmcs_write_raw(field, value); \
    })
#define vmcs_write(field, value)           \
    ({                                     \
        VMCS_CHECKED(field, VMCS_NATURAL); \
        vmcs_write_raw(field, value);      \
    })

#endif
