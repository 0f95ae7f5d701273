/* SPDX-License-Identifier: MIT */
/*
 * A VM for fuzzers of virtio devices: one vCPU, PCI, RAM without anything else, and a second vCPU in that RAM
 * that changes a byte of it behind each of the device's reads. Two reads of one word that were believed to
 * agree would show.
 */
#ifndef TESTS_FUZZ_HOSTILE_MACHINE_H
#define TESTS_FUZZ_HOSTILE_MACHINE_H

#include <stdint.h>

#include "guest/machine.h"

/* RAM is [0, HOSTILE_RAM) of the guest; the rest of guest_map.c's regions is left empty. */
#define HOSTILE_RAM   0x10000ull
#define HOSTILE_SLOT  1u
#define HOSTILE_QUEUE 16u /* entries */
/* Of queue n: its descriptors stand at n * HOSTILE_STEP. */
#define HOSTILE_STEP  0x1000ull
#define HOSTILE_AVAIL 0x0800ull
#define HOSTILE_USED  0x0c00ull

struct hostile {
    u8 ram[HOSTILE_RAM];
    struct vm vm;
    struct vcpu vcpu;
    struct vm_config config;
    const uint8_t *changes; /* three bytes each say where below reach, and what */
    size_t changes_left;
    u32 reach;
    u32 accesses, most; /* of guest memory, in one notification */
    u64 full;           /* from this address on the machine has no memory for what is written */
    u32 waits;          /* turns that ended with a wait for memory */
};
extern struct hostile hostile;

/* Abort unless it is so. */
void require(bool condition);

/* The machine without a device on PCI but the host bridge; its RAM is zero. */
struct machine *hostile_machine_make(void);
/*
 * In each of so many queues what a driver would put there: HOSTILE_QUEUE chains of one to three buffers, as
 * `flags` and `lengths` of the first, second and third say (a chain ends where no VRING_DESC_F_NEXT is), 512
 * bytes apart from HOSTILE_DATA on. Then bytes of the input: pairs of where below hostile.reach, and what.
 */
struct hostile_chain {
    u16 flags[3];
    u32 lengths[3];
};
#define HOSTILE_DATA 0x4000ull
void hostile_memory_make(const struct hostile_chain chains[], u32 queues, const uint8_t *bytes, size_t size);
/* So many chains more are available in this queue, or too many. */
void hostile_offer(u32 queue, u8 count);
/*
 * What was given back has been shown, and all that was taken has been given back, but for the one chain that
 * is held; or the device waits for a reset.
 */
void hostile_queue_check(const struct virtio *virtio, u32 queue, bool held);

/* A register of the device in HOSTILE_SLOT, from its BAR 0 on. */
void hostile_out(u64 at, unsigned size, u64 value);
u64 hostile_in(u64 at, unsigned size);
/* From its reset to DRIVER_OK, with so many queues. */
void hostile_device_begin(bool event_index, u32 queues);
/* Notify a queue: a bounded number of accesses follows. */
void hostile_notify(u32 queue);
/* Begin to count the accesses of something else that the device does. */
void hostile_count(void);

#endif
