/* SPDX-License-Identifier: MIT */
/*
 * `vcpu show` and `vcpu audit`: a vCPU's whole state, and the proof that it can be read and set without the
 * guest noticing. Run by monitor.c as work on the boot CPU, no lock held; the VM stands still meanwhile.
 */
#include "hv/operator/monitor_vcpu.h"

#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/operator/console.h"
#include "hv/run/vcpu_snapshot.h"

#define PER_LINE 3

typedef unsigned long long ull;

struct shown {
    const char *name;
    u16 at, bytes;
};
#define SHOWN(name, member)                                                                       \
    {                                                                                             \
        name, offsetof(struct vcpu_snapshot, member), sizeof(((struct vcpu_snapshot *)0)->member) \
    }

/* clang-format off */
static const struct shown registers[] = {
    SHOWN("rax", gpr[RAX]), SHOWN("rbx", gpr[RBX]), SHOWN("rcx", gpr[RCX]), SHOWN("rdx", gpr[RDX]),
    SHOWN("rsi", gpr[RSI]), SHOWN("rdi", gpr[RDI]), SHOWN("rbp", gpr[RBP]), SHOWN("rsp", gpr[RSP]),
    SHOWN("r8", gpr[R8]), SHOWN("r9", gpr[R9]), SHOWN("r10", gpr[R10]), SHOWN("r11", gpr[R11]),
    SHOWN("r12", gpr[R12]), SHOWN("r13", gpr[R13]), SHOWN("r14", gpr[R14]), SHOWN("r15", gpr[R15]),
    SHOWN("rip", rip), SHOWN("rflags", rflags), SHOWN("cr0", cr0), SHOWN("cr2", cr2), SHOWN("cr3", cr3),
    SHOWN("cr4", cr4), SHOWN("xcr0", xcr0), SHOWN("dr0", dr0), SHOWN("dr1", dr1), SHOWN("dr2", dr2),
    SHOWN("dr3", dr3), SHOWN("dr6", dr6), SHOWN("dr7", dr7), SHOWN("efer", efer), SHOWN("star", star),
    SHOWN("lstar", lstar), SHOWN("cstar", cstar), SHOWN("sfmask", sfmask),
    SHOWN("kernel gs", kernel_gs_base), SHOWN("sysent cs", sysenter_cs), SHOWN("sysent esp", sysenter_esp),
    SHOWN("sysent eip", sysenter_eip), SHOWN("pat", pat), SHOWN("mtrr", msrs.mtrr_default),
    SHOWN("hwcr", msrs.hwcr), SHOWN("tsc aux", tsc_aux), SHOWN("tsc adjust", msrs.tsc_adjust),
    SHOWN("tsc offset", tsc_offset), SHOWN("kvm clock", msrs.kvm_system_time),
    SHOWN("kvm wall", msrs.kvm_wall_clock), SHOWN("steal time", msrs.steal_record),
    SHOWN("apic base", lapic.base), SHOWN("apic id", lapic.id), SHOWN("apic tpr", lapic.tpr),
    SHOWN("apic svr", lapic.svr), SHOWN("apic ldr", lapic.logical_id),
    SHOWN("apic dfr", lapic.destination_format), SHOWN("apic esr", lapic.error),
    SHOWN("apic icr", lapic.icr), SHOWN("lvt timer", lapic.lvt[0]), SHOWN("lvt therm", lapic.lvt[1]),
    SHOWN("lvt perf", lapic.lvt[2]), SHOWN("lvt lint0", lapic.lvt[3]), SHOWN("lvt lint1", lapic.lvt[4]),
    SHOWN("lvt error", lapic.lvt[5]), SHOWN("divide", lapic.divide), SHOWN("initial", lapic.initial_count),
    SHOWN("deadline", lapic.tsc_deadline),
};
/* clang-format on */

static const char *const segment_names[SEGMENT_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};

static void registers_show(const struct vcpu_snapshot *snapshot)
{
    for (unsigned i = 0; i < ARRAY_SIZE(registers); i++) {
        const void *at = (const u8 *)snapshot + registers[i].at;
        ull value = registers[i].bytes == 8 ? *(const u64 *)at : *(const u32 *)at;
        bool last = i % PER_LINE == PER_LINE - 1 || i == ARRAY_SIZE(registers) - 1;

        console_printf("  %-10s %016llx%s", registers[i].name, value, last ? "\n" : "");
    }
}

