/* SPDX-License-Identifier: MIT */
/*
 * Virtual machines: built from their configuration, started, stopped, reset, taken down. Everything that
 * changes a VM's life runs on the boot CPU between vCPUs; what exits want (stop, reset, power-off) is noted
 * and done there as work.
 */
#include "hv/run/vm.h"

#include "arch/x86/machine/percpu.h"
#include "arch/x86/machine/tsc.h"
#include "hv/lib/errno.h"
#include "hv/lib/panic.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/run/memory_wait.h"
#include "hv/run/sched.h"
#include "hv/run/vm_flush.h"

struct vm *vms[VM_MAX];
u32 vm_count;
const struct machine_ops *machine;

static void (*vm_ended)(void);

void vm_set_ended_hook(void (*ended)(void))
{
    vm_ended = ended;
}

static unsigned long long mebibytes(u64 bytes)
{
    return bytes >> 20;
}

static void flush_finish(void *context)
{
    vm_flush_finish(context);
}

static int memory_build(struct vm *vm, char *why, size_t size)
{
    struct guest_memory *memory = &vm->memory;
    struct frame_statistics free;
    int error;

    memset(memory, 0, sizeof(*memory));
    memory->vm = vm->index;
    memory->page_limit = vm->config->page_limit;
    memory->list_shared = vm->config->p2m_shared;
    memory->promise = vm->config->balloon_max;
    memory->lock = &vm->lock;
    memory->flush = vm_flush_request;
    memory->flush_finish = flush_finish;
    memory->flush_context = vm;
    memory->nested.format = engine->nested_format(&memory->nested.pages_1g);
    error = guest_memory_create(memory, vm->config->memory);
    if (!error && vm->config->prefault) {
        error = guest_memory_prefault(memory);
        if (error)
            guest_memory_destroy(memory);
    }
    if (!error)
        return 0;
    frame_statistics(&free);
    snprintf(why, size, "%s = %lluM does not fit: the machine has %lluM left that is not promised",
             vm->config->balloon_max < vm->config->memory ? "balloon.max" : "memory",
             mebibytes(vm->config->balloon_max),
             mebibytes((free.free - MIN(free.free, free.promised)) * PAGE_SIZE));
    return error;
}

static void vcpus_destroy(struct vm *vm)
{
    while (vm->vcpu_count > 0) {
        struct vcpu *vcpu = vm->vcpus[--vm->vcpu_count];

        for (unsigned i = 0; i < EXIT_KIND_COUNT; i++)
            vm->exits[i] += vcpu->exits[i];
        vm->ran += vcpu->sched.ran;
        vm->waited += vcpu->sched.waited;
        vcpu_destroy(vcpu);
        vm->vcpus[vm->vcpu_count] = NULL;
    }
    vm->boot_vcpu = NULL;
}

static int vcpus_build(struct vm *vm, char *why, size_t size)
{
    u64 offset = 0 - tsc_boot_now(); /* guests' time stamp counters start at 0, the same for all vCPUs */

    for (u32 i = 0; i < vm->config->vcpus; i++) {
        if (vcpu_create(vm, i)) {
            vcpus_destroy(vm);
            snprintf(why, size, "no memory is left for vCPU %u", i);
            return -ENOMEM;
        }
        vm->vcpus[i]->tsc_offset = offset;
        engine->tsc_offset_changed(vm->vcpus[i]);
    }
    return 0;
}

/* Each CPU that runs is one bit of `cpus`: there must be one on which the VM may run. */
static int budget_build(struct vm *vm, char *why, size_t size)
{
    u64 online = ~0ull >> (CPU_MAX - cpu_count);

    if (vm->config->cpus && !(vm->config->cpus & online)) {
        snprintf(why, size,
                 "cpus names no CPU of this machine, which has %u: right would be a CPU below that",
                 cpu_count);
        return -EINVAL;
    }
    budget_init(&vm->budget, vm->config->cap, BUDGET_PERIOD_MS * tsc_khz, tsc_boot_now());
    return 0;
}

/* Everything a VM consists of; on failure nothing of it is left. */
static int vm_build(struct vm *vm, char *why, size_t size)
{
    int error = budget_build(vm, why, size);

    if (!error)
        error = memory_build(vm, why, size);
    if (error)
        return error;
    vm->ports = memory_alloc(sizeof(*vm->ports), frame_owner_support(vm->index));
    error = -ENOMEM;
    if (!vm->ports) {
        snprintf(why, size, "no memory is left for its devices");
        goto fail_ports;
    }
    port_bus_init(vm->ports);
    vm->mmio.count = 0;
    error = vcpus_build(vm, why, size);
    if (error)
        goto fail_vcpus;
    error = machine->create(vm, why, size);
    if (error)
        goto fail_machine;
    return 0;

fail_machine:
    vcpus_destroy(vm);
fail_vcpus:
    memory_free(vm->ports, sizeof(*vm->ports), frame_owner_support(vm->index));
    vm->ports = NULL;
fail_ports:
    guest_memory_destroy(&vm->memory);
    return error;
}

