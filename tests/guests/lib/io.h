/* SPDX-License-Identifier: MIT */
/* The machine's instructions as functions; those that may fault return the vector, or NO_VECTOR. */
#ifndef GUESTS_LIB_IO_H
#define GUESTS_LIB_IO_H

#include "lib/interrupt.h"

static inline u8 in8(u16 port)
{
    u8 value;

    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u16 in16(u16 port)
{
    u16 value;

    asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline u32 in32(u16 port)
{
    u32 value;

    asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void out8(u16 port, u8 value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out16(u16 port, u16 value)
{
    asm volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out32(u16 port, u32 value)
{
    asm volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

struct cpuid {
    u32 eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(u32 leaf, u32 subleaf)
{
    struct cpuid c;

    asm volatile("cpuid" : "=a"(c.eax), "=b"(c.ebx), "=c"(c.ecx), "=d"(c.edx) : "0"(leaf), "2"(subleaf));
    return c;
}

static inline u64 rdtsc(void)
{
    u32 low, high;

    asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (u64)high << 32 | low;
}

static inline int rdmsr_try(u32 msr, u64 *value)
{
    u32 low = 0, high = 0;
    int vector = TRY("rdmsr", : "+a"(low), "+d"(high) : "c"(msr) : "memory");

    *value = (u64)high << 32 | low;
    return vector;
}

static inline int wrmsr_try(u32 msr, u64 value)
{
    return TRY("wrmsr", : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

/* For MSRs that must be there: an exception ends the guest. */
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

static inline u32 mmio_read(u64 address)
{
    u32 value;

    asm volatile("movl %1, %0" : "=r"(value) : "m"(*(volatile u32 *)address));
    return value;
}

static inline void mmio_write(u64 address, u32 value)
{
    asm volatile("movl %1, %0" : "=m"(*(volatile u32 *)address) : "r"(value));
}

/* The PM timer at 3,579,545 Hz: a clock that needs no calibration. */
#define PM_CONTROL  0x604
#define PM_TIMER    0x608
#define PM_TIMER_HZ 3579545

void delay_us(u32 us);

#endif
