/* SPDX-License-Identifier: MIT */
/*
 * What a translation costs, in instructions: by the linear p2m list, by a walk of the tree that says the
 * same, by the nested page tables; and what a list takes, in bytes. lintel's own sources with the image's own
 * flags, in one unit, so that the direct map is a constant in them as it is in the image. The CPU counts: it
 * traps behind each instruction (RFLAGS.TF). Prints "bench NAME FIGURE"; tests/bench/run-bench collects it.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv/memory/p2m.c"
#include "hv/memory/p2m_pages.c"

#include "arch/x86/machine/nested_paging.h"

#define RAM       ((u8 *)0x100000000000) /* the direct map */
#define RAM_BYTES (64ull << 20)
#define WINDOWS   2u
#define GIB       BIT(18) /* in frames */
#define FIRST_MFN 0x123456ull

void *phys_to_virt(hpa_t hpa)
{
    return RAM + hpa;
}

hpa_t virt_to_phys(const void *at)
{
    return (hpa_t)((const u8 *)at - RAM);
}

#define page_take nested_page_take
#include "arch/x86/machine/nested_paging.c"

/* ---- a machine with frames that are only taken ---- */

static int ram_file;
static u8 *windows;
static mfn_t next_frame = 1, owned;

mfn_t frame_alloc_promised(unsigned order, frame_owner_t owner)
{
    (void)order, (void)owner;
    owned++;
    return next_frame < RAM_BYTES >> PAGE_SHIFT ? next_frame++ : MFN_INVALID;
}

mfn_t frame_alloc(unsigned order, frame_owner_t owner)
{
    (void)order, (void)owner;
    return MFN_INVALID;
}

void frame_free(mfn_t mfn, unsigned order, frame_owner_t owner)
{
    (void)mfn, (void)order, (void)owner;
}

void frame_free_promised(mfn_t mfn, unsigned order, frame_owner_t owner)
{
    (void)mfn, (void)order, (void)owner;
}

frame_owner_t frame_owner(mfn_t mfn)
{
    (void)mfn;
    return FRAME_OWNER_NONE;
}

static hpa_t table_alloc(void *context)
{
    (void)context;
    return frame_alloc_promised(0, 0) << PAGE_SHIFT;
}

void paging_set_window(unsigned window, u64 entry)
{
    (void)window, (void)entry;
}

u64 p2m_host_window_base(u32 window)
{
    return (u64)windows + window * P2M_WINDOW_SIZE;
}

void p2m_host_window_forget(const u64 *at)
{
    (void)at;
}

void p2m_host_window_forget_all(void)
{
}

static void *map(void *at, u64 size, int protection, int flags, int file, u64 offset)
{
    void *mapped = mmap(at, size, protection, flags | (at ? MAP_FIXED : 0), file, (off_t)offset);

    if (mapped == MAP_FAILED) {
        perror("mmap");
        _exit(1);
    }
    return mapped;
}

