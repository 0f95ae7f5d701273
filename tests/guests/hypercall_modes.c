/* SPDX-License-Identifier: MIT */
/*
 * Both call instructions in every mode and ring: performed in ring 0 of protected and long mode, refused
 * elsewhere (-EPERM, nothing rewritten). Outside 64-bit mode upper halves of registers do not count. Each
 * time nothing but RAX and RIP changes. 5-level paging is never offered; a kernel that switches it on
 * unasked, on a CPU that has it (word "five-levels"), can call all the same.
 */
#include "guest/pv/lintel.h"
#include "lib/io.h"
#include "lib/modes.h"
#include "lib/tap.h"

#define VMCALL     0xc1
#define VMMCALL    0xd9
#define SITE_BYTES 5 /* the call; INT 0x80 */
#define SITE       (MODES_LOW + MODES_SITE)
#define STACK      (MODES_LOW + 0x8000)
#define FLAGS      0x8d7 /* all arithmetic ones */
#define IOPL_3     0x3000
#define FLAG_VM    BIT(17)
#define CR0_PG     0x80000000u
#define CR4_PSE    0x10
#define CR4_PAE    0x20
#define DIRTY      0xdeadbeef00000000ull

extern u64 page_table_4[512];

static u8 native;
static volatile u8 *const site = (u8 *)SITE;

/* Call VERSION or FEATURES: a mode that may not call gets -EPERM for either. */
struct expected {
    bool allowed, wide;
};

static void put_site(u8 third)
{
    static const u8 rest[] = {0xcd, VECTOR_BACK};

    site[0] = 0x0f;
    site[1] = 0x01;
    site[2] = third;
    site[3] = rest[0];
    site[4] = rest[1];
}

/* Rewritten where the call was performed, else as it was; the bytes around never change. */
static bool bytes_right(u8 third, bool allowed)
{
    return site[0] == 0x0f && site[1] == 0x01 && site[2] == (allowed ? native : third) && site[3] == 0xcd;
}

static u64 result_of(struct expected e)
{
    s64 result = e.allowed ? (2 << LINTEL_FEATURE_SYSTEM_POWER) - 1 : -LINTEL_EPERM;

    return e.wide ? (u64)result : (u32)result;
}

static void report(const char *name, u8 third, struct expected e, bool right, u64 rax, u64 vector)
{
    bool bytes = bytes_right(third, e.allowed);

    ok(right && bytes && vector == VECTOR_BACK && rax == result_of(e), "%s: %s is %s", name,
       third == VMCALL ? "VMCALL" : "VMMCALL", e.allowed ? "performed" : "refused");
    if (!right || !bytes || vector != VECTOR_BACK || rax != result_of(e))
        say("rax %lx, vector %lx, third byte %x, the rest %s", rax, vector, site[2],
            right ? "is kept" : "has changed");
}

/* ---------------------------------------------------------------- long mode */

static struct frame start_frame(u16 code, unsigned ring, u64 upper)
{
    return (struct frame){
        .rax = upper | LINTEL_CALL_FEATURES,
        .rbx = upper, /* word 0 */
        .rcx = upper | 1,
        .rdx = upper | 2,
        .rsi = upper | 6,
        .rdi = upper | 7,
        .rbp = upper | 5,
        .r8 = 0x108,
        .r9 = 0x109,
        .r10 = 0x10a,
        .r11 = 0x10b,
        .r12 = 0x10c,
        .r13 = 0x10d,
        .r14 = 0x10e,
        .r15 = 0x10f,
        .rip = code == SELECTOR_CODE_16 ? MODES_SITE : SITE,
        .cs = SELECTOR_RING(code, ring),
        .rflags = FLAGS | IOPL_3,
        .rsp = STACK,
        .ss = ring ? SELECTOR_RING(SELECTOR_STACK - 8u, ring) : SELECTOR_DATA,
    };
}

static bool frames_agree(const struct frame *a, const struct frame *b)
{
    return a->rbx == b->rbx && a->rcx == b->rcx && a->rdx == b->rdx && a->rsi == b->rsi && a->rdi == b->rdi &&
           a->rbp == b->rbp && a->r8 == b->r8 && a->r9 == b->r9 && a->r10 == b->r10 && a->r11 == b->r11 &&
           a->r12 == b->r12 && a->r13 == b->r13 && a->r14 == b->r14 && a->r15 == b->r15 && a->cs == b->cs &&
           a->rflags == b->rflags && a->rsp == b->rsp && a->ss == b->ss && a->rip == b->rip + SITE_BYTES;
}

