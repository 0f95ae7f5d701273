/* SPDX-License-Identifier: MIT */
/*
 * Where a call may stand: across two pages that are far apart in memory, in text mapped read-only, in a page
 * with two addresses, four on one page, at the end of canonical addresses. It is rewritten once and then
 * native. What can't be fetched is #PF; what has a prefix is #UD; single steps and breakpoints behind a call
 * are kept.
 */
#include "guest/pv/lintel.h"
#include "lib/io.h"
#include "lib/modes.h"
#include "lib/tap.h"

#define VMCALL  0xc1
#define VMMCALL 0xd9
#define FAR     0x80000000ull /* 2 MiB of linear space that the test maps by 4 KiB */
#define EDGE    0x800000000000ull
#define PRESENT 1
#define WRITE   2
#define NX      BIT(63)
#define FLAG_TF BIT(8)
#define FLAG_RF BIT(16)

extern u64 page_table_4[512], page_tables_2[2048];

static u64 table[512] ALIGNED(4096), edge_tables[3][512] ALIGNED(4096);
static volatile u8 pages[4][4096] ALIGNED(4096);
static u8 native, foreign;

static void tlb_flush(void)
{
    asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
}

static void map(unsigned at, unsigned page, u64 rights)
{
    table[at] = rights ? (u64)pages[page] | rights : 0;
    tlb_flush();
}

static void write_protect(void)
{
    u64 cr0;

    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    asm volatile("mov %0, %%cr0" : : "r"(cr0 | BIT(16)));
}

/* The call, then INT 0x80, one byte at a time through pages as `place` counts them. */
static void put(unsigned first, unsigned second, unsigned offset, const u8 *bytes, unsigned count)
{
    unsigned i;

    for (i = 0; i < count; i++) {
        unsigned at = offset + i;

        pages[at < 4096 ? first : second][at % 4096] = bytes[i];
    }
}

static void put_call(unsigned first, unsigned second, unsigned offset, u8 third)
{
    const u8 bytes[] = {0x0f, 0x01, third, 0xcd, VECTOR_BACK};

    put(first, second, offset, bytes, sizeof(bytes));
}

static struct frame run(u64 at, u64 flags)
{
    struct frame frame = {.rax = LINTEL_CALL_VERSION,
                          .rip = at,
                          .cs = 0x08,
                          .ss = SELECTOR_DATA,
                          .rsp = MODES_LOW + 0x8000,
                          .rflags = flags | 2};

    long_run(&frame);
    return frame;
}

static bool called(const struct frame *frame, u64 at)
{
    return frame->vector == VECTOR_BACK && frame->rax == LINTEL_ABI_VERSION && frame->rip == at + 5;
}

/* ---------------------------------------------------------------- where it is performed */

static void across_pages(void)
{
    unsigned before;

    for (before = 1; before <= 2; before++) {
        u64 at = FAR + 4096 - before;
        unsigned third = (4096 - before + 2) % 4096;
        struct frame frame;

        map(0, 0, PRESENT);
        map(1, 3, PRESENT);
        put_call(0, 3, 4096 - before, foreign);
        pages[1][third] = foreign; /* the frame behind the first: not its neighbour */
        frame = run(at, 0);
        ok(called(&frame, at), "%u byte(s) before the end of a read-only page: performed", before);
        ok(pages[3][third] == native && pages[1][third] == foreign, "rewritten in the right frame");
        frame = run(at, 0);
        ok(called(&frame, at), "and native the second time");
    }
}

static void two_mappings(void)
{
    struct frame frame;

    map(2, 1, PRESENT);
    map(3, 1, PRESENT | WRITE);
    put_call(1, 1, 0x100, foreign);
    frame = run(FAR + 2 * 4096 + 0x100, 0);
    ok(called(&frame, FAR + 2 * 4096 + 0x100), "through a read-only mapping: performed");
    ok(*(volatile u8 *)(FAR + 3 * 4096 + 0x102) == native, "the other mapping shows it rewritten");
    frame = run(FAR + 3 * 4096 + 0x100, 0);
    ok(called(&frame, FAR + 3 * 4096 + 0x100), "and makes the call too");
}

static void four_sites(void)
{
    static const unsigned sites[] = {0, 0x200, 0x205, 0xff0};
    unsigned i, k, right = 0, rewritten = 0;

    map(4, 2, PRESENT);
    for (i = 0; i < ARRAY_SIZE(sites); i++)
        put_call(2, 2, sites[i], foreign);
    for (i = 0; i < ARRAY_SIZE(sites); i++) {
        for (k = 0; k < 3; k++) {
            struct frame frame = run(FAR + 4 * 4096 + sites[i], 0);

            right += called(&frame, FAR + 4 * 4096 + sites[i]);
        }
        for (k = 0; k < ARRAY_SIZE(sites); k++)
            rewritten += pages[2][sites[k] + 2] == (k <= i ? native : foreign);
    }
    ok(right == 12, "four sites on a page, three times each: %u of 12 calls", right);
    ok(rewritten == 16, "each is rewritten by its own first call alone");
}

