/* SPDX-License-Identifier: MIT */
// sources: arch/x86/vmx/inject.c
/*
 * Events into a VMX guest that no emulator here asks about: what masks NMIs and what only seems to, NMIs that
 * wait behind STI, an event that an exit interrupted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/exception.h"
#include "arch/x86/machine/lapic.h"
#include "arch/x86/vmx/vmx.h"

static u64 vmcs[0x8000];
static struct vmx_vcpu vmx;
static struct vcpu vcpu;
static unsigned kicks;

u64 vmcs_read_raw(u32 field)
{
    return vmcs[field];
}

void vmcs_write_raw(u32 field, u64 value)
{
    vmcs[field] = value;
}

u32 host_lapic_id(void)
{
    return 3;
}

void host_lapic_send_ipi(u32 to, u8 vector)
{
    assert_int_equal(to, 3);
    assert_int_equal(vector, HOST_VECTOR_KICK);
    kicks++;
}

static int setup(void **state)
{
    (void)state;
    memset(vmcs, 0, sizeof(vmcs));
    vmx = (struct vmx_vcpu){.processor = PROC_HLT};
    memset(&vcpu, 0, sizeof(vcpu));
    vcpu.engine = &vmx;
    vmcs[VMCS_GUEST_RFLAGS] = RFLAGS_IF;
    vmcs[VMCS_GUEST_CR0] = CR0_PE;
    kicks = 0;
    return 0;
}

static void inject_nmi(void)
{
    const struct vcpu_event nmi = {.type = EVENT_NMI, .vector = VECTOR_NMI};

    vmx_inject(&vcpu, &nmi);
}

/* What an exit leaves behind an entry that delivered the event. */
static void deliver(void)
{
    if ((vmcs[VMCS_ENTRY_EVENT] & EVENT_TYPE) == EVENT_TYPE_NMI)
        vmcs[VMCS_GUEST_INTERRUPTIBILITY] |= BLOCKING_NMI;
    vmcs[VMCS_ENTRY_EVENT] &= ~EVENT_VALID;
}

static void test_an_nmi_masks_the_next_until_iret(void **state)
{
    (void)state;
    assert_true(vmx_nmi_allowed(&vcpu));
    inject_nmi();
    assert_false(vmx_nmi_allowed(&vcpu)); /* it waits */
    deliver();
    assert_false(vmx_nmi_allowed(&vcpu));
    assert_false(vmx_nmi_allowed(&vcpu));
    vmcs[VMCS_GUEST_INTERRUPTIBILITY] = 0; /* IRET */
    assert_true(vmx_nmi_allowed(&vcpu));
}

