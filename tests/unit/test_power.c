/* SPDX-License-Identifier: MIT */
/*
 * The power states: every event in every state against a table of its own, written from issue 4 and the
 * manuals and not from the code; then the sequences that kernels and hostile guests send, the own CPU's part,
 * the end of a machine, and the pair that reads and sets.
 */
// sources: hv/run/power.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/errno.h"
#include "hv/run/vm.h"

static struct vm vm;
static struct vcpu vcpus[3];
#define boot (&vcpus[0])
#define ap   (&vcpus[1])
static u32 woken; /* requests of all wakes since the last look */
static unsigned resets, power_offs, stops;
static char did[16]; /* what was carried out: i, or v and e for the two beginnings */
static struct power_begin began;

/* What happens in the middle of the own CPU's work, as if another CPU sent it. */
static void (*meanwhile)(void);

void vcpu_wake(struct vcpu *vcpu, u32 request)
{
    assert_false(spinlock_held(&vcpu->power.lock));
    vcpu_request(vcpu, request);
    woken |= request;
}

void vm_request_reset(struct vm *at, const char *why)
{
    assert_ptr_equal(at, &vm);
    assert_non_null(strstr(why, "INIT"));
    resets++;
}

void vm_power_off(struct vm *at)
{
    (void)at;
    power_offs++;
}

void vm_stop(struct vm *at, const char *format, ...)
{
    (void)at, (void)format;
    stops++;
}

void log_line(enum log_level level, const char *format, ...)
{
    (void)level, (void)format;
}

static void interrupted(void)
{
    void (*now)(void) = meanwhile;

    meanwhile = NULL;
    if (now)
        now();
}

static int carry_init(struct vcpu *vcpu)
{
    assert_false(spinlock_held(&vcpu->power.lock));
    strcat(did, "i");
    interrupted();
    return 0;
}

static int begin_error;

static int carry_begin(struct vcpu *vcpu, const struct power_begin *begin)
{
    assert_false(spinlock_held(&vcpu->power.lock));
    strcat(did, begin->at_entry ? "e" : "v");
    began = *begin;
    interrupted();
    return begin_error;
}

static const struct machine_ops ops = {.vcpu_init = carry_init, .vcpu_begin = carry_begin};
const struct machine_ops *machine = &ops;

static void in_state(struct vcpu *vcpu, enum power_state state)
{
    vcpu->requests = 0;
    vcpu->power.now = (struct power){.state = state, .off = state == POWER_STOPPED};
    if (state == POWER_SIPI_RECEIVED)
        vcpu->power.now.due = POWER_DUE_BEGIN;
}

static int setup(void **state)
{
    (void)state;
    memset(&vm, 0, sizeof(vm));
    memset(vcpus, 0, sizeof(vcpus));
    vm.vcpu_count = ARRAY_SIZE(vcpus);
    vm.boot_vcpu = boot;
    for (u32 i = 0; i < vm.vcpu_count; i++) {
        vcpus[i].vm = &vm;
        vcpus[i].index = i;
        vm.vcpus[i] = &vcpus[i];
        spinlock_init(&vcpus[i].power.lock, RANK_POWER);
        in_state(&vcpus[i], i ? POWER_UNINITIALISED : POWER_RUNNABLE);
    }
    resets = power_offs = stops = 0;
    woken = 0;
    did[0] = 0;
    meanwhile = NULL;
    begin_error = 0;
    return 0;
}

static u8 state_of(struct vcpu *vcpu)
{
    struct power power;

    power_get(vcpu, &power);
    return power.state;
}

/* ---------------------------------------------------------------- every pair */

/*
 * Columns: runnable, halted, uninitialised, INIT received, SIPI received, stopped. Letters: the state
 * after it (R H U I S T), then what else: + an NMI waits, i INIT is due, b a beginning is due, r the VM is
 * reset, a "is on already", p "is pending", - "may not be".
 */
