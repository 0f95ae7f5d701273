/* SPDX-License-Identifier: MIT */
/*
 * The task priority: what it holds back, and that it lets go at once, whichever way it is written (CR8, the
 * window, the MSR of the x2APIC); with interrupts raised by the guest itself and by a timer meanwhile. A CPU
 * may keep it without exits, so each check also runs with nothing but the write that could end the guest's
 * turn.
 */
#include "lib/apic.h"
#include "lib/tap.h"

#define VECTOR_LOW   0x41
#define VECTOR_TIMER 0x62
#define VECTOR_HIGH  0x81
#define X2APIC_TPR   0x808
#define X2APIC_SELF  0x83f

static u8 order[16];
static unsigned order_count;
static bool x2apic;
static u64 tsc_per_ms;

static void eoi(void)
{
    if (x2apic)
        wrmsr(0x80b, 0);
    else
        lapic_eoi();
}

static void note(u8 vector)
{
    if (order_count < sizeof(order))
        order[order_count++] = vector;
}

static void on_apic(struct frame *frame)
{
    note((u8)frame->vector);
    eoi();
}

static void send_self(u8 vector)
{
    if (x2apic)
        wrmsr(X2APIC_SELF, vector);
    else
        lapic_write(LAPIC_ICR, ICR_SELF | vector);
}

/* The three doors; each takes what TPR takes, CR8 its upper half. */
static void write_cr8(u32 tpr)
{
    asm volatile("mov %0, %%cr8; nop" : : "r"((u64)tpr >> 4) : "memory");
}

static void write_window(u32 tpr)
{
    lapic_write(LAPIC_TPR, tpr);
}

static void write_msr(u32 tpr)
{
    wrmsr(X2APIC_TPR, tpr);
}

static u64 read_cr8(void)
{
    u64 value;

    asm volatile("mov %%cr8, %0" : "=r"(value));
    return value;
}

static u32 read_tpr(void)
{
    return x2apic ? (u32)rdmsr(X2APIC_TPR) : lapic_read(LAPIC_TPR);
}

static void measure_tsc(void)
{
    u64 start = rdtsc();

    delay_us(10000);
    tsc_per_ms = (rdtsc() - start) / 10;
}

/* Reading the PM timer would end the guest's turn. */
static void spin_ms(u32 ms)
{
    u64 end = rdtsc() + ms * tsc_per_ms;

    /* A host that stalls lets the time pass at once, and its timers come a little later. */
    for (u32 turns = 0; rdtsc() < end || turns < 20000; turns++)
        asm volatile("pause");
}

static void holds_and_lets_go(const char *door, void (*write)(u32 tpr))
{
    order_count = 0;
    write(0x40);
    interrupts_on();
    send_self(VECTOR_LOW);
    ok(order_count == 0, "%s: TPR holds its own class back", door);
    send_self(VECTOR_HIGH);
    ok(order_count == 1 && order[0] == VECTOR_HIGH, "%s: a higher one passes", door);
    write(0x3f);
    ok(order_count == 2 && order[1] == VECTOR_LOW, "%s: lowered, it lets go at once", door);
    interrupts_off();
    write(0);
}

static void lowered_with_if_clear(const char *door, void (*write)(u32 tpr))
{
    order_count = 0;
    write(0x80);
    send_self(VECTOR_HIGH);
    interrupt_window();
    write(0x70);
    ok(order_count == 0, "%s: with IF = 0 nothing comes, whatever TPR is", door);
    interrupt_window();
    ok(order_count == 1, "%s: but behind STI", door);
    send_self(VECTOR_HIGH);
    write(0xf0);
    interrupt_window();
    ok(order_count == 1, "%s: raised with an interrupt waiting, TPR keeps it", door);
    write(0);
    interrupt_window();
    ok(order_count == 2, "%s: for as long as it is up", door);
}