/* Bochs 2.7: what the vCPU before had masked shows here. */
static void test_masking_of_another_vcpu_does_not_count(void **state)
{
    (void)state;
    assert_true(vmx_nmi_allowed(&vcpu));
    vmcs[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKING_NMI;
    assert_true(vmx_nmi_allowed(&vcpu));
    assert_int_equal(vmcs[VMCS_GUEST_INTERRUPTIBILITY], 0); /* an entry with an NMI would fail else */
    inject_nmi();
    deliver();
    assert_false(vmx_nmi_allowed(&vcpu));
}

/* A state that was set with NMIs masked is believed: nobody has seen them open. */
static void test_masking_that_was_there_from_the_start_counts(void **state)
{
    (void)state;
    vmcs[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKING_NMI;
    assert_false(vmx_nmi_allowed(&vcpu));
}

static void test_an_nmi_that_waits_has_masked_nothing(void **state)
{
    (void)state;
    inject_nmi();
    assert_int_equal(vmx_blocking(&vmx), 0);
    deliver();
    assert_int_equal(vmx_blocking(&vmx), BLOCKING_NMI);
}

static void test_an_iret_that_an_exit_interrupts_masks_again(void **state)
{
    (void)state;
    inject_nmi();
    deliver();
    vmcs[VMCS_GUEST_INTERRUPTIBILITY] = 0;
    vmx_mask_nmis_again();
    assert_false(vmx_nmi_allowed(&vcpu));
}

/* Some CPUs exit at once when the window is asked for behind STI: the guest would never get on. */
static void test_behind_sti_a_physical_interrupt_tells(void **state)
{
    (void)state;
    vmcs[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKING_STI;
    assert_false(vmx_nmi_allowed(&vcpu));
    vmx_nmi_window(&vcpu);
    assert_int_equal(vmx.processor, PROC_HLT);
    assert_int_equal(kicks, 1);
    assert_true(vcpu.requests & REQUEST_NMI);
}

static void test_elsewhere_the_window_tells(void **state)
{
    static const u32 blocking[] = {BLOCKING_MOV_SS, BLOCKING_NMI};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(blocking); i++) {
        vmx.nmis_open = false;
        vmcs[VMCS_GUEST_INTERRUPTIBILITY] = blocking[i];
        assert_false(vmx_nmi_allowed(&vcpu));
        vmx_nmi_window(&vcpu);
        assert_int_equal(vmcs[VMCS_PROCESSOR_CONTROLS], PROC_HLT | PROC_NMI_WINDOW);
        vmx_nmi_window_close(&vcpu);
        assert_int_equal(vmcs[VMCS_PROCESSOR_CONTROLS], PROC_HLT);
    }
    assert_int_equal(kicks, 0);
}

/* In real mode exceptions push no error code: an entry that asked for one would fail. */
static void test_error_codes_are_for_protected_mode(void **state)
{
    const struct vcpu_event fault = {
        .type = EVENT_EXCEPTION, .vector = VECTOR_GP, .has_error = true, .error_code = 0x18};

    (void)state;
    vmx_inject(&vcpu, &fault);
    assert_int_equal(vmcs[VMCS_ENTRY_EVENT],
                     EVENT_VALID | EVENT_ERROR_VALID | EVENT_TYPE_EXCEPTION | VECTOR_GP);
    assert_int_equal(vmcs[VMCS_ENTRY_ERROR_CODE], 0x18);
    vmcs[VMCS_GUEST_CR0] = 0;
    vmx_inject(&vcpu, &fault);
    assert_int_equal(vmcs[VMCS_ENTRY_EVENT], EVENT_VALID | EVENT_TYPE_EXCEPTION | VECTOR_GP);
}

/* What an exit interrupted comes again, unless RIP still points at the instruction that asks for it. */
static void test_redelivery(void **state)
{
    static const struct {
        u64 interrupted, again;
    } rows[] = {
        {EVENT_VALID | EVENT_TYPE_INTERRUPT | 0x40, EVENT_VALID | EVENT_TYPE_INTERRUPT | 0x40},
        {EVENT_VALID | EVENT_TYPE_NMI | 2, EVENT_VALID | EVENT_TYPE_NMI | 2},
        {EVENT_VALID | EVENT_ERROR_VALID | EVENT_TYPE_EXCEPTION | 14,
         EVENT_VALID | EVENT_ERROR_VALID | EVENT_TYPE_EXCEPTION | 14},
        {EVENT_VALID | EVENT_TYPE_SOFTWARE | 0x80, 0},
        {EVENT_VALID | EVENT_TYPE_SOFT_EXCEPTION | 3, 0},
        {EVENT_VALID | EVENT_TYPE_PRIVILEGED | 1, 0},
        {EVENT_VALID | BIT(12) | EVENT_TYPE_INTERRUPT | 0x40, EVENT_VALID | EVENT_TYPE_INTERRUPT | 0x40},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        vmcs[VMCS_ENTRY_EVENT] = 0;
        vmcs[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKING_NMI;
        vmcs[VMCS_VECTORING_EVENT] = rows[i].interrupted;
        vmcs[VMCS_VECTORING_ERROR_CODE] = 6;
        vmx_redeliver();
        assert_int_equal(vmcs[VMCS_ENTRY_EVENT], rows[i].again);
        /* An NMI that did not arrive masks nothing; an entry would refuse it else. */
        assert_int_equal(vmcs[VMCS_GUEST_INTERRUPTIBILITY], i == 1 ? 0 : BLOCKING_NMI);
    }
    assert_int_equal(vmcs[VMCS_ENTRY_ERROR_CODE], 6);
}

static void test_int1_is_given_back_as_a_trap(void **state)
{
    struct vcpu_event event;

    (void)state;
    vmcs[VMCS_EXIT_LENGTH] = 1;
    vmx_redeliver_int1();
    assert_int_equal(vmcs[VMCS_ENTRY_EVENT], EVENT_VALID | EVENT_TYPE_PRIVILEGED | VECTOR_DB);
    assert_int_equal(vmcs[VMCS_ENTRY_LENGTH], 1);
    assert_true(vmx_event_pending(&vcpu, &event)); /* nothing else is injected over it */
    assert_false(vmx_nmi_allowed(&vcpu) || vmx_interrupt_allowed(&vcpu));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_an_nmi_masks_the_next_until_iret, setup),
        cmocka_unit_test_setup(test_masking_of_another_vcpu_does_not_count, setup),
        cmocka_unit_test_setup(test_masking_that_was_there_from_the_start_counts, setup),
        cmocka_unit_test_setup(test_an_nmi_that_waits_has_masked_nothing, setup),
        cmocka_unit_test_setup(test_an_iret_that_an_exit_interrupts_masks_again, setup),
        cmocka_unit_test_setup(test_behind_sti_a_physical_interrupt_tells, setup),
        cmocka_unit_test_setup(test_elsewhere_the_window_tells, setup),
        cmocka_unit_test_setup(test_error_codes_are_for_protected_mode, setup),
        cmocka_unit_test_setup(test_redelivery, setup),
        cmocka_unit_test_setup(test_int1_is_given_back_as_a_trap, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
