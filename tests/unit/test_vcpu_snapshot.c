/* SPDX-License-Identifier: MIT */
/*
 * A vCPU's snapshot: each field comes back as it was set, each impossible value of it is refused and changes
 * nothing, no byte of it is without a test, and a local APIC's timer goes on as if nothing had been.
 */
// sources: hv/memory/guest_map.c
// sources: tests/unit/device_fakes.c tests/unit/fake_engine.c tests/unit/fake_guest_ram.c
// sources: hv/run/vcpu_snapshot.c hv/run/vcpu_check.c hv/run/power.c hv/run/bus.c hv/run/timer.c
// sources: arch/x86/machine/fpu.c guest/snapshot.c guest/policy/msr.c guest/policy/kvmclock.c
// sources: guest/policy/stealtime.c guest/policy/cpuid.c guest/policy/cpuid_table.c
// sources: guest/devices/acpi_pm.c guest/devices/calendar.c guest/devices/clock.c guest/devices/ioapic.c
// sources: guest/devices/lapic.c guest/devices/lapic_base.c guest/devices/lapic_page.c
// sources: guest/devices/lapic_registers.c guest/devices/lapic_snapshot.c guest/devices/lapic_timer.c
// sources: guest/devices/pci.c guest/devices/pic.c guest/devices/pit.c guest/devices/reset.c
// sources: guest/devices/rtc.c guest/devices/uart.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/fpu.h"
#include "guest/snapshot.h"
#include "hv/lib/errno.h"
#include "hv/run/memory_wait.h"
#include "tests/unit/device_fakes.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/fake_guest_ram.h"

#define RAM          (64ull << 20)
#define XSAVE_BYTES  832
#define CR0_LONG     (CR0_PG | CR0_NE | CR0_ET | CR0_PE)
#define CR4_KNOWN    (CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_LA57)
#define NONCANONICAL 0x0000900000000000ull
#define CODE_64      0xa9b /* G, L, present, execute and read, accessed */
#define CODE_32      0xc9b
#define DATA         0xc93
#define BUSY_TASK    0x8b
#define PAT_RESET    0x0007040600070406ull
#define DR6_RESET    0xffff0ff0ull
#define DR7_RESET    0x400ull
#define STEP         BIT(14)

static struct vcpu *const ap = &board.vcpus[1]; /* no boot processor */

static struct vcpu_snapshot *good, *trial, *now; /* good: 64-bit code at its ease */
static struct engine_ops checked_engine;
static const struct engine_ops *fake_engine;

static const struct machine_ops ops = {
    .vcpu_read = snapshot_read, .vcpu_is_possible = snapshot_is_possible, .vcpu_set = snapshot_set};
const struct machine_ops *machine = &ops;

u64 tsc_to_ns(u64 ticks)
{
    return (u64)((device_clock_product)ticks * 1000000 / tsc_khz);
}

int rdmsr_safe(u32 msr, u64 *value)
{
    (void)msr, (void)value;
    return -EFAULT;
}

int wrmsr_safe(u32 msr, u64 value)
{
    (void)msr, (void)value;
    return -EFAULT;
}

void vcpu_inject_fault(struct vcpu *at, u8 vector, u32 error_code)
{
    (void)at, (void)vector, (void)error_code;
}

void vm_stop(struct vm *vm, const char *format, ...)
{
    (void)vm, (void)format;
}

void memory_wait(struct vcpu *at, gpa_t gpa, const char *device)
{
    (void)at, (void)gpa, (void)device;
}

void log_line(enum log_level level, const char *format, ...)
{
    (void)level, (void)format;
}

bool log_limit_pass(struct log_limit *limit, u64 at, u64 interval, u32 burst)
{
    (void)limit, (void)at, (void)interval, (void)burst;
    return true;
}

void fetch_cache_clear(struct fetch_cache *cache)
{
    assert_ptr_equal(cache, &ap->fetch_cache);
}

static struct cpuid host(u32 leaf, u32 subleaf)
{
    (void)subleaf;
    if (leaf == 0 || leaf == 0x80000000)
        return (struct cpuid){leaf | 8, 0, 0, 0};
    return (struct cpuid){0, 0, 0, leaf == 0x80000001 ? 1u << 20 : 0}; /* NX, but not FFXSR */
}

/* As the two engines do. */
static int state_set(struct vcpu *at, const struct vcpu_state *state)
{
    return vcpu_state_is_possible(state) ? fake_engine->state_set(at, state) : -EINVAL;
}

static struct vcpu_snapshot *allocate(void)
{
    struct vcpu_snapshot *snapshot = aligned_alloc(64, vcpu_snapshot_bytes());

    memset(snapshot, 0xaa, vcpu_snapshot_bytes()); /* read must fill every byte */
    return snapshot;
}