static const struct {
    enum power_event event;
    const char *after[POWER_STATE_COUNT];
} expected[] = {
    {POWER_INIT, {"Ii", "Ii", "Ii", "Ii", "Ii", "T"}},
    {POWER_INIT_BOOT, {"Rr", "Hr", "Ur", "Ir", "Sbr", "T"}},
    {POWER_SIPI, {"R", "H", "U", "Sb", "Sb", "T"}},
    {POWER_NMI, {"R+", "R+", "U", "I", "Sb+", "T+"}},
    {POWER_INTERRUPT, {"R", "R", "U", "I", "Sb", "T"}},
    {POWER_HLT, {"H", "H", "U", "I", "Sb", "T"}},
    {POWER_ON, {"Ra", "Ha", "Sib", "Sib", "Sbp", "Sib"}},
    {POWER_OFF, {"T", "H", "U", "I", "Sb", "T"}},
    {POWER_STOP, {"T", "T", "T", "T", "Tb", "Ta"}},
    {POWER_START, {"Ra", "Ha", "U-", "I-", "Sba", "R"}},
    {POWER_BEGUN, {"R", "H", "U", "I", "R", "T"}},
    {POWER_RESET_ON, {"R", "R", "R", "R", "R", "R"}},
    {POWER_RESET_OFF, {"U", "U", "U", "U", "U", "U"}},
};
_Static_assert(ARRAY_SIZE(expected) == POWER_EVENT_COUNT, "every event");

static void describe(struct vcpu *vcpu, int error, char *text)
{
    const struct power *power = &vcpu->power.now;

    *text++ = "RHUIST"[power->state];
    if (power->due & POWER_DUE_INIT)
        *text++ = 'i';
    if (power->due & POWER_DUE_BEGIN)
        *text++ = 'b';
    if (vcpu->requests & REQUEST_NMI)
        *text++ = '+';
    if (resets)
        *text++ = 'r';
    if (error)
        *text++ = error == -EALREADY ? 'a' : error == -EINPROGRESS ? 'p' : error == -EPERM ? '-' : '?';
    *text = 0;
}

static void test_pairs(void **state)
{
    for (unsigned event = 0; event < POWER_EVENT_COUNT; event++) {
        assert_int_equal(expected[event].event, event);
        for (unsigned before = 0; before < POWER_STATE_COUNT; before++) {
            struct vcpu *vcpu = event == POWER_INIT_BOOT ? boot : ap;
            char after[8];

            setup(state);
            in_state(vcpu, before);
            if (event == POWER_BEGUN)
                vcpu->power.now.due = 0;
            describe(vcpu, power_event(vcpu, event == POWER_INIT_BOOT ? POWER_INIT : event, 8, 0), after);
            if (strcmp(after, expected[event].after[before]) != 0)
                fail_msg("event %u in state %u: %s, and not %s", event, before, after,
                         expected[event].after[before]);
            assert_false(spinlock_held(&vcpu->power.lock));
        }
    }
}

/*
 * What a vCPU sends to itself: as if another one had sent it while it runs. In all other states another CPU's
 * event came in the middle of the exit, and counts alone: an INIT of its own must not take the SIPI from it.
 */
static void test_pairs_of_its_own(void **state)
{
    static const enum power_event events[] = {POWER_INIT, POWER_INIT_BOOT, POWER_SIPI, POWER_NMI};

    for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
        struct vcpu *vcpu = events[i] == POWER_INIT_BOOT ? boot : ap;
        enum power_event event = events[i] == POWER_INIT_BOOT ? POWER_INIT : events[i];

        for (unsigned before = 0; before < POWER_STATE_COUNT; before++) {
            struct power was;
            char after[8];

            setup(state);
            in_state(vcpu, before);
            was = vcpu->power.now;
            power_event_self(vcpu, event, 8);
            describe(vcpu, 0, after);
            if (before == POWER_RUNNABLE)
                assert_string_equal(after, expected[events[i]].after[before]);
            else
                assert_true(memcmp(&was, &vcpu->power.now, sizeof(was)) == 0 && !vcpu->requests && !resets);
        }
    }
}

