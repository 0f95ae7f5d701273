/* SPDX-License-Identifier: MIT */
/*
 * Puts one guest's machine together: devices on the buses, interrupt lines from device to controller, ACPI
 * tables, kernel, and the state in which each vCPU begins. hv/run/vm.c calls it through guest_machine_ops,
 * on the boot CPU while no vCPU of the VM runs; the interrupt questions come from exits on the vCPU's own
 * CPU. No lock held but where it says so.
 */
#include "guest/machine.h"

#include "arch/x86/machine/percpu.h"
#include "guest/load/acpi_tables.h"
#include "guest/load/load.h"
#include "guest/load/mp_table.h"
#include "guest/reset_proof.h"
#include "guest/snapshot.h"
#include "guest/startup.h"
#include "hv/lib/errno.h"
#include "hv/lib/panic.h"
#include "hv/lib/printf.h"
#include "hv/operator/console.h"
#include "hv/run/sched.h"
#include "hv/storage/drive.h"

#define PIT_LINE     0
#define PIT_PIN      2
#define CASCADE_LINE 2

static struct machine *machine_of(struct vm *vm)
{
    return vm->machine;
}

void machine_set_line(struct machine *m, unsigned line, bool level)
{
    lock_assert_held(&m->vm->device_lock);
    if (line == CASCADE_LINE)
        return;
    pic_set_input(&m->pic, line, level);
    ioapic_set_pin(&m->ioapic, line == PIT_LINE ? PIT_PIN : line, level);
}

static u64 machine_bytes(u32 vcpus)
{
    return sizeof(struct machine) + vcpus * sizeof(struct machine_vcpu);
}

/* Local APICs first: the other controllers drive their inputs. */
static void vcpus_init(struct machine *m)
{
    for (u32 i = 0; i < m->vm->vcpu_count; i++) {
        struct vcpu *vcpu = m->vm->vcpus[i];

        lapic_init(&m->vcpus[i].lapic, vcpu);
        vcpu->clock = &m->vcpus[i].clock;
    }
}

static int devices_init(struct machine *m)
{
    int error = lapic_register_mmio(m);

    if (!error)
        error = ioapic_init(&m->ioapic, m);
    if (!error)
        error = pic_init(&m->pic, m);
    if (!error)
        error = pit_init(&m->pit, m);
    if (!error)
        error = rtc_init(&m->rtc, m);
    if (!error)
        error = acpi_pm_init(&m->acpi_pm, m);
    if (!error)
        error = pci_host_init(&m->pci, m);
    if (!error)
        error = reset_ports_init(&m->reset, m);
    if (!error)
        error = uart_init(&m->uart, m);
    if (!error)
        error = vmware_init(m);
    if (!error && m->vm->config->balloon == BALLOON_VMWARE)
        error = vmw_balloon_init(&m->balloon, m);
    return error;
}

/* What a line means: a drive of the machine, or memory, which is promised all that it may need. */
static int disk_open(struct machine *m, const struct vm_disk *disk, struct block_device **device, char *why,
                     size_t size)
{
    frame_owner_t owner = frame_owner_support(m->vm->index);
    int used = snprintf(why, size, "lintel.conf:%u: disk = %s: ", disk->line, disk->name);
    int error;

    if (disk->host)
        return drive_open(disk->name, disk->write, owner, device, why + used, size - (size_t)used);
    error = block_ram_create(&disk->file, disk->bytes, owner, device);
    if (error)
        snprintf(why, size,
                 "disk = %s does not fit: what is written to it goes to memory, and so much is not "
                 "left",
                 disk->name);
    return error;
}

/* From disk0 on. */
static int disk_add(struct machine *m, const struct vm_disk *disk, char *why, size_t size)
{
    struct block_device *device;
    int error = disk_open(m, disk, &device, why, size);
    u32 number = m->disk_count;

    if (error)
        return error;
    m->disks[number] = virtio_blk_create(m, MACHINE_DISK_SLOT + number, number, device);
    if (!m->disks[number]) {
        block_close(device);
        snprintf(why, size, "no memory is left for disk = %s", disk->name);
        return -ENOMEM;
    }
    m->disk_count++;
    log_info("VM %s: disk%u is %s, %llu KiB%s", m->vm->name, number, disk->name,
             (unsigned long long)device->sectors * BLOCK_SECTOR >> 10,
             device->read_only ? ", to be read alone" : "");
    return 0;
}

static int disks_init(struct machine *m, char *why, size_t size)
{
    const struct vm_config *config = m->vm->config;
    int error = 0;

    for (u32 i = 0; i < config->disk_count && !error; i++)
        error = disk_add(m, &config->disks[i], why, size);
    if (!error && config->cdrom_count)
        error = virtio_scsi_create(m, MACHINE_SCSI_SLOT, why, size);
    return error;
}

