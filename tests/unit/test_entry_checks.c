/* SPDX-License-Identifier: MIT */
// sources: arch/x86/vmx/entry_checks.c
/*
 * Why an entry failed, in words: states that a CPU would enter, one field (or two that go together) spoilt
 * per row, and the sentence that must come of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/vmx/vmx.h"

#define REASON_INVALID_GUEST (33 | BIT(31))
#define NONCANONICAL         0x0000800000000000ull
#define CODE_64              0xa09b /* L, G, present, execute/read, accessed */
#define CODE_32              0xc09b /* D, G */
#define DATA                 0xc093
#define BUSY_TASK            0x8b

/* What the sources ask of the machine. */
struct vmx_features vmx_features = {.cr0_set = CR0_NE, .cr4_set = BIT(13)};
struct cpu_features cpu_features = {.physical_bits = 40};

static u64 vmcs[0x8000];

u64 vmcs_read_raw(u32 field)
{
    return vmcs[field];
}

/* The field of one segment. */
#define SELECTOR(segment) (VMCS_GUEST_SELECTOR + 2 * (SEGMENT_##segment))
#define BASE(segment)     (VMCS_GUEST_BASE + 2 * (SEGMENT_##segment))
#define LIMIT(segment)    (VMCS_GUEST_LIMIT + 2 * (SEGMENT_##segment))
#define RIGHTS(segment)   (VMCS_GUEST_RIGHTS + 2 * (SEGMENT_##segment))

enum mode { MODE_64, MODE_PAE, MODE_REAL, MODE_V86, MODE_COUNT };

static void set_segments(u64 rights, u64 limit)
{
    for (u32 i = SEGMENT_ES; i <= SEGMENT_GS; i++) {
        vmcs[VMCS_GUEST_RIGHTS + 2 * i] = rights;
        vmcs[VMCS_GUEST_LIMIT + 2 * i] = limit;
    }
}

static void begin_long(void)
{
    vmcs[VMCS_GUEST_CR0] |= CR0_PE | CR0_PG;
    vmcs[VMCS_GUEST_CR4] |= CR4_PAE | CR4_PCIDE;
    vmcs[VMCS_GUEST_EFER] = EFER_LME | EFER_LMA;
    vmcs[VMCS_ENTRY_CONTROLS] = ENTRY_CONTROL_GUEST_64;
    vmcs[RIGHTS(CS)] = CODE_64;
    vmcs[VMCS_GUEST_RIP] = 0xffffffff80000000;
}

static void begin_pae(void)
{
    vmcs[VMCS_GUEST_CR0] |= CR0_PE | CR0_PG;
    vmcs[VMCS_GUEST_CR4] |= CR4_PAE;
    vmcs[VMCS_GUEST_PDPTE0] = 0x5001;
    vmcs[RIGHTS(CS)] = CODE_32;
}

static void begin_virtual_8086(void)
{
    vmcs[VMCS_GUEST_CR0] |= CR0_PE;
    vmcs[VMCS_GUEST_RFLAGS] |= RFLAGS_VM;
    set_segments(0xf3, 0xffff);
    vmcs[SELECTOR(ES)] = 0x1234;
    vmcs[BASE(ES)] = 0x12340;
}

/* A state that every check passes. */
static void begin(enum mode mode)
{
    memset(vmcs, 0, sizeof(vmcs));
    vmcs[VMCS_GUEST_CR0] = CR0_NE;
    vmcs[VMCS_GUEST_CR4] = BIT(13);
    vmcs[VMCS_GUEST_PAT] = 0x0007040600070406;
    vmcs[VMCS_GUEST_RFLAGS] = RFLAGS_FIXED | RFLAGS_IF;
    vmcs[VMCS_LINK_POINTER] = ~0ull;
    vmcs[RIGHTS(LDTR)] = RIGHTS_UNUSABLE;
    vmcs[RIGHTS(TR)] = BUSY_TASK;
    vmcs[LIMIT(TR)] = 0x67;
    set_segments(mode == MODE_REAL ? 0x93 : DATA, mode == MODE_REAL ? 0xffff : 0xffffffff);
    if (mode == MODE_64)
        begin_long();
    if (mode == MODE_PAE)
        begin_pae();
    if (mode == MODE_V86)
        begin_virtual_8086();
}

struct field {
    u32 at;
    u64 value;
};

#define INTERRUPT (EVENT_VALID | EVENT_TYPE_INTERRUPT | 0x30)
#define NMI       (EVENT_VALID | EVENT_TYPE_NMI | 2)