static void try_long(const char *name, u16 code, unsigned ring, u8 third)
{
    struct expected e = {.allowed = ring == 0, .wide = code == SELECTOR_CODE_64};
    struct frame before = start_frame(code, ring, e.wide ? 0 : DIRTY), after = before;

    put_site(third);
    long_run(&after);
    report(name, third, e, frames_agree(&after, &before), after.rax, after.vector);
}

static const struct {
    const char *name;
    u16 code, ring;
} long_modes[] = {
    {"64-bit mode, ring 0", SELECTOR_CODE_64, 0},
    {"64-bit mode, ring 1", SELECTOR_CODE_64, 1},
    {"64-bit mode, ring 2", SELECTOR_CODE_64, 2},
    {"64-bit mode, ring 3", SELECTOR_CODE_64, 3},
    {"compatibility, ring 0", SELECTOR_CODE_32, 0},
    {"compatibility, ring 1", SELECTOR_CODE_32, 1},
    {"compatibility, ring 2", SELECTOR_CODE_32, 2},
    {"compatibility, ring 3", SELECTOR_CODE_32, 3},
    {"compatibility, 16 bits, ring 0", SELECTOR_CODE_16, 0},
    {"compatibility, 16 bits, ring 1", SELECTOR_CODE_16, 1},
    {"compatibility, 16 bits, ring 2", SELECTOR_CODE_16, 2},
    {"compatibility, 16 bits, ring 3", SELECTOR_CODE_16, 3},
};

/* ---------------------------------------------------------------- protected and real mode */

enum paging { PAGING_NONE, PAGING_32, PAGING_PAE };

static const struct {
    const char *name;
    u16 code, ring;
    enum paging paging;
    u32 flags;
    bool real;
} legacy_modes[] = {
    {"protected mode", SELECTOR_CODE_32, 0, PAGING_NONE, 0, false},
    {"protected mode, 32-bit paging", SELECTOR_CODE_32, 0, PAGING_32, 0, false},
    {"protected mode, PAE", SELECTOR_CODE_32, 0, PAGING_PAE, 0, false},
    {"protected mode, ring 1", SELECTOR_CODE_32, 1, PAGING_NONE, 0, false},
    {"protected mode, ring 2, PAE", SELECTOR_CODE_32, 2, PAGING_PAE, 0, false},
    {"protected mode, ring 3, 32-bit paging", SELECTOR_CODE_32, 3, PAGING_32, 0, false},
    {"16-bit protected mode", SELECTOR_CODE_16, 0, PAGING_NONE, 0, false},
    {"16-bit protected mode, 32-bit paging", SELECTOR_CODE_16, 0, PAGING_32, 0, false},
    {"16-bit protected mode, PAE", SELECTOR_CODE_16, 0, PAGING_PAE, 0, false},
    {"16-bit protected mode, ring 1", SELECTOR_CODE_16, 1, PAGING_NONE, 0, false},
    {"16-bit protected mode, ring 2, 32-bit paging", SELECTOR_CODE_16, 2, PAGING_32, 0, false},
    {"16-bit protected mode, ring 3, PAE", SELECTOR_CODE_16, 3, PAGING_PAE, 0, false},
    {"virtual-8086 mode", 0, 3, PAGING_NONE, FLAG_VM, false},
    {"virtual-8086 mode, PAE", 0, 3, PAGING_PAE, FLAG_VM, false},
    {"real mode", 0, 0, PAGING_NONE, 0, true},
};

static void fill_place(struct legacy *l, u16 code, unsigned ring, bool low)
{
    l->eip = low || code == SELECTOR_CODE_16 ? MODES_SITE : SITE;
    l->cs = low ? MODES_LOW >> 4 : SELECTOR_RING(code, ring);
    l->esp = low ? 0x8000 : STACK;
    l->ss = low ? MODES_LOW >> 4 : SELECTOR_RING(SELECTOR_STACK - 8u, ring);
}

static void fill_paging(struct legacy *l, enum paging paging)
{
    l->cr0 = paging == PAGING_NONE ? 0 : CR0_PG;
    l->cr3 = paging == PAGING_PAE ? modes_cr3_pae() : modes_cr3_32();
    l->cr4 = paging == PAGING_PAE ? CR4_PAE : CR4_PSE;
}

static bool legacy_agrees(const struct legacy *a, const struct legacy *b)
{
    return a->ebx == b->ebx && a->ecx == b->ecx && a->edx == b->edx && a->esi == b->esi && a->edi == b->edi &&
           a->ebp == b->ebp && (u16)a->cs == b->cs && a->eip == b->eip + SITE_BYTES &&
           (b->real || a->eflags == b->eflags);
}

