/* SPDX-License-Identifier: MIT */
/*
 * An engine without a CPU, for host tests: a register file that the tests fill and read, and a record of what
 * was injected. Link tests/unit/fake_engine.c; it defines `engine`. One vCPU at a time: the state is
 * fake_state.
 */
#ifndef TESTS_UNIT_FAKE_ENGINE_H
#define TESTS_UNIT_FAKE_ENGINE_H

#include "hv/run/engine.h"

struct fake_state {
    u64 registers[REGISTER_COUNT];
    struct vcpu_segment segments[SEGMENT_COUNT];
    struct vcpu_table gdtr, idtr;
    u8 cpl;
    struct vcpu_event event; /* what inject got last, or what the test says is in flight */
    u64 pending_debug;
    u8 shadow;
    bool nmi_blocked;
    unsigned injections;
    bool interrupt_allowed, nmi_allowed;
    bool interrupt_window, nmi_window; /* asked for */
    unsigned flushes, runs;
};
extern struct fake_state fake_state;

/*
 * All zero, then flat segments: 64-bit code at CPL 0 with paging, 32-bit code without, or 16-bit real mode.
 */
enum fake_mode { FAKE_64, FAKE_32, FAKE_16 };
void fake_engine_reset(enum fake_mode mode);

#endif
