/* SPDX-License-Identifier: MIT */
/*
 * hv/run/hypercall.c and hypercall_patch.c: what is rewritten and what is performed. Above all what no
 * emulator can show: bytes and mappings that another vCPU changes between the exit and the look at them.
 */
// sources: hv/run/hypercall.c hv/run/hypercall_patch.c hv/run/power.c
// sources: hv/run/emulate.c hv/run/emulate_string.c hv/run/emulate_alu.c hv/run/decode.c
// sources: hv/run/decode_tables.c hv/run/bus.c hv/memory/fetch_cache.c
// sources: tests/unit/fake_engine.c tests/unit/fake_machine.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/cpu.h"
#include "guest/pv/lintel.h"
#include "hv/lib/errno.h"
#include "hv/run/hypercall.h"
#include "hv/run/sched.h"
#include "hv/run/vm_flush.h"
#include "tests/unit/fake_machine.h"

#define CODE    0x1000
#define VMCALL  0xc1
#define VMMCALL 0xd9

/* The library for kernels has numbers of its own, as it must compile without lintel. */
_Static_assert(LINTEL_CALL_BASE == HYPERCALL_BASE && LINTEL_CALL_RANGE == HYPERCALL_RANGE, "range");
_Static_assert(LINTEL_CALL_VERSION == HYPERCALL_BASE + HYPERCALL_VERSION, "version");
_Static_assert(LINTEL_CALL_FEATURES == HYPERCALL_BASE + HYPERCALL_FEATURES, "features");
_Static_assert(LINTEL_CALL_CONSOLE_WRITE == HYPERCALL_BASE + HYPERCALL_CONSOLE_WRITE, "console write");
_Static_assert(LINTEL_CALL_YIELD == HYPERCALL_BASE + HYPERCALL_YIELD, "yield");
_Static_assert(LINTEL_CALL_CPU_ON == HYPERCALL_BASE + HYPERCALL_CPU_ON, "CPU_ON");
_Static_assert(LINTEL_CALL_CPU_OFF == HYPERCALL_BASE + HYPERCALL_CPU_OFF, "CPU_OFF");
_Static_assert(LINTEL_CALL_CPU_STATE == HYPERCALL_BASE + HYPERCALL_CPU_STATE, "CPU_STATE");
_Static_assert(LINTEL_CALL_SYSTEM_OFF == HYPERCALL_BASE + HYPERCALL_SYSTEM_OFF, "SYSTEM_OFF");
_Static_assert(LINTEL_CALL_SYSTEM_RESET == HYPERCALL_BASE + HYPERCALL_SYSTEM_RESET, "SYSTEM_RESET");
_Static_assert(LINTEL_CALL_P2M_MAP == HYPERCALL_BASE + HYPERCALL_P2M_MAP, "P2M_MAP");
_Static_assert(LINTEL_CALL_P2M_UNMAP == HYPERCALL_BASE + HYPERCALL_P2M_UNMAP, "P2M_UNMAP");
_Static_assert(HYPERCALL_COUNT == 11, "a new call has a number in guest/pv/lintel.h and a line above");
_Static_assert(LINTEL_ABI_VERSION == HYPERCALL_ABI_VERSION, "version of the calls");
_Static_assert(BIT(LINTEL_FEATURE_CONSOLE_WRITE) == HYPERCALL_FEATURE_CONSOLE_WRITE, "feature");
_Static_assert(BIT(LINTEL_FEATURE_YIELD) == HYPERCALL_FEATURE_YIELD, "feature");
_Static_assert(BIT(LINTEL_FEATURE_CPU_POWER) == HYPERCALL_FEATURE_CPU_POWER, "feature");
_Static_assert(BIT(LINTEL_FEATURE_SYSTEM_POWER) == HYPERCALL_FEATURE_SYSTEM_POWER, "feature");
_Static_assert(BIT(LINTEL_FEATURE_P2M) == HYPERCALL_FEATURE_P2M, "feature");
_Static_assert(LINTEL_P2M_MISSING == P2M_INVALID && LINTEL_P2M_IDENTITY == P2M_IDENTITY, "p2m entries");
_Static_assert((int)LINTEL_CPU_OFF == HYPERCALL_CPU_IS_OFF && (int)LINTEL_CPU_ON == HYPERCALL_CPU_IS_ON &&
                   (int)LINTEL_CPU_PENDING == HYPERCALL_CPU_IS_PENDING,
               "states");
