/* SPDX-License-Identifier: MIT */
// sources: arch/x86/vmx/features.c hv/lib/printf.c hv/lib/string.c
/*
 * The verdicts on a CPU's VMX: what lintel refuses and by which name, what it uses. Values as CPU models
 * report them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/vmx/vmx.h"
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"

#define LOCKED_ON 5

/* A Haswell (Bochs 2.7): the TRUE controls, the EPT and VPID capabilities. */
static const struct vmx_capabilities haswell = {
    .basic = 0x00d810000000002b,
    .feature_control = LOCKED_ON,
    .pin = 0x0000007f00000016,
    .processor = 0xf7f9fffe04006172,
    .processor2 = 0x00047fffull << 32,
    .exit = 0x007fffff00036dfb,
    .entry = 0x0000ffff000011fb,
    .misc = 0x200401e0,
    .ept_vpid = 0x00000f0106334141,
    .cr0_fixed0 = 0x80000021,
    .cr0_fixed1 = 0xffffffff,
    .cr4_fixed0 = 0x2000,
    .cr4_fixed1 = 0x001727ff,
    .vmx = true,
};

/* Models differ in the secondary controls, EPT and the revision. */
static const struct model {
    const char *name;
    u32 processor2;
    u64 ept_vpid;
    const char *sentence; /* NULL: it is good */
    bool pages_1g, vpid, pause_loop, invpcid;
} models[] = {
    {"core2_penryn", 0x00000041, 0, "\"EPT\"", false, false, false, false},
    {"corei5_lynnfield", 0x0000007f, 0x0f0106114141, "\"unrestricted guest\"", false, false, false, false},
    {"corei5_arrandale", 0x000000ff, 0x0f0106114141, NULL, false, true, false, false},
    {"corei7_ivy_bridge", 0x000008ff, 0x0f0106114141, NULL, false, true, false, false},
    {"corei7_haswell", 0x00047fff, 0x0f0106334141, NULL, true, true, true, true},
    {"broadwell_ult", 0x00057fff, 0x0f0106334141, NULL, true, true, true, true},
    {"corei7_skylake_x", 0x02177fff, 0x0f0106334141, NULL, true, true, true, true},
    {"corei3_cnl", 0x02157cff, 0x0f0106334141, NULL, true, true, true, true},
    {"corei7_icelake_u", 0x02977fff, 0x0f0106334141, NULL, true, true, true, true},
    {"tigerlake", 0x02977fff, 0x0f0106b34141, NULL, true, true, true, true},
};

static int decide(const struct vmx_capabilities *c, char *why, size_t size)
{
    memset(&vmx_features, 0, sizeof(vmx_features));
    why[0] = '\0';
    return vmx_decide(c, why, size);
}

static void test_models(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        const struct model *model = &models[i];
        struct vmx_capabilities c = haswell;
        char why[200];
        int result;

        c.processor2 = (u64)model->processor2 << 32;
        c.ept_vpid = model->ept_vpid;
        result = decide(&c, why, sizeof(why));
        if (result != (model->sentence ? -ENOTSUP : 0))
            fail_msg("%s: verdict %d, said \"%s\"", model->name, result, why);
        if (model->sentence && !strstr(why, model->sentence))
            fail_msg("%s: said \"%s\"", model->name, why);
        if (vmx_features.pages_1g != model->pages_1g || vmx_features.vpid != model->vpid ||
            vmx_features.pause_loop != model->pause_loop ||
            !!(vmx_features.processor2 & BIT(12)) != model->invpcid)
            fail_msg("%s: wrong features", model->name);
    }
}

#define AT(field) offsetof(struct vmx_capabilities, field)

/*
 * SDM 3C, tables 25-5 to 25-8, 25-13, 25-15: what must be allowed to be 1, and what must be allowed to be 0.
 */
