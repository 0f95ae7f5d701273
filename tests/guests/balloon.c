/* SPDX-License-Identifier: MIT */
/*
 * The balloon's port from end to end, as a driver and as an enemy of it: each status in its situation,
 * batches, pages of 2 MiB, what is read of memory that was given away and came back.
 */
// conf: memory = 128M
// conf: balloon.max = 64M
#include "lib/balloon.h"
#include "lib/io.h"
#include "lib/modes.h"
#include "lib/tap.h"

#define TARGET     (64u << 8) /* pages */
#define PAGES      0x4000ull  /* 64 MiB: nobody is there */
#define END        0x8000ull
#define CANARY     0xb0a710000000ull
#define MSR_CLOCK  0x4b564d01
#define IOPL_3     (3u << 12)
#define UPPER_HALF 0xdeadbeef00000000ull

static u64 batch[512] ALIGNED(4096);
static volatile u32 clock_page[8] ALIGNED(64);

static u64 batch_page(void)
{
    return (u64)batch >> 12;
}

static volatile u64 *word_at(u64 page)
{
    return (volatile u64 *)(page << 12);
}

static u64 lock(u64 page)
{
    return balloon_status(BALLOON_LOCK, page, 1);
}

static u64 unlock(u64 page)
{
    return balloon_status(BALLOON_UNLOCK, page, 1);
}

static void check_other_reads(void)
{
    struct balloon_call call = {BALLOON_MAGIC ^ 1, BALLOON_START, BALLOON_CAN_ALL, 0, BALLOON_PORT};
    u32 low = 0, eax;

    call = balloon_raw(call);
    ok(call.rax == 0xffffffff && call.rbx == BALLOON_CAN_ALL && call.rcx == BALLOON_START,
       "with another magic number the port is empty");
    asm volatile("movl %1, %%eax; inb %%dx, %%al"
                 : "=a"(eax)
                 : "i"(BALLOON_MAGIC), "d"(BALLOON_PORT), "c"(BALLOON_START), "b"(0), "S"(0));
    asm volatile("movl %1, %%eax; inw %%dx, %%ax"
                 : "=a"(low)
                 : "i"(BALLOON_MAGIC), "d"(BALLOON_PORT), "c"(BALLOON_START), "b"(0), "S"(0));
    ok(eax == (BALLOON_MAGIC | 0xff) && low == (BALLOON_MAGIC | 0xffff), "and for a byte or a word (%x, %x)",
       eax, low);
    call = balloon_raw((struct balloon_call){BALLOON_MAGIC, BALLOON_START, 2, 0, BALLOON_PORT + 1});
    ok(call.rax == 0xffffffff, "and behind it");
    out32(BALLOON_PORT, BALLOON_MAGIC);
    asm volatile("insl" : : "D"(batch), "d"(BALLOON_PORT), "a"(BALLOON_MAGIC), "c"(BALLOON_START) : "memory");
    ok((u32)batch[0] == 0xffffffff, "and for string input");
}

/* IN in ring 3, which IOPL lets at all ports. */
static void check_ring_3(void)
{
    static const u8 code[] = {0xed, 0xcd, 0x80}; /* IN EAX, DX; INT 0x80 */
    struct frame frame = {.rax = BALLOON_MAGIC,
                          .rcx = BALLOON_GET_TARGET,
                          .rbx = 77,
                          .rdx = BALLOON_PORT,
                          .rip = MODES_LOW + 0x800,
                          .cs = SELECTOR_RING(SELECTOR_CODE_64, 3),
                          .rflags = IOPL_3 | 2,
                          .rsp = MODES_LOW + 0xff00,
                          .ss = SELECTOR_RING(SELECTOR_STACK - 8u, 3)};

    modes_setup();
    __builtin_memcpy((void *)(MODES_LOW + 0x800), code, sizeof(code));
    long_run(&frame);
    ok(frame.vector == VECTOR_BACK && (u32)frame.rax == 0xffffffff && frame.rbx == 77,
       "a program reads an empty port (vector %lx, %lx)", frame.vector, frame.rax);
}

