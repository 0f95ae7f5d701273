/* SPDX-License-Identifier: MIT */
// sources: arch/x86/svm/asid.c
/* No vCPU sees another's translations in the TLB. No emulator keeps them over an exit: a model does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/svm/svm.h"

#define ASIDS 4
#define VCPUS 6

struct svm_features svm_features;

static struct svm_asids asids;
static struct svm_vcpu *vcpus;
static int tlb[ASIDS]; /* whose translations each ASID has; -1: none */

static int setup(void **state)
{
    (void)state;
    svm_features = (struct svm_features){.asids = ASIDS};
    svm_asids_init(&asids);
    vcpus = calloc(VCPUS, sizeof(*vcpus));
    memset(tlb, -1, sizeof(tlb));
    return vcpus == NULL;
}

static int teardown(void **state)
{
    (void)state;
    free(vcpus);
    return 0;
}

/* As VMRUN: flush what is asked for, then fill the TLB under this ASID, which may hold nobody else's. */
static void enter(unsigned which)
{
    struct vmcb_control *control = &vcpus[which].vmcb.control;

    svm_asid_enter(&asids, &vcpus[which]);
    assert_in_range(control->asid, 1, ASIDS - 1);
    for (unsigned i = 0; i < ASIDS; i++)
        if (control->tlb_control == TLB_FLUSH_ALL ||
            (control->tlb_control == TLB_FLUSH_ASID && i == control->asid))
            tlb[i] = -1;
    control->tlb_control = TLB_KEEP;
    assert_true(tlb[control->asid] == -1 || tlb[control->asid] == (int)which);
    tlb[control->asid] = (int)which;
}

static void give(unsigned which)
{
    svm_asid_give(&asids, 0, &vcpus[which]);
}

static void test_in_turns(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        give(i % VCPUS);
        enter(i % VCPUS);
    }
}

/* The vCPU that began the new generation gives its turn away before it enters. */
static void test_the_flush_outlives_a_turn(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        give(i);
        enter(i);
    }
    give(3);
    give(4);
    enter(4);
    enter(3);
}

/* The vCPU that began the new generation has its own translations to flush, too: the greater flush counts. */
static void test_the_flush_is_not_weakened(void **state)
{
    (void)state;
    svm_features.flush_by_asid = true;
    for (unsigned i = 0; i < 3; i++) {
        give(i);
        enter(i);
    }
    give(3);
    svm_asid_flush(&asids, 0, &vcpus[3]);
    enter(3);
    give(4);
    enter(4);
}

static void test_a_vcpu_forgets_its_own(void **state)
{
    u32 before;

    (void)state;
    give(0);
    enter(0);
    before = vcpus[0].vmcb.control.asid;
    svm_asid_flush(&asids, 0, &vcpus[0]);
    assert_int_not_equal(vcpus[0].vmcb.control.asid, before);
    svm_features.flush_by_asid = true;
    svm_asid_flush(&asids, 0, &vcpus[0]);
    enter(0);
    assert_int_equal(tlb[vcpus[0].vmcb.control.asid], 0);
    /* Elsewhere it gets another one, even if it comes back. */
    svm_asid_give(&asids, 1, &vcpus[0]);
    assert_int_equal(vcpus[0].asid_cpu, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_in_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_flush_outlives_a_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_flush_is_not_weakened, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_vcpu_forgets_its_own, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