static const struct control {
    size_t word;
    u8 bit;
    bool must_be_off;
    const char *name;
} controls[] = {
    {AT(pin), 0, false, "external-interrupt exiting"},
    {AT(pin), 3, false, "NMI exiting"},
    {AT(pin), 5, false, "virtual NMIs"},
    {AT(processor), 3, false, "TSC offsetting"},
    {AT(processor), 7, false, "HLT exiting"},
    {AT(processor), 9, true, "INVLPG exiting"},
    {AT(processor), 10, false, "MWAIT exiting"},
    {AT(processor), 11, false, "RDPMC exiting"},
    {AT(processor), 12, true, "RDTSC exiting"},
    {AT(processor), 15, true, "CR3-load exiting"},
    {AT(processor), 16, true, "CR3-store exiting"},
    {AT(processor), 19, false, "CR8-load exiting"},
    {AT(processor), 20, false, "CR8-store exiting"},
    {AT(processor), 23, true, "MOV-DR exiting"},
    {AT(processor), 24, false, "unconditional I/O exiting"},
    {AT(processor), 28, false, "MSR bitmaps"},
    {AT(processor), 29, false, "MONITOR exiting"},
    {AT(processor), 31, false, "secondary controls"},
    {AT(processor2), 1, false, "EPT"},
    {AT(processor2), 7, false, "unrestricted guest"},
    {AT(exit), 9, false, "host address-space size"},
    {AT(exit), 15, true, "acknowledge interrupt on exit"},
    {AT(exit), 18, false, "save IA32_PAT"},
    {AT(exit), 19, false, "load IA32_PAT at exit"},
    {AT(exit), 20, false, "save IA32_EFER"},
    {AT(exit), 21, false, "load IA32_EFER at exit"},
    {AT(entry), 14, false, "load IA32_PAT at entry"},
    {AT(entry), 15, false, "load IA32_EFER at entry"},
};

static u64 *word_of(struct vmx_capabilities *c, size_t at)
{
    return (u64 *)(void *)((u8 *)c + at);
}

static void test_each_control_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(controls); i++) {
        const struct control *control = &controls[i];
        struct vmx_capabilities c = haswell;
        char why[200], name[64];
        int result;

        if (control->must_be_off)
            *word_of(&c, control->word) |= BIT(control->bit);
        else
            *word_of(&c, control->word) &= ~(BIT(control->bit + 32) | BIT(control->bit));
        result = decide(&c, why, sizeof(why));
        snprintf(name, sizeof(name), "\"%s\"", control->name);
        if (result != -ENOTSUP || !strstr(why, name) ||
            !strstr(why, control->must_be_off ? "can't leave off" : "can't do"))
            fail_msg("%s: verdict %d, said \"%s\"", control->name, result, why);
    }
}

/* What is merely wanted is left off where the CPU lacks it; what the CPU forces on stays on. */
static void test_wanted(void **state)
{
    struct vmx_capabilities c = haswell;
    char why[200];

    (void)state;
    assert_int_equal(decide(&c, why, sizeof(why)), 0);
    assert_int_equal(vmx_features.pin, 0x16 | 0x1 | 0x8 | 0x20 | 0x40);
    assert_int_equal(vmx_features.revision, 0x2b);
    assert_true(vmx_features.invept_single && vmx_features.invvpid_single);
    assert_int_equal(vmx_features.cr0_set, 0x20);
    assert_int_equal(vmx_features.cr4_set, 0x2000);
    assert_int_equal(vmx_features.timer_shift, 0);
    c.misc = 5;
    c.processor2 &= ~(BIT(32 + 3) | BIT(32 + 5) | BIT(32 + 6) | BIT(32 + 10) | BIT(32 + 12));
    c.pin &= ~BIT(32 + 6);
    assert_int_equal(decide(&c, why, sizeof(why)), 0);
    assert_int_equal(vmx_features.processor2 & (BIT(3) | BIT(5) | BIT(6) | BIT(10) | BIT(12)), 0);
    assert_int_equal(vmx_features.pin & BIT(6), 0);
    assert_false(vmx_features.vpid || vmx_features.pause_loop);
    assert_int_equal(vmx_features.timer_shift, 5);
}

/* CR8 exits where no shadow of the TPR stands behind it, or where the CPU insists. */
static void test_tpr_shadow(void **state)
{
    const u64 cr8_exits = BIT(19) | BIT(20), shadow = BIT(21);
    struct vmx_capabilities c = haswell;
    char why[200];

    (void)state;
    assert_int_equal(decide(&c, why, sizeof(why)), 0);
    assert_true(vmx_features.tpr_shadow);
    assert_int_equal(vmx_features.processor & (cr8_exits | shadow), shadow);
    c.processor |= BIT(19);
    assert_int_equal(decide(&c, why, sizeof(why)), 0);
    assert_int_equal(vmx_features.processor & (cr8_exits | shadow), shadow | BIT(19));
    c.processor = haswell.processor & ~(shadow << 32);
    assert_int_equal(decide(&c, why, sizeof(why)), 0);
    assert_false(vmx_features.tpr_shadow);
    assert_int_equal(vmx_features.processor & (cr8_exits | shadow), cr8_exits);
}

