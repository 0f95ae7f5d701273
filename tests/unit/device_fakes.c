/* SPDX-License-Identifier: MIT */
/* See device_fakes.h. */
#include "tests/unit/device_fakes.h"

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/percpu.h"
#include "hv/lib/panic.h"
#include "hv/operator/console.h"
#include "hv/run/memory_wait.h"
#include "hv/run/sched.h"

struct board board;
u64 test_now;
u64 tsc_khz = TEST_TSC_KHZ;
struct cpu_features cpu_features = {.physical_bits = 40};
struct cpu cpus[CPU_MAX];
struct sched_cpu sched_cpus[1];
static void (*input_ready[CONSOLE_PORTS])(void *context);
static void *input_context[CONSOLE_PORTS];
static u64 programmed;

u64 tsc_from_ns(u64 ns)
{
    return (u64)((device_clock_product)ns * tsc_khz / 1000000);
}

/* ---- hv ---- */

/* Weak: fake_memory.c has one that a test can expect. */
__attribute__((weak)) void panic_at(const char *file, int line, const char *format, ...)
{
    fprintf(stderr, "panic at %s:%d: %s\n", file, line, format);
    abort();
}

void vcpu_wake(struct vcpu *vcpu, u32 request)
{
    vcpu_request(vcpu, request);
    board.wakes[vcpu->index]++;
    board.nmis[vcpu->index] += request == REQUEST_NMI;
}

/* A test may have its own. */
__attribute__((weak)) void memory_wait(struct vcpu *vcpu, gpa_t gpa, const char *device)
{
    assert_non_null(device);
    board.memory_waits[vcpu->index]++;
    board.waits_for = gpa;
}

int guest_memory_show_window(struct guest_memory *memory, gpa_t gpa, const void *page,
                             bool (*wanted)(const void *context), const void *context)
{
    (void)memory;
    assert_int_equal(gpa, 0xfee00000);
    if (!wanted(context))
        return -1;
    board.window = page;
    return 0;
}

void guest_memory_hide_window(struct guest_memory *memory, gpa_t gpa)
{
    (void)memory;
    assert_int_equal(gpa, 0xfee00000);
    board.window = NULL;
}

void vm_power_off(struct vm *vm)
{
    board.lock_held += spinlock_held(&vm->device_lock);
    board.power_offs++;
}

void vm_request_reset(struct vm *vm, const char *why)
{
    assert_true(strlen(why) > 10);
    board.lock_held += spinlock_held(&vm->device_lock);
    board.resets++;
}

/* A test may link hv/run/power.c instead. */
__attribute__((weak)) int power_event(struct vcpu *vcpu, enum power_event event, u32 value, u32 argument)
{
    const struct lapic *lapic = vcpu->lapic;

    (void)argument;
    if (event == POWER_NMI) {
        vcpu_wake(vcpu, REQUEST_NMI);
        return 0;
    }
    board.lock_held += spinlock_held(&lapic->lock);
    if (event == POWER_INIT)
        board.inits[vcpu->index]++;
    else
        board.sipis[vcpu->index]++;
    board.sipi_vector = (u8)value;
    return 0;
}

__attribute__((weak)) void power_event_self(struct vcpu *vcpu, enum power_event event, u32 value)
{
    board.by_itself++;
    power_event(vcpu, event, value, 0);
}

void console_guest_write(struct console *console, const char *text, size_t size)
{
    (void)console;
    assert_true(board.written_size + size < sizeof(board.written));
    memcpy(board.written + board.written_size, text, size);
    board.written_size += size;
}

bool console_guest_readable(const struct console *console, enum console_port port)
{
    (void)console;
    return port == board.input_port && board.typed_read < board.typed_size;
}

int console_guest_read(struct console *console, enum console_port port)
{
    if (!console_guest_readable(console, port))
        return -1;
    return (u8)board.typed[board.typed_read++];
}

void console_guest_write_virtio(struct console *console, const char *text, size_t size)
{
    console_guest_write(console, text, size);
    board.input_port = CONSOLE_VIRTIO;
}

void console_leave_virtio(struct console *console)
{
    (void)console;
    board.input_port = CONSOLE_UART;
}

void console_input_again(struct console *console, enum console_port port)
{
    assert_false(spinlock_held(&board.vm.device_lock));
    if (console_guest_readable(console, port))
        input_ready[port](input_context[port]);
}

void console_set_listener(struct console *console, enum console_port port, void (*listener)(void *context),
                          void *context)
{
    (void)console;
    input_ready[port] = listener;
    input_context[port] = context;
}

void board_type(const char *text)
{
    size_t size = strlen(text);

    assert_true(board.typed_size + size < sizeof(board.typed));
    memcpy(board.typed + board.typed_size, text, size);
    board.typed_size += size;
    input_ready[board.input_port](input_context[board.input_port]);
}

