/* SPDX-License-Identifier: MIT */
/*
 * lintel's own address space, as paging.h draws it. The boot CPU builds the tables in paging_init and
 * switches to them; later changes (devices, stacks, p2m windows) happen under the paging lock. Rights are
 * decided in the leaves alone. AMD APM 2, chapter 5 (tables) and 7.8 (PAT).
 */
#include "arch/x86/machine/paging.h"

#include "hv/lib/errno.h"

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/image.h"
#include "arch/x86/machine/percpu.h"
#include "hv/lib/lock.h"
#include "hv/lib/panic.h"

#define TABLE_ENTRIES       512
#define TABLE_SHIFT         9
#define ROOT_SHIFT          39
#define ROOT_INDEX(address) ((address) >> ROOT_SHIFT & (TABLE_ENTRIES - 1))

/*
 * Memory types by PAT index. As at reset, but for index 1: write-combining instead of write-through, which
 * nobody uses. Index 1 is PTE_WRITE_THROUGH alone, the same bit in pages of every size (the PAT bit is not).
 */
#define PAT_VALUE 0x0007040600070106ull

static const u64 cache_bits[] = {
    [CACHE_WRITE_BACK] = 0,
    [CACHE_UNCACHED] = PTE_WRITE_THROUGH | PTE_CACHE_DISABLE,
    [CACHE_WRITE_COMBINING] = PTE_WRITE_THROUGH,
};

_Static_assert(ROOT_INDEX(DYNAMIC_BASE) * TABLE_ENTRIES < ROOT_INDEX(P2M_WINDOW_BASE) * TABLE_ENTRIES,
               "the dynamic area ends where the windows begin");
_Static_assert(ROOT_INDEX(P2M_WINDOW_BASE) + P2M_WINDOW_MAX <= ROOT_INDEX(IMAGE_BASE),
               "windows below the image");
_Static_assert(P2M_WINDOW_SIZE == 1ull << ROOT_SHIFT, "a window is one entry of the root");

/* Guards the tables below and dynamic_next. Page-table pages are allocated with it held. */
static struct spinlock paging_lock = SPINLOCK_INIT(RANK_PAGING);
static paging_alloc_fn page_alloc;
static hpa_t root_hpa;
static u64 *root;
static u64 dynamic_next =
    DYNAMIC_BASE; /* first address of the dynamic area that was never given, or is free again */

/* ---------------------------------------------------------------- tables */

static u64 *entry_of(u64 *table, u64 address, unsigned shift)
{
    return &table[address >> shift & (TABLE_ENTRIES - 1)];
}

/* The table that entry points to, made when it is missing; NULL when there is no memory. */
static u64 *table_below(u64 *entry)
{
    hpa_t page;

    if (*entry & PTE_PRESENT) {
        assert(!(*entry & PTE_LARGE));
        return phys_to_virt(*entry & PTE_ADDRESS);
    }
    page = page_alloc();
    if (!page)
        return NULL;
    WRITE_ONCE(*entry, page | PTE_PRESENT | PTE_WRITE);
    return phys_to_virt(page);
}

/* One page of PAGE_SIZE, SIZE_2M or SIZE_1G; 0 or -ENOMEM. */
static int map_page(u64 address, hpa_t hpa, u64 size, u64 bits)
{
    u64 *table = root;
    unsigned shift = ROOT_SHIFT;
    u64 *entry;

    for (; size < BIT(shift); shift -= TABLE_SHIFT) {
        table = table_below(entry_of(table, address, shift));
        if (!table)
            return -ENOMEM;
    }
    entry = entry_of(table, address, shift);
    assert(!(*entry & PTE_PRESENT));
    WRITE_ONCE(*entry, hpa | bits | PTE_PRESENT | (size > PAGE_SIZE ? PTE_LARGE : 0));
    return 0;
}

/* The largest page that fits at the beginning of a range. */
static u64 page_size_for(u64 address, hpa_t hpa, u64 bytes)
{
    if (cpu_features.pages_1g && bytes >= SIZE_1G && IS_ALIGNED(address | hpa, SIZE_1G))
        return SIZE_1G;
    if (bytes >= SIZE_2M && IS_ALIGNED(address | hpa, SIZE_2M))
        return SIZE_2M;
    return PAGE_SIZE;
}

