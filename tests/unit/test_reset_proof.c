/* SPDX-License-Identifier: MIT */
/*
 * A reset brings back the machine as it was created: random values are written into every device, MSR and
 * local APIC through the buses, time passes, interrupts come, vCPUs start and stop; then every byte is
 * compared (guest/reset_proof.c). And the comparison sees every byte that it should.
 */
// sources: hv/memory/guest_map.c tests/unit/device_fakes.c tests/unit/fake_engine.c
// sources: tests/unit/fake_guest_ram.c hv/run/vcpu_snapshot.c hv/run/vcpu_check.c hv/run/power.c hv/run/bus.c
// sources: hv/run/timer.c arch/x86/machine/fpu.c guest/machine.c guest/reset_proof.c guest/snapshot.c
// sources: guest/startup.c guest/load/start_state.c guest/policy/msr.c guest/policy/kvmclock.c
// sources: guest/policy/stealtime.c guest/policy/cpuid.c guest/policy/cpuid_table.c guest/policy/vmware.c
// sources: guest/devices/acpi_pm.c guest/devices/calendar.c guest/devices/clock.c guest/devices/ioapic.c
// sources: guest/devices/lapic.c guest/devices/lapic_base.c guest/devices/lapic_page.c
// sources: guest/devices/lapic_registers.c guest/devices/lapic_snapshot.c guest/devices/lapic_timer.c
// sources: guest/devices/pci.c guest/devices/pic.c guest/devices/pit.c guest/devices/reset.c
// sources: guest/devices/rtc.c guest/devices/uart.c guest/devices/msix.c guest/devices/virtio.c
// sources: guest/devices/virtio_ring.c guest/devices/virtio_buffers.c guest/devices/virtio_blk.c
// sources: guest/devices/virtio_scsi.c guest/devices/virtio_rng.c guest/devices/virtio_console.c
// sources: guest/devices/virtio_balloon.c
// sources: hv/storage/block.c hv/storage/scsi_cd.c hv/storage/media.c
// sources: tests/unit/fake_cd_drive.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/fpu.h"
#include "arch/x86/machine/random.h"
#include "guest/load/acpi_tables.h"
#include "guest/load/load.h"
#include "guest/load/mp_table.h"
#include "guest/load/start_state.h"
#include "guest/reset_proof.h"
#include "hv/lib/errno.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/memory/memory_audit.h"
#include "hv/run/memory_wait.h"
#include "hv/run/sched.h"
#include "hv/storage/drive.h"
#include "tests/unit/device_fakes.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/fake_guest_ram.h"

#define RAM         (64ull << 20)
#define XSAVE_BYTES 832
#define SEEDS       300
#define STEPS       400

const struct machine_ops *machine = &guest_machine_ops;

static u64 wall_clock = 1800000000, ram_digest;
static char said[400];
static unsigned proved;

/* ---------------------------------------------------------------- fakes */

u64 tsc_to_ns(u64 ticks)
{
    return (u64)((device_clock_product)ticks * 1000000 / tsc_khz);
}

static u64 wall_clock_read(void)
{
    return wall_clock + tsc_to_ns(test_now) / 1000000000;
}

int rdmsr_safe(u32 msr, u64 *value)
{
    (void)msr, (void)value;
    return -EFAULT;
}

int wrmsr_safe(u32 msr, u64 value)
{
    (void)msr, (void)value;
    return 0;
}

void vcpu_inject_fault(struct vcpu *at, u8 vector, u32 error_code)
{
    (void)at, (void)vector, (void)error_code;
}

void vm_stop(struct vm *vm, const char *format, ...)
{
    (void)vm, (void)format;
    fail_msg("the VM is stopped");
}

void memory_wait(struct vcpu *vcpu, gpa_t gpa, const char *device)
{
    (void)vcpu, (void)gpa, (void)device;
    fail_msg("there is memory enough");
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;

    if (level == LOG_DEBUG)
        proved++;
    if (level != LOG_ERROR)
        return;
    va_start(args, format);
    vsnprintf(said, sizeof(said), format, args);
    va_end(args);
}

NORETURN void panic_at(const char *file, int line, const char *format, ...)
{
    (void)file, (void)line;
    puts(format);
    abort();
}

bool log_limit_pass(struct log_limit *limit, u64 at, u64 interval, u32 burst)
{
    (void)limit, (void)at, (void)interval, (void)burst;
    return false;
}