static void try_legacy(unsigned row, u8 third)
{
    u32 flags = FLAGS | IOPL_3 | legacy_modes[row].flags;
    bool low = legacy_modes[row].flags || legacy_modes[row].real;
    struct expected e = {.allowed = !low && legacy_modes[row].ring == 0};
    struct legacy before = {.eax = LINTEL_CALL_FEATURES, .ebx = 0, .ecx = 1, .edx = 2, .esi = 6, .edi = 7};
    struct legacy after;

    if (legacy_modes[row].flags && word_given("no-virtual-8086")) {
        ok(true, "%s # SKIP can't", legacy_modes[row].name);
        return;
    }
    before.ebp = 5;
    before.eflags = flags;
    before.real = legacy_modes[row].real;
    fill_place(&before, legacy_modes[row].code, legacy_modes[row].ring, low);
    fill_paging(&before, legacy_modes[row].paging);
    after = before;
    put_site(third);
    legacy_run(&after);
    report(legacy_modes[row].name, third, e, legacy_agrees(&after, &before), after.eax, after.vector);
    if (!legacy_agrees(&after, &before))
        say("eip %x cs %x eflags %x ebx %x error %x", after.eip, after.cs, after.eflags, after.ebx,
            after.error);
}

/* ---------------------------------------------------------------- five levels */

static void try_five_levels(u8 third)
{
    static u64 table_5[512] ALIGNED(4096);
    struct legacy l = {.eax = LINTEL_CALL_FEATURES, .eip = (u32)(u64)five_levels, .eflags = FLAGS};

    if (!word_given("five-levels")) {
        ok(true, "5-level paging # SKIP not told that the CPU has it");
        return;
    }
    table_5[0] = table_5[4] = (u64)page_table_4 | 7;
    l.edi = (u32)(u64)table_5;
    l.cs = SELECTOR_CODE_32;
    fill_paging(&l, PAGING_NONE);
    put_site(third);
    site[3] = 0xc3; /* RET */
    legacy_run(&l);
    ok(l.vector == VECTOR_BACK && l.eax == result_of((struct expected){.allowed = true, .wide = true}) &&
           site[2] == native,
       "5-level paging: %s is performed", third == VMCALL ? "VMCALL" : "VMMCALL");
}

/* ---------------------------------------------------------------- what is no call */

/* #UD of user programs and of old modes is theirs, with vector 6 and no error code on the stack. */
static void undefined_elsewhere(void)
{
    struct frame frame = start_frame(SELECTOR_CODE_64, 3, 0), before = frame;
    struct legacy legacy = {.eflags = FLAGS};

    put_site(0xc5); /* 0F 01 C5: nobody's */
    long_run(&frame);
    ok(frame.vector == VECTOR_UD && frame.error == 0 && frame.rip == before.rip && frame.cs == before.cs &&
           frame.rsp == before.rsp,
       "another undefined instruction in ring 3 is #UD without error code: vector %lu", frame.vector);
    frame = start_frame(SELECTOR_CODE_32, 0, 0);
    long_run(&frame);
    ok(frame.vector == VECTOR_UD && frame.rip == SITE, "in compatibility mode: vector %lu", frame.vector);
    fill_place(&legacy, SELECTOR_CODE_32, 3, false);
    fill_paging(&legacy, PAGING_PAE);
    legacy_run(&legacy);
    ok(legacy.vector == VECTOR_UD && legacy.eip == SITE && (legacy.cs & 3) == 3 && legacy.esp == STACK,
       "in ring 3 of protected mode: vector %u at %x", legacy.vector, legacy.eip);
    legacy = (struct legacy){.real = 1};
    legacy_run(&legacy);
    ok(legacy.vector == VECTOR_UD && (u16)legacy.eip == MODES_SITE, "in real mode: vector %u at %x",
       legacy.vector, legacy.eip);
}

void guest_main(void)
{
    static const u8 both[] = {VMCALL, VMMCALL};
    unsigned i, k;

    plan(2 * ARRAY_SIZE(long_modes) + 2 * ARRAY_SIZE(legacy_modes) + 2 + 4);
    native = cpuid(0, 0).ebx == 0x756e6547 ? VMCALL : VMMCALL; /* GenuineIntel */
    if (word_given("vmmcall"))
        native = VMMCALL; /* QEMU can give SVM that name */
    modes_setup();
    for (i = 0; i < ARRAY_SIZE(long_modes); i++)
        for (k = 0; k < 2; k++)
            try_long(long_modes[i].name, long_modes[i].code, long_modes[i].ring, both[k]);
    for (i = 0; i < ARRAY_SIZE(legacy_modes); i++)
        for (k = 0; k < 2; k++)
            try_legacy(i, both[k]);
    for (k = 0; k < 2; k++)
        try_five_levels(both[k]);
    undefined_elsewhere();
}