/* All page aligned; 0 or -ENOMEM (then the beginning may be mapped). */
static int map_range(u64 address, hpa_t hpa, u64 bytes, u64 bits)
{
    for (u64 done = 0, size; done < bytes; done += size) {
        size = page_size_for(address + done, hpa + done, bytes - done);
        if (map_page(address + done, hpa + done, size, bits) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* Clear the leaf that covers address; returns the size of the page, or of the hole. */
static u64 unmap_page(u64 address)
{
    u64 *table = root;
    unsigned shift = ROOT_SHIFT;
    u64 *entry = entry_of(table, address, shift);

    while ((*entry & PTE_PRESENT) && shift > PAGE_SHIFT && !(*entry & PTE_LARGE)) {
        table = phys_to_virt(*entry & PTE_ADDRESS);
        shift -= TABLE_SHIFT;
        entry = entry_of(table, address, shift);
    }
    if (*entry & PTE_PRESENT) {
        WRITE_ONCE(*entry, 0);
        tlb_flush_page(address);
    }
    return BIT(shift);
}

static void unmap_range(u64 address, u64 bytes)
{
    u64 end = address + bytes;

    while (address < end)
        address = ALIGN_DOWN(address, PAGE_SIZE) + unmap_page(address);
}

/* ---------------------------------------------------------------- boot */

static void map_or_panic(u64 address, hpa_t hpa, u64 bytes, u64 bits)
{
    if (map_range(address, hpa, bytes, bits) < 0)
        panic("no memory below 4 GiB is left for lintel's page tables");
}

/* The part of [start, end) inside [from, to) of the direct map. */
static void direct_map_part(const struct paging_ram *ram, hpa_t from, hpa_t to, u64 bits)
{
    hpa_t start = MAX(ram->start, from), end = MIN(ram->end, to);

    if (start < end)
        map_or_panic(DIRECT_MAP_BASE + start, start, end - start, bits | PTE_NX);
}

/*
 * All of one range of RAM; the image's code and constants lie there too, and must not be writable by this
 * way.
 */
static void direct_map_ram(const struct paging_ram *ram)
{
    hpa_t constant_start = virt_to_phys(image_start), constant_end = virt_to_phys(rodata_end);

    assert(IS_ALIGNED(ram->start | ram->end, PAGE_SIZE) && ram->end <= DIRECT_MAP_SIZE);
    direct_map_part(ram, 0, constant_start, PTE_WRITE);
    direct_map_part(ram, constant_start, constant_end, 0);
    direct_map_part(ram, constant_end, DIRECT_MAP_SIZE, PTE_WRITE);
}

static void image_map_part(const u8 *start, const u8 *end, u64 bits)
{
    map_or_panic((u64)start, virt_to_phys(start), (u64)(end - start), bits);
}

/*
 * Data and bss, without the page below each of the boot CPU's stacks (boot/entry.asm says where these lie).
 */
static void image_map_data(void)
{
    const u8 *const guards[] = {boot_stack_guard, boot_nmi_stack, boot_double_fault_stack,
                                boot_machine_check_stack};
    const u8 *from = data_start;

    for (unsigned i = 0; i < ARRAY_SIZE(guards); i++) {
        assert(guards[i] >= from && IS_ALIGNED((u64)guards[i], PAGE_SIZE));
        image_map_part(from, guards[i], PTE_WRITE | PTE_NX);
        from = guards[i] + PAGE_SIZE;
    }
    image_map_part(from, image_end, PTE_WRITE | PTE_NX);
}

void paging_load(void)
{
    u64 cr4 = read_cr4();

    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    asm volatile("wbinvd" : : : "memory");
    wrmsr(MSR_PAT, PAT_VALUE);
    asm volatile("wbinvd" : : : "memory");
    write_cr0((read_cr0() | CR0_WP) & ~(CR0_CD | CR0_NW));
    write_cr3(root_hpa);
    cr4 |= cpu_features.smep ? CR4_SMEP : 0;
    cr4 |= cpu_features.smap ? CR4_SMAP : 0;
    cr4 |= cpu_features.umip ? CR4_UMIP : 0;
    write_cr4(cr4);
}

hpa_t paging_root(void)
{
    return root_hpa;
}

void paging_init(const struct paging_ram *ram, unsigned count, paging_alloc_fn alloc)
{
    page_alloc = alloc;
    root_hpa = alloc();
    if (!root_hpa)
        panic("no memory below 4 GiB for the root of lintel's page tables");
    root = phys_to_virt(root_hpa);
    for (unsigned i = 0; i < count; i++)
        direct_map_ram(&ram[i]);
    image_map_part(text_start, text_end, 0);
    image_map_part(rodata_start, rodata_end, PTE_NX);
    image_map_data();
    paging_load();
}

/* ---------------------------------------------------------------- devices, stacks, windows */

/* Where in the dynamic area to map hpa: so that large pages can be used when it is large. 0: no room. */
static u64 dynamic_place(hpa_t hpa, u64 bytes)
{
    u64 address = bytes < SIZE_2M ? dynamic_next : ALIGN_UP(dynamic_next, SIZE_2M) + hpa % SIZE_2M;

    return address < P2M_WINDOW_BASE && bytes < P2M_WINDOW_BASE - address ? address : 0;
}

/* Under the paging lock; all page aligned. The address, or 0 when there is no room or no memory. */
static u64 dynamic_map(hpa_t hpa, u64 bytes, u64 bits)
{
    u64 address = dynamic_place(hpa, bytes);

    lock_assert_held(&paging_lock);
    if (!address)
        return 0;
    if (map_range(address, hpa, bytes, bits) < 0) {
        unmap_range(address, bytes);
        return 0;
    }
    dynamic_next = address + bytes + PAGE_SIZE; /* one page of distance, so that overruns are seen */
    return address;
}

void *paging_map_device(hpa_t hpa, u64 size, enum paging_cache cache, u64 flags)
{
    u64 bits = cache_bits[cache] | PTE_NX | (flags & MAP_WRITE ? PTE_WRITE : 0);
    hpa_t limit = BIT(cpu_features.physical_bits), base = hpa & PAGE_MASK;
    u64 address;

    if (size == 0 || hpa >= limit || size > limit - hpa)
        return NULL;
    spinlock_take(&paging_lock);
    address = dynamic_map(base, ALIGN_UP(hpa + size, PAGE_SIZE) - base, bits);
    spinlock_release(&paging_lock);
    return address ? (void *)(address + (hpa & ~PAGE_MASK)) : NULL;
}

/*
 * Addresses are used again only when the last mapping goes, so that read, check, unmap (ACPI tables) needs no
 * more than its largest table. Only this CPU's translations are dropped: at boot there is no other.
 */
void paging_unmap_device(const void *at, u64 size)
{
    u64 base = (u64)at & PAGE_MASK;
    u64 bytes = ALIGN_UP((u64)at + size, PAGE_SIZE) - base;

    assert(base >= DYNAMIC_BASE && base < P2M_WINDOW_BASE);
    spinlock_take(&paging_lock);
    unmap_range(base, bytes);
    if (dynamic_next == base + bytes + PAGE_SIZE)
        dynamic_next = base;
    spinlock_release(&paging_lock);
}

/* Frames for a stack at base; false when memory is short. Frames already mapped stay with the tables then. */
static bool stack_map(u64 base)
{
    for (u64 page = 0; page < CPU_STACK_SIZE; page += PAGE_SIZE) {
        hpa_t frame = page_alloc();

        if (!frame || map_page(base + page, frame, PAGE_SIZE, PTE_WRITE | PTE_NX) < 0)
            return false;
    }
    return true;
}

u64 paging_create_stack(struct cpu *cpu)
{
    bool mapped;
    u64 base;

    spinlock_take(&paging_lock);
    base = ALIGN_UP(dynamic_next + PAGE_SIZE, CPU_STACK_SIZE);
    dynamic_next = base + CPU_STACK_SIZE;
    mapped = stack_map(base);
    spinlock_release(&paging_lock);
    return mapped ? percpu_prepare_stack(cpu, base) : 0;
}

void paging_set_window(unsigned window, u64 entry)
{
    assert(window < P2M_WINDOW_MAX);
    spinlock_take(&paging_lock);
    WRITE_ONCE(root[ROOT_INDEX(P2M_WINDOW_BASE) + window], entry ? entry | PTE_NX : 0);
    spinlock_release(&paging_lock);
}
