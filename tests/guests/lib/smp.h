/* SPDX-License-Identifier: MIT */
/*
 * Several vCPUs that work together in a tiny guest (`// conf: vcpus = N`): each has a structure that GS
 * points to and waits, halted with interrupts on, for jobs. Only the boot vCPU may speak (ok, say) and use
 * TRY.
 */
#ifndef GUESTS_LIB_SMP_H
#define GUESTS_LIB_SMP_H

#include "guest/pv/lintel.h"
#include "lib/vcpus.h"

#define SMP_MAX  VCPUS_MAX
#define SMP_WAKE 0xfe /* the vector that tells a waiting vCPU to look for its job */

#define ICR_FIXED    (0u << 8 | ICR_LEVEL)
#define ICR_LOWEST   (1u << 8 | ICR_LEVEL)
#define ICR_SMI      (2u << 8 | ICR_LEVEL)
#define ICR_LOGICAL  (1u << 11)
#define ICR_BUSY     (1u << 12)
#define ICR_ALL      (2u << 18)
#define ICR_TO_EVERY 0xffffffffu /* the destination of a broadcast, in either mode */

struct smp_cpu {
    struct smp_cpu *self; /* GS points here */
    u32 id;
    u32 online;
    bool x2apic;
    void (*job)(void);   /* NULL: it waits */
    u32 interrupts[256]; /* counted by smp_count */
    u64 private[8];      /* the guest's own use */
} ALIGNED(64);

extern struct smp_cpu smp_cpus[SMP_MAX];
extern unsigned smp_count; /* vCPUs of the machine, by CPUID 0xb */

static inline struct smp_cpu *smp_this(void)
{
    struct smp_cpu *cpu;

    asm volatile("movq %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

/*
 * For who waits by looking: there may be fewer CPUs than vCPUs. And a single thread that runs all of QEMU's
 * CPUs goes on to the next one at PAUSE, without it every 100 ms.
 */
static inline void smp_yield(void)
{
    asm volatile("pause");
    lintel_call0(LINTEL_CALL_YIELD);
}

/* First of all, on the boot vCPU: trampoline, local APIC, count. */
void smp_setup(void);
/* x2APIC from now on, on this vCPU; those that start later follow. */
void smp_use_x2apic(void);

/* To this vCPU's local APIC, by MMIO or MSR. destination: APIC ID or logical, or ICR_TO_EVERY. */
void smp_send(u32 destination, u32 low);
void smp_eoi(void);

/* INIT, SIPI, SIPI; false: it is not there within ten seconds. */
bool smp_start(unsigned cpu);
/* All of them, or the guest ends. */
void smp_start_all(void);

/* Let an online vCPU run a function once; smp_wait ends the guest after 60 s. */
void smp_run(unsigned cpu, void (*job)(void));
void smp_wait(unsigned cpu);
/* All that are online, this one too; returns when all are done. */
void smp_run_all(void (*job)(void));

/* Everybody that runs the job of smp_run_all meets here. */
void smp_barrier(void);

/* A handler that counts the vector for the vCPU that takes it, and ends the interrupt but for an NMI. */
struct frame;
void smp_counted(struct frame *frame);

#endif
