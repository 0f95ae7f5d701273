/* SPDX-License-Identifier: MIT */
/*
 * A guest's whole board for host tests of devices: two vCPUs that run no code, all devices on real buses and
 * a real timer queue, and a TSC that stands still until the test moves it. Link device_fakes.c and what its
 * own `sources` of any test_<device>.c names.
 */
#ifndef TESTS_UNIT_DEVICE_FAKES_H
#define TESTS_UNIT_DEVICE_FAKES_H

#include "guest/machine.h"
#include "hv/operator/console.h"

#define BOARD_VCPUS  2
#define BOARD_MEMORY (8ull << 30)
#define TEST_TSC_KHZ 2893437 /* no round number, so that wrong conversions show */

struct board {
    struct vm vm;
    struct vm_config config;
    struct vcpu vcpus[BOARD_VCPUS];
    struct port_bus ports;
    struct machine *machine;
    /* What the devices asked of the world. */
    unsigned wakes[BOARD_VCPUS];
    unsigned nmis[BOARD_VCPUS];
    unsigned power_offs, resets, lock_held; /* lock_held: calls that came with the device lock held */
    unsigned inits[BOARD_VCPUS], sipis[BOARD_VCPUS];
    unsigned by_itself; /* power events that a vCPU sent to itself */
    u8 sipi_vector;
    unsigned memory_waits[BOARD_VCPUS]; /* for a device, and at which gpa the latest */
    gpa_t waits_for;
    const void *window; /* of the local APICs, shown to the CPU */
    char written[4096]; /* by the guest to its console */
    size_t written_size;
    char typed[4096]; /* to be read by the guest */
    size_t typed_size, typed_read;
    enum console_port input_port; /* whom it is for */
};
extern struct board board;

/* cmocka set-up and tear-down: a new board, everything as after power-on. */
int board_setup(void **state);
int board_teardown(void **state);

u32 port_in(u16 port, unsigned size);
void port_out(u16 port, unsigned size, u32 value);
static inline u8 inb(u16 port)
{
    return (u8)port_in(port, 1);
}
static inline void outb(u16 port, u8 value)
{
    port_out(port, 1, value);
}
u32 mmio_in(unsigned vcpu, gpa_t gpa);
void mmio_out(unsigned vcpu, gpa_t gpa, u32 value);

/* Let time go by; timers fire on the way, each at its own time. */
void time_pass_tsc(u64 ticks);
void time_pass_us(u64 us);

/* What the CPU would take now: vector, or -1. */
int take_interrupt(unsigned vcpu);

/* Somebody types; the console tells the UART. */
void board_type(const char *text);

/*
 * A fixed pseudo-random sequence of accesses to these ports, with time and interrupts between: nothing may
 * break.
 */
void board_abuse(u32 seed, unsigned rounds, u16 first, u16 last);

#endif
