/* SPDX-License-Identifier: MIT */
/*
 * One vCPU ends the balloon's connection, or begins a new one, while another is inside a batch. Each page has
 * an allowed answer or none, a batch that is cut off is told RESET (or that a lesser connection has no
 * batches) once, and afterwards all memory is there, each page by itself. With the word stay it waits with
 * its balloon full, for who looks at the books; with the word few it does little, for a lintel that proves
 * all of its memory at each page, and uses only some of each range.
 */
// conf: memory = 112M
// conf: balloon.max = 64M
// conf: pages = 4k
// conf: vcpus = 2
#include "lib/balloon.h"
#include "lib/io.h"
#include "lib/smp.h"
#include "lib/tap.h"

#define PAGES        0x4000ull /* 64 MiB, where nobody is: small pages, and eight of 2 MiB behind them */
#define LARGE        0x6000ull
#define END          0x7000ull
#define LARGE_COUNT  8u
#define BATCH        512u
#define NO_ANSWER    0x1full
#define TRIES        1000u /* the timer may come too late */
#define VECTOR_TIMER 0x40
#define TIMER_US     60u

static u64 batch[BATCH] ALIGNED(4096);
extern const u8 batch_in[];
static u64 cuts_wanted = 6; /* for each kind of end */
static u32 race_rounds = 32;
static u64 use_most = END; /* pages in one go */
static u32 timer_ticks;    /* of TIMER_US */
static u64 frames;         /* what the guest says it has */

/* What the other vCPU does; what the driver's does when it is told so. */
static const struct ending {
    u64 offers;
    bool twice; /* the second ends what the first began */
    const char *what;
} endings[] = {
    {BALLOON_CAN_ALL, false, "a new connection"},
    {0, false, "an end"},
    {2, false, "a connection that has no batches"},
    {0, true, "an end and the oldest connection"},
};
static const struct ending *ending;
static u32 wanted_ends, made_ends; /* asked for by the interrupt, done by the other vCPU */
static u32 interrupts_inside, skip;
static bool cut, over;
static u32 batches; /* that have ended */

/* ---------------------------------------------------------------- the other vCPU */

static void ending_make(const struct ending *one)
{
    balloon_call(BALLOON_START, one->offers, 0);
    if (one->twice)
        balloon_call(BALLOON_START, one->offers, 0);
}

/* Once for each time that it is asked. */
static void ender(void)
{
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        if (__atomic_load_n(&wanted_ends, __ATOMIC_ACQUIRE) != made_ends) {
            ending_make(ending);
            __atomic_store_n(&made_ends, made_ends + 1, __ATOMIC_RELEASE);
        }
        smp_yield();
    }
}

static void batches_let_end(u32 count)
{
    u32 before = READ_ONCE(batches);

    while (READ_ONCE(batches) - before < count && !READ_ONCE(over))
        smp_yield();
}

/* At any time, now and then with time for a whole batch in between. */
static void racer(void)
{
    for (u32 i = 0; !__atomic_load_n(&over, __ATOMIC_ACQUIRE); i++) {
        ending_make(&endings[i % 16 < 8 ? 0 : i % ARRAY_SIZE(endings)]);
        balloon_call(BALLOON_GET_TARGET, frames, 0);
        if (i % 4 == 0)
            batches_let_end(2);
        smp_yield();
    }
}

/* ---------------------------------------------------------------- the timer that comes inside */

static void timer_arm(void)
{
    lapic_write(LAPIC_INITIAL, timer_ticks);
}

static void timer_setup(void)
{
    u32 least = ~0u; /* of a millisecond, with no stall of the host in it */

    lapic_write(LAPIC_DIVIDE, 0xb);
    lapic_write(LAPIC_LVT_TIMER, (u32)LVT_MASKED);
    for (unsigned i = 0; i < 20; i++) {
        u32 ticks;

        lapic_write(LAPIC_INITIAL, ~0u);
        delay_us(1000);
        ticks = ~0u - lapic_read(LAPIC_CURRENT);
        least = MIN(least, ticks);
    }
    timer_ticks = (u32)((u64)least * TIMER_US / 1000);
    lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
}

