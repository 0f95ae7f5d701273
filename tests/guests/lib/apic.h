/* SPDX-License-Identifier: MIT */
/* The interrupt controllers: 8259 pair, local APIC by MMIO, IOAPIC. */
#ifndef GUESTS_LIB_APIC_H
#define GUESTS_LIB_APIC_H

#include "lib/io.h"

#define PIC_MASTER 0x20
#define PIC_SLAVE  0xa0

/* Vectors of lines 0 - 7 and 8 - 15; all lines masked. */
static inline void pic_setup(u8 master, u8 slave)
{
    out8(PIC_MASTER, 0x11); /* ICW1: cascade, ICW4 */
    out8(PIC_SLAVE, 0x11);
    out8(PIC_MASTER + 1, master);
    out8(PIC_SLAVE + 1, slave);
    out8(PIC_MASTER + 1, 4); /* slave on input 2 */
    out8(PIC_SLAVE + 1, 2);
    out8(PIC_MASTER + 1, 1); /* ICW4: 8086 */
    out8(PIC_SLAVE + 1, 1);
    out8(PIC_MASTER + 1, 0xff);
    out8(PIC_SLAVE + 1, 0xff);
}

static inline void pic_mask(u16 mask)
{
    out8(PIC_MASTER + 1, (u8)mask);
    out8(PIC_SLAVE + 1, (u8)(mask >> 8));
}

static inline void pic_eoi(unsigned line)
{
    if (line >= 8)
        out8(PIC_SLAVE, 0x20);
    out8(PIC_MASTER, 0x20);
}

#define MSR_APIC_BASE     0x1b
#define APIC_BASE_X2      BIT(10)
#define APIC_BASE_ENABLED BIT(11)
#define MSR_TSC_DEADLINE  0x6e0
#define MSR_X2APIC        0x800

#define LAPIC_BASE      0xfee00000ull
#define LAPIC_ID        0x20
#define LAPIC_VERSION   0x30
#define LAPIC_TPR       0x80
#define LAPIC_EOI       0xb0
#define LAPIC_LDR       0xd0
#define LAPIC_DFR       0xe0
#define LAPIC_SVR       0xf0
#define LAPIC_ISR       0x100
#define LAPIC_IRR       0x200
#define LAPIC_ESR       0x280
#define LAPIC_ICR       0x300
#define LAPIC_ICR_HIGH  0x310
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_LVT_LINT0 0x350
#define LAPIC_LVT_ERROR 0x370
#define LAPIC_INITIAL   0x380
#define LAPIC_CURRENT   0x390
#define LAPIC_DIVIDE    0x3e0

#define LVT_MASKED   BIT(16)
#define LVT_PERIODIC BIT(17)
#define LVT_DEADLINE BIT(18)

#define ICR_SELF  (1u << 18)
#define ICR_NMI   (4u << 8)
#define ICR_LEVEL (1u << 14)

static inline u32 lapic_read(u32 offset)
{
    return mmio_read(LAPIC_BASE + offset);
}

static inline void lapic_write(u32 offset, u32 value)
{
    mmio_write(LAPIC_BASE + offset, value);
}

/* Software enable; spurious vector 0xff; everything local masked. */
static inline void lapic_setup(void)
{
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_TPR, 0);
    lapic_write(LAPIC_LVT_TIMER, (u32)LVT_MASKED);
}

static inline void lapic_eoi(void)
{
    lapic_write(LAPIC_EOI, 0);
}

/* Is bit `vector` of a 256-bit register (LAPIC_IRR, LAPIC_ISR) set? */
static inline bool lapic_bit(u32 offset, u8 vector)
{
    return lapic_read(offset + vector / 32 * 16) >> (vector % 32) & 1;
}

#define IOAPIC_BASE   0xfec00000ull
#define IOAPIC_LEVEL  BIT(15)
#define IOAPIC_LOW    BIT(13)
#define IOAPIC_MASKED BIT(16)

static inline u32 ioapic_read(u8 index)
{
    mmio_write(IOAPIC_BASE, index);
    return mmio_read(IOAPIC_BASE + 0x10);
}

static inline void ioapic_write(u8 index, u32 value)
{
    mmio_write(IOAPIC_BASE, index);
    mmio_write(IOAPIC_BASE + 0x10, value);
}

/* One redirection entry, to the APIC with ID 0. */
static inline void ioapic_route(unsigned pin, u32 low)
{
    ioapic_write((u8)(0x10 + 2 * pin), (u32)IOAPIC_MASKED);
    ioapic_write((u8)(0x11 + 2 * pin), 0);
    ioapic_write((u8)(0x10 + 2 * pin), low);
}

#endif
