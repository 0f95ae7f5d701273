/* SPDX-License-Identifier: MIT */
/*
 * Interrupt controllers: the 8259 pair, the local APIC by MMIO and as x2APIC, the IOAPIC, priorities,
 * windows.
 */
#include "lib/apic.h"
#include "lib/tap.h"

#define UART_IER    0x3f9
#define UART_LINE   4
#define VECTOR_PIC  0x20
#define VECTOR_LINE 0x34
#define VECTOR_LOW  0x41
#define VECTOR_HIGH 0x81
#define PIT_COMMAND 0x43

static u8 order[8];
static unsigned order_count;

static void on_apic(struct frame *frame)
{
    if (order_count < sizeof(order))
        order[order_count++] = (u8)frame->vector;
    lapic_eoi();
}

static void on_uart_pic(struct frame *frame)
{
    (void)frame;
    (void)in8(0x3fa); /* reading IIR takes the "transmitter empty" back */
    pic_eoi(UART_LINE);
}

static void on_uart_ioapic(struct frame *frame)
{
    (void)frame;
    (void)in8(0x3fa);
    lapic_eoi();
}

static void on_pit_pic(struct frame *frame)
{
    (void)frame;
    pic_eoi(0);
}

static void on_nmi(struct frame *frame)
{
    (void)frame;
}

/* Interrupts on for a while; enough for whatever is pending. */
static void open_window(void)
{
    interrupts_on();
    delay_us(2000);
    interrupts_off();
}

static void pic_lines(void)
{
    u32 before = interrupts[VECTOR_PIC + UART_LINE], i;

    lapic_write(LAPIC_LVT_LINT0, 0x700); /* ExtINT */
    pic_setup(VECTOR_PIC, VECTOR_PIC + 8);
    interrupt_handle(VECTOR_PIC + UART_LINE, on_uart_pic);
    interrupt_handle(VECTOR_PIC, on_pit_pic);
    pic_mask(0xffff);
    out8(UART_IER, 2); /* "transmitter empty" asks at once */
    open_window();
    ok(interrupts[VECTOR_PIC + UART_LINE] == before, "a masked line of the 8259 is silent");
    pic_mask((u16)~BIT(UART_LINE));
    open_window();
    ok(interrupts[VECTOR_PIC + UART_LINE] == before + 1, "unmasked it comes, once: %u",
       interrupts[VECTOR_PIC + 4]);
    out8(UART_IER, 0);
    out8(PIT_COMMAND, 0x34); /* channel 0, mode 2 */
    out8(0x40, 0xa9);        /* 1193 ticks: 1 ms */
    out8(0x40, 0x04);
    pic_mask((u16)~BIT(0));
    /* A busy host gives this guest few turns, and interrupts that were not taken in time are joined. */
    for (i = 0; i < 1000 && interrupts[VECTOR_PIC] < 5; i++)
        open_window();
    ok(interrupts[VECTOR_PIC] >= 5, "a 1 ms timer on line 0 comes again and again");
    pic_mask(0xffff);
    out8(PIC_MASTER, 0x0b);
    ok(in8(PIC_MASTER) == 0, "nothing is left in service");
    lapic_write(LAPIC_LVT_LINT0, (u32)LVT_MASKED | 0x700);
}

static void self_ipis(void)
{
    interrupt_handle(VECTOR_LOW, on_apic);
    interrupt_handle(VECTOR_HIGH, on_apic);
    order_count = 0;
    lapic_write(LAPIC_ICR, ICR_SELF | VECTOR_LOW);
    ok(order_count == 0 && lapic_bit(LAPIC_IRR, VECTOR_LOW), "with IF = 0 an IPI waits in IRR");
    lapic_write(LAPIC_ICR, ICR_SELF | VECTOR_HIGH);
    open_window();
    ok(order_count == 2 && order[0] == VECTOR_HIGH && order[1] == VECTOR_LOW,
       "the higher vector comes first");
    ok(!lapic_bit(LAPIC_IRR, VECTOR_LOW) && !lapic_bit(LAPIC_ISR, VECTOR_LOW), "nothing is left of them");
    lapic_write(LAPIC_TPR, 0x50);
    lapic_write(LAPIC_ICR, ICR_SELF | VECTOR_LOW);
    open_window();
    ok(order_count == 2, "TPR holds back what is not above it");
    asm volatile("mov %0, %%cr8" : : "r"(0ull) : "memory");
    open_window();
    ok(order_count == 3 && lapic_read(LAPIC_TPR) == 0, "CR8 is the same register, and lets it pass");
    asm volatile("mov %0, %%cr8" : : "r"(9ull) : "memory");
    ok(lapic_read(LAPIC_TPR) == 0x90, "CR8 shows in TPR: %x", lapic_read(LAPIC_TPR));
    asm volatile("mov %0, %%cr8" : : "r"(0ull) : "memory");
    lapic_write(LAPIC_ICR_HIGH, lapic_read(LAPIC_ID));
    lapic_write(LAPIC_ICR, VECTOR_LOW);
    ok(!(lapic_read(LAPIC_ICR) & BIT(12)), "the IPI to our own ID is sent at once");
    interrupt_wait();
    ok(order_count == 4, "and ends a HLT: %u", order_count);
    lapic_write(LAPIC_ESR, 0);
    lapic_write(LAPIC_ICR, ICR_SELF | 3);
    lapic_write(LAPIC_ESR, 0);
    ok(lapic_read(LAPIC_ESR) & BIT(5), "a vector below 16 is an error: %x", lapic_read(LAPIC_ESR));
}

