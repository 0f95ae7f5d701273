/* SPDX-License-Identifier: MIT */
/*
 * Copies between lintel and a guest's linear addresses (contract in guest_walk.h). Any CPU; the VM's lock is
 * not held.
 */
#include "hv/lib/errno.h"
#include "hv/memory/guest_walk.h"

/* One page's part of a linear range: translated, and cut at the page's end. */
static int linear_part(struct guest_memory *memory, const struct guest_paging *paging, gva_t gva, u64 access,
                       u64 *bytes, gpa_t *gpa, u32 *error_code)
{
    *bytes = MIN(*bytes, PAGE_SIZE - (gva & ~PAGE_MASK));
    return guest_walk(memory, paging, gva, access, gpa, error_code);
}

int guest_read_linear(struct guest_memory *memory, const struct guest_paging *paging, gva_t gva, void *to,
                      u64 bytes, u64 access, gva_t *fault_gva, u32 *error_code)
{
    u8 *at = to;

    while (bytes > 0) {
        u64 part = bytes;
        gpa_t gpa;
        int status = linear_part(memory, paging, gva, access, &part, &gpa, error_code);

        if (status == 0 && guest_memory_read(memory, gpa, at, part) != 0)
            status = -ENXIO; /* a device or a hole: no page fault */
        if (status != 0) {
            *fault_gva = gva;
            return status;
        }
        at += part;
        gva += part;
        bytes -= part;
    }
    return 0;
}

int guest_write_linear(struct guest_memory *memory, const struct guest_paging *paging, gva_t gva,
                       const void *from, u64 bytes, u64 access, gva_t *fault_gva, u32 *error_code)
{
    const u8 *at = from;

    while (bytes > 0) {
        u64 part = bytes;
        gpa_t gpa;
        int status = linear_part(memory, paging, gva, access | WALK_WRITE, &part, &gpa, error_code);

        if (status == 0) {
            status = guest_memory_write(memory, gpa, at, part);
            status = status == -EFAULT ? -ENXIO : status;
        }
        if (status != 0) {
            *fault_gva = gva;
            return status;
        }
        at += part;
        gva += part;
        bytes -= part;
    }
    return 0;
}