void fetch_cache_clear(struct fetch_cache *cache)
{
    (void)cache;
}

size_t string_copy(char *to, const char *from, size_t size)
{
    return (size_t)snprintf(to, size, "%s", from);
}

int drive_open(const char *name, bool write, frame_owner_t owner, struct block_device **device, char *why,
               size_t size)
{
    (void)name, (void)write, (void)owner, (void)device, (void)why, (void)size;
    return -ENOENT;
}

/* The machine has no disks here: tests/unit/test_virtio_blk.c compares theirs. */
int block_rom_create(const struct boot_file *base, u64 bytes, frame_owner_t owner,
                     struct block_device **device)
{
    return block_ram_create(base, bytes, owner, device);
}

int block_ram_create(const struct boot_file *base, u64 bytes, frame_owner_t owner,
                     struct block_device **device)
{
    (void)base, (void)bytes, (void)owner, (void)device;
    fail();
    return -ENOMEM;
}

void *memory_alloc(u64 bytes, frame_owner_t owner)
{
    void *memory = aligned_alloc(64, ALIGN_UP(bytes, 64));

    (void)owner;
    return memset(memory, 0, bytes);
}

void memory_free(void *at, u64 bytes, frame_owner_t owner)
{
    (void)bytes, (void)owner;
    free(at);
}

bool random_available(void)
{
    return true;
}

bool random_word(u64 *word)
{
    *word = 0x5a5a5a5a5a5a5a5aull;
    return true;
}

void sched_pass_all(void)
{
}

u64 guest_memory_digest(const struct guest_memory *memory)
{
    (void)memory;
    return ram_digest;
}

/* As guest/devices/vmw_balloon.c, whose port no vCPU of this test calls. */
int vmw_balloon_init(struct vmw_balloon *balloon, struct machine *m)
{
    *balloon = (struct vmw_balloon){.machine = m};
    return 0;
}

void vmw_balloon_reset(struct vmw_balloon *balloon)
{
    balloon->connection++;
}

/* Nor do its vCPUs have turns, in which pages would move. */
void balloon_begin(struct guest_memory *memory)
{
    spinlock_take(memory->lock);
}

enum balloon_status balloon_lock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                 unsigned order)
{
    (void)memory, (void)work, (void)gfn, (void)order;
    return BALLOON_NO_RAM;
}

enum balloon_status balloon_unlock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                   unsigned order)
{
    return balloon_lock(memory, work, gfn, order);
}

void balloon_end(struct guest_memory *memory, struct balloon_work *work)
{
    (void)work;
    spinlock_release(memory->lock);
}

void balloon_forget(struct guest_memory *memory)
{
    (void)memory;
}

u64 balloon_wanted(const struct guest_memory *memory)
{
    (void)memory;
    return 5;
}

int acpi_tables_write(struct guest_memory *memory, gpa_t at, u32 vcpus)
{
    (void)memory, (void)at, (void)vcpus;
    return 0;
}

int mp_table_write(struct guest_memory *memory, u32 vcpus, u32 boot, u32 signature, u32 features)
{
    (void)memory, (void)vcpus, (void)boot, (void)signature, (void)features;
    return 0;
}

int load_guest(const struct load *load, struct vcpu_state *state)
{
    (void)load;
    start_state_protected(state, LOAD_GDT, 0x100000);
    return 0;
}

void vcpu_reset_lazy(struct vcpu *vcpu)
{
    memset(vcpu->debug, 0, sizeof(vcpu->debug));
    vcpu->xcr0 = 1;
    vcpu->tsc_aux = 0;
    memset(vcpu->fpu, 0, XSAVE_BYTES);
    fpu_area_init(vcpu->fpu);
}

/* ---------------------------------------------------------------- a VM */

static struct vm *const vm = &board.vm;

static void vcpus_reset(void)
{
    for (u32 i = 0; i < vm->vcpu_count; i++) {
        struct vcpu *vcpu = vm->vcpus[i];

        vcpu_reset_lazy(vcpu);
        vcpu->requests &= REQUEST_FLUSH;
        power_event(vcpu, vcpu == vm->boot_vcpu ? POWER_RESET_ON : POWER_RESET_OFF, 0, 0);
    }
}

