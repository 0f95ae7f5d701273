/* SPDX-License-Identifier: MIT */
/* The audit of a guest's memory (contract in the header). Any CPU; vCPUs may run meanwhile. */
#include "hv/memory/memory_audit.h"

#include "hv/lib/errno.h"
#include "hv/lib/panic.h"
#include "hv/lib/printf.h"

/* What is being written: the first difference. */
struct finding {
    char *why;
    size_t size;
};

#define DIFFER(finding, ...) (snprintf((finding)->why, (finding)->size, __VA_ARGS__), -EINVAL)

typedef unsigned long long ull;

/* The page of the list that was looked at last: what is next to each other costs no walk. */
struct leaf {
    u64 number;
    const u64 *entries;
};

#define LEAF_NONE ((struct leaf){.number = ~0ull})

static const u64 *leaf_at(const struct p2m *p2m, struct leaf *leaf, gfn_t gfn)
{
    if (gfn / P2M_ENTRIES != leaf->number) {
        leaf->entries = phys_to_virt(p2m_leaf(p2m, gfn));
        leaf->number = gfn / P2M_ENTRIES;
    }
    return leaf->entries + gfn % P2M_ENTRIES;
}

/* As p2m_lookup_slow. */
static u64 entry_at(const struct p2m *p2m, struct leaf *leaf, gfn_t gfn)
{
    u64 entry = *leaf_at(p2m, leaf, gfn);

    return entry != P2M_INVALID ? entry : p2m_lookup_slow(p2m, gfn);
}

/* The first guest frame from gfn on that holds a frame, or P2M_GFN_LIMIT. */
static gfn_t next_frame(const struct p2m *p2m, struct leaf *leaf, gfn_t gfn)
{
    while (gfn / P2M_ENTRIES == leaf->number) {
        if (p2m_is_frame(*leaf_at(p2m, leaf, gfn)))
            return gfn;
        gfn++;
    }
    return p2m_next_present(p2m, gfn, P2M_GFN_LIMIT);
}

/* One frame of the list: whose it is. */
static int owner_check(const struct guest_memory *memory, gfn_t gfn, mfn_t mfn, struct finding *finding)
{
    if (frame_owner(mfn) != frame_owner_guest(memory->vm))
        return DIFFER(finding, "guest frame %#llx has machine frame %#llx, which owner %u has", (ull)gfn,
                      (ull)mfn, frame_owner(mfn));
    if (!guest_memory_is_ram(memory, gfn << PAGE_SHIFT))
        return DIFFER(finding, "guest frame %#llx has a machine frame, where the memory map has no RAM",
                      (ull)gfn);
    return 0;
}

/* ... and that it stands there once. */
static int frame_check(const struct guest_memory *memory, gfn_t gfn, mfn_t mfn, struct finding *finding)
{
    int error = owner_check(memory, gfn, mfn, finding);

    if (error)
        return error;
    if (frame_mark(mfn, true))
        return DIFFER(finding, "machine frame %#llx stands in the list twice, at guest frame %#llx again",
                      (ull)mfn, (ull)gfn);
    return 0;
}

static void marks_clear(const struct p2m *p2m)
{
    struct leaf leaf = LEAF_NONE;

    for (gfn_t gfn = 0; (gfn = next_frame(p2m, &leaf, gfn)) < P2M_GFN_LIMIT; gfn++)
        frame_mark(*leaf_at(p2m, &leaf, gfn), false);
}

/* So many frames stand in the list: as many as it counts, and as the VM owns. */
static int count_check(const struct guest_memory *memory, u64 found, struct finding *finding)
{
    u64 owned = frame_owned(frame_owner_guest(memory->vm)), present = memory->p2m.present;

    if (found != present)
        return DIFFER(finding, "the list holds %llu frames and counts %llu", (ull)found, (ull)present);
    if (found + memory->leaving != owned)
        return DIFFER(finding, "the list holds %llu frames, but the VM owns %llu, of which %llu are leaving",
                      (ull)found, (ull)owned, (ull)memory->leaving);
    return 0;
}

static int frames_check(const struct guest_memory *memory, struct finding *finding)
{
    const struct p2m *p2m = &memory->p2m;
    struct leaf leaf = LEAF_NONE;
    u64 found = 0;

    for (gfn_t gfn = 0; (gfn = next_frame(p2m, &leaf, gfn)) < P2M_GFN_LIMIT; gfn++, found++) {
        int error = frame_check(memory, gfn, *leaf_at(p2m, &leaf, gfn), finding);

        if (error)
            return error;
    }
    return count_check(memory, found, finding);
}

