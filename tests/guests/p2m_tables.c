/* SPDX-License-Identifier: MIT */
/*
 * A page table of the guest's that lies in its own p2m list, which it may only read (docs/abi.md). The CPU
 * that walks it wants to note accessed and dirty there. The word on the command line tells which table; each
 * time an entry is chosen that a CPU would walk through, and change, if only it were let.
 */
// hostile: it is stopped with a sentence, the list as it was
// conf: p2m = shared
// conf: memory = 64M
// conf: pages = 4k
#include "guest/pv/lintel.h"
#include "lib/io.h"
#include "lib/tap.h"

#define LIST    0x80000000ul
#define TOUCHED 0x2000000ul /* 32 MiB: nobody is there; 2 MiB, which are one page of the list */
#define PAGE    (LIST + (TOUCHED >> 12) * 8)
#define SLOT    1u /* of the highest table: nothing else is there */

#define ENTRY_PRESENT  BIT(0)
#define ENTRY_WRITE    BIT(1)
#define ENTRY_ACCESSED BIT(5)
#define ENTRY_DIRTY    BIT(6)
#define ENTRY_LARGE    BIT(7)

extern u64 page_table_4[512];
static u64 pointers[512] ALIGNED(4096), directory[512] ALIGNED(4096);
static volatile const u64 *page = (volatile const u64 *)PAGE;

/* The first entry with these bits of `which`. Read as an address it is a place in the guest's low memory. */
static u64 entry_find(u64 which, u64 bits)
{
    for (u64 i = 1; i < 512; i++)
        if ((page[i] & which) == bits && page[i] >> 12 != 0 && page[i] < 0xa0000)
            return i;
    bail_out("no machine frame of these has the bits %lx", bits);
}

/* A table where the entry leads, so that the walk would end well. */
static void next_table(u64 i, u64 first)
{
    *(volatile u64 *)(page[i] & ~0xffful) = first;
}

/* A linear address whose translation leads through entry i of the page, as the table of the command line. */
static u64 address_by_entry(u64 *i)
{
    const u64 all = ENTRY_PRESENT | ENTRY_ACCESSED | ENTRY_LARGE;

    *i = entry_find(all, ENTRY_PRESENT);
    if (word_given("pointers")) {
        page_table_4[SLOT] = PAGE | 7;
        next_table(*i, 0x83);
        return (u64)SLOT << 39 | *i << 30;
    }
    page_table_4[SLOT] = (u64)pointers | 7;
    if (word_given("directory")) {
        pointers[0] = PAGE | 7;
        next_table(*i, 3);
        return (u64)SLOT << 39 | *i << 21;
    }
    pointers[0] = (u64)directory | 7;
    directory[0] = PAGE | 7;
    if (word_given("dirty"))
        *i = entry_find(ENTRY_PRESENT | ENTRY_WRITE | ENTRY_ACCESSED | ENTRY_DIRTY,
                        ENTRY_PRESENT | ENTRY_WRITE | ENTRY_ACCESSED);
    else if (!word_given("table"))
        bail_out("no table is named on the command line");
    return (u64)SLOT << 39 | *i << 12;
}

void guest_main(void)
{
    u64 i, address, before;
    int vector;

    plan(1);
    if (lintel_call1(LINTEL_CALL_P2M_MAP, LIST) <= 0)
        bail_out("no list");
    for (unsigned k = 0; k < 512; k++)
        *(volatile u64 *)(TOUCHED + k * 4096ul) = k;
    say("walks");
    if (word_given("root")) /* the very next instruction is not found any more */
        asm volatile("movq %0, %%cr3" : : "r"(PAGE) : "memory");
    address = address_by_entry(&i);
    before = page[i];
    if (word_given("dirty"))
        vector = TRY("movb $0, (%0)", : : "r"(address) : "memory");
    else
        vector = TRY("movb (%0), %%al", : : "r"(address) : "rax", "memory");
    ok(false, "the CPU has walked a table at %lx (vector %d): entry %lx is %lx now", PAGE, vector, before,
       page[i]);
}
