/* SPDX-License-Identifier: MIT */
// sources: arch/x86/svm/features.c hv/lib/printf.c hv/lib/string.c
/* The verdicts on a CPU's SVM: what lintel refuses and says, what it uses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/svm/svm.h"
#include "hv/lib/errno.h"

static const struct verdict {
    const char *what;
    struct cpuid leaf;
    u32 extended_max;
    bool svm;
    u64 vm_cr;
    int result;
    const char *sentence; /* a part of it */
} verdicts[] = {
    {"no SVM bit", {.ebx = 16, .edx = 1}, 0x8000001f, false, 0, -ENODEV, "has no SVM"},
    {"no SVM leaf", {0}, 0x80000008, true, 0, -ENODEV, "has no SVM"},
    {"locked off by firmware",
     {.ebx = 16, .edx = 1},
     0x8000001f,
     true,
     0x18,
     -EPERM,
     "locked off by the firmware"},
    {"disabled, not locked", {.ebx = 16, .edx = 1}, 0x8000001f, true, 0x10, -EPERM, "firmware"},
    {"no nested paging", {.ebx = 64, .edx = 2}, 0x8000001f, true, 0, -ENOTSUP, "no nested paging"},
    {"one ASID", {.ebx = 1, .edx = 1}, 0x8000001f, true, 0, -ENOTSUP, "address space identifiers"},
    {"QEMU's EPYC", {.ebx = 16, .edx = 1}, 0x8000001f, true, 0, 0, ""},
};

static void test_verdicts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++) {
        const struct verdict *v = &verdicts[i];
        char why[160] = "";

        if (svm_decide(&v->leaf, v->extended_max, v->svm, v->vm_cr, why, sizeof(why)) != v->result)
            fail_msg("%s: wrong verdict", v->what);
        if (!strstr(why, v->sentence))
            fail_msg("%s: said \"%s\"", v->what, why);
    }
}

/* Each feature bit of CPUID 8000000A EDX switches exactly its own use on. */
static void test_features(void **state)
{
    struct cpuid leaf = {.ebx = 32768, .edx = 1};
    char why[160];

    (void)state;
    assert_int_equal(svm_decide(&leaf, 0x8000001f, true, 0, why, sizeof(why)), 0);
    assert_false(svm_features.next_rip || svm_features.decode_assists || svm_features.flush_by_asid ||
                 svm_features.pause_filter || svm_features.pause_threshold || svm_features.clean_mask);
    assert_int_equal(svm_features.asids, 32768);
    leaf.edx = 1 | 1u << 3 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 10 | 1u << 12;
    assert_int_equal(svm_decide(&leaf, 0x8000001f, true, 0, why, sizeof(why)), 0);
    assert_true(svm_features.next_rip && svm_features.decode_assists && svm_features.flush_by_asid &&
                svm_features.pause_filter && svm_features.pause_threshold);
    assert_int_equal(svm_features.clean_mask, CLEAN_ALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_features),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
