/* SPDX-License-Identifier: MIT */
/*
 * personality = vmware: the leaves by which kernels know it, and port 0x5658: each call by its replies and by
 * the registers it leaves alone, what is no call (other magic, other sizes, string input, other ports), and
 * who may call. (How much time is stolen depends on the neighbours: tests/system/test_scheduler.py.)
 */
// conf: personality = vmware
#include "guest/pv/lintel.h"
#include "lib/io.h"
#include "lib/modes.h"
#include "lib/tap.h"

#define PORT            0x5658
#define MAGIC           0x564d5868u
#define CALL_VERSION    10
#define CALL_HZ         45
#define CALL_VCPU_INFO  68
#define CALL_STEAL      91
#define DIRTY           0xdeadbeef00000000ull
#define ALL             0xffffffffull
#define LEAF_HYPERVISOR 0x40000000
#define LEAF_TIMING     0x40000010
#define LAPIC_TIMER_HZ  1000000000
#define MSR_KVM_CLOCK   0x4b564d01
#define MSR_KVM_STEAL   0x4b564d03
#define IOPL_3          0x3000
#define FLAGS           0x8d7 /* all arithmetic ones */
#define SITE            (MODES_LOW + MODES_SITE)
#define STACK           (MODES_LOW + 0x8000)

static volatile struct {
    u64 ticks, rest[7];
} steal ALIGNED(64);

/* ---------------------------------------------------------------- how the CPU is asked */

static volatile u8 *const site = (u8 *)SITE;

static void put_site(const u8 *code, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        site[i] = code[i];
    site[bytes] = 0xcd;
    site[bytes + 1] = VECTOR_BACK;
}

static void put_in_eax(void)
{
    static const u8 in_eax_dx[] = {0xed};

    put_site(in_eax_dx, sizeof(in_eax_dx));
}

/* Rubbish in the upper halves, and a number of its own in every register that the call does not read. */
static struct frame call_frame(u32 magic, u32 command)
{
    return (struct frame){
        .rax = DIRTY | magic,
        .rbx = DIRTY | ALL,
        .rcx = DIRTY | command,
        .rdx = DIRTY | PORT,
        .rsi = DIRTY | 6,
        .rdi = DIRTY | 7,
        .rbp = DIRTY | 5,
        .r8 = 0x108,
        .r9 = 0x109,
        .r10 = 0x10a,
        .r11 = 0x10b,
        .r12 = 0x10c,
        .r13 = 0x10d,
        .r14 = 0x10e,
        .r15 = 0x10f,
        .rip = SITE,
        .cs = SELECTOR_CODE_64,
        .rflags = FLAGS,
        .rsp = STACK,
        .ss = SELECTOR_DATA,
    };
}

/* All but RAX, RBX, RCX, and the next instruction is what was run next. */
static bool rest_is_kept(const struct frame *a, const struct frame *b, unsigned bytes)
{
    return a->vector == VECTOR_BACK && a->rdx == b->rdx && a->rsi == b->rsi && a->rdi == b->rdi &&
           a->rbp == b->rbp && a->r8 == b->r8 && a->r9 == b->r9 && a->r10 == b->r10 && a->r11 == b->r11 &&
           a->r12 == b->r12 && a->r13 == b->r13 && a->r14 == b->r14 && a->r15 == b->r15 &&
           a->rflags == b->rflags && a->rsp == b->rsp && a->rip == b->rip + bytes + 2;
}

static struct frame call(u32 magic, u32 command, bool *kept)
{
    struct frame before = call_frame(magic, command), after = before;

    put_in_eax();
    long_run(&after);
    *kept = rest_is_kept(&after, &before, 1);
    return after;
}

/* ---------------------------------------------------------------- the leaves */

