/* SPDX-License-Identifier: MIT */
/*
 * The walk of a guest's own page tables (contract in the header; AMD APM 2, 5.2 to 5.6; Intel SDM 3A, chapter
 * 4). Called by exit handlers and the emulator on any CPU, without a lock.
 *
 * Tables are read once per level, through the p2m. What the guest changes meanwhile on another CPU may spoil
 * its own translation, as on hardware, and nothing else. Protection keys are ignored: guests are not told
 * that the CPU has them.
 */
#include "hv/memory/guest_walk.h"

#include "arch/x86/machine/cpu.h"
#include "hv/lib/errno.h"

#define LEVELS_MAX 5u

/* Bits of a page fault's error code that are not WALK_* (APM 2, 8.4.2). */
#define FAULT_PRESENT  BIT(0)
#define FAULT_RESERVED BIT(3)

/* How often a walk starts again because the guest changed an entry under it. */
#define TRIES 8

/* One row per paging mode: what distinguishes them. Levels count from 0, the page table. */
struct paging_mode {
    u8 levels;
    u8 entry_bytes;
    u8 index_bits;
    u64 top_address;     /* bits of CR3 that lead to the top table */
    u64 always_reserved; /* in every entry */
    u64 top_reserved;    /* in entries of the top level */
};

enum { MODE_32, MODE_PAE, MODE_4_LEVEL, MODE_5_LEVEL };

static const struct paging_mode modes[] = {
    /* 4 MiB pages keep address bits 39:32 in bits 20:13: checked where they are used. */
    [MODE_32] = {2, 4, 10, BITS(31, 12), 0, 0},
    /* The four entries at the top have no rights (APM 2, 5.3.3); 62:52 must be zero in all. */
    [MODE_PAE] = {3, 8, 9, BITS(31, 5), BITS(62, 52), BITS(8, 5) | BITS(2, 1) | PTE_NX},
    [MODE_4_LEVEL] = {4, 8, 9, PTE_ADDRESS, 0, 0},
    [MODE_5_LEVEL] = {5, 8, 9, PTE_ADDRESS, 0, 0},
};

struct walk {
    struct guest_memory *memory;
    const struct guest_paging *paging;
    const struct paging_mode *mode;
    gva_t gva;
    u64 access;
    u64 rights; /* WRITE and USER as all levels agree, NX as any says */
    unsigned level;
    u64 entry;               /* the leaf */
    void *slots[LEVELS_MAX]; /* of the entries passed, and what they were */
    u64 entries[LEVELS_MAX];
};

static const struct paging_mode *mode_of(const struct guest_paging *paging)
{
    if (paging->efer & EFER_LMA)
        return &modes[paging->cr4 & CR4_LA57 ? MODE_5_LEVEL : MODE_4_LEVEL];
    return &modes[paging->cr4 & CR4_PAE ? MODE_PAE : MODE_32];
}

static bool is_paging(const struct guest_paging *paging)
{
    return (paging->cr0 & CR0_PG) != 0;
}

static unsigned level_shift(const struct paging_mode *mode, unsigned level)
{
    return PAGE_SHIFT + mode->index_bits * level;
}

/* The top table of PAE has four entries; elsewhere a table fills a page. */
static gpa_t slot_address(const struct paging_mode *mode, gpa_t table, gva_t gva, unsigned level)
{
    u64 index = (gva >> level_shift(mode, level)) & (BIT(mode->index_bits) - 1);

    if (mode == &modes[MODE_PAE] && level == 2)
        index &= 3;
    return table + index * mode->entry_bytes;
}

static __attribute__((noinline, cold)) void *table_at_slow(const struct guest_memory *memory, gpa_t gpa)
{
    u64 mfn = p2m_lookup_slow(&memory->p2m, gpa >> PAGE_SHIFT);

    return mfn == P2M_INVALID ? NULL : phys_to_virt((mfn << PAGE_SHIFT) | (gpa & ~PAGE_MASK));
}

/* A table's entry in lintel's address space, or NULL: never given, or no RAM. */
static inline void *table_at(const struct guest_memory *memory, gpa_t gpa)
{
    void *at = guest_memory_at(memory, gpa);

    return likely(at != NULL) ? at : table_at_slow(memory, gpa);
}

static u64 entry_read(const struct paging_mode *mode, const void *slot)
{
    return mode->entry_bytes == 4 ? READ_ONCE(*(const u32 *)slot) : READ_ONCE(*(const u64 *)slot);
}

static gpa_t table_address(const struct paging_mode *mode, u64 entry)
{
    return entry & (mode->entry_bytes == 4 ? BITS(31, 12) : PTE_ADDRESS);
}

/* May an entry of this level be a page, and is this one? */
static bool is_leaf(const struct walk *walk, u64 entry, unsigned level)
{
    if (level == 0)
        return true;
    if (!(entry & PTE_LARGE))
        return false;
    if (walk->mode == &modes[MODE_32])
        return (walk->paging->cr4 & CR4_PSE) != 0;
    return level == 1 || (level == 2 && walk->mode != &modes[MODE_PAE]);
}