static void begin_long(void)
{
    fake_engine_reset(FAKE_64);
    fake_state.registers[REGISTER_CR0] = CR0_LONG;
    fake_state.registers[REGISTER_CR4] = CR4_PAE | CR4_PGE;
    fake_state.registers[REGISTER_EFER] = EFER_LME | EFER_LMA | EFER_SCE;
    fake_state.registers[REGISTER_CR3] = 0x1000;
    fake_state.registers[REGISTER_RFLAGS] = RFLAGS_FIXED | RFLAGS_IF;
    fake_state.registers[REGISTER_PAT] = PAT_RESET;
    fake_state.registers[REGISTER_DR6] = DR6_RESET;
    fake_state.registers[REGISTER_DR7] = DR7_RESET;
    for (unsigned i = 0; i < SEGMENT_COUNT; i++)
        fake_state.segments[i].attributes = DATA;
    fake_state.segments[SEGMENT_CS].attributes = CODE_64;
    fake_state.segments[SEGMENT_LDTR] = (struct vcpu_segment){0};
    fake_state.segments[SEGMENT_TR] = (struct vcpu_segment){.attributes = BUSY_TASK, .limit = 0x67};
}

static int setup(void **state)
{
    board_setup(state);
    cpu_features.xsave = cpu_features.rdtscp = true;
    cpu_features.xsave_mask = 7;
    cpu_features.xsave_bytes = XSAVE_BYTES;
    cpu_features.cr4_known = CR4_KNOWN;
    fake_guest_ram_reset(&board.vm.memory, RAM);
    board.config.personality = PERSONALITY_KVM;
    board.config.vcpus = BOARD_VCPUS;
    cpuid_policy_build(&board.machine->cpuid, &board.config, host);
    board.vm.boot_vcpu = &board.vcpus[0];
    for (unsigned i = 0; i < BOARD_VCPUS; i++) {
        board.vcpus[i].clock = &board.machine->vcpus[i].clock;
        msr_state_reset(&board.machine->vcpus[i].msrs);
        spinlock_init(&board.vcpus[i].power.lock, RANK_POWER);
    }
    fake_engine = fake_engine ? fake_engine : engine;
    checked_engine = *fake_engine;
    checked_engine.state_set = state_set;
    engine = &checked_engine;
    begin_long();
    ap->fpu = calloc(1, XSAVE_BYTES);
    fpu_area_init(ap->fpu);
    ap->xcr0 = 1;
    ap->tsc_offset = 0x123456789;
    good = allocate();
    trial = allocate();
    now = allocate();
    vcpu_snapshot_read(ap, good);
    return 0;
}

static int teardown(void **state)
{
    free(ap->fpu);
    free(good);
    free(trial);
    free(now);
    return board_teardown(state);
}

/* ---------------------------------------------------------------- each field */

/* Values put into fields of the good snapshot. */
struct poke {
    u16 at, bytes;
    u64 value;
};
#define F(member, to)                                                                                  \
    {                                                                                                  \
        offsetof(struct vcpu_snapshot, member), sizeof(((struct vcpu_snapshot *)0)->member), (u64)(to) \
    }
#define POKES 5
struct row {
    struct poke pokes[POKES];
};
/* clang-format off */
#define ROW(...) {{__VA_ARGS__}}