/* The interrupt comes while the guest runs, and nothing of the guest's exits until TPR falls. */
static void timer_meanwhile(const char *door, void (*write)(u32 tpr))
{
    order_count = 0;
    write(0x60);
    interrupts_on();
    if (x2apic)
        wrmsr(0x838, 1000000);
    else
        lapic_write(LAPIC_INITIAL, 1000000); /* 1 ms */
    spin_ms(20);
    ok(order_count == 0, "%s: a timer's interrupt is held back, too", door);
    write(0x50);
    ok(order_count == 1 && order[0] == VECTOR_TIMER, "%s: and let go", door);
    interrupts_off();
    write(0);
}

/* In service weighs as TPR does: neither alone opens the way. */
static unsigned within;

static void on_high(struct frame *frame)
{
    note((u8)frame->vector);
    send_self(VECTOR_LOW);
    write_cr8(0x50);
    interrupt_window();
    write_cr8(0);
    interrupt_window();
    within = order_count;
    write_cr8(0x50);
    eoi();
    interrupt_window();
    note(0xff);
    write_cr8(0);
    interrupt_window();
}

static void in_service(void)
{
    interrupt_handle(VECTOR_HIGH, on_high);
    order_count = 0;
    send_self(VECTOR_HIGH);
    interrupt_window();
    ok(within == 1, "what is in service holds back a lower one, even with TPR 0: %u", within);
    ok(order_count == 3 && order[1] == 0xff && order[2] == VECTOR_LOW,
       "after its end TPR does, until it falls: %u", order_count);
    interrupt_handle(VECTOR_HIGH, on_apic);
}

static void halts(void)
{
    order_count = 0;
    write_cr8(0x50);
    send_self(VECTOR_LOW);
    lapic_write(LAPIC_INITIAL, 5000000); /* 5 ms */
    interrupt_wait();
    ok(order_count == 1 && order[0] == VECTOR_TIMER, "what TPR holds back does not end a HLT: %u",
       order_count);
    write_cr8(0);
    interrupt_window();
    ok(order_count == 2 && order[1] == VECTOR_LOW, "and is still there afterwards");
}

static void values(void)
{
    int vector;

    write_window(0x4f);
    ok(read_tpr() == 0x4f && read_cr8() == 4, "TPR keeps its lower half, CR8 does not show it");
    write_cr8(0x90);
    ok(read_tpr() == 0x90 && read_cr8() == 9, "a write to CR8 clears it");
    vector = TRY("mov %0, %%cr8", : : "r"(16ull) : "memory");
    ok(vector == VECTOR_GP && read_cr8() == 9, "CR8 above 15 is #GP");
    write_cr8(0);
}

static void as_x2apic(void)
{
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2);
    x2apic = true;
    write_cr8(0x30);
    ok(read_tpr() == 0x30, "CR8 shows in the MSR");
    wrmsr(X2APIC_TPR, 0x2a);
    ok(read_tpr() == 0x2a && read_cr8() == 2, "and the MSR in CR8");
    ok(wrmsr_try(X2APIC_TPR, 0x100) == VECTOR_GP && read_tpr() == 0x2a, "TPR above 255 is #GP");
    holds_and_lets_go("MSR", write_msr);
    lowered_with_if_clear("MSR", write_msr);
    timer_meanwhile("MSR", write_msr);
    holds_and_lets_go("x2APIC and CR8", write_cr8);
}

void guest_main(void)
{
    plan(40);
    pic_setup(0x20, 0x28);
    lapic_setup();
    interrupt_handle(VECTOR_LOW, on_apic);
    interrupt_handle(VECTOR_HIGH, on_apic);
    interrupt_handle(VECTOR_TIMER, on_apic);
    lapic_write(LAPIC_DIVIDE, 0xb);
    lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
    measure_tsc();
    values();
    holds_and_lets_go("CR8", write_cr8);
    lowered_with_if_clear("CR8", write_cr8);
    timer_meanwhile("CR8", write_cr8);
    holds_and_lets_go("window", write_window);
    lowered_with_if_clear("window", write_window);
    timer_meanwhile("window", write_window);
    in_service();
    halts();
    as_x2apic();
}
