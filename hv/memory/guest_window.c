/* SPDX-License-Identifier: MIT */
/*
 * A page of lintel's behind an address without RAM, for CPUs that answer a device's window themselves and
 * know the window by its frame (contract in guest_memory.h). The nested tables alone know it: for the p2m,
 * and so for everybody who copies or gives memory, the address stays a hole. Takes the VM's lock.
 */
#include "hv/lib/errno.h"
#include "hv/memory/guest_memory.h"
#include "hv/memory/memory_audit.h"

int guest_memory_show_window(struct guest_memory *memory, gpa_t gpa, const void *page,
                             bool (*wanted)(const void *context), const void *context)
{
    int status = -EAGAIN;

    spinlock_take(memory->lock);
    if (wanted(context) && !guest_memory_in_list(memory, gpa)) /* the guest's p2m list stays in front */
        status = nested_map(&memory->nested, gpa, virt_to_phys(page), PAGE_SIZE, NESTED_READ | NESTED_WRITE);
    guest_memory_prove_at(memory, gpa, PAGE_SIZE);
    spinlock_release(memory->lock);
    return status == -EEXIST ? 0 : status;
}

void guest_memory_hide_window(struct guest_memory *memory, gpa_t gpa)
{
    spinlock_take(memory->lock);
    if (nested_unmap(&memory->nested, gpa) == 0 && memory->flush != NULL)
        memory->flush(memory->flush_context);
    guest_memory_prove_at(memory, gpa, PAGE_SIZE);
    spinlock_release(memory->lock);
}
