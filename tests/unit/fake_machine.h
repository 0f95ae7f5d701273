/* SPDX-License-Identifier: MIT */
/*
 * One VM with one vCPU for host tests of code above memory: 64 KiB of RAM at 0, one device of 4 KiB at
 * FAKE_DEVICE, linear = physical in 1 MiB whose pages may be made to fault. Link fake_machine.c,
 * fake_engine.c and hv/memory/fetch_cache.c; in place of vcpu.c, guest_memory.c and guest_walk.c.
 */
#ifndef TESTS_UNIT_FAKE_MACHINE_H
#define TESTS_UNIT_FAKE_MACHINE_H

#include "hv/run/vm.h"
#include "tests/unit/fake_engine.h"

#define FAKE_RAM    (64 * 1024)
#define FAKE_TABLES 0xc000 /* page tables of the 64-bit guest, as fetch_cache.c walks them */
#define FAKE_DEVICE 0x80000
#define FAKE_LIST   0x90000 /* where a test may let the guest see its p2m list: one page */
#define FAKE_PAGES  256     /* of linear addresses; what lies above wraps */

struct fake_machine {
    struct vm vm;
    struct vcpu vcpu;
    struct port_bus ports;
    u64 device[512];                      /* the registers of the device */
    unsigned device_reads, device_writes; /* accesses, and the size of the latest */
    unsigned device_size;
    bool not_present[FAKE_PAGES], read_only[FAKE_PAGES]; /* by linear page */
    int memory_fault;                                    /* what guest_memory_fault says about RAM */
    u64 list[512]; /* what is at FAKE_LIST, and faults that asked for it */
    unsigned list_faults;
    gpa_t waits_for; /* memory_wait's */
    int vector;      /* exception injected, or -1 */
    u32 error_code;
    u64 address;       /* of a page fault */
    char stopped[200]; /* what vm_stop was told, or empty */
    unsigned dumps;    /* of a vCPU's registers */
};
extern struct fake_machine fake;
extern u8 fake_ram[FAKE_RAM];

/* A fresh machine, RIP 0; RAM and device keep their contents, but for the page tables. */
void fake_machine_reset(enum fake_mode mode);

#endif
