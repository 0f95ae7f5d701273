/* SPDX-License-Identifier: MIT */
/* The IDT, what is caught, what is counted. */
#include "lib/interrupt.h"

#include "lib/tap.h"

struct PACKED gate {
    u16 offset_low, selector;
    u8 stack, type;
    u16 offset_middle;
    u32 offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "a 64-bit gate");

struct capture capture;
u32 interrupts[256];

extern u8 interrupt_entries[];
extern volatile u8 fault_stack[8192];
void interrupt_dispatch(struct frame *frame);

struct gate idt[256] ALIGNED(16);
static void (*handlers[256])(struct frame *frame);

static u64 cr2_read(void)
{
    u64 value;

    asm volatile("mov %%cr2, %0" : "=r"(value));
    return value;
}

void interrupt_dispatch(struct frame *frame)
{
    u8 vector = (u8)frame->vector;

    interrupts[vector]++;
    if (handlers[vector]) {
        handlers[vector](frame);
        return;
    }
    if (vector >= 32)
        return;
    if (!capture.resume)
        bail_out("exception %u, error %lx, rip %lx, cr2 %lx", vector, frame->error, frame->rip, cr2_read());
    capture.vector = vector;
    capture.error = frame->error;
    capture.address = cr2_read();
    capture.rip = frame->rip;
    frame->rip = capture.resume;
    frame->rflags &= ~BIT(8); /* a caught single step ends here */
}

void interrupt_handle(u8 vector, void (*handler)(struct frame *frame))
{
    handlers[vector] = handler;
}

/*
 * The stack is touched first: when giving it its frame interrupts the delivery of a double fault, QEMU 7.2
 * says that the first of the two faults was being delivered (EXITINTINFO), and a hypervisor that believes
 * it delivers that one.
 */
void interrupt_use_fault_stack(u8 vector)
{
    fault_stack[sizeof(fault_stack) - 8] = 0;
    idt[vector].stack = 1;
}

void interrupt_load(void)
{
    struct PACKED {
        u16 limit;
        u64 base;
    } pointer = {sizeof(idt) - 1, (u64)idt};

    asm volatile("lidt %0" : : "m"(pointer));
}

void interrupt_setup(void)
{
    unsigned i;

    for (i = 0; i < 256; i++) {
        u64 entry = (u64)(interrupt_entries + 16 * i);

        idt[i] = (struct gate){.offset_low = (u16)entry,
                               .selector = 0x08,
                               .type = i == VECTOR_BP ? 0xee : 0x8e,
                               .offset_middle = (u16)(entry >> 16),
                               .offset_high = (u32)(entry >> 32)};
    }
    interrupt_load();
}