static void vcpus_halt(struct vm *vm)
{
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        sched_vcpu_remove(vm->vcpus[i]);
        memory_wait_cancel(vm->vcpus[i]);
    }
}

static void vcpus_start(struct vm *vm)
{
    for (u32 i = 0; i < vm->vcpu_count; i++)
        sched_vcpu_add(vm->vcpus[i]);
}

/* Its timers come here from where it ran: what fires there just now is over behind sched_pass_all. */
void vm_freeze(struct vm *vm)
{
    vcpus_halt(vm);
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        vm->vcpus[i]->sched.loaded_last = cpu_this()->index;
        machine->vcpu_moved(vm->vcpus[i]);
    }
    sched_pass_all();
}

void vm_thaw(struct vm *vm)
{
    vcpus_start(vm);
}

static void vm_take_down(struct vm *vm)
{
    vcpus_halt(vm);
    machine->destroy(vm);
    vcpus_destroy(vm);
    memory_free(vm->ports, sizeof(*vm->ports), frame_owner_support(vm->index));
    vm->ports = NULL;
    guest_memory_destroy(&vm->memory);
    vm->built = false;
}

static void vm_fail(struct vm *vm, enum vm_state state, const char *why)
{
    string_copy(vm->why, why, sizeof(vm->why));
    vm->state = state;
}

int vm_start(struct vm *vm)
{
    char why[sizeof(vm->why)];
    int error;

    if (vm->state == VM_RUNNING || vm->built)
        return -EALREADY;
    memset(vm->exits, 0, sizeof(vm->exits));
    memset(vm->triple_faults, 0, sizeof(vm->triple_faults));
    vm->reset_wanted = false;
    vm->ran = vm->waited = 0;
    error = vm_build(vm, why, sizeof(why));
    if (error) {
        vm_fail(vm, VM_ABSENT, why);
        log_error("VM %s: %s", vm->name, why);
        return error;
    }
    vm->built = true;
    vm->why[0] = 0;
    vm->state = VM_RUNNING;
    log_info("VM %s: started with %lluM of memory and %u vCPU%s; %llu bytes beside its memory", vm->name,
             mebibytes(vm->config->memory), vm->vcpu_count, vm->vcpu_count == 1 ? "" : "s",
             (unsigned long long)(frame_owned(frame_owner_support(vm->index)) * PAGE_SIZE));
    vcpus_start(vm);
    return 0;
}

/* A guest pays for its own resets, or one that resets for ever would take the CPU from the others. */
static void vm_charge(struct vm *vm, u64 ticks)
{
    for (u32 i = 0; i < vm->vcpu_count; i++)
        sched_vcpu_charge(vm->vcpus[i], ticks);
}

static void vm_reset(struct vm *vm)
{
    u64 start = tsc_boot_now();
    char why[sizeof(vm->why)];
    int error = 0;

    vcpus_halt(vm);
    machine->quiet(vm);
    guest_memory_reset(&vm->memory);
    if (vm->config->prefault) {
        error = guest_memory_prefault(&vm->memory);
        if (error)
            snprintf(why, sizeof(why), "its memory could not be given again");
    }
    for (u32 i = 0; i < vm->vcpu_count && !error; i++)
        vcpu_reset(vm->vcpus[i]);
    if (!error)
        error = machine->reset(vm, why, sizeof(why));
    if (error) {
        vm_fail(vm, VM_STOPPED, why);
        log_error("VM %s: %s", vm->name, why);
        return;
    }
    vm_charge(vm, tsc_boot_now() - start);
    vcpus_start(vm);
}

/* Work: what this VM's exits, or the operator, asked for. */
static void vm_work(struct sched_work *work)
{
    struct vm *vm = container_of(work, struct vm, work);

    if (vm->state == VM_RUNNING && vm->reset_wanted) {
        vm->reset_wanted = false;
        vm_reset(vm);
    }
    if (vm->state == VM_RUNNING || !vm->built)
        return;
    vm_take_down(vm);
    if (vm_ended)
        vm_ended();
}