_Static_assert(LINTEL_CONSOLE_MAX == HYPERCALL_CONSOLE_MAX, "console write");
_Static_assert(LINTEL_EPERM == EPERM && LINTEL_EFAULT == EFAULT && LINTEL_EINVAL == EINVAL &&
                   LINTEL_ENOSYS == ENOSYS && LINTEL_EALREADY == EALREADY &&
                   LINTEL_EINPROGRESS == EINPROGRESS && LINTEL_ENOENT == ENOENT && LINTEL_EBUSY == EBUSY &&
                   LINTEL_KVM_ENOSYS == HYPERCALL_KVM_ENOSYS,
               "errors");

/* ---- what the sources need besides the fake machine ---- */

static char console[8192];
static size_t console_bytes;
static bool others_wait;

static void console_write(struct vm *vm, const char *text, size_t size)
{
    assert_ptr_equal(vm, &fake.vm);
    memcpy(console + console_bytes, text, size);
    console_bytes += size;
}

static unsigned power_offs, resets;

void vm_power_off(struct vm *vm)
{
    assert_ptr_equal(vm, &fake.vm);
    power_offs++;
}

void vm_request_reset(struct vm *vm, const char *why)
{
    assert_ptr_equal(vm, &fake.vm);
    assert_non_null(strstr(why, "hypercall"));
    resets++;
}

void vcpu_wake(struct vcpu *vcpu, u32 request)
{
    vcpu_request(vcpu, request);
}

void log_line(enum log_level level, const char *format, ...)
{
    (void)level, (void)format;
}

static const struct machine_ops fake_machine_ops = {.console_write = console_write};
const struct machine_ops *machine = &fake_machine_ops;

void sched_vcpu_yield(struct vcpu *vcpu)
{
    if (others_wait)
        vcpu_request(vcpu, REQUEST_RESCHEDULE);
}

/* The list, as guest_list.c answers: 512 entries for 64 KiB of RAM, one after the other. */
static gpa_t list_shown;
static unsigned flushes_finished;

u64 guest_memory_list_bytes(const struct guest_memory *memory)
{
    assert_ptr_equal(memory, &fake.vm.memory);
    return PAGE_SIZE;
}

bool guest_memory_list_fits(const struct guest_memory *memory, gpa_t gpa)
{
    (void)memory;
    return IS_ALIGNED(gpa, PAGE_SIZE) && gpa < 1ull << 40;
}

int guest_memory_show_list(struct guest_memory *memory, gpa_t gpa)
{
    (void)memory;
    if (list_shown)
        return -EALREADY;
    list_shown = gpa;
    return 0;
}

int guest_memory_hide_list(struct guest_memory *memory)
{
    (void)memory;
    if (!list_shown)
        return -ENOENT;
    list_shown = 0;
    return 0;
}

void vm_flush_finish(struct vm *vm)
{
    assert_ptr_equal(vm, &fake.vm);
    assert_int_equal(list_shown, 0);
    flushes_finished++;
}

bool guest_memory_is_backed(const struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    (void)memory;
    return gpa <= FAKE_RAM && bytes <= FAKE_RAM - gpa;
}

/* ---- an engine that knows code_64, and lets another vCPU in at its second question ---- */

static struct engine_ops test_engine;
static const struct engine_ops *plain_engine;
static unsigned questions;
static void (*other_vcpu)(void);

static void paging_get(struct vcpu *vcpu, struct guest_paging *paging)
{
    plain_engine->paging_get(vcpu, paging);
    paging->code_64 =
        (paging->efer & EFER_LMA) && (fake_state.segments[SEGMENT_CS].attributes & SEGMENT_LONG);
    if (++questions == 2 && other_vcpu)
        other_vcpu();
}

static struct vm_config config;

static void begin(enum fake_mode mode, u8 native)
{
    if (!plain_engine)
        plain_engine = engine;
    test_engine = *plain_engine;
    test_engine.hypercall_byte = native;
    test_engine.paging_get = paging_get;
    engine = &test_engine;
    questions = 0;
    other_vcpu = NULL;
    others_wait = false;
    console_bytes = 0;
    fake_machine_reset(mode);
    config = (struct vm_config){.personality = PERSONALITY_KVM, .hypercall_patch = true};
    fake.vm.config = &config;
    fake.vcpu.regs.rip = CODE;
    fake.vcpu.regs.gpr[RAX] = LINTEL_CALL_VERSION;
}

