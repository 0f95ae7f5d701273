/* SPDX-License-Identifier: MIT */
/*
 * The other vCPUs of a tiny guest: started by INIT and SIPI or by CPU_ON, or on from the beginning, they do
 * the job that they are given, each with what it began with kept here. A vCPU's number is its APIC ID; 0 is
 * the boot vCPU, unless vcpus.start says otherwise.
 */
#ifndef GUESTS_LIB_VCPUS_H
#define GUESTS_LIB_VCPUS_H

#include "lib/apic.h"

#define VCPUS_MAX    32
#define VCPU_VECTOR  0x30    /* of the pages that hold the trampoline: this and the next */
#define VCPU_NO_CS   0x10000 /* began at CPU_ON's entry */
#define VCPU_WAIT_US 1000000

struct vcpu_seen {
    u32 begun;               /* how often */
    u32 cs, edx, cr0;        /* at its latest beginning */
    u32 argument;            /* EBX there, by CPU_ON */
    u32 turns;               /* of its job's loop, where it has one */
    void (*job)(u32 number); /* NULL: halt with interrupts off */
};
extern volatile struct vcpu_seen vcpus[VCPUS_MAX];

extern volatile u32 vcpus_open;
extern u8 vcpu_entry[]; /* for CPU_ON */

/* Put the trampoline where SIPIs look for it, and let those begin that are on from the beginning. */
void vcpus_setup(void);

#define ICR_INIT   (5u << 8 | ICR_LEVEL)
#define ICR_SIPI   (6u << 8 | ICR_LEVEL)
#define ICR_OTHERS (3u << 18)

/*
 * A job: count turns for ever. With interrupts on, as Bochs 2.7 never preempts an SVM guest that spins with
 * them off.
 */
void vcpu_spin(u32 number);

/* By the xAPIC of whoever calls. */
void icr_send(u32 number, u32 icr);
static inline void icr_send_others(u32 icr)
{
    lapic_write(LAPIC_ICR, icr | ICR_OTHERS);
}

/* INIT and SIPI at once behind each other; the job begins there. */
void vcpu_start(u32 number, void (*job)(u32 number));
/* Until it has begun that often; false: it did not within VCPU_WAIT_US. */
bool vcpu_has_begun(u32 number, u32 times);
/* The same until its job has made another turn. */
bool vcpu_turns(u32 number);

#endif
