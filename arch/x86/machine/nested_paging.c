/* SPDX-License-Identifier: MIT */
/*
 * Nested page tables (contract in the header). Called under the VM's lock; CPUs in the guest walk the tables
 * at any time. AMD APM 2, 15.25; Intel SDM 3C, 29.3.
 *
 * Every change becomes visible by one store: what is new is built aside, filled, and linked last. Between two
 * stores a walker thus finds the old translation or the new one, never a mixture, and -ENOMEM is found out
 * before anything shows.
 */
#include "arch/x86/machine/nested_paging.h"

#include "arch/x86/machine/paging.h"
#include "hv/lib/errno.h"

#define ENTRIES  512u
#define LEVEL_4K 0u
#define LEVEL_2M 1u
#define LEVEL_1G 2u

/*
 * The CPU walks as a user would, hence U everywhere (APM 2, 15.25.5). Accessed and dirty are set beforehand:
 * nobody reads them, and the CPU need not write them.
 */
const struct nested_format nested_format_amd = {
    .table = PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED,
    .read = PTE_PRESENT | PTE_USER | PTE_ACCESSED,
    .write = PTE_WRITE | PTE_DIRTY,
    .execute = 0,
    .no_execute = PTE_NX,
    .large = PTE_LARGE,
    .present = PTE_PRESENT,
    .levels = 4,
};

static unsigned level_shift(unsigned level)
{
    return PAGE_SHIFT + 9 * level;
}

static u64 *slot_in(hpa_t page, gpa_t gpa, unsigned level)
{
    return (u64 *)phys_to_virt(page) + ((gpa >> level_shift(level)) & (ENTRIES - 1));
}

static bool is_present(const struct nested_table *table, u64 entry)
{
    return (entry & table->format->present) != 0;
}

static bool is_leaf(const struct nested_table *table, u64 entry, unsigned level)
{
    return level == LEVEL_4K || (entry & table->format->large) != 0;
}

/* The store that a walker may see: all that was written before it is visible first. */
static void entry_publish(u64 *slot, u64 entry)
{
    __atomic_store_n(slot, entry, __ATOMIC_RELEASE);
}

static u64 leaf_entry(const struct nested_format *format, hpa_t hpa, unsigned level, u64 access)
{
    return hpa | format->read | (access & NESTED_WRITE ? format->write : 0) |
           (access & NESTED_EXECUTE ? format->execute : format->no_execute) |
           (level > LEVEL_4K ? format->large : 0);
}

static hpa_t page_take(struct nested_table *table)
{
    hpa_t page = table->page_alloc(table->context);

    if (page != 0)
        table->pages++;
    return page;
}

static void page_give_back(struct nested_table *table, hpa_t page)
{
    table->recent = NULL; /* it may be the one */
    table->page_free(table->context, page);
    table->pages--;
}

/* A CPU may be on its way through it. */
static void page_take_out(struct nested_table *table, hpa_t page)
{
    if (table->page_retire == NULL) {
        page_give_back(table, page);
        return;
    }
    table->recent = NULL;
    table->page_retire(table->context, page);
    table->pages--;
}

/* Translations that some CPU may remember are wrong from here on, until the flush. */
static void note_removed(const struct nested_table *table)
{
#ifdef LINTEL_DEBUG
    if (table->removed != NULL)
        table->removed(table->context);
#else
    (void)table;
#endif
}

static void flush_all(const struct nested_table *table)
{
    if (table->flush != NULL)
        table->flush(table->flush_context);
}

/* Give back all tables below the table `page` of `level`; as deep as there are levels. */
static void tables_below_free(struct nested_table *table, hpa_t page, unsigned level,
                              void (*give_back)(struct nested_table *table, hpa_t page))
{
    const u64 *entries = phys_to_virt(page);

    if (level == LEVEL_4K)
        return;
    for (unsigned i = 0; i < ENTRIES; i++) {
        hpa_t below = entries[i] & PTE_ADDRESS;

        if (!is_present(table, entries[i]) || is_leaf(table, entries[i], level))
            continue;
        tables_below_free(table, below, level - 1, give_back);
        give_back(table, below);
    }
}

/* No leaf anywhere below? */
static bool table_is_empty(const struct nested_table *table, hpa_t page, unsigned level)
{
    const u64 *entries = phys_to_virt(page);

    for (unsigned i = 0; i < ENTRIES; i++) {
        if (!is_present(table, entries[i]))
            continue;
        if (is_leaf(table, entries[i], level) || !table_is_empty(table, entries[i] & PTE_ADDRESS, level - 1))
            return false;
    }
    return true;
}