/*
 * Registers are virtualised both ways or not at all, and never without the TPR shadow; controls follow the
 * guest. The delivery of interrupts and posted ones are found and left off.
 */
static void test_virtual_apic(void **state)
{
    static const u8 needed[] = {0, 4, 8}; /* the window, x2APIC mode, the registers */
    const u64 all = BIT(0) | BIT(4) | BIT(8) | BIT(9);
    struct vmx_capabilities c = haswell;
    char why[200];

    (void)state;
    c.pin |= BIT(32 + 7);
    assert_int_equal(decide(&c, why, sizeof(why)), 0);
    assert_true(vmx_features.apic_registers);
    assert_true(vmx_features.interrupt_delivery && vmx_features.posted_interrupts);
    assert_int_equal(vmx_features.processor2 & all, 0);
    assert_int_equal(vmx_features.pin & BIT(7), 0);
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
        c = haswell;
        c.processor2 &= ~BIT(32 + needed[i]);
        assert_int_equal(decide(&c, why, sizeof(why)), 0);
        assert_true(vmx_features.tpr_shadow);
        assert_false(vmx_features.apic_registers);
    }
    c = haswell;
    c.processor &= ~BIT(32 + 21);
    assert_int_equal(decide(&c, why, sizeof(why)), 0);
    assert_false(vmx_features.apic_registers);
    c = haswell;
    c.processor2 &= ~BIT(32 + 9);
    assert_int_equal(decide(&c, why, sizeof(why)), 0);
    assert_true(vmx_features.apic_registers && !vmx_features.interrupt_delivery);
    assert_false(vmx_features.posted_interrupts);
}

/* EPT: each of four levels, write-back, 2 MiB pages, INVEPT and its type "all" is needed. */
static void test_ept(void **state)
{
    static const u8 needed[] = {6, 14, 16, 20, 26};
    struct vmx_capabilities c;
    char why[200];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
        c = haswell;
        c.ept_vpid &= ~BIT(needed[i]);
        if (decide(&c, why, sizeof(why)) != -ENOTSUP || !strstr(why, "EPT lacks"))
            fail_msg("bit %u: said \"%s\"", needed[i], why);
    }
    /* VPIDs that can't be flushed one by one are of no use. */
    c = haswell;
    c.ept_vpid &= ~BIT(41);
    assert_int_equal(decide(&c, why, sizeof(why)), 0);
    assert_false(vmx_features.vpid || vmx_features.processor2 & BIT(5));
    /* Accessed and dirty, where the CPU has them. */
    assert_int_equal(vmx_features.ept_flags, 6 | 3 << 3 | BIT(6));
    c.ept_vpid &= ~BIT(21);
    assert_int_equal(decide(&c, why, sizeof(why)), 0);
    assert_int_equal(vmx_features.ept_flags, 6 | 3 << 3);
}

static void test_feature_control(void **state)
{
    struct vmx_capabilities c = haswell;
    char why[300];

    (void)state;
    assert_int_equal(decide(&c, why, sizeof(why)), 0);
    assert_false(vmx_features.must_lock);
    c.feature_control = 0;
    assert_int_equal(decide(&c, why, sizeof(why)), 0);
    assert_true(vmx_features.must_lock);
    for (u64 locked_off = 1; locked_off <= 3; locked_off += 2) { /* 3: inside SMX alone */
        c.feature_control = locked_off;
        assert_int_equal(decide(&c, why, sizeof(why)), -EPERM);
        assert_non_null(strstr(why, "locked off by the firmware"));
    }
    c = haswell;
    c.vmx = false;
    assert_int_equal(decide(&c, why, sizeof(why)), -ENODEV);
    assert_non_null(strstr(why, "has no VMX"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),          cmocka_unit_test(test_each_control_is_named),
        cmocka_unit_test(test_wanted),          cmocka_unit_test(test_ept),
        cmocka_unit_test(test_feature_control), cmocka_unit_test(test_tpr_shadow),
        cmocka_unit_test(test_virtual_apic),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