static void check_connection(void)
{
    struct balloon_call call;
    u64 bad = 0;

    for (u64 command = BALLOON_GET_TARGET; command <= BALLOON_BATCHED_2M_UNLOCK; command++)
        if (balloon_status(command, PAGES, 1) != (command == 5 ? STATUS_COMMAND_INVALID : STATUS_RESET))
            bad = command;
    ok(!bad, "before START all others are told to begin anew (%lx)", bad);
    ok(balloon_status(BALLOON_DOORBELL_SET, ~0ull, ~0ull) == STATUS_SUCCESS, "but no doorbell is none");
    ok(balloon_status(11, 0, 0) == STATUS_COMMAND_INVALID && balloon_status(BIT(32), 0, 0) == 1 &&
           balloon_status(~0ull, 0, 0) == STATUS_COMMAND_INVALID,
       "there is no other command");
    call = balloon_call(BALLOON_START | 0, BALLOON_CAN_ALL | UPPER_HALF, 0);
    ok(call.rax == STATUS_CAPABILITIES && call.rcx == 0x2e, "START grants all but the doorbell (%lx, %lx)",
       call.rax, call.rcx);
    call = balloon_call(BALLOON_GET_TARGET, 0x7000, UPPER_HALF);
    ok(call.rax == STATUS_SUCCESS && call.rbx == TARGET, "the target is what is beyond balloon.max (%lu)",
       call.rbx);
    call = balloon_call(BALLOON_GET_TARGET, 1000, 0);
    ok(call.rbx == 1000, "and no more than the guest has (%lu)", call.rbx);
    balloon_call(BALLOON_GET_TARGET, 0x8000, 0);
    ok(balloon_status(BALLOON_GUEST_ID, 1, 0) == STATUS_SUCCESS, "it may say who it is");
    call = balloon_call(BALLOON_LOCK, PAGES, 1);
    ok(call.rax == STATUS_SUCCESS && call.rbx == TARGET, "replies carry the target");
    call = balloon_call(BALLOON_START, 2, 0);
    ok(call.rax == STATUS_CAPABILITIES && call.rcx == 2, "one that offers the basic form gets that");
    ok(lock(PAGES) == STATUS_SUCCESS && unlock(PAGES) == STATUS_SUCCESS,
       "what one had given the next has again");
    ok(balloon_status(BALLOON_BATCHED_LOCK, batch_page(), 1) == STATUS_COMMAND_INVALID &&
           balloon_status(BALLOON_BATCHED_2M_LOCK, batch_page(), 1) == STATUS_COMMAND_INVALID,
       "and batches only when they were granted");
    call = balloon_call(BALLOON_START, 0, 0);
    ok(call.rax == STATUS_SUCCESS && lock(PAGES) == STATUS_SUCCESS,
       "and so does one that knows no capabilities");
    balloon_call(BALLOON_START, BALLOON_CAN_ALL, 0);
    lock(PAGES);
    call = balloon_call(BALLOON_START, 0, 0);
    ok(call.rax == STATUS_CAPABILITIES && call.rcx == 0x2e &&
           balloon_status(BALLOON_GET_TARGET, 0, 0) == STATUS_RESET,
       "one that had more ends by offering nothing (%lx, %lx)", call.rax, call.rcx);
    call = balloon_call(BALLOON_START, 0, 0);
    ok(call.rax == STATUS_SUCCESS && unlock(PAGES) == STATUS_PPN_UNLOCKED,
       "behind it one may begin that knows none");
    balloon_call(BALLOON_START, BALLOON_CAN_ALL, 0);
}

static void check_pages(void)
{
    static const u64 no_ram[] = {
        0x9f, 0xa0, 0xe0, 0xff, END, END + 1, 0xfec00, 0xfee00, BIT(32), BIT(36) + PAGES, ~0ull, ~0ull >> 12};
    u64 wrong = 0, status;

    for (unsigned i = 0; i < ARRAY_SIZE(no_ram); i++)
        if (lock(no_ram[i]) != STATUS_PPN_INVALID || unlock(no_ram[i]) != STATUS_PPN_INVALID)
            wrong = no_ram[i];
    ok(!wrong, "holes, devices, reserved memory and what is behind the end can't be given (%lx)", wrong);
    *word_at(PAGES) = CANARY;
    ok(unlock(PAGES) == STATUS_PPN_UNLOCKED, "nor be taken back what was not given");
    ok(lock(PAGES) == STATUS_SUCCESS && lock(PAGES) == STATUS_PPN_LOCKED, "nor be given twice");
    status = unlock(PAGES);
    ok(status == STATUS_SUCCESS && *word_at(PAGES) == 0, "a page comes back empty (%lx, %lx)", status,
       *word_at(PAGES));
    ok(unlock(PAGES) == STATUS_PPN_UNLOCKED, "once");
    *word_at(PAGES) = CANARY;
    lock(PAGES);
    ok(*word_at(PAGES) == 0 && unlock(PAGES) == STATUS_PPN_UNLOCKED, "who touches a page has it, and empty");
    wrmsr(MSR_CLOCK, (u64)clock_page | 1);
    ok(lock((u64)clock_page >> 12) == STATUS_PPN_PINNED, "what the host writes stays: the clock's page");
    wrmsr(MSR_CLOCK, 0);
    ok(lock(PAGES + 1) == STATUS_SUCCESS && unlock(PAGES + 1) == STATUS_SUCCESS,
       "a page never touched can go");
}

