/* SPDX-License-Identifier: MIT */
/*
 * The IDT: exceptions of lintel itself end in a report and a panic; physical interrupts go to their handler.
 * The boot CPU registers handlers before interrupts are first taken. Interrupts are only ever taken where
 * lintel holds no lock (idle, or at the open door after an exit), with IF = 0 inside the handler.
 */
#ifndef ARCH_X86_MACHINE_EXCEPTION_H
#define ARCH_X86_MACHINE_EXCEPTION_H

#include "hv/lib/types.h"

/* Vectors that lintel gives out itself. */
enum host_vector {
    HOST_VECTOR_DEVICE = 0x30, /* 0x30 .. 0x4f: IOAPIC inputs, given by interrupt_allocate */
    HOST_VECTOR_DEVICE_LAST = 0x4f,
    HOST_VECTOR_TIMER = 0xe0, /* local APIC timer */
    HOST_VECTOR_KICK = 0xe1,  /* another CPU wants this one to look at its requests */
    HOST_VECTOR_SPURIOUS = 0xff,
};

/* What the stubs push; exception_stubs.asm builds it. */
struct exception_frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    u64 vector, error_code;
    u64 rip, cs, rflags, rsp, ss;
};

typedef void (*interrupt_handler_fn)(void *context);

/*
 * Build both IDTs (shared by all CPUs): boot CPU, once. Load them on this CPU: each CPU, after
 * descriptors_load.
 */
void exception_init(void);
void exception_load(void);

/*
 * While a vCPU is loaded, TR is the guest's, so that own stacks (IST) must not be used:
 * exception_use_stacks(false) loads the IDT without them. AMD APM 2, 15.5.1 (VMRUN and #VMEXIT leave TR
 * alone).
 *
 * The price: meanwhile a bad RSP in lintel is a triple fault, without a report, where it otherwise is a
 * double fault with one. Loading TR at each exit would cost every exit; instead tests bound each chain of
 * direct calls by a quarter of a stack and measure what exits take in all (about an eighth). NMI and machine
 * check run on the interrupted stack meanwhile.
 */
void exception_use_stacks(bool use);

/* Set the handler of a vector >= 0x30; it need not send EOI, the stub's C side does (not for spurious). */
void interrupt_set_handler(u8 vector, interrupt_handler_fn handler, void *context);
/*
 * For panic_hooks: exception_dump_trace says where this CPU is (registers when an exception led here, then
 * the back trace); exception_stop_cpus stops all other CPUs by NMI, and waits until they stand.
 */
void exception_dump_trace(void);
void exception_stop_cpus(void);

/* NMIs that came without a reason lintel knows; they are counted and ignored. */
extern u64 exception_nmis;

/* The next free device vector, or -ENOSPC. */
int interrupt_allocate(interrupt_handler_fn handler, void *context);

#endif
