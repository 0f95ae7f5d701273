/* SPDX-License-Identifier: MIT */
/*
 * See fake_memory.h. RAM is one sparse file, so that a frame can be seen at two addresses, as in a machine.
 */
#define _GNU_SOURCE
#include "tests/unit/fake_memory.h"

#include "arch/x86/machine/paging.h"
#include "hv/lib/panic.h"
#include "hv/memory/p2m.h"
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static int ram_file = -1;
static u8 *ram;
static u8 *windows;
u64 fake_tlb_fills;
bool fake_tlb_is_remote;
u64 fake_window_entries[P2M_WINDOW_MAX];
jmp_buf *fake_panic_expected;

static void *map(void *at, u64 size, int protection, int flags, int file, u64 offset)
{
    void *mapped = mmap(at, size, protection, flags | (at != NULL ? MAP_FIXED : 0), file, (off_t)offset);

    if (mapped == MAP_FAILED) {
        perror("mmap");
        abort();
    }
    return mapped;
}

void *phys_to_virt(hpa_t hpa)
{
    return ram + hpa;
}

hpa_t virt_to_phys(const void *at)
{
    return (hpa_t)((const u8 *)at - ram);
}

u64 p2m_host_window_base(u32 window)
{
    return (u64)windows + window * P2M_WINDOW_SIZE;
}

void p2m_host_window_forget(const u64 *at)
{
    if (fake_tlb_is_remote)
        return;
    map((void *)((u64)at & PAGE_MASK), PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
        0);
}

void p2m_host_window_forget_all(void)
{
    fake_tlb_fills = 0;
    map(windows, FAKE_WINDOWS * P2M_WINDOW_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
        0);
}

void paging_set_window(unsigned window, u64 entry)
{
    fake_window_entries[window] = entry;
}

/* ---- a record of every write ---- */

#define RFLAGS_TF 0x100

static void (*on_write)(void);
static u8 *written_page;

static void protect(u8 *at, u64 size, int protection)
{
    if (mprotect(at, size, protection) != 0)
        abort();
}

/* Let the instruction do its write, and trap behind it. */
static bool write_begins(const siginfo_t *info, void *context)
{
    ucontext_t *cpu = context;
    u64 offset = (u64)info->si_addr - (u64)ram;

    if (on_write == NULL || offset >= FAKE_RAM || written_page != NULL)
        return false;
    written_page = ram + (offset & PAGE_MASK);
    protect(written_page, PAGE_SIZE, PROT_READ | PROT_WRITE);
    cpu->uc_mcontext.gregs[REG_EFL] |= RFLAGS_TF;
    return true;
}

static void write_is_done(int signal_number, siginfo_t *info, void *context)
{
    ucontext_t *cpu = context;

    (void)signal_number, (void)info;
    cpu->uc_mcontext.gregs[REG_EFL] &= ~RFLAGS_TF;
    protect(written_page, PAGE_SIZE, PROT_READ);
    written_page = NULL;
    on_write();
}

void fake_memory_record(void (*written)(void))
{
    struct sigaction action = {.sa_sigaction = write_is_done, .sa_flags = SA_SIGINFO};

    sigaction(SIGTRAP, &action, NULL);
    on_write = written;
    protect(ram, FAKE_RAM, written != NULL ? PROT_READ : PROT_READ | PROT_WRITE);
}

/* What the CPU's page walker does when a window's page is not in the TLB. */
static void tlb_fill(int signal_number, siginfo_t *info, void *context)
{
    u64 offset = (u64)info->si_addr - (u64)windows;
    u64 entry = 0;

    if (write_begins(info, context))
        return;
    if (offset < FAKE_WINDOWS * P2M_WINDOW_SIZE)
        entry = fake_window_entries[offset / P2M_WINDOW_SIZE];
    for (unsigned shift = 30; (entry & PTE_PRESENT) && shift >= PAGE_SHIFT; shift -= 9)
        entry = ((u64 *)phys_to_virt(entry & PTE_ADDRESS))[(offset >> shift) & 511];
    if (!(entry & PTE_PRESENT)) {
        signal(signal_number, SIG_DFL); /* not ours: happen again */
        return;
    }
    map(windows + (offset & PAGE_MASK), PAGE_SIZE, PROT_READ, MAP_SHARED, ram_file, entry & PTE_ADDRESS);
    __atomic_fetch_add(&fake_tlb_fills, 1, __ATOMIC_RELAXED);
}

static void fake_memory_map(void)
{
    ram_file = memfd_create("ram", MFD_CLOEXEC);
    ram = map(NULL, FAKE_RAM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    windows = map(NULL, FAKE_WINDOWS * P2M_WINDOW_SIZE, PROT_NONE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

void fake_memory_reset(void)
{
    if (ram == NULL)
        fake_memory_map();
    if (ftruncate(ram_file, 0) != 0 || ftruncate(ram_file, (off_t)FAKE_RAM) != 0)
        abort();
    map(ram, FAKE_RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, ram_file, 0);
    p2m_host_window_forget_all();
    for (unsigned i = 0; i < P2M_WINDOW_MAX; i++)
        fake_window_entries[i] = 0;
}

void fake_memory_alias(hpa_t start, hpa_t end)
{
    for (hpa_t at = start; at < end; at += SIZE_2M)
        map(ram + at, SIZE_2M, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, ram_file, start);
}

void fake_memory_begin(void)
{
    static const struct memory_range ranges[] = {{0x100000, SIZE_1G}, {SIZE_4G, FAKE_RAM}};
    struct sigaction action = {.sa_sigaction = tlb_fill, .sa_flags = SA_SIGINFO};

    if (ram == NULL) {
        fake_memory_reset();
        frame_init(ranges, 2, NULL, 0);
        frame_open_all();
    }
    sigaction(SIGSEGV, &action, NULL);
    fake_tlb_is_remote = false;
    p2m_host_window_forget_all();
}

void fake_memory_make_short(u64 spare)
{
    struct frame_statistics statistics;

    frame_statistics(&statistics);
    frame_promise(statistics.free - statistics.promised - spare, FRAME_OWNER_MODULE);
}

void fake_memory_make_plenty(void)
{
    frame_unpromise(frame_promised(FRAME_OWNER_MODULE), FRAME_OWNER_MODULE);
}

void panic_at(const char *file, int line, const char *format, ...)
{
    va_list args;

    if (fake_panic_expected != NULL)
        longjmp(*fake_panic_expected, 1);
    va_start(args, format);
    fprintf(stderr, "panic at %s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}
