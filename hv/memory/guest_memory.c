/* SPDX-License-Identifier: MIT */
/*
 * One guest's physical memory (contract in the header). The p2m is the truth, the nested tables follow it: a
 * frame is entered in the p2m first, then mapped; it is unmapped first, then leaves the p2m. Called by
 * nested-fault exits, loaders and devices. Functions that give frames take the VM's lock themselves.
 */
#include "hv/memory/guest_memory.h"

#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "hv/memory/guest_take.h"
#include "hv/memory/memory_audit.h"

#define GUEST_ACCESS (NESTED_READ | NESTED_WRITE | NESTED_EXECUTE)

static gfn_t gfn_of(gpa_t gpa)
{
    return gpa >> PAGE_SHIFT;
}

/* ---- creation and end ---- */

/*
 * Nested tables and p2m are promised like the RAM they describe (a page each per 2 MiB, if all of it is given
 * in small pages, three per GiB with the p2m's tree, one per 128 MiB for what is locked, and a few above, two
 * of them for the local APIC's window), so that no other VM can take what this one will need to touch its
 * memory, or to give it.
 */
#define TABLES_ABOVE 36

static u64 tables_of(u64 frames)
{
    return 2 * (frames >> 9) + 3 * (frames >> 18) + (frames >> 15) + TABLES_ABOVE;
}

/* Where the guest may see the list, wherever that is. */
static u64 list_tables_of(const struct guest_memory *memory)
{
    u64 bytes = guest_memory_list_bytes(memory);

    return memory->list_shared ? bytes / SIZE_2M + bytes / SIZE_1G + 6 : 0;
}

int guest_memory_promise(struct guest_memory *memory, u64 frames)
{
    u64 due = guest_memory_due(memory), tables = tables_of(frames) + list_tables_of(memory);
    u64 more = frames - MIN(frames, due), more_tables = tables - MIN(tables, memory->tables);

    if (frame_promise(more, frame_owner_guest(memory->vm)))
        return -ENOMEM;
    if (frame_promise(more_tables, frame_owner_support(memory->vm))) {
        frame_unpromise(more, frame_owner_guest(memory->vm));
        return -ENOMEM;
    }
    memory->tables += more_tables;
    return 0;
}

static hpa_t table_page_alloc(void *context)
{
    const struct guest_memory *memory = context;
    mfn_t mfn = frame_alloc_table(frame_owner_support(memory->vm));

    return mfn == MFN_INVALID ? 0 : mfn << PAGE_SHIFT;
}

static void table_page_free(void *context, hpa_t page)
{
    const struct guest_memory *memory = context;

    flush_debt_check(&memory->flush_debt);
    frame_free_promised(page >> PAGE_SHIFT, 0, frame_owner_support(memory->vm));
}

static void mapping_removed(void *context)
{
    struct guest_memory *memory = context;

    flush_debt_open(&memory->flush_debt);
}

int guest_memory_create(struct guest_memory *memory, u64 bytes)
{
    int status;

    status = guest_memory_lay_out(memory, bytes);
    if (status != 0)
        return status;
    memory->bytes = bytes;
    memory->frames_most = memory->frames;
    memory->balloon.target = guest_memory_frames_of(memory, memory->promise ? memory->promise : bytes);
    status = guest_memory_promise(memory, memory->balloon.target);
    if (status != 0)
        return status;
    status = locked_set_init(&memory->balloon.set, gfn_of(memory->regions[memory->region_count - 1].end),
                             frame_owner_support(memory->vm));
    if (status != 0)
        goto fail_set;
    status = p2m_init(&memory->p2m, memory->vm, frame_owner_support(memory->vm));
    if (status != 0)
        goto fail_p2m;
    memory->nested.page_alloc = table_page_alloc;
    memory->nested.page_free = table_page_free;
    memory->nested.page_retire = guest_memory_table_retire;
    memory->nested.context = memory;
    memory->nested.removed = mapping_removed;
    memory->nested.flush = memory->flush;
    memory->nested.flush_context = memory->flush_context;
    status = nested_table_init(&memory->nested);
    if (status != 0)
        goto fail_nested;
    return 0;

fail_nested:
    p2m_destroy(&memory->p2m);
fail_p2m:
    locked_set_destroy(&memory->balloon.set);
fail_set:
    frame_unpromise(frame_promised(frame_owner_support(memory->vm)), frame_owner_support(memory->vm));
    frame_unpromise(memory->balloon.target, frame_owner_guest(memory->vm));
    return status;
}