/* ---------------------------------------------------------------- sequences */

static void linux_starts(void)
{
    power_event(ap, POWER_INIT, 0, 0);
    power_event(ap, POWER_SIPI, 0x99, 0);
    power_event(ap, POWER_SIPI, 0x12, 0);
}

/* INIT and SIPI back to back, before the target's CPU has noticed either: the first SIPI counts. */
static void test_back_to_back(void **state)
{
    static const u8 begins[] = {POWER_RUNNABLE, POWER_HALTED, POWER_UNINITIALISED, POWER_INIT_RECEIVED};

    for (unsigned i = 0; i < ARRAY_SIZE(begins); i++) {
        setup(state);
        in_state(ap, begins[i]);
        vcpu_request(ap, REQUEST_NMI | REQUEST_INTERRUPT | REQUEST_FLUSH);
        linux_starts();
        assert_int_equal(state_of(ap), POWER_SIPI_RECEIVED);
        assert_true(power_wants_turn(ap));
        assert_int_equal(ap->requests,
                         REQUEST_POWER | REQUEST_FLUSH); /* no event of the old life is delivered */
        power_carry_out(ap);
        assert_string_equal(did, "iv");
        assert_int_equal(began.where, 0x99);
        assert_int_equal(state_of(ap), POWER_RUNNABLE);
        assert_int_equal(ap->requests, REQUEST_FLUSH);
        power_carry_out(ap); /* once is enough */
        assert_string_equal(did, "iv");
    }
}

/* An NMI behind the SIPI is for the new life. */
static void test_nmi_after_sipi(void **state)
{
    (void)state;
    in_state(ap, POWER_RUNNABLE);
    power_event(ap, POWER_NMI, 0, 0);
    power_event(ap, POWER_INIT, 0, 0);
    power_event(ap, POWER_NMI, 0, 0);
    assert_false(ap->requests & REQUEST_NMI);
    power_event(ap, POWER_SIPI, 1, 0);
    power_event(ap, POWER_NMI, 0, 0);
    power_carry_out(ap);
    assert_true(ap->requests & REQUEST_NMI);
}

/* INIT behind SIPI: the beginning is off, the next SIPI counts. */
static void test_init_after_sipi(void **state)
{
    (void)state;
    linux_starts();
    power_event(ap, POWER_INIT, 0, 0);
    power_carry_out(ap);
    assert_string_equal(did, "i");
    assert_int_equal(state_of(ap), POWER_INIT_RECEIVED);
    assert_false(power_wants_turn(ap));
    power_event(ap, POWER_SIPI, 0x44, 0);
    power_carry_out(ap);
    assert_string_equal(did, "iv");
    assert_int_equal(began.where, 0x44);
}

/* A device goes on whatever the vCPU does. */
static void test_devices_want_turns(void **state)
{
    (void)state;
    for (unsigned i = 0; i < POWER_STATE_COUNT; i++) {
        in_state(ap, (enum power_state)i);
        ap->requests = REQUEST_FLUSH;
        assert_int_equal(power_wants_turn(ap), i == POWER_RUNNABLE);
        ap->requests = REQUEST_DEVICE;
        assert_true(power_wants_turn(ap));
    }
}

static void init_comes(void)
{
    power_event(ap, POWER_INIT, 0, 0);
}

static void stop_comes(void)
{
    power_event(ap, POWER_STOP, 0, 0);
}

/* Another CPU's events in the middle of the own CPU's work are not lost either. */
static void test_meanwhile(void **state)
{
    linux_starts();
    meanwhile = init_comes; /* during the first step */
    power_carry_out(ap);
    assert_int_equal(state_of(ap), POWER_INIT_RECEIVED);
    assert_true(ap->requests & REQUEST_POWER);
    did[0] = 0;
    power_carry_out(ap);
    assert_string_equal(did, "i");

    setup(state);
    linux_starts();
    meanwhile = linux_starts;
    power_carry_out(ap);
    assert_int_equal(state_of(ap), POWER_SIPI_RECEIVED); /* the new one has not begun */
    power_carry_out(ap);
    assert_string_equal(did, "iviv");
    assert_int_equal(state_of(ap), POWER_RUNNABLE);

    setup(state);
    linux_starts();
    meanwhile = stop_comes;
    power_carry_out(ap);
    assert_int_equal(state_of(ap), POWER_STOPPED);
}