static int setup(void **state)
{
    (void)state;
    begin(FAKE_64, VMMCALL);
    return 0;
}

static void put(u64 at, u8 third)
{
    fake_ram[at] = 0x0f;
    fake_ram[at + 1] = 0x01;
    fake_ram[at + 2] = third;
}

static void assert_untouched(void)
{
    assert_int_equal(fake.vcpu.regs.rip, CODE);
    assert_int_equal(fake.vcpu.regs.gpr[RAX], LINTEL_CALL_VERSION);
    assert_int_equal(fake.vector, -1);
}

static void assert_performed(void)
{
    assert_int_equal(fake.vcpu.regs.gpr[RAX], LINTEL_ABI_VERSION);
    assert_int_equal(fake.vector, -1);
}

/* ---- rewriting ---- */

static void test_the_foreign_one_is_rewritten_and_performed(void **state)
{
    static const u8 natives[] = {VMMCALL, VMCALL};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        begin(FAKE_64, natives[i]);
        put(CODE, natives[!i]);
        assert_true(hypercall_undefined(&fake.vcpu));
        assert_performed();
        assert_int_equal(fake.vcpu.regs.rip, CODE + 3);
        assert_int_equal(fake_ram[CODE + 2], natives[i]);
    }
}

static void test_across_pages_the_third_byte_is_walked_to(void **state)
{
    (void)state;
    for (u64 at = 0x1ffe; at <= 0x1fff; at++) {
        begin(FAKE_64, VMMCALL);
        put(at, VMCALL);
        fake.vcpu.regs.rip = at;
        assert_true(hypercall_undefined(&fake.vcpu));
        assert_performed();
        assert_int_equal(fake_ram[at + 2], VMMCALL);
    }
}

static void test_other_bytes_are_the_guests(void **state)
{
    /* The last one was written after the exception came: it is #UD all the same. */
    static const u8 others[][3] = {{0x0f, 0x0b, VMCALL}, {0x0f, 0x01, 0xc2}, {0x0e, 0x01, VMCALL},
                                   {0x66, 0x0f, 0x01},   {0xf3, 0x0f, 0x01}, {0xf0, 0x0f, 0x01},
                                   {0x90, 0x90, 0x90}};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
        memcpy(fake_ram + CODE, others[i], 3);
        fake_ram[CODE + 3] = VMCALL;
        assert_false(hypercall_undefined(&fake.vcpu));
        assert_untouched();
        assert_memory_equal(fake_ram + CODE, others[i], 3);
    }
    put(0x1ffe, VMCALL);
    fake.vcpu.regs.rip = 0x1ffe;
    fake.not_present[2] = true; /* the third byte can't be had */
    assert_false(hypercall_undefined(&fake.vcpu));
    fake.vcpu.regs.rip = FAKE_RAM + 0x1000; /* no RAM */
    assert_false(hypercall_undefined(&fake.vcpu));
}

/* The bytes as they are decide, not those that raised the exception. */
static void test_rewritten_by_another_before_the_fetch(void **state)
{
    (void)state;
    put(CODE, VMMCALL);
    assert_true(hypercall_undefined(&fake.vcpu));
    assert_untouched();
}

static void to_native(void)
{
    fake_ram[CODE + 2] = VMMCALL;
}

static void to_nop(void)
{
    memset(fake_ram + CODE, 0x90, 3);
}

static void unmap(void)
{
    fake.not_present[CODE >> PAGE_SHIFT] = true;
}

static void test_changed_between_fetch_and_write(void **state)
{
    static void (*const changes[])(void) = {to_native, to_nop, unmap};
    u8 left[3];

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
        begin(FAKE_64, VMMCALL);
        put(CODE, VMCALL);
        other_vcpu = changes[i];
        assert_true(hypercall_undefined(&fake.vcpu));
        assert_untouched(); /* entered again: the CPU looks at what is there now */
        memcpy(left, fake_ram + CODE, 3);
        put(CODE, VMCALL);
        changes[i]();
        assert_memory_equal(fake_ram + CODE, left, 3); /* nothing was written over the change */
    }
}

static void test_without_hypercall_patch_nothing_is_written(void **state)
{
    (void)state;
    config.hypercall_patch = false;
    put(CODE, VMCALL);
    other_vcpu = to_nop; /* does not matter: the call was fetched */
    assert_true(hypercall_undefined(&fake.vcpu));
    assert_performed();
}

/* ---- who may call ---- */

