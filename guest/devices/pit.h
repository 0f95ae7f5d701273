/* SPDX-License-Identifier: MIT */
/*
 * The 8254 timer and port 0x61. Channel 0 drives ISA line 0, channel 2 is gated and read by port 0x61.
 * Counts are computed from the TSC when somebody looks; only channel 0 needs a host timer. Device lock.
 * Intel 8254 data sheet.
 */
#ifndef GUEST_DEVICES_PIT_H
#define GUEST_DEVICES_PIT_H

#include "guest/devices/clock.h"
#include "hv/run/timer.h"

#define PIT_HZ 1193182

struct machine;

struct pit_channel {
    u64 start;  /* TSC when the count was loaded or triggered */
    u64 frozen; /* ticks that had passed when the gate closed */
    u32 count;  /* 1 .. 65536, or 10000 in BCD */
    u8 mode;    /* 0 .. 5 */
    u8 access;  /* 1 low byte, 2 high byte, 3 both */
    bool bcd, gate;
    bool loaded;                /* a count was written since the control word */
    bool running;               /* counts now: loaded, triggered, gate open */
    bool write_high, read_high; /* the second byte of two is next */
    u8 write_low;
    u8 latched; /* bytes of latched_count still to be read, as in access; 0: none */
    u16 latched_count;
    bool status_latched;
    u8 status;
};

struct pit {
    struct machine *machine;
    struct device_clock clock;
    struct timer timer;
    struct pit_channel channels[3];
    u8 port61; /* bits 0 .. 3 as written */
};

int pit_init(struct pit *pit, struct machine *machine);
void pit_reset(struct pit *pit);

#endif