/* Follow gpa down from the root to an entry that points to no table, at `target` at the latest. */
static u64 *slot_find(const struct nested_table *table, gpa_t gpa, unsigned target, unsigned *level)
{
    unsigned at = table->format->levels - 1u;
    u64 *slot = slot_in(table->root, gpa, at);

    while (at > target && is_present(table, *slot) && !is_leaf(table, *slot, at)) {
        at--;
        slot = slot_in(*slot & PTE_ADDRESS, gpa, at);
    }
    *level = at;
    return slot;
}

int nested_table_init(struct nested_table *table)
{
    table->pages = 0;
    table->recent = NULL;
    table->root = page_take(table);
    return table->root == 0 ? -ENOMEM : 0;
}

void nested_clear(struct nested_table *table)
{
    u64 *entries = phys_to_virt(table->root);
    unsigned level = table->format->levels - 1u;

    for (unsigned i = 0; i < ENTRIES; i++) {
        u64 entry = entries[i];

        if (!is_present(table, entry))
            continue;
        entry_publish(&entries[i], 0);
        note_removed(table);
        flush_all(table);
        tables_below_free(table, entry & PTE_ADDRESS, level - 1, page_give_back);
        page_give_back(table, entry & PTE_ADDRESS);
    }
}

void nested_table_destroy(struct nested_table *table)
{
    if (table->root == 0)
        return;
    nested_clear(table);
    page_give_back(table, table->root);
    table->root = 0;
}

/*
 * An entry for `level` that leads to `entry` at `target` by tables made for it, one per level between. 0: no
 * memory.
 */
static u64 chain_build(struct nested_table *table, gpa_t gpa, u64 entry, unsigned target, unsigned level)
{
    for (unsigned at = target; at < level; at++) {
        hpa_t page = page_take(table);

        if (page == 0) {
            for (; at > target; at--) {
                hpa_t made = entry & PTE_ADDRESS;

                entry = *slot_in(made, gpa, at - 1);
                page_give_back(table, made);
            }
            return 0;
        }
        *slot_in(page, gpa, at) = entry;
        entry = page | table->format->table;
    }
    return entry;
}

/* A table stands where a large page shall: fine when nothing is mapped in it. */
static int table_replace(struct nested_table *table, u64 *slot, u64 leaf, unsigned level)
{
    hpa_t old = *slot & PTE_ADDRESS;

    if (!table_is_empty(table, old, level - 1))
        return -EEXIST;
    entry_publish(slot, leaf);
    note_removed(table);
    flush_all(table); /* a CPU may still know the way to the old table */
    tables_below_free(table, old, level - 1, page_take_out);
    page_take_out(table, old);
    return 0;
}

static __attribute__((noinline)) int map_by_walk(struct nested_table *table, gpa_t gpa, hpa_t hpa, u64 size,
                                                 u64 access)
{
    unsigned target = size == SIZE_1G ? LEVEL_1G : size == SIZE_2M ? LEVEL_2M : LEVEL_4K;
    u64 entry = leaf_entry(table->format, hpa, target, access);
    unsigned level;
    u64 *slot;

    if (size != BIT(level_shift(target)) || !IS_ALIGNED(gpa | hpa, size) || (hpa & ~PTE_ADDRESS) != 0)
        return -EINVAL;
    if (gpa >> level_shift(table->format->levels) != 0 || (target == LEVEL_1G && !table->pages_1g))
        return -EINVAL;
    slot = slot_find(table, gpa, target, &level);
    if (unlikely(is_present(table, *slot))) {
        if (level > target || is_leaf(table, *slot, level))
            return -EEXIST;
        return table_replace(table, slot, entry, level);
    }
    if (level > target)
        entry = chain_build(table, gpa, entry, target, level);
    if (entry == 0)
        return -ENOMEM;
    entry_publish(slot, entry);
    if (target == LEVEL_4K && level == LEVEL_4K) {
        table->recent = (u64 *)((u64)slot & PAGE_MASK);
        table->recent_gpa = gpa / SIZE_2M;
    }
    return 0;
}

int nested_map(struct nested_table *table, gpa_t gpa, hpa_t hpa, u64 size, u64 access)
{
    u64 *slot;

    if (size != PAGE_SIZE || table->recent == NULL || table->recent_gpa != gpa / SIZE_2M)
        return map_by_walk(table, gpa, hpa, size, access);
    /* The short way of a first touch: the table is known. */
    if (unlikely(!IS_ALIGNED(gpa, PAGE_SIZE) || (hpa & ~PTE_ADDRESS) != 0))
        return -EINVAL;
    slot = &table->recent[(gpa >> PAGE_SHIFT) & (ENTRIES - 1)];
    if (unlikely(is_present(table, *slot)))
        return -EEXIST;
    entry_publish(slot, leaf_entry(table->format, hpa, LEVEL_4K, access));
    return 0;
}