/* field.at 0 is the VPID, which no check reads: no field. */
static const struct row {
    const char *sentence;
    enum mode mode;
    struct field fields[2];
} rows[] = {
    {"CR0 has", MODE_64, {{VMCS_GUEST_CR0, CR0_PE | CR0_PG}}},
    {"CR0 has", MODE_REAL, {{VMCS_GUEST_CR0, CR0_NE | CR0_PG}}},
    {"CR0 has", MODE_64, {{VMCS_GUEST_CR0, CR0_PE | CR0_PG | CR0_NE | BIT(32)}}},
    {"CR4 has", MODE_64, {{VMCS_GUEST_CR4, CR4_PAE}}},
    {"CR4 has", MODE_64, {{VMCS_GUEST_CR4, CR4_PAE | BIT(13) | BIT(40)}}},
    {"a 64-bit guest without", MODE_64, {{VMCS_GUEST_CR0, CR0_PE | CR0_NE}}},
    {"a 64-bit guest without", MODE_64, {{VMCS_GUEST_CR4, BIT(13)}}},
    {"another one with CR4.PCIDE", MODE_PAE, {{VMCS_GUEST_CR4, BIT(13) | CR4_PAE | CR4_PCIDE}}},
    {"CR3 is beyond", MODE_64, {{VMCS_GUEST_CR3, BIT(40)}}},
    {"DR7 has", MODE_64, {{VMCS_GUEST_DR7, BIT(32)}}},
    {"a SYSENTER address", MODE_64, {{VMCS_GUEST_SYSENTER_ESP, NONCANONICAL}}},
    {"a SYSENTER address", MODE_64, {{VMCS_GUEST_SYSENTER_EIP, NONCANONICAL}}},
    {"PAT has", MODE_64, {{VMCS_GUEST_PAT, 0x0200000000000000}}},
    {"PAT has", MODE_64, {{VMCS_GUEST_PAT, 0x0300}}},
    {"PAT has", MODE_64, {{VMCS_GUEST_PAT, 0x08}}},
    {"EFER.LMA", MODE_64, {{VMCS_GUEST_EFER, EFER_LME}}},
    {"EFER.LMA", MODE_64, {{VMCS_GUEST_EFER, EFER_LMA}}},
    {"EFER.LMA", MODE_PAE, {{VMCS_GUEST_EFER, EFER_LME}}},
    {"TR is not", MODE_64, {{RIGHTS(TR), BUSY_TASK | RIGHTS_UNUSABLE}}},
    {"TR is not", MODE_64, {{RIGHTS(TR), 0x89}}},
    {"TR is not", MODE_64, {{RIGHTS(TR), 0x83}}}, /* of 16 bits */
    {"TR is not", MODE_64, {{RIGHTS(TR), 0x0b}}},
    {"TR is not", MODE_64, {{RIGHTS(TR), 0x9b}}},
    {"TR is not", MODE_64, {{SELECTOR(TR), 4}}},
    {"LDTR is neither", MODE_64, {{RIGHTS(LDTR), 0x81}}},
    {"LDTR is neither", MODE_64, {{RIGHTS(LDTR), 0x02}}},
    {"LDTR is neither", MODE_64, {{RIGHTS(LDTR), 0x92}}},
    {"LDTR is neither", MODE_64, {{RIGHTS(LDTR), 0x82}, {SELECTOR(LDTR), 0xc}}},
    {"virtual-8086", MODE_V86, {{RIGHTS(DS), 0x93}}},
    {"virtual-8086", MODE_V86, {{LIMIT(CS), 0xfffff}}},
    {"virtual-8086", MODE_V86, {{BASE(GS), 0x10}}},
    {"CS is no", MODE_64, {{RIGHTS(CS), 0xa08b}}}, /* not S */
    {"CS is no", MODE_64, {{RIGHTS(CS), 0xa01b}}}, /* not present */
    {"CS is no", MODE_64, {{RIGHTS(CS), 0xa09a}}}, /* not accessed */
    {"CS is no", MODE_64, {{RIGHTS(CS), 0xe09b}}}, /* L and D */
    {"SS is usable", MODE_64, {{RIGHTS(SS), 0xc091}}},
    {"SS is usable", MODE_64, {{RIGHTS(SS), 0xc09b}}},
    {"SS is usable", MODE_PAE, {{RIGHTS(SS), 0xc013}}},
    {"a data segment", MODE_64, {{RIGHTS(ES), 0xc092}}},
    {"a data segment", MODE_64, {{RIGHTS(DS), 0xc099}}}, /* code that can't be read */
    {"a data segment", MODE_64, {{RIGHTS(FS), 0xc083}}},
    {"a data segment", MODE_64, {{RIGHTS(GS), 0xc013}}},
    {"privilege levels", MODE_64, {{RIGHTS(SS), 0xc0f3}}},
    {"privilege levels", MODE_PAE, {{RIGHTS(CS), 0xc0fb}}},
    {"privilege levels", MODE_PAE, {{RIGHTS(CS), 0xc0ff}}}, /* conforming, ring 3 */
    {"privilege levels", MODE_REAL, {{RIGHTS(CS), 0xf3}}},
    {"privilege levels", MODE_REAL, {{RIGHTS(CS), 0xfb}, {RIGHTS(SS), 0xf3}}},
    {"reserved bits", MODE_64, {{RIGHTS(FS), DATA | BIT(8)}}},
    {"reserved bits", MODE_64, {{RIGHTS(TR), BUSY_TASK | BIT(17)}}},
    {"granularity", MODE_64, {{LIMIT(TR), 0x100000}}},
    {"granularity", MODE_64, {{LIMIT(DS), 0x1000}}},
    {"a segment's base", MODE_64, {{BASE(FS), NONCANONICAL}}},
    {"a segment's base", MODE_64, {{BASE(GS), NONCANONICAL}}},
    {"a segment's base", MODE_64, {{BASE(TR), NONCANONICAL}}},
    {"a segment's base", MODE_64, {{BASE(LDTR), NONCANONICAL}, {RIGHTS(LDTR), 0x82}}},
    {"a segment's base", MODE_64, {{BASE(CS), BIT(32)}}},
    {"a segment's base", MODE_64, {{BASE(SS), BIT(32)}}},
    {"GDTR or IDTR", MODE_64, {{VMCS_GUEST_GDTR_BASE, NONCANONICAL}}},
    {"GDTR or IDTR", MODE_64, {{VMCS_GUEST_IDTR_BASE, NONCANONICAL}}},
    {"GDTR or IDTR", MODE_64, {{VMCS_GUEST_GDTR_LIMIT, 0x10000}}},
    {"GDTR or IDTR", MODE_64, {{VMCS_GUEST_IDTR_LIMIT, 0x10000}}},
    {"RIP is not", MODE_64, {{VMCS_GUEST_RIP, NONCANONICAL}}},
    {"RIP is not", MODE_64, {{RIGHTS(CS), CODE_32}}}, /* compatibility code above 4 GiB */
    {"RIP is not", MODE_REAL, {{VMCS_GUEST_RIP, BIT(32)}}},
    {"RFLAGS has", MODE_64, {{VMCS_GUEST_RFLAGS, 0}}},
    {"RFLAGS has", MODE_64, {{VMCS_GUEST_RFLAGS, RFLAGS_FIXED | BIT(15)}}},
    {"RFLAGS has", MODE_V86, {{VMCS_GUEST_CR0, CR0_NE}}},
    {"is injected", MODE_64, {{VMCS_ENTRY_EVENT, INTERRUPT}, {VMCS_GUEST_RFLAGS, RFLAGS_FIXED}}},
    {"is injected", MODE_64, {{VMCS_ENTRY_EVENT, INTERRUPT}, {VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI}}},
    {"is injected", MODE_64, {{VMCS_ENTRY_EVENT, INTERRUPT}, {VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_MOV_SS}}},
    {"is injected", MODE_64, {{VMCS_ENTRY_EVENT, NMI}, {VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_MOV_SS}}},
    {"is injected", MODE_64, {{VMCS_ENTRY_EVENT, NMI}, {VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_NMI}}},
    {"STI blocking", MODE_64, {{VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI | BLOCKING_MOV_SS}}},
    {"STI blocking",
     MODE_64,
     {{VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI}, {VMCS_GUEST_RFLAGS, RFLAGS_FIXED}}},
    {"an activity state", MODE_64, {{VMCS_GUEST_ACTIVITY, 4}}},
    {"an activity state", MODE_64, {{VMCS_GUEST_ACTIVITY, 1}, {VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI}}},
    {"an activity state", MODE_V86, {{VMCS_GUEST_ACTIVITY, 1}}}, /* HLT in ring 3 */
    {"pending single step",
     MODE_64,
     {{VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI},
      {VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_TF}}},
    {"pending single step",
     MODE_64,
     {{VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_MOV_SS}, {VMCS_GUEST_PENDING_DEBUG, BIT(14)}}},
    {"pending single step", MODE_64, {{VMCS_GUEST_ACTIVITY, 1}, {VMCS_GUEST_PENDING_DEBUG, BIT(14)}}},
    {"link pointer", MODE_64, {{VMCS_LINK_POINTER, 0x1000}}},
    {"page-directory pointer", MODE_PAE, {{VMCS_GUEST_PDPTE0, 0x5003}}},
    {"page-directory pointer", MODE_PAE, {{VMCS_GUEST_PDPTE0 + 6, BIT(40) | 1}}},
};

