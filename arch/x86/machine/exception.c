/* SPDX-License-Identifier: MIT */
/*
 * The IDTs and what happens behind them: an exception of lintel itself lands in the exception table or ends
 * in a report (exception_report.c) and a panic; an interrupt goes to its handler. The tables are built once
 * by the boot CPU; handlers are registered before interrupts are first taken, so that reading them needs no
 * lock. AMD APM 2, chapter 8.
 */
#include "arch/x86/machine/exception.h"

#include "hv/lib/errno.h"

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/descriptors.h"
#include "arch/x86/machine/exception_report.h"
#include "arch/x86/machine/image.h"
#include "arch/x86/machine/lapic.h"
#include "arch/x86/machine/paging.h"
#include "arch/x86/machine/tsc.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/lib/panic.h"

#define VECTORS                256
#define VECTOR_FIRST_INTERRUPT 0x20
#define EXCEPTION_STUB_SIZE    8
#define STOP_US                1000000u /* for other CPUs to hear of a panic */
#define GATE_INTERRUPT         0x8e     /* present, ring 0, 64-bit interrupt gate */

/* AMD APM 2, 4.8.4. */
struct gate {
    u16 offset_low, selector;
    u8 stack; /* IST, 0 for none */
    u8 type;
    u16 offset_middle;
    u32 offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "gate");
_Static_assert(offsetof(struct exception_frame, vector) == 15 * 8, "pushed by exception_stubs.asm");
_Static_assert(sizeof(struct exception_frame) == 22 * 8, "pushed by exception_stubs.asm and the CPU");

struct idt_pointer {
    u16 limit;
    u64 base;
} PACKED;

static struct gate idt_with_stacks[VECTORS] ALIGNED(16), idt_without_stacks[VECTORS] ALIGNED(16);
static const struct idt_pointer pointer_with_stacks = {sizeof(idt_with_stacks) - 1, (u64)idt_with_stacks};
static const struct idt_pointer pointer_without_stacks = {sizeof(idt_without_stacks) - 1,
                                                          (u64)idt_without_stacks};

static struct {
    interrupt_handler_fn handler;
    void *context;
} handlers[VECTORS];
static u8 device_vector_next = HOST_VECTOR_DEVICE;

u64 exception_nmis;
static u64 unexpected_interrupts;
static bool stop_requested; /* a panic: the next NMI is the end of each other CPU */
static u32 stopped;

extern const u8 exception_stubs[];
void exception_handle(struct exception_frame *frame);

/* ---------------------------------------------------------------- tables */

static u8 stack_of_vector(unsigned vector)
{
    switch (vector) {
    case VECTOR_NMI: return IST_NMI;
    case VECTOR_DF: return IST_DOUBLE_FAULT;
    case VECTOR_MC: return IST_MACHINE_CHECK;
    default: return 0;
    }
}

static struct gate gate_make(unsigned vector, u8 stack)
{
    u64 stub = (u64)exception_stubs + vector * EXCEPTION_STUB_SIZE;

    return (struct gate){
        .offset_low = (u16)stub,
        .selector = SELECTOR_CODE,
        .stack = stack,
        .type = GATE_INTERRUPT,
        .offset_middle = (u16)(stub >> 16),
        .offset_high = (u32)(stub >> 32),
    };
}

void exception_init(void)
{
    for (unsigned vector = 0; vector < VECTORS; vector++) {
        idt_with_stacks[vector] = gate_make(vector, stack_of_vector(vector));
        idt_without_stacks[vector] = gate_make(vector, 0);
    }
}

void exception_load(void)
{
    exception_use_stacks(true);
    write_cr4(read_cr4() | CR4_MCE); /* else a machine check is a shutdown without a word */
}

void exception_use_stacks(bool use)
{
    asm volatile("lidt %0" : : "m"(*(use ? &pointer_with_stacks : &pointer_without_stacks)));
}

/* ---------------------------------------------------------------- interrupts */

void interrupt_set_handler(u8 vector, interrupt_handler_fn handler, void *context)
{
    assert(vector >= HOST_VECTOR_DEVICE);
    handlers[vector].context = context;
    handlers[vector].handler = handler;
}

int interrupt_allocate(interrupt_handler_fn handler, void *context)
{
    u8 vector = device_vector_next;

    if (vector > HOST_VECTOR_DEVICE_LAST)
        return -ENOSPC;
    device_vector_next++;
    interrupt_set_handler(vector, handler, context);
    return vector;
}

/*
 * Left over from the firmware, or a spurious one of the 8259s: nobody waits for it. EOI only if it came
 * through the local APIC, or some other interrupt would be ended in its place.
 */
static void unexpected_interrupt(u8 vector)
{
    if (unexpected_interrupts++ == 0)
        log_warning("Interrupt vector %#x has no handler; this one and others like it are ignored.", vector);
    if (lapic_in_service(vector))
        host_lapic_eoi();
}

static void interrupt_handle(u8 vector)
{
    lock_assert_none(); /* interrupts are off while one is held */
    if (vector == HOST_VECTOR_SPURIOUS)
        return;
    if (!handlers[vector].handler) {
        unexpected_interrupt(vector);
        return;
    }
    handlers[vector].handler(handlers[vector].context);
    host_lapic_eoi();
}

/* ---------------------------------------------------------------- exceptions */

static void nmi_handle(void)
{
    if (READ_ONCE(stop_requested)) {
        __atomic_fetch_add(&stopped, 1, __ATOMIC_RELAXED);
        cpu_halt_for_ever();
    }
    __atomic_fetch_add(&exception_nmis, 1, __ATOMIC_RELAXED);
}

/* Go on at the landing place when the instruction was one that may fault. */
static bool exception_land(struct exception_frame *frame)
{
    u64 entries = ((u64)exception_table_end - (u64)exception_table_start) / sizeof(*exception_table_start);

    for (u64 i = 0; i < entries; i++) {
        const struct exception_table_entry *entry = &exception_table_start[i];

        if (frame->rip == IMAGE_BASE + entry->fault) {
            frame->rip = IMAGE_BASE + entry->landing;
            return true;
        }
    }
    return false;
}

/* Called by the stubs for each exception and interrupt, on the stack that the gate chose. */
void exception_handle(struct exception_frame *frame)
{
    if (frame->vector >= VECTOR_FIRST_INTERRUPT)
        interrupt_handle((u8)frame->vector);
    else if (frame->vector == VECTOR_NMI)
        nmi_handle();
    else if ((frame->vector != VECTOR_GP && frame->vector != VECTOR_DB) || !exception_land(frame))
        exception_report(frame);
}

void exception_stop_cpus(void)
{
    u64 begun = read_tsc();
    u32 others = 0;

    WRITE_ONCE(stop_requested, true);
    for (u32 i = 0; i < cpu_count; i++) {
        if (!cpus[i].online || &cpus[i] == cpu_this())
            continue;
        lapic_send_nmi(cpus[i].apic_id);
        others++;
    }
    while (__atomic_load_n(&stopped, __ATOMIC_RELAXED) < others && read_tsc() - begun < tsc_from_us(STOP_US))
        cpu_pause();
}