static void assert_refused(u64 result)
{
    put(CODE, VMCALL);
    assert_true(hypercall_undefined(&fake.vcpu));
    assert_true(fake.vcpu.regs.gpr[RAX] == result);
    assert_int_equal(fake_ram[CODE + 2], VMCALL);
    assert_int_equal(fake.vcpu.regs.rip, CODE + 3);
}

static void test_user_programs_and_old_modes_are_refused(void **state)
{
    (void)state;
    for (u8 cpl = 1; cpl <= 3; cpl++) {
        begin(FAKE_64, VMMCALL);
        fake_state.cpl = cpl;
        assert_refused(~0ull);
    }
    begin(FAKE_16, VMMCALL);
    assert_refused(0xffffffff);
    begin(FAKE_32, VMMCALL);
    fake_state.cpl = 3;
    fake_state.registers[REGISTER_RFLAGS] |= RFLAGS_VM;
    assert_refused(0xffffffff);
}

static void test_only_32_bits_count_outside_64_bit_mode(void **state)
{
    u64 *gpr = fake.vcpu.regs.gpr;

    (void)state;
    begin(FAKE_32, VMMCALL);
    fake_state.segments[SEGMENT_CS].base = 0x500;
    fake.vcpu.regs.rip = CODE - 0x500;
    put(CODE, VMCALL);
    gpr[RAX] = 0xdeadbeef00000000 | LINTEL_CALL_FEATURES;
    gpr[RBX] = 0xdeadbeef00000000;
    assert_true(hypercall_undefined(&fake.vcpu));
    assert_int_equal(fake_ram[CODE + 2], VMMCALL);
    assert_int_equal(gpr[RAX], 0xf); /* every feature that there is */
    assert_true(gpr[RBX] == 0xdeadbeef00000000);
    fake_state.segments[SEGMENT_CS].base = CODE - 0xfffffffd; /* linear addresses wrap, and so does EIP */
    fake.vcpu.regs.rip = 0xfffffffd;
    put(CODE, VMCALL);
    gpr[RAX] = 7;
    assert_true(hypercall_undefined(&fake.vcpu));
    assert_true(gpr[RAX] == (u32)-HYPERCALL_KVM_ENOSYS);
    assert_true(fake.vcpu.regs.rip == 0);
    assert_int_equal(fake_ram[CODE + 2], VMMCALL);
}

static void test_the_native_one_behind_a_prefix(void **state)
{
    struct vmexit x = {.kind = EXIT_HYPERCALL, .length = 4};

    (void)state;
    exit_hypercall(&fake.vcpu, &x);
    assert_int_equal(fake.vector, VECTOR_UD);
    assert_int_equal(fake.vcpu.regs.rip, CODE);
    begin(FAKE_64, VMMCALL);
    x.length = 3;
    exit_hypercall(&fake.vcpu, &x);
    assert_performed();
    assert_int_equal(fake.vcpu.regs.rip, CODE + 3);
}

/* A 64-bit kernel, as the engine has seen: the same answers, counted, and requests told. */
static void test_the_light_way(void **state)
{
    static const u64 numbers[] = {LINTEL_CALL_VERSION, LINTEL_CALL_BASE + HYPERCALL_COUNT, 0, ~0ull};
    struct vmexit x = {.kind = EXIT_HYPERCALL, .length = 3};
    u64 *rax = &fake.vcpu.regs.gpr[RAX];

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
        u64 full;

        begin(FAKE_64, VMMCALL);
        fake.vcpu.exits[EXIT_HYPERCALL] = 0;
        *rax = numbers[i];
        exit_hypercall(&fake.vcpu, &x);
        full = *rax;
        *rax = numbers[i];
        fake.vcpu.requests = REQUEST_INTERRUPT;
        assert_int_equal(exit_hypercall_light(&fake.vcpu), REQUEST_INTERRUPT);
        assert_true(*rax == full);
        assert_int_equal(fake.vcpu.exits[EXIT_HYPERCALL], 1);
        assert_int_equal(fake.vcpu.regs.rip, CODE + 3); /* moved by the full way alone */
        fake.vcpu.requests = 0;
    }
}

/* ---- the calls ---- */

static s64 call(u64 number, u64 a, u64 b)
{
    struct vmexit x = {.kind = EXIT_HYPERCALL, .length = 3};

    fake.vcpu.regs.gpr[RAX] = number;
    fake.vcpu.regs.gpr[RBX] = a;
    fake.vcpu.regs.gpr[RCX] = b;
    exit_hypercall(&fake.vcpu, &x);
    return (s64)fake.vcpu.regs.gpr[RAX];
}

