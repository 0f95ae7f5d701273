/* SPDX-License-Identifier: MIT */
/*
 * `vcpu list`, `stop`, `start` and `set`: the operator's side of hv/run/power.c. Run by monitor.c as work on
 * the boot CPU, no lock held; each answer is a sentence on the console, each change a line of the log.
 */
#include "hv/operator/monitor_vcpu.h"

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/tsc.h"
#include "hv/lib/errno.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/operator/console.h"
#include "hv/run/sched.h"

/* One or two digits. */
struct vcpu *monitor_vcpu_numbered(struct vm *vm, const char *word)
{
    u32 number = 0;

    if (!vm->vcpu_count) {
        console_printf("VM %s does not run, so that it has no vCPU.\n", vm->name);
        return NULL;
    }
    for (const char *digit = word; *digit; digit++) {
        bool wrong = *digit < '0' || *digit > '9' || digit - word > 1;

        number = wrong ? VM_VCPUS_MAX : number * 10 + (u32)(*digit - '0');
        if (wrong)
            break;
    }
    if (number < vm->vcpu_count)
        return vm->vcpus[number];
    console_printf("VM %s has no vCPU %s; right would be a number from 0 to %u.\n", vm->name, word,
                   vm->vcpu_count - 1);
    return NULL;
}

/* What the name of the state does not say. */
static void describe(const struct power *power, char *text, size_t size)
{
    text[0] = '\0';
    if (power->state == POWER_STOPPED)
        snprintf(text, size, power->off ? "by itself" : "by the operator; it was %s",
                 power_state_names[power->resume]);
    else if (power->state == POWER_HALTED && power->masked)
        snprintf(text, size, "interrupts are off");
    else if (power->state == POWER_SIPI_RECEIVED)
        snprintf(text, size, "begins at %#x",
                 power->begin.at_entry ? power->begin.where : power->begin.where << PAGE_SHIFT);
}

void vcpu_list_command(struct vm *vm, char *const *more)
{
    (void)more;
    console_printf("%4s  %-14s %12s  %s\n", "VCPU", "STATE", "CPU TIME", "WHY");
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        struct vcpu *vcpu = vm->vcpus[i];
        u64 ms = tsc_to_ns(vcpu->sched.ran) / 1000000;
        struct power power;
        char why[48];

        power_get(vcpu, &power);
        describe(&power, why, sizeof(why));
        console_printf("%4u  %-14s %8llu.%03llu  %s\n", i, power_state_names[power.state],
                       (unsigned long long)ms / 1000, (unsigned long long)ms % 1000, why);
    }
    if (!vm->vcpu_count)
        console_printf("VM %s does not run, so that it has no vCPU.\n", vm->name);
}

static const char *state_name(struct vcpu *vcpu)
{
    struct power power;

    power_get(vcpu, &power);
    return power_state_names[power.state];
}

void vcpu_stop_command(struct vm *vm, char *const *more)
{
    struct vcpu *vcpu = monitor_vcpu_numbered(vm, more[0]);

    if (!vcpu)
        return;
    if (power_event(vcpu, POWER_STOP, 0, 0))
        console_printf("vCPU %u of VM %s is stopped already.\n", vcpu->index, vm->name);
    else
        log_info("VM %s: vCPU %u is stopped by the operator", vm->name, vcpu->index);
}

void vcpu_start_command(struct vm *vm, char *const *more)
{
    struct vcpu *vcpu = monitor_vcpu_numbered(vm, more[0]);
    int error;

    if (!vcpu)
        return;
    error = power_event(vcpu, POWER_START, 0, 0);
    if (error == -EPERM)
        console_printf("vCPU %u of VM %s is %s: only its guest can start it.\n", vcpu->index, vm->name,
                       state_name(vcpu));
    else if (error)
        console_printf("vCPU %u of VM %s is not stopped: it is %s.\n", vcpu->index, vm->name,
                       state_name(vcpu));
    else
        log_info("VM %s: vCPU %u goes on, %s, by the operator", vm->name, vcpu->index, state_name(vcpu));
}

/* The name's state, or POWER_STATE_COUNT and a sentence. */
static enum power_state state_named(const char *name)
{
    char right[128] = "";

    for (unsigned state = 0; state < POWER_STATE_COUNT; state++) {
        size_t used = strlen(right);

        if (strcmp(power_state_names[state], name) == 0)
            return state;
        snprintf(right + used, sizeof(right) - used, "%s%s", used ? ", " : "", power_state_names[state]);
    }
    console_printf("\"%s\" is no state; right would be one of %s.\n", name, right);
    return POWER_STATE_COUNT;
}

/* What a vCPU in that state has due: it is entered as if the event had come now. */
static void power_compose(struct vcpu *vcpu, enum power_state state, struct power *power)
{
    u8 before;

    power_get(vcpu, power);
    before = power->state == POWER_STOPPED ? power->resume : power->state;
    power->state = state;
    power->off = false;
    power->due = 0;
    power->masked = false;
    if (state == POWER_INIT_RECEIVED)
        power->due = POWER_DUE_INIT;
    else if (state == POWER_SIPI_RECEIVED)
        power->due = POWER_DUE_INIT | POWER_DUE_BEGIN;
    else if (state == POWER_HALTED)
        power->masked = !(engine->register_get(vcpu, REGISTER_RFLAGS) & RFLAGS_IF);
    else if (state == POWER_STOPPED)
        power->resume = before == POWER_SIPI_RECEIVED ? POWER_INIT_RECEIVED : before;
}

void vcpu_set_command(struct vm *vm, char *const *more)
{
    struct vcpu *vcpu = monitor_vcpu_numbered(vm, more[0]);
    enum power_state state = vcpu ? state_named(more[1]) : POWER_STATE_COUNT;
    struct power power;

    if (state == POWER_STATE_COUNT)
        return;
    power_compose(vcpu, state, &power);
    if (power_set(vcpu, &power))
        console_printf("vCPU %u of VM %s can't be %s now.\n", vcpu->index, vm->name,
                       power_state_names[state]);
    else
        log_info("VM %s: vCPU %u is set to %s by the operator", vm->name, vcpu->index,
                 power_state_names[state]);
}