static void spoil(const struct row *row)
{
    begin(row->mode);
    for (unsigned i = 0; i < 2; i++)
        if (row->fields[i].at)
            vmcs[row->fields[i].at] = row->fields[i].value;
}

static void test_each_check_finds_its_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *sentence;

        spoil(&rows[i]);
        sentence = vmx_explain_entry(REASON_INVALID_GUEST);
        if (!strstr(sentence, rows[i].sentence))
            fail_msg("row %zu: \"%s\" wanted, said \"%s\"", i, rows[i].sentence, sentence);
    }
}

/* Nothing is blamed that the CPU would enter. */
static void test_good_states(void **state)
{
    static const struct row good[] = {
        {"", MODE_64, {{SELECTOR(LDTR), 4}}}, /* unusable */
        {"", MODE_64, {{RIGHTS(DS), RIGHTS_UNUSABLE}, {BASE(DS), ~0ull}}},
        {"", MODE_64, {{RIGHTS(CS), 0xa0ff}, {RIGHTS(SS), 0xc0f3}}},
        {"", MODE_64, {{RIGHTS(CS), 0xa09f}, {RIGHTS(SS), 0xc0f3}}}, /* conforming, below SS */
        {"", MODE_64, {{RIGHTS(CS), 0xa099}}}, /* can't be read, as no data segment may be */
        {"", MODE_64, {{VMCS_ENTRY_EVENT, INTERRUPT}}},
        {"", MODE_64, {{VMCS_ENTRY_EVENT, INTERRUPT & ~EVENT_VALID}, {VMCS_GUEST_RFLAGS, RFLAGS_FIXED}}},
        {"", MODE_64, {{VMCS_GUEST_ACTIVITY, 1}}},
        {"", MODE_64, {{VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI}}},
        {"", MODE_PAE, {{RIGHTS(TR), 0x83}}},
        {"", MODE_PAE, {{VMCS_GUEST_PDPTE0 + 2, 0x1e6}}}, /* not present */
        {"", MODE_64, {{VMCS_GUEST_PDPTE0, ~0ull}}},      /* not used */
        {"", MODE_PAE, {{VMCS_GUEST_PDPTE0, ~0ull}, {VMCS_GUEST_CR0, CR0_NE | CR0_PE}}},
        {"", MODE_PAE, {{VMCS_GUEST_PDPTE0, ~0ull}, {VMCS_GUEST_CR4, BIT(13)}}},
    };

    (void)state;
    for (unsigned mode = 0; mode < MODE_COUNT; mode++) {
        begin(mode);
        if (!strstr(vmx_explain_entry(REASON_INVALID_GUEST), "lintel does not know"))
            fail_msg("mode %u: said \"%s\"", mode, vmx_explain_entry(REASON_INVALID_GUEST));
    }
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        spoil(&good[i]);
        if (!strstr(vmx_explain_entry(REASON_INVALID_GUEST), "lintel does not know"))
            fail_msg("row %zu: said \"%s\"", i, vmx_explain_entry(REASON_INVALID_GUEST));
    }
}

static void test_other_reasons(void **state)
{
    (void)state;
    begin(MODE_64);
    assert_non_null(strstr(vmx_explain_entry(34 | BIT(31)), "an MSR of the entry's list"));
    assert_non_null(strstr(vmx_explain_entry(41 | BIT(31)), "a machine check"));
}

static void test_instruction_errors(void **state)
{
    (void)state;
    assert_string_equal(vmx_explain_error(5), "VMRESUME with a VMCS that was not launched");
    assert_string_equal(vmx_explain_error(7), "invalid control fields");
    assert_string_equal(vmx_explain_error(28), "invalid operand to INVEPT or INVVPID");
    for (u32 i = 0; i < 40; i++)
        assert_true(strlen(vmx_explain_error(i)) > 10);
    assert_non_null(strstr(vmx_explain_error(0), "does not list"));
    assert_non_null(strstr(vmx_explain_error(14), "does not list"));
    assert_non_null(strstr(vmx_explain_error(~0u), "does not list"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_check_finds_its_field),
        cmocka_unit_test(test_good_states),
        cmocka_unit_test(test_other_reasons),
        cmocka_unit_test(test_instruction_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