static void canonical_edge(void)
{
    u64 at = EDGE - 3;
    struct frame frame;

    page_table_4[255] = (u64)edge_tables[0] | 7;
    edge_tables[0][511] = (u64)edge_tables[1] | 7;
    edge_tables[1][511] = (u64)edge_tables[2] | 7;
    edge_tables[2][511] = (u64)pages[2] | PRESENT;
    tlb_flush();
    put(2, 2, 4093, (const u8[]){0x0f, 0x01, foreign}, 3);
    frame = run(at, 0);
    ok(frame.vector == VECTOR_GP && frame.error == 0 && frame.rip == EDGE && frame.rax == LINTEL_ABI_VERSION,
       "below the canonical edge: performed, then #GP at %lx: vector %lu", frame.rip, frame.vector);
    ok(pages[2][4095] == native, "and rewritten");
    frame = run(at, 0);
    ok(frame.vector == VECTOR_GP && frame.rip == EDGE, "the native one does the same: vector %lu at %lx",
       frame.vector, frame.rip);
    put(2, 2, 4093, (const u8[]){0x90, 0x0f, 0x01}, 3); /* the third byte would lie beyond */
    frame = run(at, 0);
    ok(frame.vector == VECTOR_GP && frame.rip == at + 1, "half a call there is #GP: vector %lu",
       frame.vector);
}

/* ---------------------------------------------------------------- what is no call */

static void unfetched(const char *what, u64 at, u64 address)
{
    struct frame frame = run(at, 0);
    u64 cr2;

    asm volatile("mov %%cr2, %0" : "=r"(cr2));
    ok(frame.vector == VECTOR_PF && frame.rip == at && cr2 == address && frame.rax == LINTEL_CALL_VERSION,
       "%s: #PF, error %lx", what, frame.error);
}

static void no_execute(void)
{
    map(5, 1, PRESENT | NX);
    put_call(1, 1, 0x300, foreign);
    unfetched("text that is not executable", FAR + 5 * 4096 + 0x300, FAR + 5 * 4096 + 0x300);
    ok(pages[1][0x302] == foreign, "stays as it is");
    map(5, 1, PRESENT);
    map(6, 2, PRESENT | NX);
    put_call(1, 2, 4094, foreign);
    unfetched("the third byte is not executable", FAR + 6 * 4096 - 2, FAR + 6 * 4096);
    map(6, 2, 0);
    unfetched("the third byte has no page", FAR + 6 * 4096 - 2, FAR + 6 * 4096);
    ok(pages[2][0] == foreign, "which stays as it is");
}

static void prefixes(void)
{
    static const u8 prefix[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36,
                                0x3e, 0x26, 0x64, 0x65, 0x40, 0x48, 0x4f};
    u64 at = FAR + 5 * 4096;
    unsigned i, k;

    map(5, 1, PRESENT);
    for (i = 0; i < ARRAY_SIZE(prefix); i++)
        for (k = 0; k < 2; k++) {
            u8 third = k ? native : foreign;
            struct frame frame;

            put(1, 1, 0, (const u8[]){prefix[i], 0x0f, 0x01, third, 0xcd, VECTOR_BACK}, 6);
            frame = run(at, 0);
            ok(frame.vector == VECTOR_UD && frame.error == 0 && frame.rip == at &&
                   frame.rax == LINTEL_CALL_VERSION && pages[1][3] == third,
               "prefix %x before the %s call: vector %lu", prefix[i], k ? "native" : "foreign", frame.vector);
        }
}

static void neighbours(void)
{
    static const u8 rows[][3] = {
        {0x0f, 0x0b, 0xc1}, {0x0f, 0x01, 0xc5}, {0x0f, 0x01, 0xff}, {0x0f, 0xff, 0xd9}};
    u64 at = FAR + 5 * 4096 + 8;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(rows); i++) {
        struct frame frame;

        put(1, 1, 8, rows[i], 3);
        frame = run(at, 0);
        ok(frame.vector == VECTOR_UD && frame.error == 0 && frame.rip == at, "%x %x %x is #UD: vector %lu",
           rows[i][0], rows[i][1], rows[i][2], frame.vector);
    }
}

/* ---------------------------------------------------------------- what a debugger sees */

static void debugging(void)
{
    u64 at = FAR + 5 * 4096 + 0x80;
    struct frame frame;

    put_call(1, 1, 0x80, foreign);
    frame = run(at, FLAG_TF);
    ok(frame.vector == VECTOR_DB && frame.rip == at + 3 && frame.rax == LINTEL_ABI_VERSION,
       "a single step over the foreign call: vector %lu at %lx", frame.vector, frame.rip);
    put_call(1, 1, 0x80, foreign);
    asm volatile("mov %0, %%dr0; mov %1, %%dr6" : : "r"(at + 3), "r"(0xffff0ff0ull));
    asm volatile("mov %0, %%dr7" : : "r"(0x402ull)); /* global, execution */
    frame = run(at, 0);
    asm volatile("mov %0, %%dr7" : : "r"(0x400ull));
    ok(frame.vector == VECTOR_DB && frame.rip == at + 3,
       "a breakpoint behind the foreign call: vector %lu at %lx", frame.vector, frame.rip);
    put_call(1, 1, 0x80, foreign);
    frame = run(at, FLAG_RF);
    ok(called(&frame, at) && !(frame.rflags & FLAG_RF), "RF ends with the call: flags %lx", frame.rflags);
}

void guest_main(void)
{
    plan(6 + 3 + 2 + 4 + 5 + 28 + 4 + 3);
    native = cpuid(0, 0).ebx == 0x756e6547 ? VMCALL : VMMCALL; /* GenuineIntel */
    if (word_given("vmmcall"))
        native = VMMCALL; /* QEMU can give SVM that name */
    foreign = native ^ VMCALL ^ VMMCALL;
    modes_setup();
    write_protect();
    page_tables_2[FAR >> 21] = (u64)table | PRESENT | WRITE;
    across_pages();
    two_mappings();
    four_sites();
    canonical_edge();
    no_execute();
    prefixes();
    neighbours();
    debugging();
}