/* ---------------------------------------------------------------- stop, start, on, off */

/* The operator's stop leads back to where it was, whatever that was; INIT, SIPI meanwhile are lost. */
static void test_stop_and_start(void **state)
{
    for (unsigned before = 0; before < POWER_STOPPED; before++) {
        setup(state);
        in_state(ap, before);
        assert_int_equal(power_event(ap, POWER_STOP, 0, 0), 0);
        assert_true(woken & REQUEST_POWER); /* leaves the guest */
        power_carry_out(ap);
        linux_starts();
        assert_int_equal(state_of(ap), POWER_STOPPED);
        assert_false(power_wants_turn(ap));
        assert_int_equal(power_event(ap, POWER_START, 0, 0), 0);
        assert_int_equal(state_of(ap), before);
        power_carry_out(ap);
        assert_string_equal(did, before == POWER_SIPI_RECEIVED ? "v" : "");
    }
}

/* What waits for a stopped vCPU waits: then the operator's start looks at it. */
static void test_stopped_keeps(void **state)
{
    (void)state;
    in_state(ap, POWER_HALTED);
    ap->power.now.masked = true;
    power_event(ap, POWER_STOP, 0, 0);
    power_carry_out(ap);
    power_event(ap, POWER_NMI, 0, 0);
    assert_false(power_wants_turn(ap));
    power_event(ap, POWER_START, 0, 0);
    assert_int_equal(state_of(ap), POWER_HALTED);
    assert_true(ap->power.now.masked);
    assert_true(power_wants_turn(ap));
    assert_true(ap->requests & REQUEST_NMI);
}

static void test_cpu_on(void **state)
{
    (void)state;
    in_state(ap, POWER_RUNNABLE);
    power_event(ap, POWER_OFF, 0, 0);
    power_event(ap, POWER_NMI, 0, 0);
    assert_int_equal(power_event(ap, POWER_ON, 0x100000, 77), 0);
    assert_int_equal(power_event(ap, POWER_ON, 0x200000, 78), -EINPROGRESS);
    power_carry_out(ap);
    assert_string_equal(did, "ie");
    assert_int_equal(began.where, 0x100000);
    assert_int_equal(began.argument, 77);
    assert_false(ap->requests & REQUEST_NMI); /* of the old life */
    assert_int_equal(power_event(ap, POWER_ON, 0x200000, 78), -EALREADY);
}

/* Even what SIPI promised is replaced, when the operator had stopped the vCPU in between. */
static void test_cpu_on_paused(void **state)
{
    (void)state;
    linux_starts();
    power_event(ap, POWER_STOP, 0, 0);
    assert_int_equal(power_event(ap, POWER_ON, 0x100000, 1), 0);
    power_carry_out(ap);
    assert_string_equal(did, "ie");
    assert_int_equal(state_of(ap), POWER_RUNNABLE);
}

static void test_refused_state(void **state)
{
    (void)state;
    linux_starts();
    begin_error = -EINVAL;
    power_carry_out(ap);
    assert_int_equal(stops, 1);
}

/* ---------------------------------------------------------------- the machine's end */

static void test_end(void **state)
{
    power_event(boot, POWER_HLT, false, 0);
    assert_int_equal(power_offs, 0);
    in_state(boot, POWER_RUNNABLE);
    power_event(boot, POWER_HLT, true, 0);
    assert_int_equal(power_offs, 1); /* the others wait for what nobody can send */

    setup(state);
    in_state(ap, POWER_RUNNABLE);
    power_event(boot, POWER_OFF, 0, 0);
    assert_int_equal(power_offs, 0);
    power_event(ap, POWER_OFF, 0, 0);
    assert_int_equal(power_offs, 1);

    setup(state);
    power_event(boot, POWER_OFF, 0, 0);
    assert_int_equal(power_offs, 1);
}