/* What can be: it is taken, and reads as it was set. */
static const struct row right[] = {
    ROW(F(gpr[RAX], ~0ull)), ROW(F(gpr[RCX], 1)), ROW(F(gpr[RDX], 1)), ROW(F(gpr[RBX], 1)),
    ROW(F(gpr[RSP], NONCANONICAL)), ROW(F(gpr[RBP], 1)), ROW(F(gpr[RSI], 1)), ROW(F(gpr[RDI], 1)),
    ROW(F(gpr[R8], 1)), ROW(F(gpr[R9], 1)), ROW(F(gpr[R10], 1)), ROW(F(gpr[R11], 1)), ROW(F(gpr[R12], 1)),
    ROW(F(gpr[R13], 1)), ROW(F(gpr[R14], 1)), ROW(F(gpr[R15], ~0ull)), ROW(F(rip, 0xffffffff81000000)),
    ROW(F(rip, 0x0000800000000000)), /* one beyond the edge */
    ROW(F(rip, 0x0100000000000000 - BIT(48)), F(cr4, CR4_PAE | CR4_LA57)),
    ROW(F(rflags, 0x40ed7)), /* five levels */
    ROW(F(cr0, CR0_LONG | CR0_CD | CR0_NW)), ROW(F(cr2, NONCANONICAL)), ROW(F(cr3, 0xfffffff000)),
    ROW(F(cr4, CR4_PAE | CR4_PCIDE)),
    ROW(F(cr0, CR0_ET), F(efer, 0), F(segments[SEGMENT_CS].attributes, 0x9b),
        F(segments[SEGMENT_CS].limit, 0xffff),
        F(segments[SEGMENT_CS].base, 0xffff0000)), /* real mode */
    ROW(F(cr0, CR0_ET | CR0_PE), F(efer, 0), F(rip, 0xffffffff),
        F(segments[SEGMENT_CS].attributes, CODE_32)),
    ROW(F(dr0, ~0ull)), ROW(F(dr1, 1)), ROW(F(dr2, 1)), ROW(F(dr3, 1)), ROW(F(dr6, 0xfffeefff)),
    ROW(F(dr7, 0xffff2fff)), ROW(F(segments[SEGMENT_ES].selector, 0x1b)),
    ROW(F(segments[SEGMENT_DS].attributes, 0)), /* can't be used */
    ROW(F(segments[SEGMENT_DS].limit, 0xfffff), F(segments[SEGMENT_DS].attributes, 0x493)),
    ROW(F(segments[SEGMENT_SS].attributes, 0xc97)), ROW(F(segments[SEGMENT_ES].attributes, 0xc9f)),
    ROW(F(segments[SEGMENT_CS].attributes, 0xaf9 | 2),
        F(segments[SEGMENT_SS].attributes, 0x60)), /* ring 3 without SS */
    ROW(F(segments[SEGMENT_CS].attributes, 0xa9f),
        F(segments[SEGMENT_SS].attributes, 0xcf3)), /* conforming */
    ROW(F(segments[SEGMENT_FS].base, 0xffff800000000000)),
    ROW(F(segments[SEGMENT_GS].base, 0x7fffffffffff)),
    ROW(F(segments[SEGMENT_LDTR].attributes, 0x82), F(segments[SEGMENT_LDTR].selector, 0x30)),
    ROW(F(segments[SEGMENT_TR].selector, 0x40), F(segments[SEGMENT_TR].base, 0xffffffff80001000)),
    ROW(F(gdtr.base, 0xffff800000000000), F(gdtr.limit, 0xffff)),
    ROW(F(idtr.base, 0x1000), F(idtr.limit, 0xfff)), ROW(F(efer, EFER_LME | EFER_LMA | EFER_NXE)),
    ROW(F(star, ~0ull)), ROW(F(lstar, 0xffffffff80000000)), ROW(F(cstar, 1)), ROW(F(sfmask, 0xffffffff)),
    ROW(F(kernel_gs_base, 0xffff800000000000)), ROW(F(sysenter_cs, 0xffffffff)),
    ROW(F(sysenter_esp, 0xffff800000000000)), ROW(F(sysenter_eip, 1)), ROW(F(pat, 0x0706050401000606)),
    ROW(F(xcr0, 7)), ROW(F(xcr0, 3)), ROW(F(tsc_aux, 0xffffffff)), ROW(F(tsc_offset, ~0ull)),
    ROW(F(pending_debug, 0x1000 | STEP | 0xf)),
    ROW(F(pending_debug, STEP), F(shadow, 1), F(rflags, 0x302)), ROW(F(shadow, SHADOW_STI)),
    ROW(F(shadow, SHADOW_MOV_SS), F(rflags, 2)),
    ROW(F(event_type, EVENT_INTERRUPT), F(event_vector, 0xff)),
    ROW(F(event_type, EVENT_NMI), F(event_vector, 2)),
    ROW(F(event_type, EVENT_EXCEPTION), F(event_vector, 14), F(event_has_error, 1), F(event_error, 0x1f)),
    ROW(F(event_type, EVENT_EXCEPTION), F(event_vector, 6)), ROW(F(nmi_blocked, 1)),
    ROW(F(nmi_pending, 1)), ROW(F(power.state, POWER_HALTED), F(power.masked, 1)),
    ROW(F(power.state, POWER_INIT_RECEIVED), F(power.due, 1)),
    ROW(F(power.state, POWER_SIPI_RECEIVED), F(power.due, 3), F(power.where, 0x99)),
    ROW(F(power.state, POWER_SIPI_RECEIVED), F(power.due, 2), F(power.at_entry, 1), F(power.where, ~0u),
        F(power.argument, ~0u)),
    ROW(F(power.state, POWER_STOPPED), F(power.off, 1)),
    ROW(F(power.state, POWER_STOPPED), F(power.resume, POWER_HALTED)), ROW(F(msrs.tsc_adjust, ~0ull)),
    ROW(F(msrs.mtrr_default, 0xc00 & ~BIT(10))), ROW(F(msrs.hwcr, ~0ull)),
    ROW(F(msrs.kvm_system_time, 0x3001)), ROW(F(msrs.kvm_system_time, ~1ull)),
    ROW(F(msrs.kvm_wall_clock, ~0ull)), ROW(F(msrs.steal_record, 0x2041)),
    ROW(F(lapic.irr[0], 0xffff0000)), ROW(F(lapic.irr[1], 1)), ROW(F(lapic.irr[2], 1)),
    ROW(F(lapic.irr[3], 1)), ROW(F(lapic.irr[4], 1)), ROW(F(lapic.irr[5], 1)), ROW(F(lapic.irr[6], 1)),
    ROW(F(lapic.irr[7], ~0u)), ROW(F(lapic.isr[0], 0xffff0000)), ROW(F(lapic.isr[1], 1)),
    ROW(F(lapic.isr[2], 1)), ROW(F(lapic.isr[3], 1)), ROW(F(lapic.isr[4], 1)), ROW(F(lapic.isr[5], 1)),
    ROW(F(lapic.isr[6], 1)), ROW(F(lapic.isr[7], ~0u)), ROW(F(lapic.tmr[0], 0xffff0000)),
    ROW(F(lapic.tmr[1], 1)), ROW(F(lapic.tmr[2], 1)), ROW(F(lapic.tmr[3], 1)), ROW(F(lapic.tmr[4], 1)),
    ROW(F(lapic.tmr[5], 1)), ROW(F(lapic.tmr[6], 1)), ROW(F(lapic.tmr[7], ~0u)),
    ROW(F(lapic.base, 0xfee00c00), F(lapic.logical_id, 2)), ROW(F(lapic.base, 0xfee00000)),
    ROW(F(lapic.base, 0x2000800)), ROW(F(lapic.icr, 0xff000000000ccfff)), ROW(F(lapic.tpr, 0xff)),
    ROW(F(lapic.svr, 0x1ff)), ROW(F(lapic.logical_id, 0xff000000)),
    ROW(F(lapic.destination_format, 0x0fffffff)), ROW(F(lapic.error, 0xe0)),
    ROW(F(lapic.error_pending, 0xe0)),
    ROW(F(lapic.svr, 0x1ff), F(lapic.lvt[LVT_TIMER], 0x200ff), F(lapic.lvt[LVT_LINT0], 0xa7ff)),
    ROW(F(lapic.svr, 0x1ff), F(lapic.lvt[LVT_THERMAL], 0x7ff), F(lapic.lvt[LVT_PERFORMANCE], 0x7ff),
        F(lapic.lvt[LVT_LINT1], 0xa7ff), F(lapic.lvt[LVT_ERROR], 0xff)),
    ROW(F(lapic.divide, 0xb)), ROW(F(lapic.initial_count, ~0u)), ROW(F(lapic.extint, 1)),
    ROW(F(lapic.svr, 0x1ff), F(lapic.lvt[LVT_TIMER], 0x400ff), F(lapic.tsc_deadline, BIT(60)),
        F(lapic.timer_expiry, BIT(60))),
};

