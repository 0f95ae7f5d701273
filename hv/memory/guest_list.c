/* SPDX-License-Identifier: MIT */
/*
 * A guest's own view of its p2m list, for a VM with `p2m = shared` (contract in guest_memory.h; docs/abi.md).
 * From an address without RAM on, the nested tables lead to the list's very leaf pages, read-only and never
 * executable, and for holes to the pages that all holes share. They are filled at first touch. Where another
 * page stands for some entries later (a hole gets its first frame, an empty leaf is taken out), the old one
 * goes from the nested tables and every TLB before anybody else may have it, and the next touch finds the
 * new one. Takes the VM's lock.
 */
#include "arch/x86/machine/cpu.h"
#include "hv/lib/errno.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/memory/guest_memory.h"
#include "hv/memory/memory_audit.h"

#define GPA_BITS_MOST 48 /* nested tables reach no further, and CPUID shows no more */

u64 guest_memory_list_bytes(const struct guest_memory *memory)
{
    gfn_t end = memory->regions[memory->region_count - 1].end >> PAGE_SHIFT;

    return ALIGN_UP(end, P2M_ENTRIES) * sizeof(u64);
}

bool guest_memory_list_fits(const struct guest_memory *memory, gpa_t gpa)
{
    u64 limit = BIT(MIN(cpu_features.physical_bits, GPA_BITS_MOST)), bytes = guest_memory_list_bytes(memory);

    return IS_ALIGNED(gpa, PAGE_SIZE) && gpa < limit && bytes <= limit - gpa;
}

/* RAM, or a page of lintel's that the CPU finds there? */
static bool is_occupied(const struct guest_memory *memory, gpa_t start, gpa_t end)
{
    gpa_t mapped = start;
    hpa_t hpa;
    u64 size;

    for (u32 i = 0; i < memory->region_count; i++)
        if (start < memory->regions[i].end && memory->regions[i].start < end)
            return true;
    return nested_next(&memory->nested, &mapped, &hpa, &size) == 0 && mapped < end;
}

static void pages_hide(struct guest_memory *memory, gpa_t start, gpa_t end)
{
    if (nested_unmap_range(&memory->nested, start, end) && memory->flush != NULL)
        memory->flush(memory->flush_context);
}

/* p2m's word that other pages stand for these entries now. */
static void leaves_changed(void *context, gfn_t gfn, u64 frames)
{
    struct guest_memory *memory = context;
    u64 first = ALIGN_DOWN(gfn, P2M_ENTRIES) * sizeof(u64), bytes = frames * sizeof(u64);

    if (first < memory->list.bytes)
        pages_hide(memory, memory->list.start + first,
                   memory->list.start + first + MIN(bytes, memory->list.bytes - first));
}

static int list_show(struct guest_memory *memory, gpa_t gpa)
{
    u64 bytes = guest_memory_list_bytes(memory);

    if (memory->list.bytes != 0)
        return -EALREADY;
    if (is_occupied(memory, gpa, gpa + bytes))
        return -EBUSY;
    memory->p2m.leaves_changed = leaves_changed;
    memory->p2m.leaves_context = memory;
    WRITE_ONCE(memory->list.start, gpa);
    __atomic_store_n(&memory->list.bytes, bytes, __ATOMIC_RELEASE);
    return 0;
}

int guest_memory_show_list(struct guest_memory *memory, gpa_t gpa)
{
    int status;

    if (!guest_memory_list_fits(memory, gpa))
        return -EINVAL;
    spinlock_take(memory->lock);
    status = list_show(memory, gpa);
    spinlock_release(memory->lock);
    return status;
}

void guest_memory_forget_list(struct guest_memory *memory)
{
    WRITE_ONCE(memory->list.bytes, 0);
    memory->p2m.leaves_changed = NULL;
}

int guest_memory_hide_list(struct guest_memory *memory)
{
    u64 bytes;

    spinlock_take(memory->lock);
    bytes = memory->list.bytes;
    if (bytes != 0) {
        guest_memory_forget_list(memory);
        pages_hide(memory, memory->list.start, memory->list.start + bytes);
        guest_memory_prove_at(memory, memory->list.start, bytes);
    }
    spinlock_release(memory->lock);
    return bytes != 0 ? 0 : -ENOENT;
}

hpa_t guest_memory_list_page(const struct guest_memory *memory, gpa_t gpa)
{
    hpa_t page = p2m_leaf(&memory->p2m, (gpa - memory->list.start) / sizeof(u64));
    frame_owner_t owner = frame_owner(page >> PAGE_SHIFT);

    if (owner != memory->p2m.support && owner != FRAME_OWNER_HYPERVISOR)
        panic("VM %u: a page of its p2m list is machine frame %#llx, which owner %u has", memory->vm,
              (unsigned long long)page >> PAGE_SHIFT, owner);
    return page;
}

int guest_memory_list_fault(struct guest_memory *memory, gpa_t gpa)
{
    int status = 0;

    gpa &= PAGE_MASK;
    spinlock_take(memory->lock);
    if (guest_memory_in_list(memory, gpa)) /* else another vCPU has just hidden it */
        status =
            nested_map(&memory->nested, gpa, guest_memory_list_page(memory, gpa), PAGE_SIZE, NESTED_READ);
    guest_memory_prove_at(memory, gpa, PAGE_SIZE);
    spinlock_release(memory->lock);
    return status == -EEXIST ? 0 : status;
}

u64 guest_memory_list_read(struct guest_memory *memory, gpa_t gpa, unsigned bytes)
{
    u64 value = ~0ull;

    spinlock_take(memory->lock);
    if (guest_memory_in_list(memory, gpa)) {
        const u8 *page = phys_to_virt(guest_memory_list_page(memory, gpa));

        value = 0;
        memcpy(&value, page + (gpa & ~PAGE_MASK), bytes);
    }
    spinlock_release(memory->lock);
    return value;
}
