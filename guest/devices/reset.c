/* SPDX-License-Identifier: MIT */
/*
 * Everything a PC can be reset with, and a keyboard controller that answers at once but has no keyboard and
 * no mouse: a kernel that asks is soon done. Called from the port bus without a lock (0xcf9 through pci.c);
 * takes the device lock for its state and gives it back before the VM is asked to reset. 82371AB data sheet,
 * 4.1.4 (0xcf9), 4.1.7 (0x92); 8042: IBM PS/2 technical reference.
 */
#include "guest/devices/reset.h"

#include "guest/machine.h"

#define DATA_PORT    0x60
#define COMMAND_PORT 0x64
#define FAST_PORT    0x92

#define CONTROL_RESET    BIT(2)
#define CONTROL_WRITABLE (BIT(3) | BIT(1))

#define STATUS_OUTPUT_FULL BIT(0)
#define STATUS_SYSTEM      BIT(2) /* passed its self-test */
#define STATUS_COMMAND     BIT(3) /* the last byte written was a command */
#define STATUS_UNLOCKED    BIT(4)

enum keyboard_command {
    READ_MODE = 0x20,
    WRITE_MODE = 0x60,
    TEST_MOUSE_PORT = 0xa9,
    SELF_TEST = 0xaa,
    TEST_KEYBOARD_PORT = 0xab,
    READ_OUTPUTS = 0xd0,
    WRITE_OUTPUTS = 0xd1,
    WRITE_MOUSE_BUFFER = 0xd3,
    WRITE_MOUSE = 0xd4,
    PULSE_OUTPUTS = 0xf0, /* .. 0xff: a 0 in bits 0 .. 3 pulses the output */
};

#define OUTPUT_NO_RESET BIT(0)
#define OUTPUT_A20      BIT(1)
#define MODE_RESET      0x74 /* both ports off, translation on */
#define CLOCK_STUCK     0x01 /* what a port without anything behind it tests as */
#define FAST_RESET      BIT(0)
#define FAST_A20        BIT(1)

static const char keyboard_why[] = "the keyboard controller's reset line was pulsed";

static struct spinlock *reset_lock(const struct reset_ports *reset)
{
    return &reset->machine->vm->device_lock;
}

/* ---------------------------------------------------------------- 0xcf9 and 0x92 */

u32 reset_control_read(struct reset_ports *reset)
{
    return READ_ONCE(reset->control);
}

void reset_control_write(struct reset_ports *reset, u8 value)
{
    WRITE_ONCE(reset->control, value & CONTROL_WRITABLE);
    if (value & CONTROL_RESET)
        vm_request_reset(reset->machine->vm, "reset by port 0xcf9");
}

static u32 fast_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    (void)vcpu;
    (void)device;
    (void)port;
    (void)size;
    return FAST_A20;
}

/* A20 is always on: nobody needs its wrap any more. */
static void fast_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    struct reset_ports *reset = device;

    (void)vcpu;
    (void)port;
    (void)size;
    if (value & FAST_RESET)
        vm_request_reset(reset->machine->vm, "reset by port 0x92");
}

/* ---------------------------------------------------------------- the keyboard controller */

static void keyboard_answer(struct reset_ports *reset, u8 value)
{
    reset->output = value;
    reset->output_full = true;
}

/* Returns true when the command pulses the reset line. */
static bool keyboard_command(struct reset_ports *reset, u8 command)
{
    reset->data_was_command = true;
    reset->command = 0;
    switch (command) {
    case READ_MODE: keyboard_answer(reset, reset->mode); break;
    case SELF_TEST: keyboard_answer(reset, 0x55); break;
    case TEST_MOUSE_PORT:
    case TEST_KEYBOARD_PORT: keyboard_answer(reset, CLOCK_STUCK); break;
    case READ_OUTPUTS: keyboard_answer(reset, OUTPUT_NO_RESET | OUTPUT_A20); break;
    case WRITE_MODE:
    case WRITE_OUTPUTS:
    case WRITE_MOUSE_BUFFER:
    case WRITE_MOUSE: reset->command = command; break;
    case PULSE_OUTPUTS ... 0xff: return (command & OUTPUT_NO_RESET) == 0;
    default: break; /* switches for ports that have nothing behind them */
    }
    return false;
}

static bool keyboard_data(struct reset_ports *reset, u8 value)
{
    u8 command = reset->command;

    reset->data_was_command = false;
    reset->command = 0;
    switch (command) {
    case WRITE_MODE: reset->mode = value; break;
    case WRITE_OUTPUTS: return (value & OUTPUT_NO_RESET) == 0;
    /* Comes back as if typed, not as from a mouse: so a kernel learns that there is no mouse port. */
    case WRITE_MOUSE_BUFFER: keyboard_answer(reset, value); break;
    default: break; /* to a keyboard or mouse that is not there */
    }
    return false;
}

static u8 keyboard_status(const struct reset_ports *reset)
{
    return (u8)(STATUS_UNLOCKED | STATUS_SYSTEM | (reset->data_was_command ? STATUS_COMMAND : 0) |
                (reset->output_full ? STATUS_OUTPUT_FULL : 0));
}

static u32 keyboard_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    struct reset_ports *reset = device;
    u32 value;

    (void)vcpu;
    (void)size;
    spinlock_take(reset_lock(reset));
    if (port == COMMAND_PORT) {
        value = keyboard_status(reset);
    } else {
        value = reset->output;
        reset->output_full = false;
    }
    spinlock_release(reset_lock(reset));
    return value;
}

static void keyboard_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    struct reset_ports *reset = device;
    bool pulsed;

    (void)vcpu;
    (void)size;
    spinlock_take(reset_lock(reset));
    pulsed = port == COMMAND_PORT ? keyboard_command(reset, (u8)value) : keyboard_data(reset, (u8)value);
    spinlock_release(reset_lock(reset));
    if (pulsed)
        vm_request_reset(reset->machine->vm, keyboard_why);
}

void reset_ports_reset(struct reset_ports *reset)
{
    *reset = (struct reset_ports){.machine = reset->machine, .mode = MODE_RESET};
}

int reset_ports_init(struct reset_ports *reset, struct machine *board)
{
    const struct port_range ranges[] = {
        {DATA_PORT, DATA_PORT, keyboard_read, keyboard_write, reset, NULL, "keyboard data", NULL},
        {COMMAND_PORT, COMMAND_PORT, keyboard_read, keyboard_write, reset, NULL, "keyboard command", NULL},
        {FAST_PORT, FAST_PORT, fast_read, fast_write, reset, NULL, "fast reset", NULL},
    };

    reset->machine = board;
    reset_ports_reset(reset);
    for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
        int error = port_bus_add(board->vm->ports, &ranges[i]);

        if (error != 0)
            return error;
    }
    return 0;
}