/* What can't. */
static const struct row wrong[] = {
    ROW(F(version, 0)), ROW(F(version, 2)), ROW(F(bytes, 0)), ROW(F(bytes, sizeof(struct vcpu_snapshot))),
    ROW(F(rip, NONCANONICAL)), ROW(F(rip, 0x0000800000000001)),
    ROW(F(rip, BIT(32)), F(segments[SEGMENT_CS].attributes, CODE_32)), ROW(F(rflags, 0x200)),
    ROW(F(rflags, 0x20a)), ROW(F(rflags, 0x222)), ROW(F(rflags, 0x8202)), ROW(F(rflags, 0x400202)),
    ROW(F(rflags, BIT(63) | 2)), ROW(F(rflags, RFLAGS_VM | 2)), ROW(F(cr0, CR0_LONG | BIT(32))),
    ROW(F(cr0, CR0_LONG | BIT(6))), ROW(F(cr0, CR0_LONG | BIT(28))), ROW(F(cr0, CR0_LONG & ~CR0_ET)),
    ROW(F(cr0, CR0_LONG & ~CR0_PE)), ROW(F(cr0, CR0_LONG & ~CR0_PG)), ROW(F(cr0, CR0_LONG | CR0_NW)),
    ROW(F(cr3, BIT(40))), ROW(F(cr4, CR4_PGE)), ROW(F(cr4, CR4_PAE | CR4_VMXE)),
    ROW(F(cr4, CR4_PAE | CR4_SMEP)), ROW(F(cr4, CR4_PAE | BIT(40))),
    ROW(F(cr4, CR4_PAE | CR4_PCIDE), F(cr0, CR0_ET | CR0_PE), F(efer, 0),
        F(segments[SEGMENT_CS].attributes, CODE_32)),
    ROW(F(dr6, DR6_RESET | BIT(32))), ROW(F(dr6, DR6_RESET | BIT(12))), ROW(F(dr6, 0)), ROW(F(dr7, 0)),
    ROW(F(dr7, DR7_RESET | BIT(32))), ROW(F(dr7, DR7_RESET | BIT(12))), ROW(F(dr7, DR7_RESET | BIT(14))),
    ROW(F(dr7, DR7_RESET | BIT(15))), ROW(F(segments[SEGMENT_CS].attributes, 0)),
    ROW(F(segments[SEGMENT_CS].attributes, CODE_64 & ~1)), ROW(F(segments[SEGMENT_CS].attributes, 0xa8b)),
    ROW(F(segments[SEGMENT_CS].attributes, CODE_64 | SEGMENT_DEFAULT_32)),
    ROW(F(segments[SEGMENT_CS].attributes, CODE_64 | BIT(12))),
    ROW(F(segments[SEGMENT_CS].attributes, CODE_64 | 0x60)),
    ROW(F(segments[SEGMENT_CS].attributes, 0xcf3),
        F(segments[SEGMENT_SS].attributes, 0xcf3)), /* real mode's type in ring 3 */
    ROW(F(segments[SEGMENT_CS].attributes, 0xaff)), /* conforming, less privileged than SS */
    ROW(F(segments[SEGMENT_CS].limit, 0xfffff000)), ROW(F(segments[SEGMENT_CS].base, BIT(32))),
    ROW(F(segments[SEGMENT_SS].attributes, 0xc9b)), ROW(F(segments[SEGMENT_SS].attributes, 0xc91)),
    ROW(F(segments[SEGMENT_SS].attributes, 0xc92)), ROW(F(segments[SEGMENT_SS].attributes, 0x60)),
    ROW(F(segments[SEGMENT_SS].base, BIT(32))), ROW(F(segments[SEGMENT_ES].base, BIT(32))),
    ROW(F(segments[SEGMENT_DS].base, BIT(32))), ROW(F(segments[SEGMENT_DS].attributes, 0xc99)),
    ROW(F(segments[SEGMENT_ES].attributes, 0xc92)), ROW(F(segments[SEGMENT_FS].attributes, 0xc83)),
    ROW(F(segments[SEGMENT_GS].attributes, 0x493)), /* its limit wants pages */
    ROW(F(segments[SEGMENT_FS].base, NONCANONICAL)), ROW(F(segments[SEGMENT_GS].base, NONCANONICAL)),
    ROW(F(segments[SEGMENT_LDTR].base, NONCANONICAL)), ROW(F(segments[SEGMENT_LDTR].attributes, 0x89)),
    ROW(F(segments[SEGMENT_LDTR].attributes, 0x92)),
    ROW(F(segments[SEGMENT_LDTR].attributes, 0x82), F(segments[SEGMENT_LDTR].selector, 4)),
    ROW(F(segments[SEGMENT_TR].attributes, 0)), ROW(F(segments[SEGMENT_TR].attributes, 0x89)),
    ROW(F(segments[SEGMENT_TR].attributes, 0x83)), ROW(F(segments[SEGMENT_TR].attributes, 0x9b)),
    ROW(F(segments[SEGMENT_TR].selector, 4)), ROW(F(segments[SEGMENT_TR].base, NONCANONICAL)),
    ROW(F(rflags, RFLAGS_VM | 2), F(cr0, CR0_ET | CR0_PE),
        F(efer, 0)), /* virtual-8086 mode with flat segments */
    ROW(F(gdtr.base, NONCANONICAL)), ROW(F(gdtr.limit, 0x10000)), ROW(F(gdtr.reserved, 1)),
    ROW(F(idtr.base, NONCANONICAL)), ROW(F(idtr.limit, 0x10000)), ROW(F(idtr.reserved, 1)),
    ROW(F(efer, EFER_LME | EFER_LMA | EFER_SVME)), ROW(F(efer, EFER_LME | EFER_LMA | EFER_FFXSR)),
    ROW(F(efer, EFER_LME)), ROW(F(efer, EFER_LMA)), ROW(F(efer, EFER_LME | EFER_LMA | BIT(1))),
    ROW(F(lstar, NONCANONICAL)), ROW(F(cstar, NONCANONICAL)), ROW(F(sfmask, BIT(32))),
    ROW(F(kernel_gs_base, NONCANONICAL)), ROW(F(sysenter_cs, BIT(32))),
    ROW(F(sysenter_esp, NONCANONICAL)), ROW(F(sysenter_eip, NONCANONICAL)), ROW(F(pat, 2)),
    ROW(F(pat, 3)), ROW(F(pat, 0x0800000000000000)), ROW(F(xcr0, 0)), ROW(F(xcr0, 2)), ROW(F(xcr0, 5)),
    ROW(F(xcr0, 0xf)), ROW(F(xcr0, BIT(63) | 1)), ROW(F(tsc_aux, BIT(32))), ROW(F(pending_debug, BIT(4))),
    ROW(F(pending_debug, BIT(13))), ROW(F(shadow, 3)), ROW(F(shadow, SHADOW_STI), F(rflags, 2)),
    ROW(F(shadow, SHADOW_STI), F(rflags, 0x302)), ROW(F(shadow, SHADOW_STI), F(pending_debug, STEP)),
    ROW(F(event_type, EVENT_SOFTWARE)), ROW(F(event_type, 5)), ROW(F(event_vector, 1)),
    ROW(F(event_has_error, 1)), ROW(F(event_error, 1)),
    ROW(F(event_has_error, 2), F(event_type, EVENT_EXCEPTION), F(event_vector, 14)),
    ROW(F(event_type, EVENT_INTERRUPT), F(rflags, 2)),
    ROW(F(event_type, EVENT_INTERRUPT), F(shadow, SHADOW_STI)),
    ROW(F(event_type, EVENT_INTERRUPT), F(event_has_error, 1)),
    ROW(F(event_type, EVENT_NMI), F(event_vector, 3)),
    ROW(F(event_type, EVENT_NMI), F(event_vector, 2), F(nmi_blocked, 1)),
    ROW(F(event_type, EVENT_EXCEPTION), F(event_vector, 32)),
    ROW(F(event_type, EVENT_EXCEPTION), F(event_vector, 2)),
    ROW(F(event_type, EVENT_EXCEPTION), F(event_vector, 6), F(event_has_error, 1)),
    ROW(F(event_type, EVENT_EXCEPTION), F(event_vector, 14), F(event_error, 1)), ROW(F(nmi_blocked, 2)),
    ROW(F(nmi_pending, 2)), ROW(F(reserved[0], 1)), ROW(F(reserved[1], 1)), ROW(F(reserved[2], 1)),
    ROW(F(reserved[3], 1)), ROW(F(reserved[4], 1)), ROW(F(reserved[5], 1)),
    ROW(F(power.state, POWER_STATE_COUNT)), ROW(F(power.state, POWER_SIPI_RECEIVED)),
    ROW(F(power.resume, POWER_STOPPED)), ROW(F(power.due, 4)), ROW(F(power.due, 2)), ROW(F(power.off, 1)),
    ROW(F(power.masked, 2)), ROW(F(power.at_entry, 2)), ROW(F(power.reserved[0], 1)),
    ROW(F(power.reserved[1], 1)), ROW(F(power.where, 0x100)), ROW(F(power.argument, 1)),
    ROW(F(msrs.mtrr_default, 2)), ROW(F(msrs.mtrr_default, 0x100)), ROW(F(msrs.kvm_system_time, RAM | 1)),
    ROW(F(msrs.kvm_system_time, ~0ull)), ROW(F(msrs.steal_record, 0x2003)),
    ROW(F(msrs.steal_record, RAM | 1)), ROW(F(lapic.irr[0], 0x8000)), ROW(F(lapic.isr[0], 1)),
    ROW(F(lapic.tmr[0], 2)), ROW(F(lapic.base, 0xfee00400)), ROW(F(lapic.base, 0xfee00900)),
    ROW(F(lapic.base, 0xfee00a00)), ROW(F(lapic.base, 0xfee00801)), ROW(F(lapic.base, BIT(40) | 0x800)),
    ROW(F(lapic.base, 0xfee00c00), F(lapic.logical_id, 1)), ROW(F(lapic.icr, 0x1000)),
    ROW(F(lapic.icr, BIT(20))), ROW(F(lapic.icr, BIT(32))), ROW(F(lapic.id, 0)), ROW(F(lapic.id, 2)),
    ROW(F(lapic.tpr, 0x100)), ROW(F(lapic.svr, 0x400)), ROW(F(lapic.logical_id, 1)),
    ROW(F(lapic.destination_format, 0)), ROW(F(lapic.error, 1)), ROW(F(lapic.error_pending, 0x100)),
    ROW(F(lapic.lvt[LVT_TIMER], 0x10100)), ROW(F(lapic.lvt[LVT_THERMAL], 0x12000)),
    ROW(F(lapic.lvt[LVT_PERFORMANCE], 0x18000)), ROW(F(lapic.lvt[LVT_LINT0], 0x11000)),
    ROW(F(lapic.lvt[LVT_LINT1], 0x14000)), ROW(F(lapic.lvt[LVT_ERROR], 0x10700)),
    ROW(F(lapic.lvt[LVT_TIMER], 0x20)),
    ROW(F(lapic.lvt[LVT_ERROR], 0x20)), /* not masked while it is off */
    ROW(F(lapic.divide, 4)), ROW(F(lapic.extint, 2)), ROW(F(lapic.timer_start, 1)),
    ROW(F(lapic.timer_period, 1)), ROW(F(lapic.timer_period, 1), F(lapic.initial_count, 1000000)),
    ROW(F(lapic.timer_expiry, 1)), ROW(F(lapic.tsc_deadline, 1)),
    ROW(F(lapic.lvt[LVT_TIMER], 0x20), F(lapic.svr, 0x1ff), F(lapic.timer_expiry, 1)),
    ROW(F(lapic.lvt[LVT_TIMER], 0x400ff), F(lapic.svr, 0x1ff), F(lapic.timer_expiry, 1)),
    ROW(F(lapic.lvt[LVT_TIMER], 0x400ff), F(lapic.svr, 0x1ff), F(lapic.initial_count, 1)),
};
/* clang-format on */