/* Is [gfn, gfn + 2^order) one aligned block of machine frames? Then it can go back as one. */
static bool is_block(const struct guest_memory *memory, gfn_t gfn, mfn_t mfn, unsigned order)
{
    for (u64 i = 0; i < BIT(order); i++)
        if (p2m_lookup_slow(&memory->p2m, gfn + i) != mfn + i)
            return false;
    return true;
}

/*
 * Every frame goes back to the promise it came from. Nothing maps them any more, every TLB has forgotten
 * them.
 */
static void frames_give_back(struct guest_memory *memory)
{
    frame_owner_t owner = frame_owner_guest(memory->vm);
    gfn_t gfn = 0;

    flush_debt_check(&memory->flush_debt);
    for (;;) {
        unsigned order = FRAME_ORDER_4K;
        mfn_t mfn;

        gfn = p2m_next_present(&memory->p2m, gfn, P2M_GFN_LIMIT);
        if (gfn == P2M_GFN_LIMIT)
            return;
        mfn = p2m_lookup_slow(&memory->p2m, gfn);
        if (IS_ALIGNED(gfn | mfn, BIT(FRAME_ORDER_2M)) && is_block(memory, gfn, mfn, FRAME_ORDER_2M))
            order = FRAME_ORDER_2M;
        p2m_remove_range(&memory->p2m, gfn, BIT(order));
        frame_free_promised(mfn, order, owner);
        gfn += BIT(order);
    }
}

/*
 * What the guest had given away comes back, as far as nobody else was promised it; tables may need a part of
 * that. The memory map shows no more than there is.
 */
static void promise_again(struct guest_memory *memory)
{
    struct frame_statistics now;
    u64 due = guest_memory_due(memory), more;

    if (guest_memory_promise(memory, memory->frames_most)) {
        frame_statistics(&now);
        more = now.free - now.promised;
        more -= MIN(more, more / 128 + TABLES_ABOVE);
        if (guest_memory_promise(memory, due + MIN(more, memory->frames_most - due)) == 0)
            due += MIN(more, memory->frames_most - due);
    } else {
        due = memory->frames_most;
    }
    guest_memory_lay_out(memory, guest_memory_bytes_of(memory, due));
}

void guest_memory_reset(struct guest_memory *memory)
{
    guest_memory_forget_list(memory);
    /* Giving back costs what was used; the next boot touches, and clears, only what it needs. */
    nested_clear(&memory->nested);
    guest_memory_settle(memory);
    frames_give_back(memory);
    balloon_forget(memory);
    memory->balloon.limit = 0;
    memory->balloon.statistics = (struct balloon_statistics){0};
    memory->pin_count = 0;
    p2m_collect(&memory->p2m, memory->lock);
    if (guest_memory_due(memory) < memory->frames_most || memory->frames < memory->frames_most)
        promise_again(memory);
    guest_memory_prove(memory);
}

void guest_memory_destroy(struct guest_memory *memory)
{
    frame_owner_t owner = frame_owner_guest(memory->vm);

    if (memory->p2m.top == 0)
        return; /* never created, or destroyed already */
    guest_memory_prove(memory);
    guest_memory_forget_list(memory);
    nested_table_destroy(&memory->nested);
    guest_memory_settle(memory);
    frames_give_back(memory);
    memory->balloon.locked = 0;
    locked_set_destroy(&memory->balloon.set);
    p2m_destroy(&memory->p2m);
    frame_unpromise(frame_promised(owner), owner);
    owner = frame_owner_support(memory->vm);
    frame_unpromise(frame_promised(owner), owner);
}

/* ---- giving ---- */

