/* SPDX-License-Identifier: MIT */
/*
 * The registers of the local APIC, as window and as MSRs: what they keep, what follows from a write, what is
 * no register; off, moved and on again. A CPU may answer for most of them without an exit, and must answer
 * the same.
 */
#include "lib/apic.h"
#include "lib/tap.h"

#define LAPIC_LDR      0xd0
#define LAPIC_DFR      0xe0
#define LAPIC_TMR      0x180
#define LAPIC_PPR      0xa0
#define LAPIC_NOTHING  0x40
#define LVT_COUNT      6
#define UART_IER       0x3f9
#define UART_LINE      4
#define VECTOR_LINE    0x54
#define VECTOR_SELF    0x71
#define ELSEWHERE      0xfef00000ull
#define ALL_ONES       0xffffffffu
#define MSR_OF(offset) (MSR_X2APIC + (offset) / 16)

static const u32 lvt_kept[LVT_COUNT] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

/* In service: ISR has it, and TMR says whether it is a level. */
static bool in_service, is_level;

static void look(u8 vector)
{
    in_service = lapic_bit(LAPIC_ISR, vector);
    is_level = lapic_bit(LAPIC_TMR, vector);
}

static void on_line(struct frame *frame)
{
    (void)frame;
    look(VECTOR_LINE);
    (void)in8(0x3fa); /* takes the level back */
    lapic_eoi();
}

static void on_self(struct frame *frame)
{
    (void)frame;
    look(VECTOR_SELF);
    lapic_eoi();
}

static void values(void)
{
    u32 wrong = 0;

    lapic_write(LAPIC_ID, 0x5000000);
    lapic_write(LAPIC_VERSION, 0);
    ok(lapic_read(LAPIC_ID) == 0 && lapic_read(LAPIC_VERSION) == 0x50014, "ID and version are read only: %x",
       lapic_read(LAPIC_VERSION));
    lapic_write(LAPIC_LDR, 0x12345678);
    lapic_write(LAPIC_DFR, 0x0fffffff);
    ok(lapic_read(LAPIC_LDR) == 0x12000000 && lapic_read(LAPIC_DFR) == 0x0fffffff,
       "LDR and DFR keep their bits");
    lapic_write(LAPIC_DFR, ALL_ONES);
    for (u32 i = 0; i < LVT_COUNT; i++) {
        lapic_write(LAPIC_LVT_TIMER + 16 * i, ALL_ONES & ~(u32)LVT_DEADLINE);
        wrong += lapic_read(LAPIC_LVT_TIMER + 16 * i) != (lvt_kept[i] & ~(u32)LVT_DEADLINE);
        lapic_write(LAPIC_LVT_TIMER + 16 * i, (u32)LVT_MASKED);
    }
    ok(wrong == 0, "each LVT entry keeps what it has: %u do not", wrong);
    lapic_write(LAPIC_ICR_HIGH, 0x12345678);
    ok(lapic_read(LAPIC_ICR_HIGH) == 0x12000000, "the upper half of ICR keeps the destination: %x",
       lapic_read(LAPIC_ICR_HIGH));
    lapic_write(LAPIC_INITIAL, 100);
    ok(lapic_read(LAPIC_INITIAL) == 100 && lapic_read(LAPIC_CURRENT) <= 100, "the timer's counts");
    lapic_write(LAPIC_INITIAL, 0);
    lapic_write(LAPIC_DIVIDE, ALL_ONES);
    ok(lapic_read(LAPIC_DIVIDE) == 0xb, "and its divider");
    lapic_write(LAPIC_SVR, 0xfff);
    ok(lapic_read(LAPIC_SVR) == 0x3ff, "SVR");
    lapic_write(LAPIC_SVR, 0x1ff);
}

/* Other sizes and places than the manuals want: defined here, and alike on every CPU. */
static void shapes(void)
{
    volatile u8 *svr = (volatile u8 *)(LAPIC_BASE + LAPIC_SVR);

    ok(svr[0] == 0xff && svr[1] == 1 && svr[4] == 0, "bytes of a register can be read; behind it are none");
    svr[0] = 0xee;
    ok(lapic_read(LAPIC_SVR) == 0x1ee, "a narrow write changes its bytes: %x", lapic_read(LAPIC_SVR));
    svr[4] = 0x77;
    ok(lapic_read(LAPIC_SVR) == 0x1ee && svr[4] == 0, "one behind a register nothing");
    asm volatile("orl $0x11, %0" : "+m"(*(volatile u32 *)(LAPIC_BASE + LAPIC_SVR)));
    ok(lapic_read(LAPIC_SVR) == 0x1ff, "read, changed and written by one instruction");
    lapic_write(LAPIC_ESR, 0);
    (void)lapic_read(LAPIC_NOTHING);
    lapic_write(LAPIC_ESR, 0);
    ok(lapic_read(LAPIC_ESR) == 0x80, "what is no register is an error: %x", lapic_read(LAPIC_ESR));
    lapic_write(LAPIC_ESR, 0);
    ok(lapic_read(LAPIC_ESR) == 0 && lapic_read(LAPIC_EOI) == 0, "ESR is clear again, EOI reads 0");
}