static int setup(void **state)
{
    char why[160];

    board_setup(state); /* for its clock, queue and vCPUs; its machine gives way to a real one */
    board_teardown(state);
    vm->machine = NULL;
    vm->mmio.count = 0;
    port_bus_init(&board.ports);
    cpu_features.xsave = cpu_features.rdtscp = true;
    cpu_features.xsave_mask = 7;
    cpu_features.xsave_bytes = XSAVE_BYTES;
    cpu_features.cr4_known = CR4_PAE;
    rtc_wall_clock_seconds = wall_clock_read;
    fake_guest_ram_reset(&vm->memory, RAM);
    fake_engine_reset(FAKE_32);
    board.config.personality = PERSONALITY_KVM;
    board.config.vcpus = BOARD_VCPUS;
    board.config.vcpus_on = 1;
    board.config.memory = RAM;
    board.config.virtio_rng = board.config.virtio_console = true;
    board.config.balloon = BALLOON_VIRTIO;
    vm->memory.lock = &vm->lock;
    vm->boot_vcpu = vm->vcpus[0];
    for (u32 i = 0; i < BOARD_VCPUS; i++) {
        spinlock_init(&vm->vcpus[i]->power.lock, RANK_POWER);
        vm->vcpus[i]->fpu = calloc(1, XSAVE_BYTES);
    }
    vcpus_reset();
    assert_int_equal(guest_machine_ops.create(vm, why, sizeof(why)), 0);
    board.machine = vm->machine;
    said[0] = 0;
    proved = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    guest_machine_ops.destroy(vm);
    for (u32 i = 0; i < BOARD_VCPUS; i++)
        free(vm->vcpus[i]->fpu);
    return 0;
}

/* As vm.c does it. */
static void reset(void)
{
    char why[160];

    said[0] = 0;
    proved = 0;
    guest_machine_ops.quiet(vm);
    fake_guest_ram_reset(&vm->memory, RAM);
    vcpus_reset();
    assert_int_equal(guest_machine_ops.reset(vm, why, sizeof(why)), 0);
}

static void assert_as_new(u32 seed)
{
    reset();
    if (said[0])
        fail_msg("seed %u: %s", seed, said);
    assert_int_equal(proved, 1);
}

/* ---------------------------------------------------------------- scribbling */

static u32 seed;

