/* SPDX-License-Identifier: MIT */
/*
 * Everybody interrupts everybody, with fixed interrupts and NMIs, while it computes: no interrupt is lost,
 * none comes twice, and no register or stack slot of who was interrupted changes.
 */
// conf: vcpus = 4
#include "lib/smp.h"
#include "lib/tap.h"

#define VECTOR_FIRST 0x60 /* + sender */
#define ROUNDS       1500

static u32 sent[SMP_MAX][SMP_MAX]; /* [sender][receiver] */
static u32 nmis_sent[SMP_MAX];     /* by receiver */
static u32 spoiled;

/* The receiver has taken what this vCPU sent it: only then is the next one no second of the same vector. */
static bool is_free(u32 from, u32 to)
{
    return READ_ONCE(smp_cpus[to].interrupts[VECTOR_FIRST + from]) == sent[from][to];
}

/* One interrupt to each who is free, in turns by number, by shorthand to all others, and as NMI. */
static void send_some(u32 id, unsigned round)
{
    u32 free = 0;

    for (u32 to = 0; to < smp_count; to++)
        free += is_free(id, to);
    if (free == smp_count && round % 3 == 0) {
        for (u32 to = 0; to < smp_count; to++)
            sent[id][to]++;
        smp_send(0, ICR_FIXED | ICR_ALL | (VECTOR_FIRST + id));
        return;
    }
    for (u32 to = 0; to < smp_count; to++) {
        if (!is_free(id, to))
            continue;
        sent[id][to]++;
        smp_send(to, ICR_FIXED | (VECTOR_FIRST + id));
    }
}

/* The next vCPU in the ring gets NMIs from this one alone, each after the last was taken. */
static void send_nmi(u32 id)
{
    u32 to = (id + 1) % smp_count;

    if (READ_ONCE(smp_cpus[to].interrupts[VECTOR_NMI]) != nmis_sent[to])
        return;
    nmis_sent[to]++;
    smp_send(to, ICR_NMI);
}

/* Registers and a piece of the stack full of known values, with interrupts in between. */
static bool canaries_live(u64 seed)
{
    u64 stack[16], bad = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(stack); i++)
        WRITE_ONCE(stack[i], seed * (i + 1));
    asm volatile(
        "movq %1, %%r8\n\tleaq 1(%1), %%r9\n\tleaq 2(%1), %%r12\n\tleaq 3(%1), %%r15\n\t"
        "movl $40, %%ecx\n"
        "1:\tpause\n\tdecl %%ecx\n\tjnz 1b\n\t"
        "xorq %1, %%r8\n\tleaq 1(%1), %%rax\n\txorq %%rax, %%r9\n\tincq %%rax\n\txorq %%rax, %%r12\n\t"
        "incq %%rax\n\txorq %%rax, %%r15\n\t"
        "orq %%r8, %0\n\torq %%r9, %0\n\torq %%r12, %0\n\torq %%r15, %0"
        : "+r"(bad)
        : "r"(seed)
        : "rax", "rcx", "r8", "r9", "r12", "r15", "cc", "memory");
    for (unsigned i = 0; i < ARRAY_SIZE(stack); i++)
        bad |= READ_ONCE(stack[i]) ^ seed * (i + 1);
    return bad == 0;
}

static void storm(void)
{
    u32 id = smp_this()->id;

    smp_barrier();
    interrupts_on();
    for (unsigned i = 0; i < ROUNDS; i++) {
        send_some(id, i);
        if (i % 4 == 0)
            send_nmi(id);
        if (!canaries_live((u64)id << 32 | i))
            __atomic_add_fetch(&spoiled, 1, __ATOMIC_RELAXED);
    }
    smp_barrier();
}

static bool all_taken(void)
{
    for (u32 to = 0; to < smp_count; to++) {
        if (READ_ONCE(smp_cpus[to].interrupts[VECTOR_NMI]) != nmis_sent[to])
            return false;
        for (u32 from = 0; from < smp_count; from++)
            if (!is_free(from, to))
                return false;
    }
    return true;
}

static u32 total_sent(void)
{
    u32 total = 0;

    for (u32 from = 0; from < smp_count; from++)
        for (u32 to = 0; to < smp_count; to++)
            total += sent[from][to];
    return total;
}

static void storm_in(const char *mode)
{
    unsigned wait = 0;

    smp_run_all(storm);
    while (!all_taken() && wait++ < 100000)
        delay_us(100);
    delay_us(1000);
    ok(all_taken(), "%s: %u interrupts and %u NMIs so far, each taken once", mode, total_sent(),
       nmis_sent[0]);
    ok(spoiled == 0, "%s: %u canaries died", mode, spoiled);
}

void guest_main(void)
{
    plan(4);
    smp_setup();
    for (u8 i = 0; i < SMP_MAX; i++)
        interrupt_handle((u8)(VECTOR_FIRST + i), smp_counted);
    interrupt_handle(VECTOR_NMI, smp_counted);
    smp_start_all();
    interrupts_on();
    storm_in("xAPIC");
    smp_run_all(smp_use_x2apic);
    storm_in("x2APIC");
}