static void test_unknown_numbers(void **state)
{
    (void)state;
    assert_int_equal(call(0, 0, 0), -HYPERCALL_KVM_ENOSYS);
    assert_int_equal(call(LINTEL_CALL_BASE - 1, 0, 0), -HYPERCALL_KVM_ENOSYS);
    assert_int_equal(call(LINTEL_CALL_BASE + HYPERCALL_COUNT, 0, 0), -ENOSYS);
    assert_int_equal(call(LINTEL_CALL_BASE + LINTEL_CALL_RANGE, 0, 0), -ENOSYS);
    assert_int_equal(call(LINTEL_CALL_BASE + LINTEL_CALL_RANGE + 1, 0, 0), -HYPERCALL_KVM_ENOSYS);
    for (config.personality = PERSONALITY_VMWARE; config.personality <= PERSONALITY_NONE;
         config.personality++) {
        assert_int_equal(call(0, 0, 0), -ENOSYS);
        assert_int_equal(call(~0ull, 0, 0), -ENOSYS);
    }
}

static void test_console_write(void **state)
{
    (void)state;
    memset(fake_ram + 0x2000, 'x', 4096);
    assert_int_equal(call(LINTEL_CALL_CONSOLE_WRITE, 0x2000, 0), 0);
    assert_int_equal(call(LINTEL_CALL_CONSOLE_WRITE, 0x2000, 4097), -EINVAL);
    assert_int_equal(call(LINTEL_CALL_CONSOLE_WRITE, FAKE_RAM - 1, 2), -EFAULT);
    assert_int_equal(call(LINTEL_CALL_CONSOLE_WRITE, FAKE_RAM - 1024, 1025), -EFAULT);
    assert_int_equal(call(LINTEL_CALL_CONSOLE_WRITE, ~0ull, 2), -EFAULT);
    assert_int_equal(console_bytes, 0);
    assert_int_equal(call(LINTEL_CALL_CONSOLE_WRITE, 0x2000, 4096), 4096);
    assert_int_equal(console_bytes, 4096);
    assert_memory_equal(console, fake_ram + 0x2000, 4096);
    assert_int_equal(call(LINTEL_CALL_CONSOLE_WRITE, FAKE_RAM - 1, 1), 1);
    assert_int_equal(console_bytes, 4097);
}

/* Only where the operator says so; where it lies is looked at before it is shown. */
static void test_p2m_list(void **state)
{
    (void)state;
    assert_int_equal(call(LINTEL_CALL_P2M_MAP, 0x100000, 0), -EPERM);
    assert_int_equal(call(LINTEL_CALL_P2M_UNMAP, 0, 0), -EPERM);
    assert_int_equal(call(LINTEL_CALL_FEATURES, 0, 0) & HYPERCALL_FEATURE_P2M, 0);
    config.p2m_shared = true;
    assert_int_equal(call(LINTEL_CALL_FEATURES, 0, 0) & HYPERCALL_FEATURE_P2M, HYPERCALL_FEATURE_P2M);
    assert_int_equal(call(LINTEL_CALL_FEATURES, 1, 0), 0);
    assert_int_equal(call(LINTEL_CALL_P2M_MAP, 0x100001, 0), -EINVAL);
    assert_int_equal(call(LINTEL_CALL_P2M_MAP, FAKE_DEVICE, 0), -EBUSY);
    assert_int_equal(call(LINTEL_CALL_P2M_UNMAP, 0, 0), -ENOENT);
    assert_int_equal(flushes_finished, 0);
    assert_int_equal(call(LINTEL_CALL_P2M_MAP, 0x100000, 0), 512);
    assert_int_equal(list_shown, 0x100000);
    assert_int_equal(call(LINTEL_CALL_P2M_MAP, 0x100000, 0), -EALREADY);
    assert_int_equal(call(LINTEL_CALL_P2M_UNMAP, 0, 0), 0);
    assert_int_equal(flushes_finished, 1);
}

static s64 call_on(u64 number, u64 entry, u64 argument)
{
    fake.vcpu.regs.gpr[RDX] = argument;
    return call(LINTEL_CALL_CPU_ON, number, entry);
}

