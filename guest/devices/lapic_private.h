/* SPDX-License-Identifier: MIT */
/*
 * What the files of the local APIC share: lapic.c, lapic_registers.c, lapic_timer.c. Its lock is held but
 * where it says so.
 */
#ifndef GUEST_DEVICES_LAPIC_PRIVATE_H
#define GUEST_DEVICES_LAPIC_PRIVATE_H

#include "guest/machine.h"

/* A register of 32 bits in the page that engines show to the CPU: 16 bytes each, as in the window. */
#define PAGE_STRIDE (16 / sizeof(u32))

#define BASE_BOOT    BIT(8)
#define BASE_X2APIC  BIT(10)
#define BASE_ENABLED BIT(11)
#define BASE_MODE    (BASE_ENABLED | BASE_X2APIC)

#define SVR_ENABLED     BIT(8)
#define SVR_WRITABLE    0x3ffu
#define DIVIDE_WRITABLE 0xbu

#define LVT_MASKED          BIT(16)
#define LVT_MODE(lvt)       ((lvt) >> 8 & 7)
#define LVT_TIMER_MODE(lvt) ((lvt) >> 17 & 3)
enum lapic_timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE };

#define ERROR_SEND_VECTOR    BIT(5)
#define ERROR_RECEIVE_VECTOR BIT(6)
#define ERROR_REGISTER       BIT(7)

#define FIRST_VECTOR 16 /* lower ones are exceptions for ever */

/*
 * ICR: vector 7:0, mode 10:8, logical 11, level 14, trigger 15, shorthand 19:18, destination 63:56 (xAPIC)
 * or 63:32.
 */
