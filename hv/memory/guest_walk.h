/* SPDX-License-Identifier: MIT */
/*
 * The walk of a guest's own page tables, in software: gva -> gpa in every paging mode (none, 32-bit, PAE, 4
 * and 5 levels), with the rights the CPU would check. AMD APM 2, 5.2 to 5.6; Intel SDM 3A, chapter 4. Any
 * CPU, no lock.
 */
#ifndef HV_MEMORY_GUEST_WALK_H
#define HV_MEMORY_GUEST_WALK_H

#include "hv/memory/guest_memory.h"

/* What the walk depends on, as the engine finds it in the guest's state. */
struct guest_paging {
    u64 cr0, cr3, cr4, efer, rflags;
    u8 cpl;
    bool code_64; /* CS says 64-bit code, and long mode is active */
};

#define WALK_WRITE BIT(1) /* the bits of a page fault's error code */
#define WALK_USER  BIT(2) /* as if from CPL 3; implied when the CPL is 3 */
#define WALK_FETCH BIT(4)

/*
 * Translate. access: WALK_* (0 = a read). 0 with *gpa set; -EFAULT with *error_code set to what the guest's
 * #PF would carry (accessed and dirty bits are set as the CPU would); -ENXIO when a table lies outside RAM;
 * -EINVAL: not canonical (#GP, #SS).
 */
int guest_walk(struct guest_memory *memory, const struct guest_paging *paging, gva_t gva, u64 access,
               gpa_t *gpa, u32 *error_code);

/*
 * The same for an instruction that the CPU has just executed: rights were checked by hardware, nothing is
 * set. The fast path of every exit that must find its instruction's length. 0, or -EFAULT when the mapping is
 * gone.
 */
int guest_walk_fetched(const struct guest_memory *memory, const struct guest_paging *paging, gva_t gva,
                       gpa_t *gpa);

/*
 * Copy between a guest's linear range and a buffer; pages are walked one by one. Errors as above, and -ENXIO
 * when the data lie outside RAM; *fault_gva tells where.
 */
int guest_read_linear(struct guest_memory *memory, const struct guest_paging *paging, gva_t gva, void *to,
                      u64 bytes, u64 access, gva_t *fault_gva, u32 *error_code);
int guest_write_linear(struct guest_memory *memory, const struct guest_paging *paging, gva_t gva,
                       const void *from, u64 bytes, u64 access, gva_t *fault_gva, u32 *error_code);

#endif