static bool covered[offsetof(struct vcpu_snapshot, xsave)];

static void compose(const struct row *row)
{
    memcpy(trial, good, vcpu_snapshot_bytes());
    for (unsigned i = 0; i < POKES && row->pokes[i].bytes; i++) {
        memcpy((u8 *)trial + row->pokes[i].at, &row->pokes[i].value, row->pokes[i].bytes);
        memset(covered + row->pokes[i].at, true, row->pokes[i].bytes);
    }
}

static void assert_reads(const struct vcpu_snapshot *expected, const char *list, unsigned index)
{
    const u8 *wanted = (const u8 *)expected, *found = (const u8 *)now;

    memset(now, 0x55, vcpu_snapshot_bytes());
    vcpu_snapshot_read(ap, now);
    for (unsigned i = 0; i < vcpu_snapshot_bytes(); i++)
        if (wanted[i] != found[i])
            fail_msg("%s %u: byte %#x reads %#x and not %#x", list, index, i, found[i], wanted[i]);
}

static void test_what_can_be(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(right); i++) {
        compose(&right[i]);
        if (vcpu_snapshot_set(ap, trial))
            fail_msg("right %u is refused", i);
        assert_reads(trial, "right", i);
        assert_int_equal(vcpu_snapshot_set(ap, good), 0);
        assert_reads(good, "good behind right", i);
    }
}