#define ICR_LOGICAL        BIT(11)
#define ICR_BUSY           BIT(12)
#define ICR_ASSERT         BIT(14)
#define ICR_LEVEL          BIT(15)
#define ICR_SHORTHAND(icr) ((icr) >> 18 & 3)
#define ICR_X2_WRITABLE    (BITS(63, 32) | ICR_WRITABLE)
#define ICR_WRITABLE       (BITS(19, 18) | BITS(15, 14) | BITS(11, 0))
enum lapic_shorthand { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

/* By number: offset / 16 in the window, MSR - 0x800. */
enum lapic_register {
    LAPIC_ID = 0x02,
    LAPIC_VERSION = 0x03,
    LAPIC_TPR = 0x08,
    LAPIC_APR = 0x09,
    LAPIC_PPR = 0x0a,
    LAPIC_EOI = 0x0b,
    LAPIC_RRD = 0x0c,
    LAPIC_LDR = 0x0d,
    LAPIC_DFR = 0x0e,
    LAPIC_SVR = 0x0f,
    LAPIC_ISR = 0x10,
    LAPIC_TMR = 0x18,
    LAPIC_IRR = 0x20,
    LAPIC_ESR = 0x28,
    LAPIC_ICR = 0x30,
    LAPIC_ICR_HIGH = 0x31,
    LAPIC_LVT = 0x32, /* six of them, in the order of enum lapic_lvt */
    LAPIC_INITIAL = 0x38,
    LAPIC_CURRENT = 0x39,
    LAPIC_DIVIDE = 0x3e,
    LAPIC_SELF = 0x3f,
};
_Static_assert(LAPIC_LVT + LVT_COUNT == LAPIC_INITIAL, "the LVT entries fill their place");

static inline struct lapic *lapic_of(const struct vcpu *vcpu)
{
    return vcpu->lapic;
}

static inline bool lapic_enabled(const struct lapic *lapic)
{
    return (lapic->base & BASE_ENABLED) != 0;
}

static inline bool lapic_is_x2apic(const struct lapic *lapic)
{
    return (lapic->base & BASE_MODE) == BASE_MODE;
}

/* Switched on by SVR too: else it takes no fixed interrupts and its LVTs are masked. */
static inline bool lapic_software_enabled(const struct lapic *lapic)
{
    return (lapic->svr & SVR_ENABLED) != 0;
}

static inline void vectors_show(const struct lapic_vectors *vectors, unsigned word)
{
    if (vectors->shown)
        WRITE_ONCE(vectors->shown[word * PAGE_STRIDE], vectors->words[word]);
}

static inline void vectors_set(struct lapic_vectors *vectors, u8 vector)
{
    vectors->words[vector >> 5] |= 1u << (vector & 31);
    vectors->summary |= (u8)(1u << (vector >> 5));
    vectors_show(vectors, vector >> 5);
}

static inline void vectors_clear(struct lapic_vectors *vectors, u8 vector)
{
    vectors->words[vector >> 5] &= ~(1u << (vector & 31));
    if (vectors->words[vector >> 5] == 0)
        vectors->summary &= (u8) ~(1u << (vector >> 5));
    vectors_show(vectors, vector >> 5);
}

static inline void vectors_reset(struct lapic_vectors *vectors)
{
    *vectors = (struct lapic_vectors){.shown = vectors->shown};
    for (unsigned i = 0; i < ARRAY_SIZE(vectors->words); i++)
        vectors_show(vectors, i);
}

static inline bool vectors_test(const struct lapic_vectors *vectors, u8 vector)
{
    return (vectors->words[vector >> 5] >> (vector & 31) & 1) != 0;
}

/* -1: none. Without the lock the answer may be old, but is never nonsense. */
static inline int vectors_highest(const struct lapic_vectors *vectors)
{
    unsigned summary = READ_ONCE(vectors->summary);
    unsigned index, word;

    if (summary == 0)
        return -1;
    index = 31u - (unsigned)__builtin_clz(summary);
    word = READ_ONCE(vectors->words[index]);
    return word != 0 ? (int)(index * 32 + 31u - (unsigned)__builtin_clz(word)) : -1;
}

/* The processor's priority: the higher class of task and interrupt in service. */
static inline u32 lapic_ppr(const struct lapic *lapic)
{
    int in_service = vectors_highest(&lapic->isr);

    u32 tpr = READ_ONCE(*lapic->tpr);

    if (in_service >= 0 && (unsigned)in_service >> 4 > tpr >> 4)
        return (u32)in_service & 0xf0;
    return tpr;
}

/* The vector that the CPU should take now, or -1. */
static inline int lapic_deliverable(const struct lapic *lapic)
{
    int vector = vectors_highest(&lapic->irr);

    return vector >= 0 && (unsigned)vector >> 4 > lapic_ppr(lapic) >> 4 ? vector : -1;
}

/*
 * The class of the best vector that waits, if it is above what is in service: TPR alone may hold it back, and
 * with a TPR shadow that changes without an exit. Else 0.
 */
static inline u32 lapic_waiting_class(const struct lapic *lapic)
{
    int waiting = vectors_highest(&lapic->irr), in_service = vectors_highest(&lapic->isr);

    if (waiting < 0 || (in_service >= 0 && waiting >> 4 <= in_service >> 4))
        return 0;
    return (u32)waiting >> 4;
}

static inline void lapic_raise(struct lapic *lapic, u8 vector, bool level)
{
    vectors_set(&lapic->irr, vector);
    if (level)
        vectors_set(&lapic->tmr, vector);
    else
        vectors_clear(&lapic->tmr, vector);
}

/*
 * Something may have become deliverable, or will when TPR falls: by the vCPU's own doing, or from anywhere.
 */
static inline void lapic_notify_self(struct lapic *lapic)
{
    if (lapic_waiting_class(lapic) != 0)
        vcpu_request(lapic->vcpu, REQUEST_INTERRUPT);
}

static inline void lapic_notify(struct lapic *lapic)
{
    if (lapic_waiting_class(lapic) != 0)
        vcpu_wake(lapic->vcpu, REQUEST_INTERRUPT);
}

/* lapic.c */
void lapic_set_error(struct lapic *lapic, u32 error);
/* A local source with a fixed vector: its LVT decides. */
void lapic_raise_lvt(struct lapic *lapic, enum lapic_lvt source);
/* Own CPU, no lock held. */
void lapic_end_interrupt(struct lapic *lapic);
void lapic_send(struct lapic *lapic, u64 icr);
void lapic_send_self(struct lapic *lapic, u8 vector);

/* lapic_page.c, for engines whose CPU knows the local APIC. Own CPU. */
void lapic_page_attach(struct lapic *lapic);
/* With a page: this register may have changed, let the guest read it there. */
void lapic_show(struct lapic *lapic, unsigned number);
/* The same of all that follow no interrupt; nothing without a page. */
void lapic_show_all(struct lapic *lapic);
/* ICR's upper half is written in the page without an exit: take it over before ICR is looked at. xAPIC. */
void lapic_fetch_icr(struct lapic *lapic);
/*
 * With a page: the guest came to the window by an exit. Takes over what it wrote without one, and lets the
 * CPU answer from now on, if all vCPUs agree. No lock held.
 */
void lapic_window_touched(struct lapic *lapic);
/* The base has changed. set_mode: lock held; the other follows without any lock. */
void lapic_set_mode(struct lapic *lapic);
void lapic_window_follow(struct lapic *lapic);

/* lapic_base.c. The mode and the window follow. */
void lapic_set_base(struct lapic *lapic, u64 base);
/* The x2APIC's logical ID is not programmable: cluster in the upper half, one of 16 bits in the lower. */
static inline u32 lapic_x2apic_logical_id(const struct lapic *lapic)
{
    return lapic->id >> 4 << 16 | 1u << (lapic->id & 15);
}

/* lapic_registers.c. Bits of each LVT entry that can be written. */
extern const u32 lapic_lvt_writable[LVT_COUNT];
/*
 * Lock held, but to read what the own CPU alone changes; registers that only the xAPIC shows among them;
 * -EINVAL: no such register.
 */
int lapic_register_read_xapic(struct lapic *lapic, unsigned number, u32 *value);
/* A write of 32 bits in the window; the page is not told. Own CPU, no lock held. */
void lapic_window_write(struct lapic *lapic, unsigned number, u32 value);
/* The handlers of the MMIO window. */
u64 lapic_mmio_read(struct vcpu *vcpu, void *device, u64 offset, unsigned size);
void lapic_mmio_write(struct vcpu *vcpu, void *device, u64 offset, unsigned size, u64 value);

/* lapic_timer.c */
void lapic_timer_init(struct lapic *lapic);
void lapic_timer_stop(struct lapic *lapic);
u32 lapic_timer_current(const struct lapic *lapic);
void lapic_timer_set_initial(struct lapic *lapic, u32 count);
void lapic_timer_set_divide(struct lapic *lapic, u32 divide);
void lapic_timer_set_lvt(struct lapic *lapic, u32 lvt);
/* The CPU takes an interrupt with the timer's vector. */
void lapic_timer_taken(struct lapic *lapic);
/*
 * Of a snapshot: could the timer's registers have come about, and can this host TSC be its next expiry
 * (TIMER_NEVER: none)? And, when they have been put in place: let it expire then.
 */
bool lapic_timer_is_possible(const struct lapic *lapic, u64 expiry);
void lapic_timer_resume(struct lapic *lapic, u64 expiry);

#endif