/* Could a page of `size` around gpa be given as one: all of it RAM, none of it given yet? */
static bool is_size_possible(const struct guest_memory *memory, gpa_t gpa, u64 size)
{
    gpa_t start = ALIGN_DOWN(gpa, size);

    if (size > memory->page_limit || (size == SIZE_1G && !memory->nested.pages_1g))
        return false;
    if (balloon_has(&memory->balloon, gfn_of(start), size == SIZE_1G ? FRAME_ORDER_1G : FRAME_ORDER_2M))
        return false;
    return guest_memory_is_backed(memory, start, size) &&
           p2m_next_present(&memory->p2m, gfn_of(start), gfn_of(start + size)) == gfn_of(start + size);
}

/* The frame is there; the mapping is missing because tables were, or another CPU was faster. */
static __attribute__((noinline)) int mapping_restore(struct guest_memory *memory, gpa_t gpa)
{
    u64 mfn = p2m_lookup_slow(&memory->p2m, gfn_of(gpa));
    int status;

    lock_assert_held(memory->lock);
    if (mfn == P2M_INVALID)
        return -ENOMEM;
    status = nested_map(&memory->nested, gpa & PAGE_MASK, mfn << PAGE_SHIFT, PAGE_SIZE, GUEST_ACCESS);
    return status == -EEXIST ? 0 : status;
}

/*
 * Nothing is promised any more: everything was given, or the guest touches more than its target. Then it gets
 * what is free, unless others have waited for that.
 */
static __attribute__((noinline)) int frame_give_unpromised(struct guest_memory *memory, gpa_t gpa)
{
    frame_owner_t owner = frame_owner_guest(memory->vm);
    mfn_t mfn;
    int status;

    if (p2m_lookup_slow(&memory->p2m, gfn_of(gpa)) != P2M_INVALID)
        return mapping_restore(memory, gpa);
    mfn = frame_is_awaited() ? MFN_INVALID : frame_alloc(FRAME_ORDER_4K, owner);
    if (mfn == MFN_INVALID)
        return -ENOMEM;
    status = p2m_add(&memory->p2m, gfn_of(gpa), mfn);
    if (status != 0) {
        frame_free(mfn, FRAME_ORDER_4K, owner);
        return status;
    }
    balloon_given(memory, &memory->balloon, gfn_of(gpa));
    return nested_map(&memory->nested, gpa & PAGE_MASK, mfn << PAGE_SHIFT, PAGE_SIZE, GUEST_ACCESS);
}

/* The list has not taken the frame (status): it goes back, and what stands there already is mapped. */
static __attribute__((noinline)) int frame_refused(struct guest_memory *memory, gpa_t gpa, mfn_t mfn,
                                                   int status)
{
    frame_free_promised(mfn, FRAME_ORDER_4K, frame_owner_guest(memory->vm));
    return status == -EEXIST ? mapping_restore(memory, gpa) : status;
}

/* Give one frame, p2m first. Inlined: the way of nearly all first touches. */
static inline __attribute__((always_inline)) int frame_give(struct guest_memory *memory, gpa_t gpa)
{
    mfn_t mfn = frame_alloc_promised(FRAME_ORDER_4K, frame_owner_guest(memory->vm));
    int status;

    lock_assert_held(memory->lock);
    if (unlikely(mfn == MFN_INVALID))
        return frame_give_unpromised(memory, gpa);
    status = p2m_add(&memory->p2m, gfn_of(gpa), mfn);
    if (unlikely(status != 0))
        return frame_refused(memory, gpa, mfn, status);
    balloon_given(memory, &memory->balloon, gfn_of(gpa));
    return nested_map(&memory->nested, gpa & PAGE_MASK, mfn << PAGE_SHIFT, PAGE_SIZE, GUEST_ACCESS);
}

int guest_memory_give_frame(struct guest_memory *memory, gfn_t gfn)
{
    return frame_give(memory, gfn << PAGE_SHIFT);
}

/*
 * Give a large page around gpa, a copy of `from` unless that is NULL. -EAGAIN: there is none; -ENOMEM: no
 * tables.
 */