static void test_what_cannot_be(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        compose(&wrong[i]);
        if (vcpu_snapshot_set(ap, trial) != -EINVAL)
            fail_msg("wrong %u is taken", i);
        assert_reads(good, "wrong", i);
    }
}

/* With the two lists above: every byte but the padding that reserved_end's own test covers. */
static void test_no_byte_is_left_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof(good->reserved_end); i++) {
        memcpy(trial, good, vcpu_snapshot_bytes());
        trial->reserved_end[i] = 1;
        assert_int_equal(vcpu_snapshot_set(ap, trial), -EINVAL);
        covered[offsetof(struct vcpu_snapshot, reserved_end) + i] = true;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(covered); i++)
        if (!covered[i] && (i < offsetof(struct vcpu_snapshot, segments) ||
                            i >= offsetof(struct vcpu_snapshot, gdtr))) /* each segment has some of its own */
            fail_msg("byte %#x is in no row", i);
}

/* ---------------------------------------------------------------- x87 and vectors */

static void test_xsave_area(void **state)
{
    static const struct poke refused[] = {
        {24, 4, 0x11f80},               /* a bit that MXCSR has not */
        {512, 8, BIT(3)},               /* a part that the CPU has not */
        {512, 8, BIT(62)},              /* ... nor any */
        {520, 8, BIT(63)},              /* the compacted form */
        {528, 8, 1},       {568, 8, 1}, /* reserved */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
        memcpy(trial, good, vcpu_snapshot_bytes());
        memcpy(trial->xsave + refused[i].at, &refused[i].value, refused[i].bytes);
        assert_int_equal(vcpu_snapshot_set(ap, trial), -EINVAL);
        assert_reads(good, "xsave", i);
    }
    memcpy(trial, good, vcpu_snapshot_bytes());
    memset(trial->xsave + 32, 0x7e, 480);
    memset(trial->xsave + 576, 0x7e, 256);
    trial->xsave[512] = 7;
    assert_int_equal(vcpu_snapshot_set(ap, trial), 0);
    assert_reads(trial, "xsave", 99);
}