struct vm *vm_create(const struct vm_config *config, struct console *console)
{
    struct vm *vm;

    if (vm_count == VM_MAX)
        return NULL;
    vm = memory_alloc(sizeof(*vm), FRAME_OWNER_HYPERVISOR);
    if (!vm)
        return NULL;
    string_copy(vm->name, config->name, sizeof(vm->name));
    vm->index = vm_count;
    vm->config = config;
    vm->console = console;
    vm->work.run = vm_work;
    list_init(&vm->work.node);
    spinlock_init(&vm->lock, RANK_VM);
    spinlock_init(&vm->device_lock, RANK_DEVICE);
    vms[vm_count++] = vm;
    return vm;
}

struct vm *vm_find(const char *name)
{
    for (u32 i = 0; i < vm_count; i++)
        if (strcmp(vms[i]->name, name) == 0)
            return vms[i];
    return NULL;
}

/* Leave the guest soon: the work that follows takes the vCPUs off their CPUs. */
static void vm_wind_up(struct vm *vm)
{
    for (u32 i = 0; i < vm->vcpu_count; i++)
        vcpu_request(vm->vcpus[i], REQUEST_RESCHEDULE);
    sched_work_queue(&vm->work);
}

/* Only the first of several ends counts, whoever brings them. */
static bool vm_leave_running(struct vm *vm, enum vm_state state)
{
    enum vm_state running = VM_RUNNING;

    return __atomic_compare_exchange_n(&vm->state, &running, state, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

void vm_stop(struct vm *vm, const char *format, ...)
{
    va_list args;

    if (!vm_leave_running(vm, VM_STOPPED))
        return;
    va_start(args, format);
    vsnprintf(vm->why, sizeof(vm->why), format, args);
    va_end(args);
    log_error("VM %s: stopped: %s", vm->name, vm->why);
    vm_wind_up(vm);
}

void vm_power_off(struct vm *vm)
{
    if (!vm_leave_running(vm, VM_POWERED_OFF))
        return;
    log_info("VM %s: has powered itself off", vm->name);
    vm_wind_up(vm);
}

#define RESETS_TOLD       3
#define RESETS_TOLD_IN_MS 1000

/* A guest that resets itself for ever would fill the log, and the serial line, with that. */
static void tell_reset(struct vm *vm, const char *why)
{
    u64 untold = vm->reset_limit.dropped;

    if (!log_limit_pass(&vm->reset_limit, tsc_boot_now(), RESETS_TOLD_IN_MS * tsc_khz, RESETS_TOLD))
        return;
    vm->reset_limit.dropped = 0;
    if (untold)
        log_info("VM %s: reset (%s), as %llu times before it without a word", vm->name, why,
                 (unsigned long long)untold);
    else
        log_info("VM %s: reset (%s)", vm->name, why);
}

void vm_request_reset(struct vm *vm, const char *why)
{
    if (vm->state != VM_RUNNING || __atomic_exchange_n(&vm->reset_wanted, true, __ATOMIC_ACQ_REL))
        return;
    tell_reset(vm, why);
    vm_wind_up(vm);
}

#define TRIPLE_FAULT_WINDOW_MS 10000

void vm_triple_fault(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    u64 now = tsc_boot_now();
    u64 oldest = vm->triple_faults[1];

    log_error("VM %s: triple fault on vCPU %u", vm->name, vcpu->index);
    vcpu_dump(vcpu);
    vm->triple_faults[1] = vm->triple_faults[0];
    vm->triple_faults[0] = now;
    if (oldest && now - oldest < TRIPLE_FAULT_WINDOW_MS * tsc_khz)
        vm_stop(vm, "the third triple fault within 10 s; a guest that works has none "
                    "(vm reset or vm start tries again)");
    else
        vm_request_reset(vm, "triple fault");
}

void vm_exit_counts(const struct vm *vm, u64 counts[EXIT_KIND_COUNT])
{
    memcpy(counts, vm->exits, sizeof(vm->exits));
    for (u32 i = 0; i < vm->vcpu_count; i++)
        for (unsigned kind = 0; kind < EXIT_KIND_COUNT; kind++)
            counts[kind] += vm->vcpus[i]->exits[kind];
}

void vm_times(const struct vm *vm, u64 *ran, u64 *waited)
{
    *ran = vm->ran;
    *waited = vm->waited;
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        u64 one_ran, one_waited;

        sched_vcpu_times(vm->vcpus[i], &one_ran, &one_waited);
        *ran += one_ran;
        *waited += one_waited;
    }
}
