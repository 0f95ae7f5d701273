/* SPDX-License-Identifier: MIT */
/*
 * Carry out one guest instruction that touched a device: MMIO through the nested tables, string I/O, MOV CR.
 * Uses decode.h for the meaning, guest_walk.h for memory, bus.h for devices. On the vCPU's own CPU, in an
 * exit.
 */
#ifndef HV_RUN_EMULATE_H
#define HV_RUN_EMULATE_H

#include "hv/run/vm.h"

/* Fetch and decode the instruction at RIP. 0; negative when bytes or meaning could not be had. */
struct instruction;
int emulate_fetch(struct vcpu *vcpu, struct instruction *instruction);
/* The bytes at RIP as they can be had, for fetch and for reports; returns how many. */
unsigned emulate_fetch_bytes(struct vcpu *vcpu, u8 *bytes, unsigned most);

/*
 * The instruction at RIP accessed gpa, where no RAM is: do it on the MMIO bus. 0: done, RIP advanced or fault
 * injected; -ENOTSUP: an instruction no kernel uses on devices (the caller stops the VM); -EAGAIN: re-enter,
 * the bytes changed under us.
 */
int emulate_mmio(struct vcpu *vcpu, gpa_t gpa);

/* INS/OUTS with or without REP, bounded per exit (the rest comes by re-entry). Same results. */
int emulate_string_io(struct vcpu *vcpu, struct vmexit *x);

#endif