/* Behind some answers, before the IN is executed again: let the other vCPU do its work first. */
static void timer_inside(struct frame *frame)
{
    smp_eoi();
    if (!cut)
        return;
    if (frame->rip != (u64)batch_in || (batch[0] & NO_ANSWER) == NO_ANSWER || interrupts_inside++ < skip) {
        timer_arm();
        return;
    }
    cut = false;
    __atomic_store_n(&wanted_ends, wanted_ends + 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&made_ends, __ATOMIC_ACQUIRE) != wanted_ends)
        smp_yield();
}

/* ---------------------------------------------------------------- batches */

/* The only IN of a batch, so that its place is known. */
static __attribute__((noinline)) u64 batch_call(u64 command)
{
    u64 rax = BALLOON_MAGIC, rcx = command, rbx = (u64)batch >> 12, rsi = BATCH, rdx = BALLOON_PORT;

    asm volatile(".globl batch_in\nbatch_in: inl %%dx"
                 : "+a"(rax), "+c"(rcx), "+b"(rbx), "+S"(rsi), "+d"(rdx)
                 :
                 : "memory");
    return rax;
}

static bool is_large(u64 command)
{
    return command >= BALLOON_BATCHED_2M_LOCK;
}

static bool is_lock(u64 command)
{
    return command == BALLOON_BATCHED_LOCK || command == BALLOON_BATCHED_2M_LOCK;
}

static u64 entry_page(u64 command, unsigned i, u64 from)
{
    return is_large(command) ? LARGE + i % LARGE_COUNT * 512 : from + i;
}

/* BUSY: the host has no memory for it just then. */
static bool is_allowed(u64 command, u64 status)
{
    if (is_lock(command))
        return status == STATUS_SUCCESS || status == STATUS_PPN_LOCKED || status == STATUS_PPN_NOT_NEEDED;
    return status == STATUS_SUCCESS || status == STATUS_PPN_UNLOCKED || status == STATUS_BUSY;
}

static u64 answered, wrong_entries, wrong_statuses, whole, cut_off, lesser;

/* All have an answer; or the first ones have, and nothing is changed behind them. */
static void batch_judge(u64 command, u64 from, u64 status)
{
    answered = 0;
    while (answered < BATCH && (batch[answered] & NO_ANSWER) != NO_ANSWER)
        answered++;
    for (unsigned i = 0; i < BATCH; i++) {
        u64 answer = batch[i] & NO_ANSWER;

        wrong_entries += batch[i] >> 5 != entry_page(command, i, from) << 7;
        wrong_entries += i < answered ? !is_allowed(command, answer) : answer != NO_ANSWER;
    }
    if (status == STATUS_SUCCESS)
        wrong_statuses += answered != BATCH;
    else
        wrong_statuses += answered == BATCH || (status != STATUS_RESET && status != STATUS_COMMAND_INVALID);
    whole += status == STATUS_SUCCESS;
    cut_off += status == STATUS_RESET && answered != 0;
    lesser += status == STATUS_COMMAND_INVALID && answered != 0;
}

/* With interrupts on; the timer comes where cut says so. */
static u64 batch_do(u64 command, u64 from)
{
    u64 status;

    for (unsigned i = 0; i < BATCH; i++)
        batch[i] = entry_page(command, i, from) << 12 | NO_ANSWER;
    interrupts_on();
    if (cut)
        timer_arm();
    status = batch_call(command);
    interrupts_off();
    WRITE_ONCE(batches, batches + 1);
    cut = false;
    batch_judge(command, from, status);
    return status;
}

static void driver_begin(void)
{
    balloon_call(BALLOON_START, BALLOON_CAN_ALL, 0);
    balloon_call(BALLOON_GET_TARGET, frames, 0);
}

static volatile u64 *word_at(u64 page)
{
    return (volatile u64 *)(page << 12);
}

/* What a page holds is its own number, or nothing since it came back. */
static u64 foreign;
static void pages_use(u64 first, u64 count)
{
    for (u64 page = first; page < first + MIN(count, use_most); page++) {
        foreign += *word_at(page) != 0 && *word_at(page) != page;
        *word_at(page) = page;
    }
}

/* ---------------------------------------------------------------- what is shown */

