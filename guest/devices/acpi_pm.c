/* SPDX-License-Identifier: MIT */
/*
 * ACPI's fixed hardware. Events raise the SCI; SLP_EN with S5's type switches the VM off. Event block and
 * button: device lock. The control block takes it itself and gives it back before the VM ends; the timer
 * needs none. ACPI 6.5, 4.8.3.1 - 4.8.3.3.
 */
#include "guest/devices/acpi_pm.h"

#include "guest/devices/byte_port.h"
#include "guest/machine.h"
#include "hv/run/sched.h"

#define STATUS_TIMER  BIT(0)
#define STATUS_GLOBAL BIT(5)
#define STATUS_BUTTON BIT(8)
#define STATUS_RTC    BIT(10)
/*
 * The same bits enable what they report. The RTC never wakes this machine, but its enable bit sticks: Linux
 * sets it and complains of an ACPI error when it reads back as 0. There is no sleep button.
 */
#define EVENTS (STATUS_TIMER | STATUS_GLOBAL | STATUS_BUTTON | STATUS_RTC)

#define CONTROL_SCI_ENABLED BIT(0)
#define CONTROL_SLEEP       BIT(13)
#define CONTROL_TYPE        BITS(12, 10)
#define CONTROL_TYPE_SHIFT  10
#define CONTROL_WRITABLE    (CONTROL_TYPE | BIT(1))

#define CARRY_SHIFT (ACPI_PM_TIMER_BITS - 1)

static u64 pm_ticks(const struct acpi_pm *pm)
{
    return device_ticks_from_tsc(&pm->clock, device_now() - pm->start);
}

/* Status that time has set meanwhile: the timer's highest bit changed. */
static u16 pm_status(const struct acpi_pm *pm)
{
    return pm->status | (pm_ticks(pm) >> CARRY_SHIFT != pm->carries_seen ? (u16)STATUS_TIMER : 0);
}

/* Drive the SCI, and wake up at the next carry if it would change that. */
static void pm_update(struct acpi_pm *pm)
{
    u16 status = pm_status(pm);
    u64 next = ((pm_ticks(pm) >> CARRY_SHIFT) + 1) << CARRY_SHIFT;

    machine_set_line(pm->machine, MACHINE_SCI, (status & pm->enable) != 0);
    if ((pm->enable & STATUS_TIMER) != 0 && (status & STATUS_TIMER) == 0)
        timer_set(&pm->timer, pm->start + device_ticks_to_tsc(&pm->clock, next));
    else if (timer_is_set(&pm->timer))
        timer_cancel(&pm->timer);
}

static void pm_timer_fire(struct timer *timer)
{
    struct acpi_pm *pm = container_of(timer, struct acpi_pm, timer);

    spinlock_take(&pm->machine->vm->device_lock);
    pm_update(pm);
    spinlock_release(&pm->machine->vm->device_lock);
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
    spinlock_take(&pm->machine->vm->device_lock);
    pm->status |= STATUS_BUTTON;
    pm_update(pm);
    spinlock_release(&pm->machine->vm->device_lock);
}

/* ---------------------------------------------------------------- event block */

static u8 event_read(void *device, u16 port)
{
    const struct acpi_pm *pm = device;
    unsigned offset = port - (unsigned)MACHINE_PM_BASE;
    u16 word = offset < 2 ? pm_status(pm) : pm->enable;

    return (u8)(word >> (offset & 1) * 8);
}

static void event_write(void *device, u16 port, u8 value)
{
    struct acpi_pm *pm = device;
    unsigned offset = port - (unsigned)MACHINE_PM_BASE;
    unsigned shift = (offset & 1) * 8;

    if (offset < 2) {
        pm->status &= (u16) ~(value << shift);
        if (shift == 0 && (value & STATUS_TIMER) != 0)
            pm->carries_seen = pm_ticks(pm) >> CARRY_SHIFT;
    } else {
        pm->enable = (u16)(((pm->enable & ~(0xffu << shift)) | (unsigned)value << shift) & EVENTS);
    }
    pm_update(pm);
}

static u32 event_port_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    (void)vcpu;
    return byte_port_read(device, port, size, event_read);
}

static void event_port_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    (void)vcpu;
    byte_port_write(device, port, size, value, event_write);
}

/* ---------------------------------------------------------------- control block and timer */

static u32 control_port_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    const struct acpi_pm *pm = device;

    (void)vcpu;
    (void)size;
    return (READ_ONCE(pm->control) | (u32)CONTROL_SCI_ENABLED) >> (port & 1) * 8;
}

/* Only whole words, and the upper byte alone, can say SLP_EN; each write is complete in itself. */
static void control_port_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    struct acpi_pm *pm = device;
    u32 shift = (port & 1) * 8, touched = (size == 1 ? 0xffu : 0xffffu) << shift;
    u32 control;

    (void)vcpu;
    spinlock_take(&pm->machine->vm->device_lock);
    control = (pm->control & ~touched) | (value << shift & touched);
    pm->control = (u16)(control & CONTROL_WRITABLE);
    spinlock_release(&pm->machine->vm->device_lock);
    /* Other sleeping states do not exist: asking for one does nothing. */
    if ((control & CONTROL_SLEEP) != 0 && (control & CONTROL_TYPE) >> CONTROL_TYPE_SHIFT == ACPI_PM_SLEEP_S5)
        vm_power_off(pm->machine->vm);
}

static u32 timer_port_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    (void)vcpu;
    (void)size;
    return (u32)pm_ticks(device) >> (port & 3) * 8;
}

static void timer_port_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    (void)vcpu;
    (void)device;
    (void)port;
    (void)size;
    (void)value; /* read only */
}

void acpi_pm_reset(struct acpi_pm *pm)
{
    timer_cancel(&pm->timer);
    pm->start = device_now();
    pm->carries_seen = 0;
    pm->status = 0;
    pm->enable = 0;
    pm->control = 0;
}

int acpi_pm_init(struct acpi_pm *pm, struct machine *board)
{
    struct vm *vm = board->vm;
    const u16 event = MACHINE_PM_BASE + ACPI_PM_EVENT, control = MACHINE_PM_BASE + ACPI_PM_CONTROL,
              timer = MACHINE_PM_BASE + ACPI_PM_TIMER;
    const struct port_range ranges[] = {
        {event, event + 3, event_port_read, event_port_write, pm, &vm->device_lock, "acpi event", NULL},
        {control, control + 1, control_port_read, control_port_write, pm, NULL, "acpi control", NULL},
        {timer, timer + 3, timer_port_read, timer_port_write, pm, NULL, "acpi timer", NULL},
    };

    *pm = (struct acpi_pm){.machine = board};
    device_clock_init(&pm->clock, ACPI_PM_TIMER_HZ);
    timer_init(&pm->timer, sched_timers(0), pm_timer_fire);
    acpi_pm_reset(pm);
    for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
        int error = port_bus_add(vm->ports, &ranges[i]);

        if (error != 0)
            return error;
    }
    return 0;
}