static void check_batch(void)
{
    static const u8 expected[] = {0, 0, 3, 2, 2, 2, 2, 0};
    struct balloon_call call;
    u64 wrong = ~0ull;

    const u64 entries[] = {
        PAGES << 12, (PAGES + 1) << 12, PAGES << 12 | 0x1f,    0xa0ull << 12, (PAGES + 2) << 12 | 0x20,
        ~0xfffull,   END << 12,         (PAGES + 3) << 12 | 7,
    };
    for (unsigned i = 0; i < ARRAY_SIZE(entries); i++)
        batch[i] = entries[i];
    call = balloon_call(BALLOON_BATCHED_LOCK, batch_page(), ARRAY_SIZE(entries));
    for (unsigned i = 0; i < ARRAY_SIZE(entries); i++)
        if (batch[i] != ((entries[i] & ~0x1full) | expected[i]))
            wrong = i;
    ok(call.rax == STATUS_SUCCESS && wrong == ~0ull, "each entry of a batch has its own status (%lx, %ld)",
       call.rax, (s64)wrong);
    batch[0] = PAGES << 12;
    batch[1] = (PAGES + 4) << 12;
    ok(balloon_status(BALLOON_BATCHED_UNLOCK, batch_page(), 2) == STATUS_SUCCESS && (batch[0] & 0xfff) == 0 &&
           (batch[1] & 0xfff) == STATUS_PPN_UNLOCKED,
       "also taken back");
    ok(balloon_status(BALLOON_BATCHED_LOCK, batch_page(), 513) == STATUS_COMMAND_INVALID &&
           balloon_status(BALLOON_BATCHED_LOCK, batch_page(), ~0ull) == STATUS_COMMAND_INVALID,
       "more than 512 are no batch");
    ok(balloon_status(BALLOON_BATCHED_LOCK, batch_page(), 0) == STATUS_SUCCESS, "none at all may be");
    ok(balloon_status(BALLOON_BATCHED_LOCK, 0xa0, 1) == STATUS_PPN_INVALID &&
           balloon_status(BALLOON_BATCHED_LOCK, 0xfee00, 1) == STATUS_PPN_INVALID &&
           balloon_status(BALLOON_BATCHED_LOCK, ~0ull, 1) == STATUS_PPN_INVALID &&
           balloon_status(BALLOON_BATCHED_2M_UNLOCK, END, 512) == STATUS_PPN_INVALID,
       "its page must be RAM");
    batch[0] = batch_page() << 12;
    batch[1] = (PAGES + 5) << 12;
    ok(balloon_status(BALLOON_BATCHED_LOCK, batch_page(), 2) == STATUS_SUCCESS, "it may give itself away");
    ok(unlock(batch_page()) == STATUS_PPN_UNLOCKED, "and is there again for the answers");
}

static u64 large(u64 command, u64 page)
{
    batch[0] = page << 12;
    return balloon_status(command, batch_page(), 1) ? ~0ull : batch[0] & 0x1f;
}