/* A machine without XSAVE has nothing of it. */
static void test_without_xsave(void **state)
{
    (void)state;
    cpu_features.xsave = cpu_features.rdtscp = false;
    ap->xcr0 = 0;
    vcpu_snapshot_read(ap, trial);
    assert_int_equal(trial->bytes, sizeof(*trial) + 512);
    assert_int_equal(vcpu_snapshot_set(ap, trial), 0);
    trial->xcr0 = 1;
    assert_int_equal(vcpu_snapshot_set(ap, trial), -EINVAL);
    trial->xcr0 = 0;
    trial->tsc_aux = 1;
    assert_int_equal(vcpu_snapshot_set(ap, trial), -EINVAL);
}

/* ---------------------------------------------------------------- hidden parts of segments */

/* As AMD's CPUs and QEMU leave them, and as they read. */
static void test_segments_are_alike(void **state)
{
    (void)state;
    fake_state.segments[SEGMENT_ES] = (struct vcpu_segment){.attributes = 0xf13, .limit = 5};
    fake_state.segments[SEGMENT_DS] = (struct vcpu_segment){.attributes = 0xf492, .limit = 0xffffffff};
    fake_state.segments[SEGMENT_FS] = (struct vcpu_segment){.attributes = 0xc93, .limit = 0xffff};
    vcpu_snapshot_read(ap, trial);
    assert_int_equal(trial->segments[SEGMENT_ES].attributes, 0);
    assert_int_equal(trial->segments[SEGMENT_DS].attributes, 0xc93);
    assert_int_equal(trial->segments[SEGMENT_FS].attributes, 0x493);
    assert_int_equal(vcpu_snapshot_set(ap, trial), 0);
    assert_reads(trial, "segments", 0);
}

/* An instruction at the end of 32-bit code's 4 GiB was stepped over. */
static void test_rip_wraps(void **state)
{
    (void)state;
    fake_state.segments[SEGMENT_CS].attributes = CODE_32;
    ap->regs.rip = BIT(32) + 1;
    vcpu_snapshot_read(ap, trial);
    assert_int_equal(trial->rip, 1);
    assert_int_equal(vcpu_snapshot_set(ap, trial), 0);
}

/* ---------------------------------------------------------------- what goes on */

static void lapic_out(unsigned offset, u32 value)
{
    mmio_out(1, MACHINE_LAPIC_BASE + offset, value);
}