static void leaves(void)
{
    struct cpuid c = cpuid(LEAF_HYPERVISOR, 0);
    u64 value;

    ok(cpuid(1, 0).ecx >> 31, "a hypervisor is there");
    ok(c.ebx == 0x61774d56 && c.ecx == 0x4d566572 && c.edx == 0x65726177, "0x40000000 says VMwareVMware");
    ok(c.eax == LEAF_TIMING, "the highest leaf is %x", c.eax);
    c = cpuid(LEAF_HYPERVISOR + 1, 0);
    ok(!(c.eax | c.ebx | c.ecx | c.edx), "0x40000001 is empty");
    ok(lintel_available() && lintel_call0(LINTEL_CALL_VERSION) == LINTEL_ABI_VERSION, "lintel is there, too");
    ok(lintel_call0(0) == -LINTEL_ENOSYS, "a number that nobody has: %ld", (s64)lintel_call0(0));
    ok(cpuid(LINTEL_CPUID_SIGNATURE + 1, 0).eax & 1, "ports need no delay");
    c = cpuid(LEAF_TIMING, 0);
    ok(c.eax && c.ebx == LAPIC_TIMER_HZ / 1000 && !(c.ecx | c.edx), "0x40000010: %u and %u kHz", c.eax,
       c.ebx);
    ok(rdmsr_try(MSR_KVM_CLOCK, &value) == VECTOR_GP && wrmsr_try(MSR_KVM_STEAL, 0) == VECTOR_GP,
       "KVM's MSRs are not");
}

/* ---------------------------------------------------------------- the calls */

static void calls(void)
{
    bool kept;
    struct frame f = call(MAGIC, CALL_VERSION, &kept);
    u64 hz;

    ok(kept && f.rax == 6 && f.rbx == MAGIC && f.rcx == (DIRTY | CALL_VERSION), "version %lx, %lx", f.rax,
       f.rbx);
    f = call(MAGIC, CALL_HZ, &kept);
    hz = f.rbx << 32 | (u32)f.rax;
    ok(kept && !(f.rax >> 32) && !(f.rbx >> 32) && hz / 1000 == cpuid(LEAF_TIMING, 0).eax, "TSC: %lu Hz", hz);
    ok(f.rcx == LAPIC_TIMER_HZ, "local APIC's timer: %lu Hz", f.rcx);
    f = call(MAGIC, CALL_VCPU_INFO, &kept);
    ok(kept && f.rax == 8 && f.rbx == (DIRTY | ALL), "x2APIC may be used: %lx", f.rax);
}

static void unknown_calls(void)
{
    static const u32 commands[] = {0, 1, 11, 92, CALL_HZ | 1u << 16, 0xffffffff};
    unsigned i, right = 0;

    for (i = 0; i < ARRAY_SIZE(commands); i++) {
        bool kept;
        struct frame f = call(MAGIC, commands[i], &kept);

        right += kept && f.rax == ALL && f.rbx == (DIRTY | ALL) && f.rcx == (DIRTY | commands[i]);
    }
    ok(right == i, "%u of %u commands that nobody knows are answered by all ones alone", right, i);
}

/* ---------------------------------------------------------------- what is no call */

static void other_magic(void)
{
    static const u32 magics[] = {0, MAGIC - 1, MAGIC ^ 0x80000000, 0x456c6d6f};
    unsigned i, right = 0;

    for (i = 0; i < ARRAY_SIZE(magics); i++) {
        bool kept;
        struct frame f = call(magics[i], CALL_HZ, &kept);

        right += kept && f.rax == ALL && f.rbx == (DIRTY | ALL) && f.rcx == (DIRTY | CALL_HZ);
    }
    ok(right == i, "with another magic it is an empty port: %u of %u", right, i);
}

static void other_instructions(void)
{
    static const struct {
        const char *name;
        u8 code[3], bytes;
        u64 rax;
    } rows[] = {
        {"IN AL", {0xec}, 1, DIRTY | (MAGIC & ~0xffu) | 0xff},
        {"IN AX", {0x66, 0xed}, 2, DIRTY | MAGIC | 0xffff},
        {"OUT EAX", {0xef}, 1, DIRTY | MAGIC},
        {"INSD", {0x6d}, 1, DIRTY | MAGIC},
        {"REP INSD, 0 times", {0xf3, 0x6d}, 2, DIRTY | MAGIC},
    };
    static volatile u32 target;

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct frame before = call_frame(MAGIC, CALL_HZ), after;
        bool string = rows[i].code[rows[i].bytes - 1] == 0x6d;

        target = 0;
        if (string)
            before.rdi = (u64)&target;
        if (rows[i].bytes == 2 && string)
            before.rcx = 0;
        after = before;
        put_site(rows[i].code, rows[i].bytes);
        long_run(&after);
        if (string && rows[i].bytes == 1) {
            ok(target == 0xffffffff && after.rdi == before.rdi + 4, "INSD reads all ones: %x", target);
            before.rdi = after.rdi;
        }
        ok(rest_is_kept(&after, &before, rows[i].bytes) && after.rax == rows[i].rax &&
               after.rbx == before.rbx && after.rcx == before.rcx,
           "%s is no call: RAX %lx", rows[i].name, after.rax);
    }
}

