/* SPDX-License-Identifier: MIT */
/*
 * Memory shared by vCPUs. A page is moved from frame to frame by one vCPU, which asks the others by IPI to
 * forget the old translation: nobody reads a canary of a frame that was left before everybody had answered.
 * And untouched memory that all of them touch at once: each byte written stays.
 */
// conf: vcpus = 4
#include "lib/smp.h"
#include "lib/tap.h"

#define VECTOR_FLUSH 0x70
#define VECTOR_READ  0x71
#define WINDOW       0x10000000ull /* 256 MiB: no RAM there, mapped by hand */
#define FRAMES_AT    0x2800000ull  /* 40 MiB */
#define FRAMES       8
#define MOVES        400
#define FRESH_AT     0x1800000ull /* 24 MiB: nobody has been there */
#define FRESH_PAGES  1024
/* In a vCPU's private[]: its reads, and the last move that it answered. */
#define READS    0
#define ANSWERED 1

extern u64 page_tables_2[];

static u64 window_table[512] ALIGNED(4096);
static u64 moves; /* how often the page was moved, and all have answered */
static u64 asked; /* the move that is to be answered */
static u32 stale;
static bool over;

static u64 canary(u64 move)
{
    return 0x5afe000000000000ull | move;
}

static void page_forget(void)
{
    asm volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
}

static void flush_handler(struct frame *frame)
{
    u64 move = __atomic_load_n(&asked, __ATOMIC_SEQ_CST);

    (void)frame;
    page_forget();
    __atomic_store_n(&smp_this()->private[ANSWERED], move, __ATOMIC_SEQ_CST);
    smp_eoi();
}

/* Readers: what is in the window is at least as new as the last finished move. */
static void reader(void)
{
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        u64 finished = __atomic_load_n(&moves, __ATOMIC_SEQ_CST);
        u64 seen = *(volatile u64 *)WINDOW;

        if (seen < canary(finished))
            __atomic_add_fetch(&stale, 1, __ATOMIC_RELAXED);
        smp_this()->private[READS]++;
        if (smp_this()->private[READS] % 16 == 0)
            smp_yield();
    }
}

/* Asked one by one: an interrupt that one of them takes twice hides nobody's silence. */
static bool all_answered(u64 move)
{
    for (unsigned i = 1; i < smp_count; i++)
        if (__atomic_load_n(&smp_cpus[i].private[ANSWERED], __ATOMIC_SEQ_CST) != move)
            return false;
    return true;
}

static bool move_page(u64 move)
{
    u64 frame = FRAMES_AT + move % FRAMES * 4096;

    *(volatile u64 *)frame = canary(move);
    __atomic_store_n(&window_table[0], frame | 3, __ATOMIC_SEQ_CST);
    page_forget();
    __atomic_store_n(&asked, move, __ATOMIC_SEQ_CST);
    smp_send(0, ICR_FIXED | ICR_OTHERS | VECTOR_FLUSH);
    for (unsigned i = 0; !all_answered(move); i++) {
        if (i == 50000000)
            return false;
        smp_yield();
    }
    __atomic_store_n(&moves, move, __ATOMIC_SEQ_CST);
    return true;
}

static void check_shootdown(void)
{
    u64 reads = 0, move = 1;

    window_table[0] = FRAMES_AT | 3;
    *(volatile u64 *)FRAMES_AT = canary(0);
    page_tables_2[WINDOW >> 21] = (u64)window_table | 3;
    for (unsigned i = 1; i < smp_count; i++)
        smp_run(i, reader);
    while (move <= MOVES && move_page(move))
        move++;
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    for (unsigned i = 1; i < smp_count; i++) {
        smp_wait(i);
        reads += smp_cpus[i].private[READS];
    }
    ok(move == MOVES + 1, "%lu moves, each answered by all", move - 1);
    ok(stale == 0, "%u stale canaries in the reads", stale);
    ok(reads > MOVES, "the page was read all the time (%lu times)", reads);
}

/* All touch the same page at the same time, each at its own word, page after page. */
static void touch(void)
{
    u32 id = smp_this()->id;

    for (u64 page = 0; page < FRESH_PAGES; page++) {
        if (page % 32 == 0)
            smp_barrier();
        *(volatile u64 *)(FRESH_AT + page * 4096 + 8 * id) = page << 8 | id;
    }
}

static void check_fresh(void)
{
    u64 wrong = 0;

    smp_run_all(touch);
    for (u64 page = 0; page < FRESH_PAGES; page++)
        for (u64 word = 0; word < 512; word++) {
            u64 expected = word < smp_count ? page << 8 | word : 0;

            wrong += *(volatile u64 *)(FRESH_AT + page * 4096 + 8 * word) != expected;
        }
    ok(wrong == 0, "%lu words are wrong in pages that all touched first", wrong);
}

void guest_main(void)
{
    plan(4);
    smp_setup();
    interrupt_handle(VECTOR_FLUSH, flush_handler);
    smp_start_all();
    interrupts_on();
    check_fresh();
    check_shootdown();
}