static int virtio_init_others(struct machine *m, char *why, size_t size)
{
    const struct vm_config *config = m->vm->config;
    int error = config->virtio_rng ? virtio_rng_create(m, MACHINE_RNG_SLOT, &m->rng) : 0;

    if (!error && config->virtio_console && m->vm->console) {
        m->console = virtio_console_create(m, MACHINE_HVC_SLOT);
        error = m->console ? 0 : -ENOMEM;
    }
    if (!error && config->balloon == BALLOON_VIRTIO) {
        m->virtio_balloon = virtio_balloon_create(m, MACHINE_BALLOON_SLOT);
        error = m->virtio_balloon ? 0 : -ENOMEM;
    }
    if (error)
        snprintf(why, size, "no memory is left for its devices");
    return error;
}

/* They alone touch guest memory on their own. */
static void machine_quiet(struct vm *vm)
{
    struct machine *m = machine_of(vm);

    for (u32 i = 0; i < m->disk_count; i++)
        virtio_blk_reset(m->disks[i]);
    if (m->scsi)
        virtio_scsi_reset(m->scsi);
    if (m->rng)
        virtio_rng_reset(m->rng);
    if (m->console)
        virtio_console_reset(m->console);
    if (m->virtio_balloon)
        virtio_balloon_reset(m->virtio_balloon);
}

static void machine_device_work(struct vcpu *vcpu)
{
    struct machine *m = machine_of(vcpu->vm);

    for (u32 i = 0; i < m->disk_count; i++)
        virtio_blk_work(m->disks[i], vcpu);
    if (m->scsi)
        virtio_scsi_work(m->scsi, vcpu);
    if (m->rng)
        virtio_rng_work(m->rng, vcpu);
    if (m->console)
        virtio_console_work(m->console, vcpu);
    if (m->virtio_balloon)
        virtio_balloon_work(m->virtio_balloon, vcpu);
}

/* As after power-on, but for what machine_quiet has done; also stops every timer. */
static void devices_reset(struct machine *m)
{
    m->lapic_window_shown = false; /* the nested tables have been cleared */
    vmw_balloon_reset(&m->balloon);
    for (u32 i = 0; i < m->vm->vcpu_count; i++)
        lapic_reset(&m->vcpus[i].lapic);
    spinlock_take(&m->vm->device_lock);
    ioapic_reset(&m->ioapic);
    pic_reset(&m->pic);
    pit_reset(&m->pit);
    rtc_reset(&m->rtc);
    acpi_pm_reset(&m->acpi_pm);
    pci_host_reset(&m->pci);
    reset_ports_reset(&m->reset);
    uart_reset(&m->uart);
    spinlock_release(&m->vm->device_lock);
}

/* Every guest begins with a TSC of 0, and its clocks with it. */
static void clocks_start(struct machine *m)
{
    m->start_tsc = device_now();
    for (u32 i = 0; i < m->vm->vcpu_count; i++) {
        struct vcpu *vcpu = m->vm->vcpus[i];

        kvmclock_reset(&m->vcpus[i].clock);
        stealtime_reset(&m->vcpus[i].steal);
        msr_state_reset(&m->vcpus[i].msrs);
        vcpu->tsc_offset = 0 - m->start_tsc;
        engine->tsc_offset_changed(vcpu);
    }
}

/* How a kernel learns of the machine: ACPI tables, and the MP table for those that read no ACPI. */
static int tables_write(struct machine *m)
{
    const struct cpuid leaf = cpuid_policy_get(&m->cpuid, 1, 0);
    struct vm *vm = m->vm;
    int error = acpi_tables_write(&vm->memory, MACHINE_ACPI_BASE, vm->vcpu_count);

    return error ? error
                 : mp_table_write(&vm->memory, vm->vcpu_count, vm->boot_vcpu->index, leaf.eax, leaf.edx);
}

/* Each of those that are on at the creation, or of the others, begins in this state. */
static int vcpus_begin(struct vm *vm, bool on, const struct vcpu_state *state, char *why, size_t size)
{
    int error = 0;

    for (u32 i = 0; i < vm->vcpu_count && !error; i++) {
        if (!(vm->config->vcpus_on & BIT(i)) == on)
            continue;
        error = engine->state_set(vm->vcpus[i], state);
        if (error)
            snprintf(why, size, "the CPU does not take the state in which vCPU %u begins (error %d)", i,
                     error);
    }
    return error;
}

/*
 * Fill zeroed memory, and set every vCPU to where it begins: those that are on in the kernel, all alike; the
 * others at reset, waiting for INIT.
 */
