/* SPDX-License-Identifier: MIT */
/*
 * One instruction each: the x86 instructions that C cannot say, and what CPUID says of this machine.
 * Any CPU, no lock. Privileged all of them.
 */
#ifndef ARCH_X86_MACHINE_CPU_H
#define ARCH_X86_MACHINE_CPU_H

#include "hv/lib/types.h"

/* Control registers and EFER (AMD APM 2, 3.1; Intel SDM 3A, 2.5). */
#define CR0_PE         BIT(0)
#define CR0_MP         BIT(1)
#define CR0_EM         BIT(2)
#define CR0_TS         BIT(3)
#define CR0_ET         BIT(4)
#define CR0_NE         BIT(5)
#define CR0_WP         BIT(16)
#define CR0_AM         BIT(18)
#define CR0_NW         BIT(29)
#define CR0_CD         BIT(30)
#define CR0_PG         BIT(31)
#define CR4_VME        BIT(0)
#define CR4_PVI        BIT(1)
#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PSE        BIT(4)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_LA57       BIT(12)
#define CR4_VMXE       BIT(13)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)
#define CR4_PKE        BIT(22)
#define EFER_SCE       BIT(0)
#define EFER_LME       BIT(8)
#define EFER_LMA       BIT(10)
#define EFER_NXE       BIT(11)
#define EFER_SVME      BIT(12)
#define EFER_LMSLE     BIT(13)
#define EFER_FFXSR     BIT(14)

#define RFLAGS_FIXED BIT(1)
#define RFLAGS_TF    BIT(8)
#define RFLAGS_IF    BIT(9)
#define RFLAGS_DF    BIT(10)
#define RFLAGS_RF    BIT(16)
#define RFLAGS_VM    BIT(17)
#define RFLAGS_AC    BIT(18)

#define MSR_APIC_BASE    0x1b
#define MSR_TSC          0x10
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_PAT          0x277
#define MSR_EFER         0xc0000080
#define MSR_TSC_AUX      0xc0000103

enum vector {
    VECTOR_DE = 0,
    VECTOR_DB = 1,
    VECTOR_NMI = 2,
    VECTOR_BP = 3,
    VECTOR_UD = 6,
    VECTOR_NM = 7,
    VECTOR_DF = 8,
    VECTOR_TS = 10,
    VECTOR_NP = 11,
    VECTOR_SS = 12,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    VECTOR_MF = 16,
    VECTOR_AC = 17,
    VECTOR_MC = 18,
    VECTOR_XM = 19,
};

struct cpuid {
    u32 eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(u32 leaf, u32 subleaf)
{
    struct cpuid out;

    asm volatile("cpuid"
                 : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx)
                 : "a"(leaf), "c"(subleaf));
    return out;
}

static inline u64 rdmsr(u32 msr)
{
    u32 low, high;

    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return (u64)high << 32 | low;
}

static inline void wrmsr(u32 msr, u64 value)
{
    asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

/* The same under the exception table: 0, or -EFAULT when the CPU raised #GP (the MSR does not exist). */
int rdmsr_safe(u32 msr, u64 *value);
int wrmsr_safe(u32 msr, u64 value);

#define CPU_CONTROL_REGISTER(name)                                      \
    static inline u64 read_##name(void)                                 \
    {                                                                   \
        u64 value;                                                      \
        asm volatile("mov %%" #name ", %0" : "=r"(value) : : "memory"); \
        return value;                                                   \
    }                                                                   \
    static inline void write_##name(u64 value)                          \
    {                                                                   \
        asm volatile("mov %0, %%" #name : : "r"(value) : "memory");     \
    }
CPU_CONTROL_REGISTER(cr0)
CPU_CONTROL_REGISTER(cr2)
CPU_CONTROL_REGISTER(cr3)
CPU_CONTROL_REGISTER(cr4)
CPU_CONTROL_REGISTER(cr8)
CPU_CONTROL_REGISTER(dr0)
CPU_CONTROL_REGISTER(dr1)
CPU_CONTROL_REGISTER(dr2)
CPU_CONTROL_REGISTER(dr3)
CPU_CONTROL_REGISTER(dr6)
CPU_CONTROL_REGISTER(dr7)
#undef CPU_CONTROL_REGISTER

static inline u64 read_tsc(void)
{
    u32 low, high;

    asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (u64)high << 32 | low;
}

static inline u8 in8(u16 port)
{
    u8 value;

    asm volatile("inb %w1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u16 in16(u16 port)
{
    u16 value;

    asm volatile("inw %w1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u32 in32(u16 port)
{
    u32 value;

    asm volatile("inl %w1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void out8(u16 port, u8 value)
{
    asm volatile("outb %0, %w1" : : "a"(value), "Nd"(port));
}

static inline void out16(u16 port, u16 value)
{
    asm volatile("outw %0, %w1" : : "a"(value), "Nd"(port));
}

static inline void out32(u16 port, u32 value)
{
    asm volatile("outl %0, %w1" : : "a"(value), "Nd"(port));
}

/* So many words from or to one port. */
static inline void in16_many(u16 port, void *to, u64 count)
{
    asm volatile("rep insw" : "+D"(to), "+c"(count) : "d"(port) : "memory");
}

static inline void out16_many(u16 port, const void *from, u64 count)
{
    asm volatile("rep outsw" : "+S"(from), "+c"(count) : "d"(port) : "memory");
}

static inline void cpu_pause(void)
{
    asm volatile("pause");
}

/* Take every interrupt that is pending now, then close the door again. */
static inline void cpu_take_interrupts(void)
{
    asm volatile("sti; nop; cli" : : : "memory");
}

/* Sleep until an interrupt has been taken; no interrupt slips in between (the shadow of STI). */
static inline void cpu_idle(void)
{
    asm volatile("sti; hlt; cli" : : : "memory");
}

static inline void tlb_flush_page(u64 address)
{
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

NORETURN static inline void cpu_halt_for_ever(void)
{
    for (;;)
        asm volatile("cli; hlt" : : : "memory");
}

static inline void xsetbv(u32 index, u64 value)
{
    asm volatile("xsetbv" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline u64 xgetbv(u32 index)
{
    u32 low, high;

    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index));
    return (u64)high << 32 | low;
}

/* What lintel itself asks about the CPU; filled once on the boot CPU by cpu_features_read(). */
struct cpu_features {
    char vendor[13];
    char brand[49];   /* for people only; nothing is decided by it or by vendor */
    u32 basic_max;    /* highest basic CPUID leaf */
    u32 extended_max; /* highest extended leaf, or 0 */
    u8 physical_bits; /* CPUID 80000008 EAX, 36 when the leaf is absent */
    u16 xsave_bytes;  /* size of the XSAVE area for all of xsave_mask; 512 without XSAVE */
    u64 cr4_known;    /* bits of CR4 that the CPU has and lintel knows, but for VMXE */
    u64 xsave_mask;   /* XCR0 bits the CPU has; 0 without XSAVE */
    bool svm, vmx;    /* the feature bits that choose the engine */
    bool nx, pages_1g, smep, smap, umip, x2apic, tsc_deadline, arat, invariant_tsc, rdtscp, xsave, xsaveopt;
    bool rdrand, rdseed;
};
extern struct cpu_features cpu_features;
void cpu_features_read(void);

#endif