/* What the guest has given: RAM of the map, without a frame, each counted once; and what it is promised. */
static int balloon_check(const struct guest_memory *memory, struct finding *finding)
{
    const struct balloon *balloon = &memory->balloon;
    u64 found = 0, due = guest_memory_due(memory);

    for (gfn_t gfn = 0; (gfn = locked_set_next(&balloon->set, gfn)) != ~0ull; gfn++, found++) {
        if (!guest_memory_is_ram(memory, gfn << PAGE_SHIFT))
            return DIFFER(finding, "guest frame %#llx is locked, where the memory map has no RAM", (ull)gfn);
        if (p2m_lookup_slow(&memory->p2m, gfn) != P2M_INVALID)
            return DIFFER(finding, "guest frame %#llx is locked, but has a machine frame", (ull)gfn);
    }
    if (found != balloon->locked)
        return DIFFER(finding, "%llu frames are locked, but %llu are counted", (ull)found,
                      (ull)balloon->locked);
    if (due < balloon->target)
        return DIFFER(finding, "the VM has and is promised %llu frames, less than its target of %llu",
                      (ull)due, (ull)balloon->target);
    return 0;
}

/* Identity ranges show the guest what no owner has as RAM. */
static int identity_check(const struct p2m *p2m, struct finding *finding)
{
    gfn_t gfn = 0;

    while (gfn < P2M_GFN_LIMIT) {
        enum p2m_kind kind = p2m_classify(p2m, gfn);
        gfn_t end = p2m_kind_end(p2m, gfn, P2M_GFN_LIMIT, kind);

        for (mfn_t mfn = gfn; kind == P2M_KIND_IDENTITY && mfn < end && mfn < frame_end(); mfn++)
            if (frame_owner(mfn) != FRAME_OWNER_NONE)
                return DIFFER(finding, "machine frame %#llx of an identity range is RAM of owner %u",
                              (ull)mfn, frame_owner(mfn));
        gfn = end;
    }
    return 0;
}

/* A page of lintel's that guest_memory_show_window put where the list has a hole. */
static bool is_window(const struct guest_memory *memory, gpa_t gpa, hpa_t hpa)
{
    return !guest_memory_is_ram(memory, gpa) &&
           frame_owner(hpa >> PAGE_SHIFT) == frame_owner_support(memory->vm);
}

/* The very page that the p2m has for these entries, for reading alone. */
static bool is_list_page(const struct guest_memory *memory, gpa_t gpa, hpa_t hpa)
{
    u64 size = 0, access = 0;
    hpa_t seen;

    return nested_lookup(&memory->nested, gpa, &seen, &size, &access) == 0 && size == PAGE_SIZE &&
           access == NESTED_READ && hpa == guest_memory_list_page(memory, gpa);
}

/* One mapping of the nested tables against the entries of the list that it covers. */
static int mapping_check(const struct guest_memory *memory, struct leaf *leaf, gpa_t gpa, hpa_t hpa, u64 size,
                         struct finding *finding)
{
    for (u64 at = 0; at < size; at += PAGE_SIZE) {
        u64 entry = entry_at(&memory->p2m, leaf, (gpa + at) >> PAGE_SHIFT);

        if (guest_memory_in_list(memory, gpa + at)) {
            if (!is_list_page(memory, gpa + at, hpa + at))
                return DIFFER(finding, "gpa %#llx, where the guest sees its list, is mapped to frame %#llx",
                              (ull)(gpa + at), (ull)(hpa + at) >> PAGE_SHIFT);
            continue;
        }
        if (entry == P2M_INVALID && is_window(memory, gpa + at, hpa + at))
            continue;
        if (entry == P2M_INVALID || p2m_frame(entry) != (hpa + at) >> PAGE_SHIFT)
            return DIFFER(finding, "gpa %#llx is mapped to machine frame %#llx, but the list has %#llx",
                          (ull)(gpa + at), (ull)(hpa + at) >> PAGE_SHIFT, (ull)entry);
    }
    return 0;
}

static int nested_check(const struct guest_memory *memory, struct finding *finding)
{
    struct leaf leaf = LEAF_NONE;
    gpa_t gpa = 0;
    hpa_t hpa;
    u64 size;

    while (nested_next(&memory->nested, &gpa, &hpa, &size) == 0) {
        int error = mapping_check(memory, &leaf, gpa, hpa, size, finding);

        if (error)
            return error;
        gpa += size;
    }
    return 0;
}