static void nmis(void)
{
    interrupt_handle(VECTOR_NMI, on_nmi);
    lapic_write(LAPIC_ICR, ICR_SELF | ICR_NMI);
    delay_us(1000);
    if (!interrupts[VECTOR_NMI]) { /* Intel ignores the shorthand for NMIs */
        lapic_write(LAPIC_ICR_HIGH, lapic_read(LAPIC_ID));
        lapic_write(LAPIC_ICR, ICR_NMI);
        delay_us(1000);
    }
    ok(interrupts[VECTOR_NMI] == 1, "an NMI comes with IF = 0, once: %u", interrupts[VECTOR_NMI]);
}

static void ioapic_pins(void)
{
    u32 before;

    interrupt_handle(VECTOR_LINE, on_uart_ioapic);
    ioapic_route(UART_LINE, VECTOR_LINE | (u32)IOAPIC_MASKED);
    out8(UART_IER, 2);
    open_window();
    out8(UART_IER, 0);
    ok(interrupts[VECTOR_LINE] == 0, "a masked pin of the IOAPIC is silent");
    ioapic_route(UART_LINE, VECTOR_LINE);
    out8(UART_IER, 2);
    open_window();
    out8(UART_IER, 0);
    ok(interrupts[VECTOR_LINE] == 1, "an edge on a pin comes once: %u", interrupts[VECTOR_LINE]);
    before = interrupts[VECTOR_LINE];
    ioapic_route(UART_LINE, VECTOR_LINE | (u32)IOAPIC_LEVEL);
    out8(UART_IER, 2);
    open_window();
    out8(UART_IER, 0);
    ok(interrupts[VECTOR_LINE] == before + 1, "a level that the handler ends comes once, too: %u",
       interrupts[VECTOR_LINE] - before);
    ok(!(ioapic_read(0x10 + 2 * UART_LINE) & BIT(14)), "its remote IRR is clear again");
    ioapic_route(UART_LINE, (u32)IOAPIC_MASKED);
}

/* The instruction behind STI still runs without interrupts; HLT there must not sleep over one. */
static void windows(void)
{
    u64 within = 1;
    int tries;

    /* QEMU 7.2 forgets the shadow when an interrupt of the host's comes between: once right is right. */
    for (tries = 0; tries < 100 && within != 0; tries++) {
        lapic_write(LAPIC_ICR, ICR_SELF | VECTOR_LOW);
        order_count = 0;
        asm volatile("sti; movl order_count(%%rip), %%eax; nop; cli" : "=a"(within) : : "memory");
    }
    ok(within == 0 && order_count == 1, "STI opens the window one instruction later");
    lapic_write(LAPIC_ICR, ICR_SELF | VECTOR_LOW);
    interrupt_wait();
    ok(order_count == 2, "STI; HLT takes an interrupt that waits already: %u", order_count);
}

static void x2apic(void)
{
    u64 value;
    int vector;

    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2);
    vector = rdmsr_try(0x802, &value);
    ok(vector == NO_VECTOR && value == 0, "x2APIC: the ID is an MSR: %lx", value);
    order_count = 0;
    wrmsr(0x83f, VECTOR_LOW); /* self IPI */
    ok(rdmsr(0x820 + VECTOR_LOW / 32) & BIT(VECTOR_LOW % 32), "its self IPI waits in IRR");
    interrupt_handle(VECTOR_LOW, NULL);
    interrupts[VECTOR_LOW] = 0;
    open_window();
    wrmsr(0x80b, 0);
    ok(interrupts[VECTOR_LOW] == 1, "and comes");
    ok(wrmsr_try(0x80b, 1) == VECTOR_GP, "an EOI of anything but 0 is #GP");
    ok(rdmsr_try(0x831, &value) == VECTOR_GP, "a register that x2APIC lacks is #GP");
    ok(wrmsr_try(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) & ~APIC_BASE_X2) == VECTOR_GP,
       "back to xAPIC leads over off alone");
}

void guest_main(void)
{
    plan(26);
    pic_setup(VECTOR_PIC, VECTOR_PIC + 8);
    lapic_setup();
    pic_lines();
    self_ipis();
    nmis();
    ioapic_pins();
    windows();
    x2apic();
}