/* The last one INITs itself; one that the operator stopped can come back; so can one with an NMI. */
static void test_end_and_not(void **state)
{
    in_state(ap, POWER_RUNNABLE);
    power_event(boot, POWER_OFF, 0, 0);
    power_event(ap, POWER_INIT, 0, 0);
    assert_int_equal(power_offs, 1);

    setup(state);
    in_state(ap, POWER_RUNNABLE);
    power_event(boot, POWER_STOP, 0, 0);
    power_event(ap, POWER_HLT, true, 0);
    assert_int_equal(power_offs, 0);

    setup(state);
    in_state(ap, POWER_HALTED);
    ap->power.now.masked = true;
    ap->requests = REQUEST_NMI;
    power_event(boot, POWER_HLT, true, 0);
    assert_int_equal(power_offs, 0);
}

/* ---------------------------------------------------------------- get and set */

static void test_set(void **state)
{
    static const struct power wrong[] = {
        {.state = POWER_STATE_COUNT},
        {.state = POWER_RUNNABLE, .off = true},
        {.state = POWER_RUNNABLE, .due = 4},
        {.state = POWER_RUNNABLE, .due = POWER_DUE_BEGIN},
        {.state = POWER_SIPI_RECEIVED},
        {.state = POWER_STOPPED, .resume = POWER_STOPPED},
        {.state = POWER_STOPPED, .resume = POWER_SIPI_RECEIVED},
        {.state = POWER_SIPI_RECEIVED, .due = POWER_DUE_BEGIN, .begin = {.where = 0x100}},
        {.state = POWER_SIPI_RECEIVED, .due = POWER_DUE_BEGIN, .begin = {.argument = 1}},
    };
    const struct power right = {.state = POWER_SIPI_RECEIVED,
                                .due = POWER_DUE_INIT | POWER_DUE_BEGIN,
                                .begin = {.at_entry = true, .where = 0x1000, .argument = 5}};
    struct power now;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        assert_int_equal(power_set(ap, &wrong[i]), -EINVAL);
        assert_int_equal(state_of(ap), POWER_UNINITIALISED);
    }
    assert_int_equal(power_set(ap, &right), 0);
    power_get(ap, &now);
    assert_memory_equal(&now, &right, sizeof(now));
    power_carry_out(ap);
    assert_string_equal(did, "ie");
}

/* A reset: the creation's flag and nothing else, byte for byte. */
static void test_reset(void **state)
{
    struct power created;

    (void)state;
    power_event(ap, POWER_RESET_OFF, 0, 0);
    created = ap->power.now;
    linux_starts();
    power_carry_out(ap);
    power_event(ap, POWER_HLT, true, 0);
    power_event(ap, POWER_STOP, 0, 0);
    power_event(ap, POWER_RESET_OFF, 0, 0);
    assert_memory_equal(&ap->power.now, &created, sizeof(created));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_devices_want_turns, setup),
        cmocka_unit_test_setup(test_pairs, setup),
        cmocka_unit_test_setup(test_pairs_of_its_own, setup),
        cmocka_unit_test_setup(test_back_to_back, setup),
        cmocka_unit_test_setup(test_nmi_after_sipi, setup),
        cmocka_unit_test_setup(test_init_after_sipi, setup),
        cmocka_unit_test_setup(test_meanwhile, setup),
        cmocka_unit_test_setup(test_stop_and_start, setup),
        cmocka_unit_test_setup(test_stopped_keeps, setup),
        cmocka_unit_test_setup(test_cpu_on, setup),
        cmocka_unit_test_setup(test_cpu_on_paused, setup),
        cmocka_unit_test_setup(test_refused_state, setup),
        cmocka_unit_test_setup(test_end, setup),
        cmocka_unit_test_setup(test_end_and_not, setup),
        cmocka_unit_test_setup(test_set, setup),
        cmocka_unit_test_setup(test_reset, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
