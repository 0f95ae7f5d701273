/* SPDX-License-Identifier: MIT */
/*
 * Reading the live page tables, from CR3 on: the proof that nothing is both writable and executable, and the
 * question whether an address may be read (for reports about exceptions). Changes nothing and takes no lock:
 * used by the boot CPU after paging_init, and while lintel is dying. AMD APM 2, 5.3 and 5.6.
 */
#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/paging.h"
#include "hv/lib/panic.h"

#define TABLE_ENTRIES       512
#define TABLE_SHIFT         9
#define ROOT_SHIFT          39
#define ROOT_LOW_HALF       (TABLE_ENTRIES / 2)
#define ROOT_INDEX(address) ((address) >> ROOT_SHIFT & (TABLE_ENTRIES - 1))

/* Executable memory is the image's text alone: one extent, or very few. */
#define EXTENTS_MAX 8

struct leaf {
    u64 address, size;
    hpa_t hpa;
    bool writable, executable;
};

struct verification {
    struct leaf extents[EXTENTS_MAX]; /* what is executable, neighbours joined */
    unsigned extent_count;
    u64 leaves;
    void (*visit)(struct verification *verification, const struct leaf *leaf);
};

static u64 *live_root(void)
{
    return phys_to_virt(read_cr3() & PTE_ADDRESS);
}

/* rights: PTE_WRITE and PTE_NX as all levels above have combined them. */
static u64 rights_combine(u64 rights, u64 entry)
{
    return (rights & entry & PTE_WRITE) | ((rights | entry) & PTE_NX);
}

static void visit_leaf(struct verification *verification, u64 address, u64 entry, unsigned shift, u64 rights)
{
    const struct leaf leaf = {
        .address = address,
        .size = BIT(shift),
        .hpa = entry & PTE_ADDRESS & ~(BIT(shift) - 1),
        .writable = rights & PTE_WRITE,
        .executable = !(rights & PTE_NX),
    };

    if (entry & PTE_USER)
        panic("%016llx is mapped for user mode, which lintel does not have", (unsigned long long)address);
    verification->leaves++;
    verification->visit(verification, &leaf);
}

/* At most four levels deep. */
static void walk_table(struct verification *verification, const u64 *table, u64 address, unsigned shift,
                       u64 rights)
{
    for (u64 i = 0; i < TABLE_ENTRIES; i++) {
        u64 entry = table[i], at = address + (i << shift), combined = rights_combine(rights, entry);

        if (!(entry & PTE_PRESENT))
            continue;
        if (shift == PAGE_SHIFT || (entry & PTE_LARGE))
            visit_leaf(verification, at, entry, shift, combined);
        else
            walk_table(verification, phys_to_virt(entry & PTE_ADDRESS), at, shift - TABLE_SHIFT, combined);
    }
}

/*
 * The windows are left out but for their top entry: a p2m list shares its tables of holes, so that one window
 * is 2^27 leaves. NX in the top entry rules all of them.
 */
static void walk_all(struct verification *verification)
{
    const u64 *root = live_root();

    for (u64 i = 0; i < TABLE_ENTRIES; i++) {
        u64 address = i << ROOT_SHIFT | (i >= ROOT_LOW_HALF ? BITS(63, 48) : 0);

        if (!(root[i] & PTE_PRESENT))
            continue;
        if (i < ROOT_LOW_HALF)
            panic("%016llx is mapped: the low half must be empty", (unsigned long long)address);
        if (i - ROOT_INDEX(P2M_WINDOW_BASE) < P2M_WINDOW_MAX && (root[i] & PTE_NX))
            continue;
        walk_table(verification, phys_to_virt(root[i] & PTE_ADDRESS), address, ROOT_SHIFT - TABLE_SHIFT,
                   rights_combine(PTE_WRITE, root[i]));
    }
}

static void extent_add(struct verification *verification, const struct leaf *leaf)
{
    struct leaf *last = &verification->extents[verification->extent_count - 1];

    if (verification->extent_count > 0 && last->hpa + last->size == leaf->hpa) {
        last->size += leaf->size;
        return;
    }
    assert(verification->extent_count < EXTENTS_MAX);
    verification->extents[verification->extent_count++] = *leaf;
}

static void find_executable(struct verification *verification, const struct leaf *leaf)
{
    if (!leaf->executable)
        return;
    if (leaf->writable)
        panic("%016llx (physical %llx) is both writable and executable", (unsigned long long)leaf->address,
              (unsigned long long)leaf->hpa);
    extent_add(verification, leaf);
}

static void find_writable_alias(struct verification *verification, const struct leaf *leaf)
{
    if (!leaf->writable)
        return;
    for (unsigned i = 0; i < verification->extent_count; i++) {
        const struct leaf *code = &verification->extents[i];

        if (leaf->hpa < code->hpa + code->size && code->hpa < leaf->hpa + leaf->size)
            panic("%016llx makes physical %llx writable, which is executable at %016llx",
                  (unsigned long long)leaf->address, (unsigned long long)code->hpa,
                  (unsigned long long)code->address);
    }
}

u64 paging_verify(void)
{
    static struct verification verification;

    verification = (struct verification){.visit = find_executable};
    walk_all(&verification);
    verification.leaves = 0;
    verification.visit = find_writable_alias;
    walk_all(&verification);
    return verification.leaves;
}

bool paging_is_mapped(u64 address)
{
    const u64 *table = live_root();

    if (address + BIT(47) >= BIT(48)) /* not canonical */
        return false;
    for (unsigned shift = ROOT_SHIFT;; shift -= TABLE_SHIFT) {
        u64 entry = table[address >> shift & (TABLE_ENTRIES - 1)];

        if (!(entry & PTE_PRESENT))
            return false;
        if (shift == PAGE_SHIFT || (entry & PTE_LARGE))
            return true;
        table = phys_to_virt(entry & PTE_ADDRESS);
    }
}