/* One batch that is cut, behind some of its answers; the driver begins anew, and the next one is whole. */
static void cut_one(u64 command, u32 depth, u64 *late)
{
    driver_begin();
    pages_use(LARGE, 1024); /* in small pieces, which take long to give */
    if (command == BALLOON_BATCHED_2M_UNLOCK)
        batch_do(BALLOON_BATCHED_2M_LOCK, 0);
    interrupts_inside = 0;
    skip = depth;
    cut = true;
    if (batch_do(command, 0) == STATUS_SUCCESS)
        return;
    driver_begin();
    *late += batch_do(command, 0) != STATUS_SUCCESS;
}

static void cuts(void)
{
    u64 late = 0;

    smp_run(1, ender);
    for (unsigned i = 0; i < ARRAY_SIZE(endings); i++) {
        u64 before = cut_off + lesser;
        u32 tries = 0;

        ending = &endings[i];
        while (cut_off + lesser - before < cuts_wanted && tries++ < TRIES)
            cut_one(tries % 2 ? BALLOON_BATCHED_2M_LOCK : BALLOON_BATCHED_2M_UNLOCK, tries / 2 % 4, &late);
        ok(cut_off + lesser - before == cuts_wanted,
           "%s cuts %lu batches off, behind some answers (%u tries)", endings[i].what,
           cut_off + lesser - before, tries);
    }
    ok(!late, "who begins anew has whole batches again (%lu)", late);
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    smp_wait(1);
    over = false;
}

/* Small and large pages, locked and unlocked, whenever the other one may be at it. */
static void race(void)
{
    u64 whole_before = whole, begun = 0;

    smp_run(1, racer);
    for (u32 i = 0; i < race_rounds; i++) {
        const u64 from = PAGES + i % 8 * BATCH;

        if (i % 4 == 0)
            pages_use(from, BATCH);
        if (i % 16 == 0)
            pages_use(LARGE, 512);
        for (u64 command = BALLOON_BATCHED_LOCK; command <= BALLOON_BATCHED_2M_UNLOCK; command++) {
            if (batch_do(command, from) == STATUS_SUCCESS)
                continue;
            driver_begin();
            begun++;
        }
        smp_yield();
    }
    __atomic_store_n(&over, true, __ATOMIC_RELEASE);
    smp_wait(1);
    ok(whole > whole_before, "in a race %lu batches are whole, %lu times the driver begins anew",
       whole - whole_before, begun);
}

/* All of them can be given, up to what is wanted and no further; and all come back. */
static void books(void)
{
    u64 given = 0, status = STATUS_SUCCESS;

    driver_begin();
    pages_use(PAGES, END - PAGES);
    pages_use(PAGES, END - PAGES);
    ok(!foreign, "each page of %lu is there, and another than all others (%lu)",
       (u64)MIN(END - PAGES, use_most), foreign);
    for (u64 page = PAGES; page < END && status == STATUS_SUCCESS; page += 512) {
        batch[0] = page << 12;
        status = balloon_status(BALLOON_BATCHED_2M_LOCK, (u64)batch >> 12, 1) | (batch[0] & NO_ANSWER);
        given += status == STATUS_SUCCESS ? 512 : 0;
    }
    ok(given == END - PAGES, "the target is reached: %lu pages are given (%lx)", given, status);
    ok(balloon_status(BALLOON_LOCK, 0x3000, 1) == STATUS_PPN_NOT_NEEDED, "and no more is wanted");
    while (word_given("stay"))
        asm volatile("sti; hlt");
    driver_begin();
    pages_use(PAGES, END - PAGES);
    ok(!foreign, "all come back (%lu)", foreign);
}

void guest_main(void)
{
    if (word_given("few")) {
        cuts_wanted = 1;
        race_rounds = 2;
        use_most = 64;
    }
    smp_setup();
    plan(ARRAY_SIZE(endings) + 1 + 1 + 3 + 4);
    interrupt_handle(VECTOR_TIMER, timer_inside);
    smp_start_all();
    timer_setup();
    frames = 0x7000;
    cuts();
    race();
    ok(!wrong_entries, "each page of a batch has an answer that is allowed, or none (%lu)", wrong_entries);
    ok(!wrong_statuses, "and each batch what goes with them (%lu)", wrong_statuses);
    ok(cut_off && lesser, "%lu were told RESET, %lu that there are no batches", cut_off, lesser);
    books();
}