static void other_ports(void)
{
    static const u16 ports[] = {PORT - 4, PORT - 1, PORT + 1, 0x5657};
    unsigned i, right = 0;

    for (i = 0; i < ARRAY_SIZE(ports); i++) {
        struct frame before = call_frame(MAGIC, CALL_HZ), after;

        before.rdx = ports[i];
        after = before;
        put_in_eax();
        long_run(&after);
        right += rest_is_kept(&after, &before, 1) && after.rax == ALL && after.rbx == before.rbx;
    }
    ok(right == i, "the ports around it are empty: %u of %u", right, i);
}

/* ---------------------------------------------------------------- who may call */

static const struct {
    const char *name;
    u16 code, ring;
    u32 flags;
    bool refused;
} callers[] = {
    {"64-bit code, ring 3, IOPL 3", SELECTOR_CODE_64, 3, IOPL_3, false},
    {"64-bit code, ring 3, IOPL 0", SELECTOR_CODE_64, 3, 0, true},
    {"32-bit code, ring 0", SELECTOR_CODE_32, 0, 0, false},
    {"32-bit code, ring 3, IOPL 3", SELECTOR_CODE_32, 3, IOPL_3, false},
    {"32-bit code, ring 3, IOPL 0", SELECTOR_CODE_32, 3, 0, true},
};

static void rings(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(callers); i++) {
        struct frame f = call_frame(MAGIC, CALL_VERSION);
        unsigned ring = callers[i].ring;

        f.cs = SELECTOR_RING(callers[i].code, ring);
        f.ss = ring ? SELECTOR_RING(SELECTOR_STACK - 8u, ring) : SELECTOR_DATA;
        f.rflags |= callers[i].flags;
        put_in_eax();
        long_run(&f);
        if (callers[i].refused)
            ok(f.vector == VECTOR_GP && !f.error && f.rip == SITE, "%s: #GP(0), as ports are",
               callers[i].name);
        else
            ok(f.vector == VECTOR_BACK && f.rax == 6 && (u32)f.rbx == MAGIC, "%s is answered",
               callers[i].name);
    }
}

/* Where the instruction does not stand alone lintel answers it on another way. */
static void behind_sti(void)
{
    u64 rax = DIRTY | MAGIC, rbx = DIRTY | ALL, rcx = DIRTY | CALL_HZ;

    asm volatile("sti; inl %%dx, %%eax; cli" : "+a"(rax), "+b"(rbx), "+c"(rcx) : "d"(PORT) : "memory");
    ok((rbx << 32 | rax) / 1000 == cpuid(LEAF_TIMING, 0).eax && rcx == LAPIC_TIMER_HZ,
       "behind STI it is the same call");
}

/* ---------------------------------------------------------------- stolen time */

static u64 steal_clock(u64 record)
{
    u64 rax = MAGIC, rbx = 0, rcx = CALL_STEAL;

    asm volatile("inl %%dx, %%eax"
                 : "+a"(rax), "+b"(rbx), "+c"(rcx)
                 : "d"(PORT), "S"(record >> 32), "D"((u32)record)
                 : "memory");
    return rax;
}

static void steal_time(void)
{
    u64 address = (u64)&steal, before;

    ok(steal_clock(1) == 0, "stolen time is there, and off");
    steal.rest[0] = 0x123456789abcdef;
    ok(steal_clock(address) == 1, "it is on");
    ok(steal.rest[0] == 0x123456789abcdef, "it has one word of the record alone");
    before = steal.ticks;
    lintel_call0(LINTEL_CALL_YIELD);
    ok(steal.ticks >= before && steal.ticks < 1ull << 50, "%lu ticks are stolen", steal.ticks);
    ok(steal_clock(address + 8) == 0 && steal_clock(address + 32) == 0, "a record must be aligned to 64");
    ok(steal_clock(0xfee00000) == 0 && steal_clock(1ull << 40) == 0 && steal_clock(~63ull) == 0,
       "it must be in RAM");
    ok(steal_clock(address) == 1 && steal_clock(1) == 0, "on and off again");
}

void guest_main(void)
{
    plan(9 + 4 + 1 + 1 + 6 + 1 + 5 + 1 + 7);
    modes_setup();
    leaves();
    calls();
    unknown_calls();
    other_magic();
    other_instructions();
    other_ports();
    rings();
    behind_sti();
    steal_time();
}