static int block_give(struct guest_memory *memory, gpa_t gpa, u64 size, unsigned order, const void *from)
{
    frame_owner_t owner = frame_owner_guest(memory->vm);
    gpa_t start = ALIGN_DOWN(gpa, size);
    mfn_t mfn;
    int status;

    lock_assert_held(memory->lock);
    if (!is_size_possible(memory, gpa, size))
        return -EAGAIN;
    mfn = from == NULL ? frame_alloc_promised(order, owner) : frame_alloc_promised_copy(order, owner, from);
    if (mfn == MFN_INVALID)
        return -EAGAIN;
    status = p2m_set_range(&memory->p2m, gfn_of(start), mfn, BIT(order));
    if (status != 0) {
        frame_free_promised(mfn, order, owner);
        return status;
    }
    status = nested_map(&memory->nested, start, mfn << PAGE_SHIFT, size, GUEST_ACCESS);
    guest_memory_prove_at(memory, start, size);
    return status;
}

/*
 * The largest page up to `most`: a first touch gives at most 2 MiB, since clearing 1 GiB would stop the CPU
 * for long.
 */
static __attribute__((noinline)) int largest_give(struct guest_memory *memory, gpa_t gpa, u64 most)
{
    int status = most < SIZE_1G ? -EAGAIN : block_give(memory, gpa, SIZE_1G, FRAME_ORDER_1G, NULL);

    if (status == -EAGAIN)
        status = block_give(memory, gpa, SIZE_2M, FRAME_ORDER_2M, NULL);
    return status == -EAGAIN ? frame_give(memory, gpa) : status;
}

/* As guest_memory_is_ram, from the end: the large regions are the last. */
static bool is_ram(const struct guest_memory *memory, gpa_t gpa)
{
    const struct guest_region *region = memory->regions + memory->region_count;

    do {
        region--;
        if (gpa >= region->start)
            return gpa < region->end;
    } while (region != memory->regions);
    return false;
}

int guest_memory_give(struct guest_memory *memory, gpa_t gpa, u64 most)
{
    int status;

    if (!is_ram(memory, gpa))
        return -ENXIO;
    spinlock_take(memory->lock);
    if (unlikely(p2m_lookup(&memory->p2m, gfn_of(gpa)) != P2M_INVALID))
        status = mapping_restore(memory, gpa);
    else if (memory->page_limit == PAGE_SIZE)
        status = frame_give(memory, gpa);
    else
        status = largest_give(memory, gpa, most);
    guest_memory_prove_at(memory, gpa, 1);
    spinlock_release(memory->lock);
    return status;
}

int guest_memory_fault(struct guest_memory *memory, gpa_t gpa)
{
    return guest_memory_give(memory, gpa, SIZE_2M);
}

int guest_memory_prefault(struct guest_memory *memory)
{
    for (u32 i = 0; i < memory->region_count; i++) {
        gpa_t gpa = memory->regions[i].start;

        while (gpa < memory->regions[i].end) {
            u64 size = PAGE_SIZE, access;
            hpa_t hpa;
            int status = guest_memory_give(memory, gpa, SIZE_1G);

            if (status != 0)
                return status;
            nested_lookup(&memory->nested, gpa, &hpa, &size, &access);
            gpa = ALIGN_DOWN(gpa, size) + size;
        }
    }
    return 0;
}

/* ---- copying ---- */

/* Where RAM at gpa can be read up to its page's end; NULL: not given yet, reads as zero. */
static const void *readable_at(const struct guest_memory *memory, gpa_t gpa)
{
    u64 mfn = p2m_lookup(&memory->p2m, gfn_of(gpa));

    if (unlikely(mfn == P2M_INVALID))
        mfn = p2m_lookup_slow(&memory->p2m, gfn_of(gpa));
    return mfn == P2M_INVALID ? NULL : phys_to_virt((mfn << PAGE_SHIFT) | (gpa & ~PAGE_MASK));
}

/*
 * Where gpa can be written up to its page's end; a missing frame is given. 0, -EFAULT outside RAM, -ENOMEM.
 */
