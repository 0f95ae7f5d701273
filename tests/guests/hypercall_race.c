/* SPDX-License-Identifier: MIT */
/*
 * Foreign calls that several vCPUs meet at the same time, and bytes that change under one that executes them:
 * each time the call is made, or the undefined instruction is the guest's own #UD; nothing in between. (How
 * many exceptions the places cost: tests/system/test_hypercalls.py, by the word "at-once".)
 */
// conf: vcpus = 4
#include "lib/io.h"
#include "lib/smp.h"
#include "lib/tap.h"

#define VMCALL     0xc1
#define VMMCALL    0xd9
#define NO_CALL    0xc5 /* 0F 01 C5 is undefined */
#define SITES      64   /* test_hypercalls.py knows it */
#define SITE_BYTES 64
#define ROUNDS     20000

/* The call; JMP RCX. */
static volatile u8 sites[SITES][SITE_BYTES] ALIGNED(4096);
static u8 native, foreign;
static u32 made, writer_stops, spoiled;

static void put_site(volatile u8 *site, u8 third)
{
    static const u8 code[] = {0x0f, 0x01, 0, 0xff, 0xe1};

    for (unsigned i = 0; i < sizeof(code); i++)
        site[i] = i == 2 ? third : code[i];
}

/* TRY is the boot vCPU's alone: another one that meets an exception ends the guest. */
static u64 call(volatile u8 *site)
{
    u64 rax = LINTEL_CALL_VERSION;

    asm volatile("lea 98f(%%rip), %%rcx; jmp *%%rdx\n98:" : "+a"(rax) : "d"(site) : "rcx", "memory");
    return rax;
}

static void call_each(void)
{
    smp_barrier();
    for (unsigned i = 0; i < SITES; i++) {
        if (call(sites[i]) == LINTEL_ABI_VERSION)
            __atomic_add_fetch(&made, 1, __ATOMIC_RELAXED);
        if (i % 16 == smp_this()->id)
            smp_yield();
    }
}

static void all_at_once(void)
{
    unsigned rewritten = 0;

    for (unsigned i = 0; i < SITES; i++)
        put_site(sites[i], foreign);
    smp_run_all(call_each);
    for (unsigned i = 0; i < SITES; i++)
        rewritten +=
            sites[i][0] == 0x0f && sites[i][1] == 0x01 && sites[i][2] == native && sites[i][3] == 0xff;
    ok(made == SITES * smp_count, "%u of %u calls by %u vCPUs are made", made, SITES * smp_count, smp_count);
    ok(rewritten == SITES, "%u of %u places are rewritten, and no byte beside them", rewritten, SITES);
}

/* Of what is written nothing is lost: a rewriting may replace the foreign byte, and no other. */
static void write_byte(u8 byte)
{
    sites[0][2] = byte;
    for (unsigned i = 0; i < 1000; i++) {
        u8 now = sites[0][2];

        spoiled += now != byte && !(byte == foreign && now == native);
    }
}

/* A store to code that another CPU executes: it meets the old byte or the new one. */
static void write_for_ever(void)
{
    const u8 bytes[] = {foreign, native, NO_CALL, foreign, NO_CALL};

    for (unsigned i = 0; !READ_ONCE(writer_stops); i++) {
        write_byte(bytes[i % ARRAY_SIZE(bytes)]);
        if (i % 7 == 0)
            smp_yield();
    }
}

static void under_a_writer(void)
{
    u32 calls = 0, undefined = 0;

    smp_run(1, write_for_ever);
    for (unsigned i = 0; i < ROUNDS; i++) {
        u64 rax = LINTEL_CALL_VERSION;
        int vector = TRY("lea 98f(%%rip), %%rcx; jmp *%%rdx\n98:",
                         : "+a"(rax)
                         : "d"(sites[0])
                         : "rcx", "memory");

        calls += vector == NO_VECTOR && rax == LINTEL_ABI_VERSION;
        undefined += vector == VECTOR_UD && rax == LINTEL_CALL_VERSION && capture.rip == (u64)sites[0] &&
                     capture.error == 0;
        if (i % 5 == 0)
            smp_yield();
    }
    WRITE_ONCE(writer_stops, 1);
    smp_wait(1);
    ok(calls + undefined == ROUNDS, "bytes change meanwhile: %u calls and %u times #UD of %u", calls,
       undefined, ROUNDS);
    ok(calls && undefined, "both were met");
    ok(spoiled == 0, "no byte that was written is lost: %u", spoiled);
    put_site(sites[0], foreign);
    ok(call(sites[0]) == LINTEL_ABI_VERSION && sites[0][2] == native,
       "and the place is rewritten as any other");
}

void guest_main(void)
{
    bool only_at_once = word_given("at-once");

    plan(only_at_once ? 2 : 6);
    native = cpuid(0, 0).ebx == 0x756e6547 ? VMCALL : VMMCALL; /* GenuineIntel */
    if (word_given("vmmcall"))
        native = VMMCALL; /* QEMU can give SVM that name */
    foreign = native ^ VMCALL ^ VMMCALL;
    smp_setup();
    smp_start_all();
    all_at_once();
    if (!only_at_once)
        under_a_writer();
}