static void machine_make(void)
{
    ram_file = memfd_create("ram", MFD_CLOEXEC);
    if (ram_file < 0 || ftruncate(ram_file, (off_t)RAM_BYTES) != 0)
        _exit(1);
    map(RAM, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ram_file, 0);
    windows =
        map(NULL, WINDOWS * P2M_WINDOW_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* The CPU has walked the window's tables before: the leaf of gfn is in its TLB. */
static void window_fill(const struct p2m *p2m, gfn_t gfn)
{
    map((void *)((u64)&p2m->list[gfn] & PAGE_MASK), PAGE_SIZE, PROT_READ, MAP_SHARED, ram_file,
        p2m_leaf(p2m, gfn));
}

/* ---- what is counted ---- */

static struct p2m dense;
static struct nested_table nested;

__attribute__((noinline)) void bench_nothing(void);
__attribute__((noinline)) u64 bench_lookup(const struct p2m *p2m, gfn_t gfn);
__attribute__((noinline)) u64 bench_walk(const struct p2m *p2m, gfn_t gfn);
__attribute__((noinline)) u64 bench_nested_walk(hpa_t root, gpa_t gpa);

void bench_nothing(void)
{
}

/* tests/test_bench.py looks at its instructions. */
u64 bench_lookup(const struct p2m *p2m, gfn_t gfn)
{
    return p2m_lookup(p2m, gfn);
}

/* The same map by its tree, as fast as C can say it: three levels of frame numbers above the leaves. */
u64 bench_walk(const struct p2m *p2m, gfn_t gfn)
{
    const u64 *page = phys_to_virt(p2m->tree);

    if (unlikely(gfn >= P2M_GFN_LIMIT))
        return P2M_INVALID;
    page = phys_to_virt(page[gfn >> 27] << PAGE_SHIFT);
    page = phys_to_virt(page[(gfn >> 18) & 511] << PAGE_SHIFT);
    page = phys_to_virt(page[(gfn >> 9) & 511] << PAGE_SHIFT);
    return page[gfn & 511];
}

/* And by the nested tables, which may hold large pages and lack entries: less than nested_lookup tells. */
u64 bench_nested_walk(hpa_t root, gpa_t gpa)
{
    u64 entry = root;

    for (unsigned shift = PAGE_SHIFT + 27;; shift -= 9) {
        entry = ((const u64 *)phys_to_virt(entry & PTE_ADDRESS))[(gpa >> shift) & 511];
        if (!(entry & PTE_PRESENT))
            return P2M_INVALID;
        if (shift == PAGE_SHIFT || (entry & PTE_LARGE))
            return ((entry & PTE_ADDRESS) >> PAGE_SHIFT) + ((gpa & (BIT(shift) - 1)) >> PAGE_SHIFT);
    }
}

/* ---- counting ---- */

static volatile u64 traps;

static void trapped(int number)
{
    (void)number;
    traps++;
}

#define TRAPS_ON  "pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"
#define TRAPS_OFF "pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\t"

static u64 count_call(const void *function, u64 a, u64 b, u64 *result)
{
    traps = 0;
    asm volatile("subq $256, %%rsp\n\t" TRAPS_ON "call *%[function]\n\t" TRAPS_OFF "addq $256, %%rsp"
                 : "=a"(*result), "+D"(a), "+S"(b)
                 : [function] "b"(function)
                 : "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc");
    return traps;
}

/* Without the call and its return, which lintel has not: there it is inlined. */
static u64 count(const void *function, u64 a, u64 b, u64 *result)
{
    u64 ignored, nothing = count_call(bench_nothing, 0, 0, &ignored);

    return count_call(function, a, b, result) - nothing;
}

static void report(const char *name, u64 figure)
{
    printf("bench %s %llu\n", name, (unsigned long long)figure);
}

static void maps_make(void)
{
    if (p2m_init(&dense, 0, 0) || p2m_set_range(&dense, 0, FIRST_MFN, GIB))
        _exit(1);
    nested = (struct nested_table){.format = &nested_format_amd, .page_alloc = table_alloc};
    if (nested_table_init(&nested))
        _exit(1);
    for (gfn_t gfn = 0; gfn < GIB; gfn++)
        if (nested_map(&nested, gfn << PAGE_SHIFT, (FIRST_MFN + gfn) << PAGE_SHIFT, PAGE_SIZE, NESTED_READ))
            _exit(1);
}

/* The most that any of these frames takes; every answer must be right. */
static void translations_count(void)
{
    static const gfn_t gfns[] = {0, 511, 512, 70000, GIB - 1};
    u64 list = 0, tree = 0, tables = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(gfns); i++) {
        u64 gfn = gfns[i], entry, walked, found;

        window_fill(&dense, gfn);
        list = MAX(list, count(bench_lookup, (u64)&dense, gfn, &entry));
        tree = MAX(tree, count(bench_walk, (u64)&dense, gfn, &walked));
        tables = MAX(tables, count(bench_nested_walk, nested.root, gfn << PAGE_SHIFT, &found));
        if (entry != FIRST_MFN + gfn || walked != entry || found != entry)
            _exit(1);
    }
    report("p2m_lookup", list);
    report("p2m_tree_walk", tree);
    report("p2m_nested_walk", tables);
}

/* Of an empty list's, all pages that holes share are counted, too, though other VMs share them. */
int main(void)
{
    struct p2m empty;
    u64 shared;

    signal(SIGTRAP, trapped);
    machine_make();
    if (p2m_global_init())
        return 1;
    shared = owned;
    maps_make();
    translations_count();
    report("p2m_dense_gib", dense.pages * PAGE_SIZE);
    if (p2m_init(&empty, 1, 0))
        return 1;
    report("p2m_empty_tib", (shared + empty.pages) * PAGE_SIZE);
    return 0;
}