/* The wires of guest/machine.c, which a test may link instead. */
__attribute__((weak)) void machine_set_line(struct machine *m, unsigned line, bool level)
{
    assert_true(spinlock_held(&m->vm->device_lock));
    pic_set_input(&m->pic, line, level);
    ioapic_set_pin(&m->ioapic, line == 0 ? 2 : line, level);
}

/* ---- the board ---- */

static void program(u64 deadline)
{
    programmed = deadline;
}

static const struct timer_hardware timer_chip = {.program = program};

int board_setup(void **state)
{
    struct machine *m = calloc(1, sizeof(*m) + BOARD_VCPUS * sizeof(struct machine_vcpu));

    (void)state;
    memset(&board, 0, sizeof(board));
    test_now = 123456789;
    timer_queue_init(&sched_cpus[0].timers, 0, &timer_chip);
    board.config.memory = BOARD_MEMORY;
    board.vm.config = &board.config;
    board.vm.ports = &board.ports;
    board.vm.vcpu_count = BOARD_VCPUS;
    board.vm.boot_vcpu = &board.vcpus[0];
    board.vm.console = (struct console *)&board; /* only handed back to the fakes above */
    board.vm.machine = m;
    board.machine = m;
    m->vm = &board.vm;
    spinlock_init(&board.vm.device_lock, RANK_DEVICE);
    port_bus_init(&board.ports);
    for (unsigned i = 0; i < BOARD_VCPUS; i++) {
        board.vcpus[i] = (struct vcpu){.index = i, .vm = &board.vm};
        board.vm.vcpus[i] = &board.vcpus[i];
        lapic_init(&m->vcpus[i].lapic, &board.vcpus[i]);
    }
    assert_int_equal(lapic_register_mmio(m), 0);
    assert_int_equal(ioapic_init(&m->ioapic, m), 0);
    assert_int_equal(pic_init(&m->pic, m), 0);
    assert_int_equal(pit_init(&m->pit, m), 0);
    assert_int_equal(rtc_init(&m->rtc, m), 0);
    assert_int_equal(acpi_pm_init(&m->acpi_pm, m), 0);
    assert_int_equal(pci_host_init(&m->pci, m), 0);
    assert_int_equal(reset_ports_init(&m->reset, m), 0);
    assert_int_equal(uart_init(&m->uart, m), 0);
    return 0;
}

int board_teardown(void **state)
{
    (void)state;
    assert_false(spinlock_held(&board.vm.device_lock));
    assert_int_equal(board.lock_held, 0);
    uart_destroy(&board.machine->uart);
    assert_null(input_ready[CONSOLE_UART]);
    assert_null(input_ready[CONSOLE_VIRTIO]);
    free(board.machine);
    return 0;
}

u32 port_in(u16 port, unsigned size)
{
    return port_bus_read(&board.ports, &board.vcpus[0], port, size);
}

void port_out(u16 port, unsigned size, u32 value)
{
    port_bus_write(&board.ports, &board.vcpus[0], port, size, value);
}

u32 mmio_in(unsigned vcpu, gpa_t gpa)
{
    return (u32)mmio_bus_read(&board.vm.mmio, &board.vcpus[vcpu], gpa, 4);
}

void mmio_out(unsigned vcpu, gpa_t gpa, u32 value)
{
    mmio_bus_write(&board.vm.mmio, &board.vcpus[vcpu], gpa, 4, value);
}

void time_pass_tsc(u64 ticks)
{
    u64 end = test_now + ticks;

    while (programmed <= end) {
        u64 due = programmed;

        test_now = due > test_now ? due : test_now;
        timer_queue_run(&sched_cpus[0].timers, test_now);
    }
    test_now = end;
}

void time_pass_us(u64 us)
{
    time_pass_tsc(tsc_from_ns(us * 1000));
}

int take_interrupt(unsigned vcpu)
{
    if (lapic_interrupt_pending(&board.vcpus[vcpu]) < 0)
        return -1;
    return lapic_interrupt_accept(&board.vcpus[vcpu]);
}

void board_abuse(u32 seed, unsigned rounds, u16 first, u16 last)
{
    for (unsigned i = 0; i < rounds; i++) {
        u16 port;
        unsigned size;

        seed = seed * 1664525 + 1013904223;
        port = (u16)(first + (seed >> 16) % (last - first + 1u));
        size = 1u << (seed >> 8) % 3;
        if (seed & 0x80) {
            port_in(port, size);
        } else {
            port_out(port, size, seed * 2654435761u);
            board.written_size = 0;
        }
        time_pass_tsc(seed >> 12);
        take_interrupt(0);
    }
}