static void lapic_timer_begin(u32 lvt, u32 count)
{
    lapic_out(0xf0, 0x1ff);
    lapic_out(0x3e0, 3);
    lapic_out(0x320, lvt);
    lapic_out(0x380, count);
}

/*
 * The state is taken while the timer runs, another one put in its place for a while, and then put back: the
 * interrupt comes when it would have come.
 */
static void test_timer_goes_on(void **state)
{
    static const u32 modes[] = {0x000e0, 0x200e0};

    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        if (i) {
            teardown(state);
            setup(state);
        }
        lapic_timer_begin(modes[i], 1000000); /* 16 ms */
        time_pass_us(10000);
        vcpu_snapshot_read(ap, trial);
        assert_int_equal(vcpu_snapshot_set(ap, good), 0);
        time_pass_us(1000);
        assert_int_equal(vcpu_snapshot_set(ap, trial), 0);
        assert_reads(trial, "timer", i);
        time_pass_us(4900);
        assert_int_equal(take_interrupt(1), -1);
        time_pass_us(200);
        assert_int_equal(take_interrupt(1), 0xe0);
        lapic_out(0xb0, 0);
        time_pass_us(15800);
        assert_int_equal(take_interrupt(1), -1);
        time_pass_us(200);
        assert_int_equal(take_interrupt(1), i ? 0xe0 : -1);
    }
}

/* What fell due while another state was in place comes at once. */
static void test_timer_is_late(void **state)
{
    (void)state;
    lapic_timer_begin(0xe0, 1000000);
    vcpu_snapshot_read(ap, trial);
    assert_int_equal(vcpu_snapshot_set(ap, good), 0);
    time_pass_us(50000);
    assert_int_equal(take_interrupt(1), -1);
    assert_int_equal(vcpu_snapshot_set(ap, trial), 0);
    time_pass_us(1);
    assert_int_equal(take_interrupt(1), 0xe0);
}

/* Interrupts that waited wait again; the vCPU is told to look. */
static void test_interrupts_wait(void **state)
{
    struct lapic_message message = {.destination = 1, .mode = LAPIC_FIXED, .vector = 0x55};

    (void)state;
    lapic_out(0xf0, 0x1ff);
    lapic_deliver(&board.vm, &message);
    vcpu_snapshot_read(ap, trial);
    assert_int_equal(vcpu_snapshot_set(ap, good), 0);
    assert_int_equal(take_interrupt(1), -1);
    ap->requests = 0;
    assert_int_equal(vcpu_snapshot_set(ap, trial), 0);
    assert_true(ap->requests & REQUEST_INTERRUPT);
    assert_int_equal(take_interrupt(1), 0x55);
}

/* An NMI that the engine watches for and one that was requested are the same thing. */
static void test_nmi_waits(void **state)
{
    (void)state;
    fake_state.nmi_window = true;
    vcpu_snapshot_read(ap, trial);
    assert_int_equal(trial->nmi_pending, 1);
    ap->requests = 0;
    assert_int_equal(vcpu_snapshot_set(ap, trial), 0);
    assert_true(ap->requests & REQUEST_NMI);
    assert_int_equal(vcpu_snapshot_set(ap, good), 0);
    assert_false(ap->requests & REQUEST_NMI);
}

/* kvm-clock's page is written when it becomes another one, and only then. */
static void test_clock_page(void **state)
{
    u32 version;

    (void)state;
    memcpy(trial, good, vcpu_snapshot_bytes());
    trial->msrs.kvm_system_time = 0x3001;
    assert_int_equal(vcpu_snapshot_set(ap, trial), 0);
    memcpy(&version, fake_guest_ram_at(0x3000), sizeof(version));
    assert_int_equal(version, 2);
    assert_int_equal(vcpu_snapshot_set(ap, trial), 0);
    memcpy(&version, fake_guest_ram_at(0x3000), sizeof(version));
    assert_int_equal(version, 2);
    trial->tsc_offset += 1000;
    assert_int_equal(vcpu_snapshot_set(ap, trial), 0);
    memcpy(&version, fake_guest_ram_at(0x3000), sizeof(version));
    assert_int_equal(version, 4);
}

/* What the VM is not offered must be 0. */
static void test_personality_none(void **state)
{
    (void)state;
    board.config.personality = PERSONALITY_NONE;
    for (unsigned i = 0; i < 3; i++) {
        memcpy(trial, good, vcpu_snapshot_bytes());
        assert_int_equal(vcpu_snapshot_set(ap, trial), 0);
        (&trial->msrs.kvm_system_time)[i] = 0x2040;
        assert_int_equal(vcpu_snapshot_set(ap, trial), -EINVAL);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_can_be),   TEST(test_what_cannot_be), TEST(test_no_byte_is_left_out),
        TEST(test_xsave_area),    TEST(test_without_xsave),  TEST(test_segments_are_alike),
        TEST(test_timer_goes_on), TEST(test_timer_is_late),  TEST(test_interrupts_wait),
        TEST(test_nmi_waits),     TEST(test_clock_page),     TEST(test_personality_none),
        TEST(test_rip_wraps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