static void service(void)
{
    interrupt_handle(VECTOR_SELF, on_self);
    interrupt_handle(VECTOR_LINE, on_line);
    lapic_write(LAPIC_ICR_HIGH, lapic_read(LAPIC_ID));
    lapic_write(LAPIC_ICR, VECTOR_SELF);
    ok(lapic_read(LAPIC_ICR) == VECTOR_SELF && lapic_bit(LAPIC_IRR, VECTOR_SELF),
       "an IPI to ourselves is sent at once");
    interrupt_window();
    ok(in_service && !is_level, "in its handler ISR has it, TMR has not");
    ok(!lapic_bit(LAPIC_ISR, VECTOR_SELF) && !lapic_bit(LAPIC_IRR, VECTOR_SELF), "behind EOI neither has");
    ioapic_route(UART_LINE, VECTOR_LINE | (u32)IOAPIC_LEVEL);
    out8(UART_IER, 2);
    interrupt_window();
    out8(UART_IER, 0);
    ok(in_service && is_level && interrupts[VECTOR_LINE] == 1, "of a level TMR tells: %u came",
       interrupts[VECTOR_LINE]);
    ok(!(ioapic_read(0x10 + 2 * UART_LINE) & BIT(14)), "its EOI reaches the IOAPIC");
    out8(UART_IER, 2);
    interrupt_window();
    out8(UART_IER, 0);
    ok(interrupts[VECTOR_LINE] == 2, "so that it can come again: %u", interrupts[VECTOR_LINE]);
    ioapic_route(UART_LINE, (u32)IOAPIC_MASKED);
}

static void off_and_elsewhere(void)
{
    u64 base = rdmsr(MSR_APIC_BASE);

    wrmsr(MSR_APIC_BASE, base & ~APIC_BASE_ENABLED);
    lapic_write(LAPIC_SVR, 0x155);
    ok(lapic_read(LAPIC_SVR) == ALL_ONES && lapic_read(LAPIC_ID) == ALL_ONES,
       "switched off, there is no window");
    wrmsr(MSR_APIC_BASE, base);
    ok(lapic_read(LAPIC_SVR) == 0xff && lapic_read(LAPIC_LVT_TIMER) == LVT_MASKED, "on again, it is new: %x",
       lapic_read(LAPIC_SVR));
    wrmsr(MSR_APIC_BASE, (base & 0xfff) | ELSEWHERE);
    ok(lapic_read(LAPIC_SVR) == ALL_ONES && mmio_read(ELSEWHERE + LAPIC_SVR) == 0xff,
       "moved, it is elsewhere");
    mmio_write(ELSEWHERE + LAPIC_SVR, 0x1fe);
    wrmsr(MSR_APIC_BASE, base);
    ok(lapic_read(LAPIC_SVR) == 0x1fe && mmio_read(ELSEWHERE + LAPIC_SVR) == ALL_ONES,
       "and comes back with its registers: %x", lapic_read(LAPIC_SVR));
}

static bool msr_is(u32 offset, u64 expected)
{
    u64 value;

    return rdmsr_try(MSR_OF(offset), &value) == NO_VECTOR && value == expected;
}

static void as_msrs(void)
{
    static const u16 unreadable[] = {0x40,           0x90,  LAPIC_EOI, 0xc0, LAPIC_DFR,
                                     LAPIC_ICR_HIGH, 0x2f0, 0x3f0,     0x400};
    static const u16 unwritable[] = {LAPIC_ID,  LAPIC_VERSION, LAPIC_PPR,    LAPIC_LDR,
                                     LAPIC_ISR, LAPIC_IRR,     LAPIC_CURRENT};
    u32 wrong = 0;
    u64 value;

    lapic_write(LAPIC_LVT_LINT0, 0x10734);
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2);
    ok(lapic_read(LAPIC_SVR) == ALL_ONES, "as an x2APIC it has no window");
    ok(msr_is(LAPIC_ID, 0) && msr_is(LAPIC_LDR, 1) && msr_is(LAPIC_VERSION, 0x50014),
       "ID, logical ID and version");
    ok(msr_is(LAPIC_SVR, 0x1fe) && msr_is(LAPIC_LVT_LINT0, 0x10734), "the others are as they were");
    wrmsr(MSR_OF(LAPIC_LVT_ERROR), 0x42);
    wrmsr(MSR_OF(LAPIC_INITIAL), 1000);
    wrmsr(MSR_OF(LAPIC_DIVIDE), 0xa);
    ok(msr_is(LAPIC_LVT_ERROR, 0x42) && msr_is(LAPIC_INITIAL, 1000) && msr_is(LAPIC_DIVIDE, 0xa),
       "and read as they are written");
    wrmsr(MSR_OF(LAPIC_SVR), 0xff);
    ok(msr_is(LAPIC_LVT_ERROR, 0x10042), "SVR off masks the LVT");
    wrmsr(MSR_OF(LAPIC_SVR), 0x1ff);
    for (u32 i = 0; i < ARRAY_SIZE(unreadable); i++)
        wrong += rdmsr_try(MSR_OF(unreadable[i]), &value) != VECTOR_GP;
    ok(wrong == 0, "what can't be read is #GP: %u are not", wrong);
    for (u32 i = 0; i < ARRAY_SIZE(unwritable); i++)
        wrong += wrmsr_try(MSR_OF(unwritable[i]), 0) != VECTOR_GP;
    ok(wrong == 0, "what can't be written, too: %u", wrong);
    wrmsr(MSR_OF(0x3f0), VECTOR_SELF);
    ok(rdmsr(MSR_OF(LAPIC_IRR + VECTOR_SELF / 32 * 16)) == BIT(VECTOR_SELF % 32), "IRR shows what waits");
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) & ~(APIC_BASE_X2 | APIC_BASE_ENABLED));
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLED);
    ok(lapic_read(LAPIC_SVR) == 0xff && rdmsr_try(MSR_OF(LAPIC_TPR), &value) == VECTOR_GP,
       "over off it becomes an xAPIC again, new and without MSRs");
    ok(!lapic_bit(LAPIC_IRR, VECTOR_SELF), "and nothing waits any more");
}

void guest_main(void)
{
    plan(33);
    pic_setup(0x20, 0x28);
    lapic_setup();
    values();
    shapes();
    service();
    off_and_elsewhere();
    as_msrs();
}