static u64 reserved_bits(const struct walk *walk, unsigned level, bool leaf)
{
    const struct paging_mode *mode = walk->mode;
    u64 beyond = cpu_features.physical_bits < 52 ? BITS(51, cpu_features.physical_bits) : 0;
    u64 reserved = mode->always_reserved | (level == mode->levels - 1u ? mode->top_reserved : 0);

    if (mode == &modes[MODE_32]) {
        /* Of bits 39:32, kept in 20:13, the CPU may have fewer; bit 21 is always reserved. */
        return leaf && level == 1 ? BIT(21) | (beyond >> 32 << 13 & BITS(20, 13)) : 0;
    }
    reserved |= beyond;
    if (!(walk->paging->efer & EFER_NXE))
        reserved |= PTE_NX;
    if (leaf && level > 0)
        reserved |= BITS(level_shift(mode, level) - 1, 13);
    if (level > 2 || (leaf && level == 2 && !cpu_features.pages_1g))
        reserved |= PTE_LARGE;
    return reserved;
}

static bool is_fetch_told(const struct guest_paging *paging)
{
    return ((paging->cr4 & CR4_PAE) && (paging->efer & EFER_NXE)) || (paging->cr4 & CR4_SMEP);
}

static int page_fault(const struct walk *walk, u64 cause, u32 *error_code)
{
    u64 code = cause | (walk->access & (WALK_WRITE | WALK_USER));

    if ((walk->access & WALK_FETCH) && is_fetch_told(walk->paging))
        code |= WALK_FETCH;
    *error_code = (u32)code;
    return -EFAULT;
}

static bool is_ram(const struct walk *walk, gpa_t gpa)
{
    return guest_memory_is_ram(walk->memory, gpa);
}

/* Down to the leaf. 0, -EFAULT with *error_code, -ENXIO. */
static int walk_down(struct walk *walk, u32 *error_code)
{
    const struct paging_mode *mode = walk->mode;
    gpa_t table = walk->paging->cr3 & mode->top_address;

    walk->rights = PTE_WRITE | PTE_USER;
    for (unsigned level = mode->levels - 1u;; level--) {
        gpa_t at = slot_address(mode, table, walk->gva, level);
        void *slot = table_at(walk->memory, at);
        u64 entry;
        bool leaf;

        if (slot == NULL && !is_ram(walk, at))
            return -ENXIO;
        entry = slot != NULL ? entry_read(mode, slot) : 0;
        if (!(entry & PTE_PRESENT))
            return page_fault(walk, 0, error_code);
        leaf = is_leaf(walk, entry, level);
        if (entry & reserved_bits(walk, level, leaf))
            return page_fault(walk, FAULT_PRESENT | FAULT_RESERVED, error_code);
        walk->slots[level] = slot;
        walk->entries[level] = entry;
        if (mode != &modes[MODE_PAE] || level < 2)
            walk->rights =
                (walk->rights & entry & (PTE_WRITE | PTE_USER)) | ((walk->rights | entry) & PTE_NX);
        if (leaf) {
            walk->level = level;
            walk->entry = entry;
            return 0;
        }
        table = table_address(mode, entry);
    }
}

/* APM 2, 5.6: the rights of all levels together against the access. */
static bool is_allowed(const struct walk *walk)
{
    const struct guest_paging *paging = walk->paging;
    bool user = walk->access & WALK_USER, user_page = walk->rights & PTE_USER;

    if (user && !user_page)
        return false;
    if ((walk->access & WALK_WRITE) && !(walk->rights & PTE_WRITE) && (user || (paging->cr0 & CR0_WP)))
        return false;
    if (walk->access & WALK_FETCH) {
        /* Without NXE, and in 32-bit entries, the bit cannot be set: it is reserved or absent. */
        return !(walk->rights & PTE_NX) && (user || !user_page || !(paging->cr4 & CR4_SMEP));
    }
    return user || !user_page || !(paging->cr4 & CR4_SMAP) || (paging->rflags & RFLAGS_AC);
}

