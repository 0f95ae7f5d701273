/* SPDX-License-Identifier: MIT */
/*
 * Floating point and vector state: lintel itself never touches it; guests' is switched with the vCPU. SDM 1,
 * chapter 13. Own CPU, no lock.
 */
#ifndef ARCH_X86_MACHINE_FPU_H
#define ARCH_X86_MACHINE_FPU_H

#include "hv/lib/types.h"

/* Let this CPU execute the save instructions; each CPU, once. */
void fpu_enable(void);
/* Bytes of an area (64-byte aligned: a page from memory_alloc is). */
u64 fpu_area_bytes(void);
/* The state after reset in an area that is zero. */
void fpu_area_init(void *area);
/* Would fpu_load take it, and are all parts of it such as guests are offered? */
bool fpu_area_is_possible(const void *area);
/*
 * Everything the CPU has, whatever XCR0 the guest chose; the guest's XCR0 (0: no XSAVE) is set behind load.
 */
void fpu_save(void *area);
void fpu_load(const void *area, u64 guest_xcr0);
/* XCR0 as the loaded guest has it; 0 without XSAVE. */
u64 fpu_xcr0(void);

#endif