static void check_large(void)
{
    const u64 at = 0x6000;

    *word_at(at) = *word_at(at + 511) = CANARY;
    ok(large(BALLOON_BATCHED_2M_LOCK, at + 1) == STATUS_PPN_INVALID &&
           large(BALLOON_BATCHED_2M_LOCK, 0) == STATUS_PPN_INVALID &&
           large(BALLOON_BATCHED_2M_LOCK, END) == STATUS_PPN_INVALID,
       "2 MiB are aligned, and all of it RAM");
    ok(large(BALLOON_BATCHED_2M_LOCK, at) == STATUS_SUCCESS && large(BALLOON_BATCHED_2M_LOCK, at) == 3,
       "they are given once");
    ok(lock(at + 100) == STATUS_PPN_LOCKED && unlock(at + 100) == STATUS_SUCCESS &&
           large(BALLOON_BATCHED_2M_UNLOCK, at) == STATUS_PPN_UNLOCKED &&
           large(BALLOON_BATCHED_2M_LOCK, at) == STATUS_PPN_LOCKED,
       "small pages of them are pages, too");
    lock(at + 100);
    ok(large(BALLOON_BATCHED_2M_UNLOCK, at) == STATUS_SUCCESS && *word_at(at) == 0 && *word_at(at + 511) == 0,
       "they come back empty");
    *word_at(at + 1) = CANARY;
    lock(at);
    ok(large(BALLOON_BATCHED_2M_LOCK, at) == STATUS_PPN_LOCKED && unlock(at) == STATUS_SUCCESS &&
           *word_at(at + 1) == CANARY && *word_at(at) == 0,
       "one small page of them leaves its neighbours alone");
    ok(large(BALLOON_BATCHED_2M_LOCK, at) == STATUS_SUCCESS && large(BALLOON_BATCHED_2M_UNLOCK, at) == 0 &&
           *word_at(at + 1) == 0,
       "and together they go again");
}

/* More than one exit does: the instruction is executed again until all 512 have their answers. */
static void check_long_batch(void)
{
    struct balloon_call call;
    u64 wrong = ~0ull;

    for (unsigned i = 0; i < 512; i++)
        batch[i] = 0x6000ull << 12;
    call = balloon_call(BALLOON_BATCHED_2M_LOCK, batch_page(), 512);
    for (unsigned i = 0; i < 512; i++)
        if (batch[i] != (0x6000ull << 12 | (i ? STATUS_PPN_LOCKED : STATUS_SUCCESS)))
            wrong = i;
    ok(call.rax == STATUS_SUCCESS && call.rbx == TARGET && call.rcx == BALLOON_BATCHED_2M_LOCK &&
           call.rsi == 512 && wrong == ~0ull,
       "a batch of 512 large pages ends, each entry answered once (%lx, %ld)", call.rax, (s64)wrong);
}

/* All 512 of a batch, page by page, a hundred times. */
static void check_down_and_up(void)
{
    u64 wrong = 0;

    for (unsigned turn = 0; turn < 100; turn++) {
        u64 at = PAGES + 0x400 + turn % 4 * 512;

        for (unsigned i = 0; i < 512; i++) {
            if (turn % 8 == 0)
                *word_at(at + i) = CANARY;
            batch[i] = (at + i) << 12;
        }
        wrong |= balloon_status(BALLOON_BATCHED_LOCK, batch_page(), 512);
        wrong |= balloon_status(BALLOON_BATCHED_UNLOCK, batch_page(), 512);
        for (unsigned i = 0; i < 512; i++)
            wrong |= (batch[i] & 0xfff) | (turn % 8 == 0 ? *word_at(at + i) : 0);
    }
    ok(!wrong, "down and up a hundred times (%lx)", wrong);
}

/* As much as the host wants, and not more. */
static void check_target(void)
{
    u64 given = 0, wrong = 0, page = 0x4000;

    balloon_call(BALLOON_START, BALLOON_CAN_ALL, 0);
    balloon_call(BALLOON_GET_TARGET, 0x8000, 0);
    for (unsigned i = 0; i < 31; i++, page += 512)
        wrong |= large(BALLOON_BATCHED_2M_LOCK, page);
    for (given = 31 * 512; given < TARGET; given++)
        wrong |= lock(0x1000 + given - 31 * 512);
    ok(!wrong && given == TARGET, "all that is wanted is taken (%lx)", wrong);
    ok(lock(0x3000) == STATUS_PPN_NOT_NEEDED &&
           large(BALLOON_BATCHED_2M_LOCK, 0x3000) == STATUS_PPN_NOT_NEEDED,
       "and no more is needed");
    balloon_call(BALLOON_START, BALLOON_CAN_ALL, 0);
    for (page = 0x4000; page < 0x7e00; page++)
        wrong |= *word_at(page);
    ok(!wrong, "START brings all of it back");
}

void guest_main(void)
{
    plan(45);
    check_other_reads();
    check_connection();
    check_ring_3();
    check_pages();
    check_batch();
    check_large();
    check_long_batch();
    check_down_and_up();
    check_target();
}