static int audit(const struct guest_memory *memory, struct finding *finding)
{
    int error = frames_check(memory, finding);

    marks_clear(&memory->p2m);
    if (!error)
        error = balloon_check(memory, finding);
    if (!error)
        error = identity_check(&memory->p2m, finding);
    if (!error)
        error = nested_check(memory, finding);
    if (!error && !p2m_tree_agrees(&memory->p2m))
        error = DIFFER(finding, "the tree of machine frames differs from the list");
    return error;
}

int guest_memory_audit(struct guest_memory *memory, char *why, size_t size)
{
    struct finding finding = {why, size};
    int error;

    spinlock_take(memory->lock);
    error = audit(memory, &finding);
    spinlock_release(memory->lock);
    return error;
}

#ifdef LINTEL_DEBUG
#define WHOLE_FRAMES 2048u            /* that each operation proves, if there are no more: 8 MiB */
#define DIGEST_PRIME 0x100000001b3ull /* FNV-1a's, over words */

/* 0 for a page of zeros. */
static u64 page_digest(const u64 *words, gfn_t gfn)
{
    u64 digest = gfn, any = 0;

    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*words); i++) {
        any |= words[i];
        digest = (digest ^ words[i]) * DIGEST_PRIME;
    }
    return any ? digest : 0;
}

u64 guest_memory_digest(const struct guest_memory *memory)
{
    const struct p2m *p2m = &memory->p2m;
    u64 sum = 0;

    for (gfn_t gfn = 0; (gfn = p2m_next_present(p2m, gfn, P2M_GFN_LIMIT)) < P2M_GFN_LIMIT; gfn++)
        sum += page_digest(phys_to_virt(p2m_lookup_slow(p2m, gfn) << PAGE_SHIFT), gfn);
    return sum;
}

void guest_memory_prove(struct guest_memory *memory)
{
    char why[160];

    if (guest_memory_audit(memory, why, sizeof(why)))
        panic("the memory of VM %u: %s", memory->vm, why);
}

/* One guest frame: whose, and that the CPU finds nothing else there. That it stands once is not looked at. */
static int entry_check(const struct guest_memory *memory, struct leaf *leaf, gfn_t gfn,
                       struct finding *finding)
{
    u64 entry = entry_at(&memory->p2m, leaf, gfn), size, access;
    hpa_t hpa;
    int error = 0;

    if (p2m_is_frame(entry))
        error = owner_check(memory, gfn, entry, finding);
    if (!error && nested_lookup(&memory->nested, gfn << PAGE_SHIFT, &hpa, &size, &access) == 0)
        error = mapping_check(memory, leaf, gfn << PAGE_SHIFT, hpa, PAGE_SIZE, finding);
    return error;
}

static int part_audit(const struct guest_memory *memory, gfn_t gfn, struct finding *finding)
{
    struct leaf leaf = LEAF_NONE;
    int error = count_check(memory, memory->p2m.present, finding);

    if (!error && !p2m_tree_agrees_at(&memory->p2m, gfn))
        error = DIFFER(finding, "the tree of machine frames differs from the list at guest frame %#llx",
                       (ull)gfn);
    for (u64 i = 0; i < P2M_ENTRIES && !error; i++)
        error = entry_check(memory, &leaf, gfn + i, finding);
    return error;
}

/*
 * Is it the turn of all of it? So often that an operation proves so many frames on the average: each one
 * where the guest has no more.
 */
static bool is_turn_of_all(const struct guest_memory *memory)
{
    static u32 operations; /* of all VMs */
    u64 every = 1 + memory->p2m.present / (WHOLE_FRAMES + 1);

    return __atomic_add_fetch(&operations, 1, __ATOMIC_RELAXED) % every == 0;
}

void guest_memory_prove_at(const struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    gfn_t gfn = ALIGN_DOWN(gpa >> PAGE_SHIFT, P2M_ENTRIES), end = (gpa + bytes - 1) >> PAGE_SHIFT;
    char why[160];
    struct finding finding = {why, sizeof(why)};
    int error = is_turn_of_all(memory) ? audit(memory, &finding) : 0;

    for (; !error && gfn <= end; gfn += P2M_ENTRIES)
        error = part_audit(memory, gfn, &finding);
    if (error)
        panic("the memory of VM %u: %s", memory->vm, why);
}
#endif