/* What each state answers, by the words of issue 4. */
static void test_cpu_power(void **state)
{
    static const struct {
        u8 state;
        s64 told, on;
    } rows[] = {
        {POWER_RUNNABLE, LINTEL_CPU_ON, -EALREADY}, {POWER_HALTED, LINTEL_CPU_ON, -EALREADY},
        {POWER_UNINITIALISED, LINTEL_CPU_OFF, 0},   {POWER_INIT_RECEIVED, LINTEL_CPU_OFF, 0},
        {POWER_STOPPED, LINTEL_CPU_OFF, 0},         {POWER_SIPI_RECEIVED, LINTEL_CPU_PENDING, -EINPROGRESS},
    };
    static struct vcpu other;

    (void)state;
    other = (struct vcpu){.vm = &fake.vm, .index = 1};
    fake.vm.vcpu_count = 2;
    fake.vm.vcpus[0] = &fake.vcpu;
    fake.vm.vcpus[1] = &other;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        other.power.now = (struct power){.state = rows[i].state};
        assert_int_equal(call(LINTEL_CALL_CPU_STATE, 1, 0), rows[i].told);
        assert_int_equal(call_on(1, 0x100000000, 5), -EINVAL);
        assert_int_equal(call_on(1, 0x1000, 0x100000000), -EINVAL);
        assert_int_equal(other.power.now.state, rows[i].state);
        assert_int_equal(call_on(1, 0xffffffff, 0xfffffffe), rows[i].on);
        if (rows[i].on == 0) {
            assert_int_equal(other.power.now.begin.where, 0xffffffff);
            assert_int_equal(other.power.now.begin.argument, 0xfffffffe);
            assert_int_equal(call(LINTEL_CALL_CPU_STATE, 1, 0), LINTEL_CPU_PENDING);
        }
    }
    assert_int_equal(call(LINTEL_CALL_CPU_STATE, 2, 0), -EINVAL);
    assert_int_equal(call(LINTEL_CALL_CPU_STATE, 1ull << 32, 0), -EINVAL);
    assert_int_equal(call_on(2, 0x1000, 5), -EINVAL);
    assert_int_equal(call(LINTEL_CALL_CPU_OFF, 0, 0), 0);
    assert_int_equal(fake.vcpu.power.now.state, POWER_STOPPED);
    assert_int_equal(power_offs, 0);
}

static void test_system_power(void **state)
{
    (void)state;
    assert_int_equal(call(LINTEL_CALL_SYSTEM_OFF, 0, 0), 0);
    assert_int_equal(power_offs, 1);
    assert_int_equal(call(LINTEL_CALL_SYSTEM_RESET, 0, 0), 0);
    assert_int_equal(resets, 1);
}

static void test_yield_gives_the_cpu_to_who_waits(void **state)
{
    (void)state;
    assert_int_equal(call(LINTEL_CALL_YIELD, 0, 0), 0);
    assert_int_equal(fake.vcpu.requests & REQUEST_RESCHEDULE, 0);
    others_wait = true;
    assert_int_equal(call(LINTEL_CALL_YIELD, 0, 0), 0);
    assert_int_equal(fake.vcpu.requests & REQUEST_RESCHEDULE, REQUEST_RESCHEDULE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_foreign_one_is_rewritten_and_performed, setup),
        cmocka_unit_test_setup(test_across_pages_the_third_byte_is_walked_to, setup),
        cmocka_unit_test_setup(test_other_bytes_are_the_guests, setup),
        cmocka_unit_test_setup(test_rewritten_by_another_before_the_fetch, setup),
        cmocka_unit_test_setup(test_changed_between_fetch_and_write, setup),
        cmocka_unit_test_setup(test_without_hypercall_patch_nothing_is_written, setup),
        cmocka_unit_test_setup(test_user_programs_and_old_modes_are_refused, setup),
        cmocka_unit_test_setup(test_only_32_bits_count_outside_64_bit_mode, setup),
        cmocka_unit_test_setup(test_the_native_one_behind_a_prefix, setup),
        cmocka_unit_test_setup(test_the_light_way, setup),
        cmocka_unit_test_setup(test_unknown_numbers, setup),
        cmocka_unit_test_setup(test_console_write, setup),
        cmocka_unit_test_setup(test_p2m_list, setup),
        cmocka_unit_test_setup(test_cpu_power, setup),
        cmocka_unit_test_setup(test_system_power, setup),
        cmocka_unit_test_setup(test_yield_gives_the_cpu_to_who_waits, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