static u32 any(u32 below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static u64 any_value(void)
{
    u64 value = (u64)any(1u << 24) << 40 ^ (u64)any(1u << 24) << 20 ^ any(1u << 24);

    return any(3) ? value >> any(64) : value;
}

static void scribble_port(void)
{
    const struct port_range *range = &board.ports.ranges[1 + any(board.ports.count - 1)];
    u16 port = (u16)(range->first + any(range->last - range->first + 1u));
    unsigned size = 1u << any(3);

    if (any(4))
        port_out(port, size, (u32)any_value());
    else
        port_in(port, size);
    board.written_size = 0;
}

static void scribble_mmio(void)
{
    const struct mmio_range *range = &vm->mmio.ranges[any(vm->mmio.count)];
    gpa_t gpa = range->start + (any(range->size) & ~15u);

    if (any(4))
        mmio_out(any(BOARD_VCPUS), gpa, (u32)any_value());
    else
        mmio_in(any(BOARD_VCPUS), gpa);
}

/* A device on the PCI bus, switched on and where it is at power-on. */
static void scribble_pci(void)
{
    unsigned slot = MACHINE_RNG_SLOT + any(MACHINE_BALLOON_SLOT - MACHINE_RNG_SLOT + 1);
    gpa_t bar = MACHINE_PCI_BASE + slot * MACHINE_PCI_STEP;

    port_out(0xcf8, 4, 0x80000000 | slot << 11 | PCI_COMMAND);
    port_out(0xcfc, 2, PCI_COMMAND_MEMORY | (any(2) ? PCI_COMMAND_MASTER : 0));
    port_out(0xcf8, 4, 0x80000000 | slot << 11 | PCI_BASE_ADDRESS_0);
    port_out(0xcfc, 4, (u32)bar);
    for (unsigned i = 0; i < 4; i++)
        mmio_bus_write(&vm->mmio, vm->vcpus[any(BOARD_VCPUS)], bar + (any(0x4000) & ~3u), 1u << any(3),
                       any(3) ? any_value() : any(16));
}

static void scribble_msr(void)
{
    const struct msr_range *range = &policy_msrs.ranges[any(policy_msrs.count)];
    u32 msr = range->first + any(range->last - range->first + 1);

    if (range->write && !(msr >= 0xc0000080u && msr <= 0xc0000084u)) /* EFER alone would be no state */
        range->write(vm->vcpus[any(BOARD_VCPUS)], msr, any(2) ? any_value() : (any_value() & 0xfffc0) | 1);
}

/* What the engine and the scheduler keep. */
static void scribble_vcpu(void)
{
    struct vcpu *vcpu = vm->vcpus[any(BOARD_VCPUS)];

    switch (any(8)) {
    case 0: power_event(vcpu, any(POWER_RESET_ON), any(256), any(256)); break;
    case 1: vcpu->debug[any(4)] = any_value(); break;
    case 2: vcpu->xcr0 = 7; break;
    case 3: memset(vcpu->fpu, 0x5a, 512); break;
    case 4: vcpu->regs.gpr[any(16)] = any_value(); break;
    case 5: vcpu->regs.rip = any_value(); break;
    case 6: vcpu_request(vcpu, any(32) & ~REQUEST_FLUSH); break;
    default: fake_state.registers[REGISTER_LSTAR] = any_value(); break;
    }
}

static void scribble(u32 from)
{
    static void (*const ways[])(void) = {scribble_port, scribble_port, scribble_mmio,
                                         scribble_pci,  scribble_msr,  scribble_vcpu};

    seed = from;
    for (unsigned i = 0; i < STEPS; i++) {
        ways[any(ARRAY_SIZE(ways))]();
        time_pass_tsc(any(1u << any(24)));
        take_interrupt(any(BOARD_VCPUS));
        if (!any(50))
            board_type("x");
        board.typed_size = board.typed_read = 0;
    }
}

static void test_reset_forgets_everything(void **state)
{
    (void)state;
    assert_as_new(0);
    for (u32 from = 1; from <= SEEDS; from++) {
        scribble(from);
        assert_as_new(from);
    }
}

/* ---------------------------------------------------------------- the comparison itself */

/* Bytes of an object, one after the other, are wrong behind a reset; returns how many of them are noticed. */
static unsigned noticed(u8 *bytes, u64 size)
{
    unsigned count = 0;

    for (u64 i = 0; i < size; i++) {
        bytes[i] ^= 0x10;
        said[0] = 0;
        reset_proof_check(board.machine);
        count += said[0] != 0;
        bytes[i] ^= 0x10;
    }
    return count;
}

static void test_every_byte_is_compared(void **state)
{
    struct machine *m = board.machine;

    (void)state;
    assert_as_new(0);
#define ALL(object) assert_int_equal(noticed((u8 *)&(object), sizeof(object)), sizeof(object))
    ALL(m->pic);
    ALL(m->ioapic);
    ALL(m->uart);
    ALL(m->pci.address);
    ALL(m->pci.bridge.config);
    ALL(m->pci.slots);
    ALL(m->pci.asserted);
    ALL(m->reset);
    ALL(m->pit.channels);
    ALL(m->pit.port61);
    ALL(m->acpi_pm.status);
    ALL(m->acpi_pm.enable);
    ALL(m->acpi_pm.control);
    ALL(m->acpi_pm.carries_seen);
    ALL(m->rtc.index);
    ALL(m->rtc.seen_ticks);
    ALL(m->vcpus[1].msrs);
    ALL(m->vcpus[1].clock);
    ALL(m->vcpus[1].steal);
    ALL(m->vcpus[1].lapic.irr.words);
    ALL(m->vcpus[1].lapic.lvt);
    ALL(m->vcpus[1].lapic.expiry);
    ALL(vm->vcpus[1]->debug);
    ALL(vm->vcpus[1]->xcr0);
    ALL(vm->vcpus[1]->requests);
    ALL(vm->vcpus[1]->regs.gpr[RAX]);
    ALL(vm->mmio.ranges[0].start);
    ALL(m->rng->virtio.queues);
    ALL(m->rng->virtio.pci.config);
    ALL(m->rng->virtio.worker);
    ALL(m->console->sending);
    ALL(m->console->virtio.worker);
    ALL(m->virtio_balloon->config);
    ALL(m->virtio_balloon->pfns);
#undef ALL
    assert_int_equal(noticed(m->rtc.cmos, sizeof(m->rtc.cmos)),
                     sizeof(m->rtc.cmos) - 8); /* the time of day */
    ram_digest++;
    reset_proof_check(m);
    assert_non_null(strstr(said, "memory"));
    ram_digest--;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reset_forgets_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_byte_is_compared, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