static void segments_show(const struct vcpu_snapshot *snapshot)
{
    for (unsigned i = 0; i < SEGMENT_COUNT; i++) {
        const struct vcpu_segment *segment = &snapshot->segments[i];

        console_printf("  %-5s %04x base %016llx limit %08x attributes %04x\n", segment_names[i],
                       segment->selector, (ull)segment->base, segment->limit, segment->attributes);
    }
    console_printf("  gdtr %016llx+%04x  idtr %016llx+%04x\n", (ull)snapshot->gdtr.base, snapshot->gdtr.limit,
                   (ull)snapshot->idtr.base, snapshot->idtr.limit);
}

static void vectors_show(const char *what, const u32 words[8])
{
    console_printf("  %s:", what);
    for (unsigned vector = 0; vector < 256; vector++)
        if (words[vector / 32] >> vector % 32 & 1)
            console_printf(" %02x", vector);
    console_printf("\n");
}

static void events_show(const struct vcpu_snapshot *snapshot)
{
    static const char *const types[] = {"nothing", "an interrupt", "an NMI", "an exception"};
    static const char *const shadows[] = {"", ", behind STI", ", behind MOV SS"};

    console_printf("  %s is being delivered", types[snapshot->event_type]);
    if (snapshot->event_type)
        console_printf(", vector %u", snapshot->event_vector);
    console_printf("%s%s%s\n", shadows[snapshot->shadow], snapshot->nmi_blocked ? ", NMIs are blocked" : "",
                   snapshot->nmi_pending ? ", an NMI waits" : "");
    vectors_show("interrupts that wait", snapshot->lapic.irr);
    vectors_show("interrupts in service", snapshot->lapic.isr);
}

/* NULL: no memory, with a sentence. */
static struct vcpu_snapshot *snapshot_make(void)
{
    struct vcpu_snapshot *snapshot = memory_alloc(vcpu_snapshot_bytes(), FRAME_OWNER_HYPERVISOR);

    if (!snapshot)
        console_printf("No memory is left for a vCPU's state.\n");
    return snapshot;
}

static void snapshot_drop(struct vcpu_snapshot *snapshot)
{
    if (snapshot)
        memory_free(snapshot, vcpu_snapshot_bytes(), FRAME_OWNER_HYPERVISOR);
}

void vcpu_show_command(struct vm *vm, char *const *more)
{
    struct vcpu *vcpu = monitor_vcpu_numbered(vm, more[0]);
    struct vcpu_snapshot *snapshot = vcpu ? snapshot_make() : NULL;

    if (!snapshot)
        return;
    vm_freeze(vm);
    vcpu_snapshot_read(vcpu, snapshot);
    vm_thaw(vm);
    console_printf("vCPU %u of VM %s, %s:\n", vcpu->index, vm->name,
                   power_state_names[snapshot->power.state]);
    registers_show(snapshot);
    segments_show(snapshot);
    events_show(snapshot);
    snapshot_drop(snapshot);
}

/* True: what was read, set and read again is the same. Else a sentence. */
static bool audit_one(struct vcpu *vcpu, struct vcpu_snapshot *before, struct vcpu_snapshot *after)
{
    const u8 *was = (const u8 *)before, *is = (const u8 *)after;

    vcpu_snapshot_read(vcpu, before);
    if (vcpu_snapshot_set(vcpu, before)) {
        console_printf("vCPU %u of VM %s is in a state that can't be set.\n", vcpu->index, vcpu->vm->name);
        return false;
    }
    vcpu_snapshot_read(vcpu, after);
    for (u32 i = 0; i < before->bytes; i++) {
        if (was[i] == is[i])
            continue;
        console_printf("vCPU %u of VM %s has another state when it was set: byte %#x was %02x and is %02x.\n",
                       vcpu->index, vcpu->vm->name, i, was[i], is[i]);
        return false;
    }
    return true;
}

void vcpu_audit_command(struct vm *vm, char *const *more)
{
    struct vcpu_snapshot *before = snapshot_make(), *after = before ? snapshot_make() : NULL;
    u32 right = 0;

    (void)more;
    if (after && vm->vcpu_count) {
        vm_freeze(vm);
        for (u32 i = 0; i < vm->vcpu_count; i++)
            right += audit_one(vm->vcpus[i], before, after);
        vm_thaw(vm);
        if (right == vm->vcpu_count)
            console_printf(
                "VM %s: the state of %u vCPU%s, %u bytes each, was read, set and read again alike.\n",
                vm->name, right, right == 1 ? "" : "s", before->bytes);
    } else if (after) {
        console_printf("VM %s does not run, so that it has no vCPU.\n", vm->name);
    }
    snapshot_drop(after);
    snapshot_drop(before);
}