static int writable_at(struct guest_memory *memory, gpa_t gpa, void **at)
{
    u64 mfn = p2m_lookup(&memory->p2m, gfn_of(gpa));

    if (unlikely(mfn == P2M_INVALID)) {
        int status = guest_memory_fault(memory, gpa);

        if (status != 0)
            return status == -ENXIO ? -EFAULT : status;
        mfn = p2m_lookup_slow(&memory->p2m, gfn_of(gpa));
        if (mfn == P2M_INVALID) /* another vCPU has given it to its balloon as soon as it was there */
            return -ENOMEM;
    }
    *at = phys_to_virt((mfn << PAGE_SHIFT) | (gpa & ~PAGE_MASK));
    return 0;
}

int guest_memory_provide(struct guest_memory *memory, gpa_t gpa)
{
    void *at;

    return writable_at(memory, gpa, &at);
}

static u64 bytes_in_page(gpa_t gpa, u64 bytes)
{
    return MIN(bytes, PAGE_SIZE - (gpa & ~PAGE_MASK));
}

int guest_memory_read(struct guest_memory *memory, gpa_t gpa, void *to, u64 bytes)
{
    u8 *at = to;

    if (!guest_memory_is_backed(memory, gpa, bytes))
        return -EFAULT;
    while (bytes > 0) {
        u64 part = bytes_in_page(gpa, bytes);
        const void *from = readable_at(memory, gpa);

        if (from == NULL)
            memset(at, 0, part);
        else
            memcpy(at, from, part);
        at += part;
        gpa += part;
        bytes -= part;
    }
    return 0;
}

/*
 * What a kernel's file brings is not cleared first where it fills a large page. -EAGAIN: there is none to be
 * given.
 */
static __attribute__((noinline)) int block_write(struct guest_memory *memory, gpa_t gpa, const void *from)
{
    int status;

    spinlock_take(memory->lock);
    status = block_give(memory, gpa, SIZE_2M, FRAME_ORDER_2M, from);
    spinlock_release(memory->lock);
    return status;
}

static int page_write(struct guest_memory *memory, gpa_t gpa, const void *from, u64 bytes)
{
    void *to;
    int status = writable_at(memory, gpa, &to);

    if (status == 0)
        memcpy(to, from, bytes);
    return status;
}

int guest_memory_write(struct guest_memory *memory, gpa_t gpa, const void *from, u64 bytes)
{
    const u8 *at = from;

    if (!guest_memory_is_backed(memory, gpa, bytes))
        return -EFAULT;
    while (bytes > 0) {
        u64 part = SIZE_2M;
        int status = -EAGAIN;

        if (unlikely(bytes >= SIZE_2M && IS_ALIGNED(gpa, SIZE_2M)))
            status = block_write(memory, gpa, at);
        if (status == -EAGAIN) {
            part = bytes_in_page(gpa, bytes);
            status = page_write(memory, gpa, at, part);
        }
        if (status != 0)
            return status;
        at += part;
        gpa += part;
        bytes -= part;
    }
    return 0;
}

int guest_memory_zero(struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    if (!guest_memory_is_backed(memory, gpa, bytes))
        return -EFAULT;
    while (bytes > 0) {
        u64 part = bytes_in_page(gpa, bytes);
        void *to;

        if (readable_at(memory, gpa) != NULL) { /* what was never given is zero already */
            int status = writable_at(memory, gpa, &to);

            if (status != 0)
                return status;
            memset(to, 0, part);
        }
        gpa += part;
        bytes -= part;
    }
    return 0;
}

int guest_memory_read_u16(struct guest_memory *memory, gpa_t gpa, u16 *value)
{
    const u16 *at;

    if (gpa & 1)
        return -EINVAL;
    if (!is_ram(memory, gpa))
        return -EFAULT;
    at = readable_at(memory, gpa);
    *value = at == NULL ? 0 : READ_ONCE(*at);
    return 0;
}

int guest_memory_write_u16(struct guest_memory *memory, gpa_t gpa, u16 value)
{
    void *at;
    int status;

    if (gpa & 1)
        return -EINVAL;
    if (!is_ram(memory, gpa))
        return -EFAULT;
    status = writable_at(memory, gpa, &at);
    if (status == 0)
        WRITE_ONCE(*(u16 *)at, value);
    return status;
}