static bool slot_update(const struct paging_mode *mode, void *slot, u64 old, u64 new)
{
    u32 old_word = (u32)old;

    if (mode->entry_bytes == 4)
        return __atomic_compare_exchange_n((u32 *)slot, &old_word, (u32) new, false, __ATOMIC_RELAXED,
                                           __ATOMIC_RELAXED);
    return __atomic_compare_exchange_n((u64 *)slot, &old, new, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/*
 * Accessed on every level, dirty in the leaf, as the CPU does. False: the guest has changed an entry
 * meanwhile.
 */
static bool used_bits_set(const struct walk *walk)
{
    unsigned top = walk->mode == &modes[MODE_PAE] ? 1 : walk->mode->levels - 1u;

    for (unsigned level = walk->level; level <= top; level++) {
        u64 old = walk->entries[level], new = old | PTE_ACCESSED;

        if (level == walk->level && (walk->access & WALK_WRITE))
            new |= PTE_DIRTY;
        if (new != old && !slot_update(walk->mode, walk->slots[level], old, new))
            return false;
    }
    return true;
}

static gpa_t page_address(const struct walk *walk)
{
    u64 inside = BIT(level_shift(walk->mode, walk->level)) - 1;
    gpa_t page = walk->entry & PTE_ADDRESS & ~inside;

    if (walk->mode == &modes[MODE_32] && walk->level == 1)
        page |= (walk->entry & BITS(20, 13)) << 19;
    return page | (walk->gva & inside);
}

/* Long mode: all bits above the highest translated one equal it. Elsewhere addresses have 32 bits. */
static bool is_canonical(const struct paging_mode *mode, gva_t gva)
{
    unsigned unused = 64 - level_shift(mode, mode->levels);

    return (u64)((s64)(gva << unused) >> unused) == gva;
}

static int walk_start(struct walk *walk)
{
    if (!(walk->paging->efer & EFER_LMA))
        walk->gva = (u32)walk->gva;
    else if (!is_canonical(walk->mode, walk->gva))
        return -EINVAL;
    return 0;
}

int guest_walk(struct guest_memory *memory, const struct guest_paging *paging, gva_t gva, u64 access,
               gpa_t *gpa, u32 *error_code)
{
    struct walk walk = {
        .memory = memory, .paging = paging, .mode = mode_of(paging), .gva = gva, .access = access};

    if (!is_paging(paging)) {
        *gpa = (u32)gva;
        return 0;
    }
    if (paging->cpl == 3)
        walk.access |= WALK_USER;
    if (walk_start(&walk) != 0)
        return -EINVAL;
    for (unsigned tries = 0; tries < TRIES; tries++) {
        int status = walk_down(&walk, error_code);

        if (status != 0)
            return status;
        if (!is_allowed(&walk))
            return page_fault(&walk, FAULT_PRESENT, error_code);
        *gpa = page_address(&walk);
        if (used_bits_set(&walk))
            return 0;
    }
    /*
     * Another vCPU rewrites the entry all the time: the guest sees a fault without a cause, and tries again.
     */
    return page_fault(&walk, 0, error_code);
}

/* Every mode, and every translation that the short way below finds wanting. */
static __attribute__((noinline)) int
walk_fetched_slow(const struct guest_memory *memory, const struct guest_paging *paging, gva_t gva, gpa_t *gpa)
{
    struct walk walk = {.paging = paging, .mode = mode_of(paging), .gva = gva};
    gpa_t table = paging->cr3 & walk.mode->top_address;

    if (!is_paging(paging)) {
        *gpa = (u32)gva;
        return 0;
    }
    if (walk_start(&walk) != 0)
        return -EFAULT;
    for (walk.level = walk.mode->levels - 1u;; walk.level--) {
        const void *slot = table_at(memory, slot_address(walk.mode, table, walk.gva, walk.level));

        walk.entry = slot != NULL ? entry_read(walk.mode, slot) : 0;
        if (!(walk.entry & PTE_PRESENT))
            return -EFAULT;
        if (is_leaf(&walk, walk.entry, walk.level))
            break;
        table = table_address(walk.mode, walk.entry);
    }
    *gpa = page_address(&walk);
    return 0;
}

/*
 * One level of four: entry leads to the table, and becomes what stands there. False: look again, the slow
 * way.
 */
static inline __attribute__((always_inline)) bool level_pass(const struct guest_memory *memory, gva_t gva,
                                                             unsigned shift, u64 *entry)
{
    u64 mfn = p2m_lookup(&memory->p2m, (*entry & BITS(47, 12)) >> PAGE_SHIFT);

    if (unlikely(mfn == P2M_INVALID))
        return false;
    *entry = READ_ONCE(((const u64 *)phys_to_virt(mfn << PAGE_SHIFT))[gva >> shift & 0x1ff]);
    return likely(*entry & PTE_PRESENT);
}

int guest_walk_fetched(const struct guest_memory *memory, const struct guest_paging *paging, gva_t gva,
                       gpa_t *gpa)
{
    u64 entry = paging->cr3, inside = SIZE_1G - 1;

    if (unlikely(!(paging->efer & EFER_LMA) || (paging->cr4 & CR4_LA57)))
        goto slow;
    if (!level_pass(memory, gva, 39, &entry) || !level_pass(memory, gva, 30, &entry))
        goto slow;
    if (!(entry & PTE_LARGE)) {
        if (!level_pass(memory, gva, 21, &entry))
            goto slow;
        inside = SIZE_2M - 1;
        if (!(entry & PTE_LARGE)) {
            if (!level_pass(memory, gva, 12, &entry))
                goto slow;
            inside = PAGE_SIZE - 1;
        }
    }
    *gpa = (entry & PTE_ADDRESS & ~inside) | (gva & inside);
    return 0;
slow:
    return walk_fetched_slow(memory, paging, gva, gpa);
}