static int machine_begin(struct machine *m, char *why, size_t size)
{
    struct vm *vm = m->vm;
    const struct load load = {
        .config = vm->config, .memory = &vm->memory, .rsdp = MACHINE_ACPI_BASE, .why = why, .why_size = size};
    struct vcpu_state state;
    int error = tables_write(m);

    if (error) {
        snprintf(why, size, "its ACPI and MP tables can't be put into its memory (error %d)", error);
        return error;
    }
    error = load_guest(&load, &state);
    if (!error)
        error = vcpus_begin(vm, true, &state, why, size);
    if (error)
        return error;
    start_state_reset(&state);
    return vcpus_begin(vm, false, &state, why, size);
}

static void machine_destroy(struct vm *vm)
{
    struct machine *m = machine_of(vm);
    u64 bytes = machine_bytes(vm->vcpu_count);

    reset_proof_end(m);
    uart_destroy(&m->uart);
    machine_quiet(vm);
    guest_memory_hide_window(&vm->memory, VCPU_APIC_WINDOW); /* its page goes with the vCPUs */
    devices_reset(m);
    sched_pass_all(); /* a timer that fires on another CPU may still be in what is freed here */
    for (u32 i = 0; i < m->disk_count; i++)
        virtio_blk_destroy(m->disks[i]);
    if (m->scsi)
        virtio_scsi_destroy(m->scsi);
    if (m->rng)
        virtio_rng_destroy(m->rng);
    if (m->console)
        virtio_console_destroy(m->console);
    if (m->virtio_balloon)
        virtio_balloon_destroy(m->virtio_balloon);
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        vm->vcpus[i]->lapic = NULL;
        vm->vcpus[i]->clock = NULL;
    }
    vm->machine = NULL;
    memory_free(m, bytes, frame_owner_support(vm->index));
}

static int machine_create(struct vm *vm, char *why, size_t size)
{
    struct machine *m = memory_alloc(machine_bytes(vm->vcpu_count), frame_owner_support(vm->index));
    int error;

    if (!m) {
        snprintf(why, size, "no memory is left for its devices");
        return -ENOMEM;
    }
    m->vm = vm;
    vm->machine = m;
    cpuid_policy_build(&m->cpuid, vm->config, cpuid);
    vcpus_init(m);
    error = devices_init(m);
    assert(!error); /* the buses were empty: only two devices of ours could be in each other's way */
    clocks_start(m);
    error = disks_init(m, why, size);
    if (!error)
        error = virtio_init_others(m, why, size);
    if (!error)
        error = machine_begin(m, why, size);
    if (error)
        machine_destroy(vm);
    else
        reset_proof_begin(m);
    return error;
}

static int machine_reset_all(struct vm *vm, char *why, size_t size)
{
    struct machine *m = machine_of(vm);

    int error;

    devices_reset(m);
    clocks_start(m);
    error = machine_begin(m, why, size);
    if (!error)
        reset_proof_check(m);
    return error;
}

/* Timers fire on the CPU to which the vCPU has come, so that a VM that is pinned there costs no other one. */
static void machine_vcpu_moved(struct vcpu *vcpu)
{
    struct machine *m = machine_of(vcpu->vm);
    struct timer_queue *queue = sched_timers(cpu_this()->index);

    lapic_timer_move(vcpu, queue);
    if (vcpu != vcpu->vm->boot_vcpu)
        return;
    spinlock_take(&m->vm->device_lock);
    timer_move(&m->pit.timer, queue);
    timer_move(&m->rtc.timer, queue);
    timer_move(&m->acpi_pm.timer, queue);
    spinlock_release(&m->vm->device_lock);
}

static void machine_console_write(struct vm *vm, const char *text, size_t size)
{
    console_guest_write(vm->console, text, size);
}

static bool machine_balloon_ask(struct vm *vm)
{
    struct virtio_balloon *balloon = machine_of(vm)->virtio_balloon;

    return balloon && virtio_balloon_ask(balloon);
}

static void machine_power_button(struct vm *vm)
{
    acpi_pm_power_button(&machine_of(vm)->acpi_pm);
}

const struct machine_ops guest_machine_ops = {
    .create = machine_create,
    .destroy = machine_destroy,
    .quiet = machine_quiet,
    .reset = machine_reset_all,
    .interrupt_pending = lapic_interrupt_pending,
    .console_write = machine_console_write,
    .interrupt_accept = lapic_interrupt_accept,
    .power_button = machine_power_button,
    .vcpu_init = startup_init,
    .vcpu_begin = startup_begin,
    .vcpu_read = snapshot_read,
    .vcpu_is_possible = snapshot_is_possible,
    .vcpu_set = snapshot_set,
    .balloon_ask = machine_balloon_ask,
    .device_work = machine_device_work,
    .vcpu_moved = machine_vcpu_moved,
    .vcpu_waited = stealtime_update,
};