/* Fill a new table with what the large leaf of `level` maps, in pages one level finer. */
static void split_fill(const struct nested_table *table, u64 *entries, u64 leaf, unsigned level)
{
    u64 step = BIT(level_shift(level - 1));
    u64 entry = leaf;

    if (level - 1 == LEVEL_4K)
        entry &= ~table->format->large;
    for (unsigned i = 0; i < ENTRIES; i++, entry += step)
        entries[i] = entry;
}

/*
 * An entry that maps what the large leaf maps, without the page of level `target` at gpa. 0: no memory. Built
 * from the lowest table upwards; each table but the lowest points to the one made before.
 */
static u64 leaf_split(struct nested_table *table, gpa_t gpa, u64 leaf, unsigned level, unsigned target)
{
    hpa_t pages[LEVEL_1G];

    for (unsigned made = target; made < level; made++) {
        pages[made] = page_take(table);
        if (pages[made] == 0) {
            while (made > target)
                page_give_back(table, pages[--made]);
            return 0;
        }
    }
    for (unsigned at = level; at > target; at--) {
        hpa_t page = pages[at - 1];
        u64 *slot = slot_in(page, gpa, at - 1);

        split_fill(table, phys_to_virt(page), leaf, at);
        leaf = *slot;
        *slot = at - 1 > target ? pages[at - 2] | table->format->table : 0;
    }
    return pages[level - 1] | table->format->table;
}

int nested_unmap(struct nested_table *table, gpa_t gpa)
{
    unsigned level;
    u64 entry = 0;
    u64 *slot;

    if (gpa >> level_shift(table->format->levels) != 0)
        return -ENOENT;
    slot = slot_find(table, gpa, LEVEL_4K, &level);
    if (!is_present(table, *slot))
        return -ENOENT;
    if (level > LEVEL_4K) {
        entry = leaf_split(table, gpa, *slot, level, LEVEL_4K);
        if (entry == 0)
            return -ENOMEM;
    }
    entry_publish(slot, entry);
    note_removed(table);
    return 0;
}

int nested_unmap_2m(struct nested_table *table, gpa_t gpa, hpa_t *hpa)
{
    u64 old, entry = 0;
    unsigned level;
    u64 *slot;

    if (gpa >> level_shift(table->format->levels) != 0)
        return -ENOENT;
    slot = slot_find(table, gpa, LEVEL_2M, &level);
    old = *slot;
    if (!is_present(table, old))
        return -ENOENT;
    if (level > LEVEL_2M) {
        entry = leaf_split(table, gpa, old, level, LEVEL_2M);
        if (entry == 0)
            return -ENOMEM;
    }
    entry_publish(slot, entry);
    note_removed(table);
    if (is_leaf(table, old, level)) {
        *hpa = (old & PTE_ADDRESS & ~(BIT(level_shift(level)) - 1)) | (gpa & (BIT(level_shift(level)) - 1));
        return 0;
    }
    *hpa = ~0ull;
    if (table->page_retire == NULL)
        flush_all(table);
    page_take_out(table, old & PTE_ADDRESS);
    return 0;
}

bool nested_unmap_range(struct nested_table *table, gpa_t gpa, gpa_t end)
{
    bool removed = false;

    while (gpa < end) {
        unsigned level;
        u64 *slot = slot_find(table, gpa, LEVEL_4K, &level);

        if (is_present(table, *slot)) {
            entry_publish(slot, 0);
            removed = true;
        }
        gpa = ALIGN_DOWN(gpa, BIT(level_shift(level))) + BIT(level_shift(level));
    }
    if (removed)
        note_removed(table);
    return removed;
}

int nested_lookup(const struct nested_table *table, gpa_t gpa, hpa_t *hpa, u64 *size, u64 *access)
{
    const struct nested_format *format = table->format;
    unsigned level;
    u64 entry;

    if (gpa >> level_shift(format->levels) != 0)
        return -ENOENT;
    entry = *slot_find(table, gpa, LEVEL_4K, &level);
    if (!is_present(table, entry))
        return -ENOENT;
    *size = BIT(level_shift(level));
    *hpa = (entry & PTE_ADDRESS & ~(*size - 1)) | (gpa & (*size - 1));
    *access = NESTED_READ;
    if ((entry & format->write) == format->write)
        *access |= NESTED_WRITE;
    if ((entry & format->execute) == format->execute && (entry & format->no_execute) == 0)
        *access |= NESTED_EXECUTE;
    return 0;
}

int nested_next(const struct nested_table *table, gpa_t *gpa, hpa_t *hpa, u64 *size)
{
    unsigned level;

    while (*gpa >> level_shift(table->format->levels) == 0) {
        u64 entry = *slot_find(table, *gpa, LEVEL_4K, &level);

        *size = BIT(level_shift(level));
        *gpa = ALIGN_DOWN(*gpa, *size);
        if (is_present(table, entry)) {
            *hpa = entry & PTE_ADDRESS & ~(*size - 1);
            return 0;
        }
        *gpa += *size;
    }
    return -ENOENT;
}
