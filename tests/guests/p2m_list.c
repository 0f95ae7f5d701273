/* SPDX-License-Identifier: MIT */
/*
 * The guest's own view of its p2m list (docs/abi.md): what is refused, that each entry is there as soon as
 * its frame is, on every vCPU, that nothing writes there, and that it goes again. With the word jump or
 * table it ends by using a page of it as no kernel may, with the word stay it waits.
 */
// conf: p2m = shared
// conf: vcpus = 4
// conf: memory = 96M
// conf: pages = 4k
#include "lib/io.h"
#include "lib/smp.h"
#include "lib/tap.h"

#define LIST       0x80000000ul /* behind RAM, below what is PCI\'s */
#define ENTRIES    (96ul << 20 >> 12)
#define MISSING    LINTEL_P2M_MISSING
#define UNTOUCHED  0x2000000ull /* 32 MiB: no part of this guest lies there */
#define RACE       0x3000000ull /* 48 MiB to 80 MiB: 16 leaves */
#define RACE_END   0x5000000ull
#define RACE_STEP  0x10000ull
#define RACE_PAGES ((u32)((RACE_END - RACE) / RACE_STEP))

#define IOAPIC 0xfec00000ull

extern u64 page_table_4[512];

static volatile const u64 *list = (volatile const u64 *)LIST;

static u64 entry_of(u64 address)
{
    return list[address >> 12];
}

static bool is_frame(u64 entry)
{
    return entry < 1ull << 36;
}

static void refusals(void)
{
    const struct {
        u64 address;
        s64 result;
        const char *what;
    } rows[] = {
        {LIST + 8, -LINTEL_EINVAL, "not aligned"},
        {0, -LINTEL_EBUSY, "RAM"},
        {(96ull << 20) - 4096, -LINTEL_EBUSY, "the last page of RAM"},
        {0x9f000, -LINTEL_EBUSY, "a hole that is too small for it"},
        {0xfee00000, -LINTEL_EBUSY, "the local APIC"},
        {0xd0000000, -LINTEL_EBUSY, "where PCI's memory may be"},
        {0xfec00000, -LINTEL_EBUSY, "the IOAPIC"},
        {(1ull << (cpuid(0x80000008, 0).eax & 0xff)) - 4096, -LINTEL_EINVAL, "the end of physical addresses"},
        {1ull << 48, -LINTEL_EINVAL, "beyond 48 bits"},
        {~0xfffull, -LINTEL_EINVAL, "where it would wrap"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        s64 result = lintel_call1(LINTEL_CALL_P2M_MAP, rows[i].address);

        ok(result == rows[i].result, "refused at %lx, %s: %ld", rows[i].address, rows[i].what, result);
    }
    ok(lintel_call0(LINTEL_CALL_P2M_UNMAP) == -LINTEL_ENOENT, "nothing to take away yet");
    ok(*list == MISSING, "nothing is there yet");
}

/* One load is the translation; a frame is there from its first touch on, in a new leaf or an old one. */
static void translations(void)
{
    volatile u64 *fresh = (volatile u64 *)UNTOUCHED;
    u64 first, second;

    ok(is_frame(entry_of((u64)guest_main)) && is_frame(entry_of((u64)&first)), "text at frame %lx",
       entry_of((u64)guest_main));
    ok(entry_of((u64)guest_main) != entry_of((u64)&first), "stack at another: %lx", entry_of((u64)&first));
    ok(entry_of(0xa0000) == MISSING && entry_of(0xbf000) == MISSING, "a hole is missing");
    ok(entry_of(UNTOUCHED) == MISSING && entry_of(UNTOUCHED + 4096) == MISSING, "so is RAM not touched yet");
    fresh[0] = 1;
    first = entry_of(UNTOUCHED);
    ok(is_frame(first), "until it is: frame %lx, in a new leaf", first);
    ok(entry_of(UNTOUCHED + 4096) == MISSING, "its neighbour stays missing");
    fresh[512] = 2;
    second = entry_of(UNTOUCHED + 4096);
    ok(is_frame(second) && second != first && entry_of(UNTOUCHED) == first, "until it is: frame %lx", second);
}

static void attacks(void)
{
    u64 address = LIST + (UNTOUCHED >> 12) * 8, before = *(volatile u64 *)address, value = 0;
    u64 cold = LIST + (0x5800000ull >> 12) * 8, rdi = address, rcx = 1, rsi = (u64)&value;
    u32 written, index;

    ok(TRY("movq %1, (%0)",
           :
           : "r"(address), "r"(value)
           : "memory") == VECTOR_GP &&
           capture.error == 0,
       "MOV there is #GP(%lx)", capture.error);
    ok(TRY("movq %1, (%0)",
           :
           : "r"(cold), "r"(value)
           : "memory") == VECTOR_GP,
       "where no entry was read, too");
    ok(TRY("xchgq %1, (%0)", : : "r"(address), "r"(value) : "memory") == VECTOR_GP, "XCHG");
    ok(TRY("lock incq (%0)", : : "r"(address) : "memory", "cc") == VECTOR_GP, "LOCK INC");
    ok(TRY("lock cmpxchgq %1, (%0)",
           :
           : "r"(address), "r"(value), "a"(0ull)
           : "memory", "cc") == VECTOR_GP,
       "CMPXCHG that does not match");
    ok(TRY("rep movsb", : "+D"(rdi), "+S"(rsi), "+c"(rcx) : : "memory") == VECTOR_GP && rcx == 1, "MOVS");
    rdi = address;
    rsi = IOAPIC;
    ok(TRY("movsl",
           : "+D"(rdi), "+S"(rsi)
           :
           : "memory") == VECTOR_GP &&
           rdi == address,
       "MOVS out of a device");
    ok(TRY("insb", : "+D"(rdi) : "d"(0x3fd) : "memory") == VECTOR_GP && rdi == address, "INS");
    rsi = address;
    rdi = IOAPIC;
    written = (u32)TRY("movsl", : "+D"(rdi), "+S"(rsi) : : "memory");
    index = mmio_read(IOAPIC);
    ok(written == (u32)NO_VECTOR && (index & 0xff) == (before & 0xff), "a device can be given an entry: %x",
       index);
    ok(*(volatile u64 *)address == before, "none of this has changed it");
}

/* The other vCPUs touch; this one looks, and finds entries missing or a frame, and in the end a frame. */
static u32 touched, seen_by_toucher;

/* Every so many pages, each page once; what a vCPU has touched it finds itself, too. */
static void toucher(void)
{
    u32 others = smp_count - 1, own = smp_this()->id - 1, turn = 0;

    for (u64 at = RACE; at < RACE_END; at += RACE_STEP, turn++) {
        if (turn % others != own)
            continue;
        *(volatile u64 *)at = at;
        __atomic_fetch_add(&seen_by_toucher, is_frame(entry_of(at)), __ATOMIC_RELAXED);
        __atomic_fetch_add(&touched, 1, __ATOMIC_RELEASE);
    }
}

static void race(void)
{
    u64 wrong = 0, late = 0, latest = 0;

    for (unsigned cpu = 1; cpu < smp_count; cpu++)
        smp_run(cpu, toucher);
    while (__atomic_load_n(&touched, __ATOMIC_ACQUIRE) < RACE_PAGES) {
        for (u64 at = RACE; at < RACE_END; at += RACE_STEP) {
            u64 entry = entry_of(at);

            wrong += entry != MISSING && !is_frame(entry);
        }
        smp_yield(); /* there may be one CPU for all */
    }
    for (unsigned cpu = 1; cpu < smp_count; cpu++)
        smp_wait(cpu);
    for (u64 at = RACE; at < RACE_END; at += RACE_STEP) {
        late += !is_frame(entry_of(at));
        latest = entry_of(at);
        wrong += entry_of(at + 4096) != MISSING;
    }
    ok(!wrong, "%lu entries were neither missing nor a frame", wrong);
    ok(!late, "%lu frames of other vCPUs are not there afterwards (%lx)", late, latest);
    ok(seen_by_toucher == RACE_PAGES, "who touched one has seen it at once: %u", seen_by_toucher);
}

static void again(void)
{
    u64 entry = entry_of(UNTOUCHED), above = 1ull << 32;

    ok(lintel_call1(LINTEL_CALL_P2M_MAP, LIST) == -LINTEL_EALREADY, "it is there already");
    ok(lintel_call1(LINTEL_CALL_P2M_MAP, LIST + (1 << 24)) == -LINTEL_EALREADY, "it can't be elsewhere, too");
    ok(lintel_call0(LINTEL_CALL_P2M_UNMAP) == 0, "it goes");
    ok(entry_of(UNTOUCHED) == MISSING, "nothing is there: %lx", entry_of(UNTOUCHED));
    ok(TRY("movq %1, (%0)", : : "r"(LIST), "r"(0ull) : "memory") == NO_VECTOR, "a write is lost again");
    ok(lintel_call0(LINTEL_CALL_P2M_UNMAP) == -LINTEL_ENOENT, "nothing is left to take away");
    ok(lintel_call1(LINTEL_CALL_P2M_MAP, above) == (s64)ENTRIES, "it can be above 4 GiB");
    ok(lintel_call0(LINTEL_CALL_P2M_UNMAP) == 0, "and go");
    ok(lintel_call1(LINTEL_CALL_P2M_MAP, LIST) == (s64)ENTRIES && entry_of(UNTOUCHED) == entry,
       "at the first place it is as before");
}

/* Nothing in it is code or a page table, whatever the entries say. */
static void misuse(void)
{
    while (word_given("stay"))
        asm volatile("sti; hlt");
    if (word_given("jump"))
        asm volatile("jmp *%0" : : "r"(LIST));
    if (word_given("table")) {
        page_table_4[1] = LIST | 7;
        asm volatile("movq %%cr3, %%rax\n\tmovq %%rax, %%cr3" : : : "rax", "memory");
        (void)*(volatile u64 *)(1ull << 39);
    }
}

void guest_main(void)
{
    plan(2 + 12 + 1 + 7 + 10 + 3 + 9);
    smp_setup();
    smp_start_all();
    ok(lintel_has(LINTEL_FEATURE_P2M), "the operator allows it");
    ok(smp_count == 4, "four vCPUs");
    refusals();
    ok(lintel_call1(LINTEL_CALL_P2M_MAP, LIST) == (s64)ENTRIES, "the list of %lu entries is at %lx", ENTRIES,
       LIST);
    translations();
    attacks();
    race();
    again();
    misuse();
}
