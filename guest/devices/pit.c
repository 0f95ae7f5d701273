/* SPDX-License-Identifier: MIT */
/*
 * The 8254. A channel is its count and the moment when counting began; what it shows is worked out of the
 * TSC. Ports come from the bus, channel 0's interrupt from the timer queue; device lock. Intel 8254 data
 * sheet; port 0x61: IBM PC/AT technical reference.
 */
#include "guest/devices/pit.h"

#include "guest/devices/byte_port.h"
#include "guest/machine.h"
#include "hv/run/sched.h"

#define CHANNEL_PORT 0x40
#define CONTROL_PORT 0x43
#define SYSTEM_PORT  0x61
#define TIMER_LINE   0

/* A guest that asks for faster ticks gets these: it would otherwise keep the host in its timer interrupt. */
#define PERIOD_MIN_US 200

enum pit_access { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_BOTH };
enum pit_mode { TERMINAL_COUNT, ONE_SHOT, RATE, SQUARE, SOFTWARE_STROBE, HARDWARE_STROBE };

#define READ_BACK          3
#define READ_BACK_NO_COUNT BIT(5)
#define READ_BACK_NO_STATE BIT(4)
#define STATUS_OUT         BIT(7)
#define STATUS_NULL        BIT(6)

#define SYSTEM_GATE2    BIT(0)
#define SYSTEM_WRITABLE 0x0f
#define SYSTEM_REFRESH  BIT(4)
#define SYSTEM_OUT2     BIT(5)
#define REFRESH_TICKS   18 /* DRAM was refreshed every 15 us; some delay loops watch this bit */

static bool mode_is_periodic(const struct pit_channel *channel)
{
    return channel->mode == RATE || channel->mode == SQUARE;
}

/* Started by the gate's rising edge, and only by it. */
static bool mode_is_triggered(const struct pit_channel *channel)
{
    return channel->mode == ONE_SHOT || channel->mode == HARDWARE_STROBE;
}

static u64 channel_ticks(const struct pit *pit, const struct pit_channel *channel, u64 now)
{
    return channel->running ? device_ticks_from_tsc(&pit->clock, now - channel->start) : channel->frozen;
}

static u32 decimal_from_bcd(u32 bcd)
{
    return (bcd >> 12 & 15) * 1000 + (bcd >> 8 & 15) * 100 + (bcd >> 4 & 15) * 10 + (bcd & 15);
}

static u32 bcd_from_decimal(u32 value)
{
    return value / 1000 % 10 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10;
}

/* What the counting element holds, as the guest reads it. */
static u16 channel_counter(const struct pit *pit, const struct pit_channel *channel, u64 now)
{
    u64 ticks = channel_ticks(pit, channel, now);
    u32 wrap = channel->bcd ? 10000 : 65536;
    u64 value;

    if (channel->mode == SQUARE)
        value = channel->count - 2 * ticks % channel->count;
    else if (channel->mode == RATE)
        value = channel->count - ticks % channel->count;
    else
        value = channel->count + wrap - ticks % wrap;
    return (u16)(channel->bcd ? bcd_from_decimal((u32)(value % wrap)) : value);
}

/* The OUT pin. */
static bool channel_out(const struct pit *pit, const struct pit_channel *channel, u64 now)
{
    u64 ticks = channel_ticks(pit, channel, now);

    if (!channel->loaded)
        return channel->mode != TERMINAL_COUNT;
    switch ((enum pit_mode)channel->mode) {
    case TERMINAL_COUNT: return ticks >= channel->count;
    case ONE_SHOT: return !channel->running || ticks >= channel->count;
    case RATE: return !channel->running || ticks % channel->count != channel->count - 1;
    case SQUARE: return !channel->running || ticks % channel->count < (channel->count + 1) / 2;
    default: return !channel->running || ticks != channel->count;
    }
}

/* ---------------------------------------------------------------- channel 0's interrupt */

/* Set the timer to the next rise of OUT after now. Missed ones are not made up for. */
static void pit_arm(struct pit *pit, u64 now)
{
    const struct pit_channel *channel = &pit->channels[0];
    u64 ticks = channel_ticks(pit, channel, now), next = channel->count, deadline;

    timer_cancel(&pit->timer);
    if (!channel->running)
        return;
    if (mode_is_periodic(channel))
        next = (ticks / channel->count + 1) * channel->count;
    else if (ticks >= channel->count)
        return;
    deadline = channel->start + device_ticks_to_tsc(&pit->clock, next);
    if (mode_is_periodic(channel))
        deadline = MAX(deadline, now + tsc_from_us(PERIOD_MIN_US));
    timer_set(&pit->timer, deadline);
}

static void pit_fire(struct timer *timer)
{
    struct pit *pit = container_of(timer, struct pit, timer);
    u64 now = device_now();

    spinlock_take(&pit->machine->vm->device_lock);
    /* The channel may have been programmed anew while this waited for the lock. */
    if (!timer_is_set(timer) && pit->channels[0].running) {
        /* The line is edge triggered: a short low in front of each rise is as good as the true wave. */
        machine_set_line(pit->machine, TIMER_LINE, false);
        machine_set_line(pit->machine, TIMER_LINE, true);
        if (mode_is_periodic(&pit->channels[0]))
            pit_arm(pit, now);
    }
    spinlock_release(&pit->machine->vm->device_lock);
}

static void channel_changed(struct pit *pit, const struct pit_channel *channel, u64 now)
{
    if (channel != &pit->channels[0])
        return;
    if (!channel->loaded)
        machine_set_line(pit->machine, TIMER_LINE, false);
    pit_arm(pit, now);
}

/* ---------------------------------------------------------------- programming */

static void channel_set_gate(struct pit *pit, struct pit_channel *channel, bool gate)
{
    u64 now = device_now();

    if (channel->gate == gate)
        return;
    channel->gate = gate;
    if (!channel->loaded)
        return;
    if (gate) {
        if (mode_is_periodic(channel) || mode_is_triggered(channel))
            channel->frozen = 0;
        channel->start = now - device_ticks_to_tsc(&pit->clock, channel->frozen);
        channel->running = true;
    } else if (!mode_is_triggered(channel)) {
        channel->frozen = mode_is_periodic(channel) ? 0 : channel_ticks(pit, channel, now);
        channel->running = false;
    }
}

static void channel_load(struct pit *pit, struct pit_channel *channel, u32 raw)
{
    u64 now = device_now();
    u32 count = channel->bcd ? decimal_from_bcd(raw) : raw;

    if (count == 0)
        count = channel->bcd ? 10000 : 65536;
    channel->count = count;
    channel->loaded = true;
    if (mode_is_triggered(channel))
        return; /* counts from the next trigger on */
    channel->frozen = 0;
    channel->start = now;
    channel->running = channel->gate;
    channel_changed(pit, channel, now);
}

static void channel_write(struct pit *pit, struct pit_channel *channel, u8 value)
{
    switch ((enum pit_access)channel->access) {
    case ACCESS_LOW: channel_load(pit, channel, value); return;
    case ACCESS_HIGH: channel_load(pit, channel, (u32)value << 8); return;
    default: break;
    }
    channel->write_high = !channel->write_high;
    if (channel->write_high)
        channel->write_low = value;
    else
        channel_load(pit, channel, (u32)value << 8 | channel->write_low);
}

static void channel_latch_count(struct pit *pit, struct pit_channel *channel)
{
    if (channel->latched != 0)
        return;
    channel->latched_count = channel_counter(pit, channel, device_now());
    channel->latched = channel->access;
}

static void channel_latch_status(struct pit *pit, struct pit_channel *channel)
{
    if (channel->status_latched)
        return;
    channel->status = (u8)((channel_out(pit, channel, device_now()) ? STATUS_OUT : 0) |
                           (channel->loaded ? 0 : STATUS_NULL) | (unsigned)channel->access << 4 |
                           (unsigned)channel->mode << 1 | channel->bcd);
    channel->status_latched = true;
}

static void pit_read_back(struct pit *pit, u8 command)
{
    for (unsigned i = 0; i < ARRAY_SIZE(pit->channels); i++) {
        if ((command & BIT(i + 1)) == 0)
            continue;
        if ((command & READ_BACK_NO_COUNT) == 0)
            channel_latch_count(pit, &pit->channels[i]);
        if ((command & READ_BACK_NO_STATE) == 0)
            channel_latch_status(pit, &pit->channels[i]);
    }
}

static void pit_control(struct pit *pit, u8 command)
{
    struct pit_channel *channel;
    unsigned mode = command >> 1 & 7;

    if (command >> 6 == READ_BACK) {
        pit_read_back(pit, command);
        return;
    }
    channel = &pit->channels[command >> 6];
    if ((command >> 4 & 3) == ACCESS_LATCH) {
        channel_latch_count(pit, channel);
        return;
    }
    *channel = (struct pit_channel){
        .count = channel->count,
        .gate = channel->gate,
        .access = command >> 4 & 3,
        .mode = (u8)(mode > HARDWARE_STROBE ? mode - 4 : mode), /* 6 and 7 are 2 and 3 */
        .bcd = command & 1,
    };
    channel_changed(pit, channel, device_now());
}

static u8 channel_read_latched(struct pit_channel *channel)
{
    if (channel->latched & ACCESS_LOW) {
        channel->latched &= (u8)~ACCESS_LOW;
        return (u8)channel->latched_count;
    }
    channel->latched = 0;
    return (u8)(channel->latched_count >> 8);
}

static u8 channel_read(struct pit *pit, struct pit_channel *channel)
{
    u16 counter;

    if (channel->status_latched) {
        channel->status_latched = false;
        return channel->status;
    }
    if (channel->latched != 0)
        return channel_read_latched(channel);
    counter = channel_counter(pit, channel, device_now());
    if (channel->access == ACCESS_LOW)
        return (u8)counter;
    if (channel->access == ACCESS_HIGH)
        return (u8)(counter >> 8);
    channel->read_high = !channel->read_high;
    return (u8)(channel->read_high ? counter : counter >> 8);
}

static u8 pit_read(void *device, u16 port)
{
    struct pit *pit = device;

    return port == CONTROL_PORT ? 0xff : channel_read(pit, &pit->channels[port & 3]);
}

static void pit_write(void *device, u16 port, u8 value)
{
    struct pit *pit = device;

    if (port == CONTROL_PORT)
        pit_control(pit, value);
    else
        channel_write(pit, &pit->channels[port & 3], value);
}

static u32 pit_port_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    (void)vcpu;
    return byte_port_read(device, port, size, pit_read);
}

static void pit_port_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    (void)vcpu;
    byte_port_write(device, port, size, value, pit_write);
}

/* ---------------------------------------------------------------- port 0x61 */

static u32 system_port_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    const struct pit *pit = device;
    u64 now = device_now();
    u32 value = pit->port61;

    (void)vcpu;
    (void)port;
    (void)size;
    if (device_ticks_from_tsc(&pit->clock, now) / REFRESH_TICKS & 1)
        value |= SYSTEM_REFRESH;
    if (channel_out(pit, &pit->channels[2], now))
        value |= SYSTEM_OUT2;
    return value;
}

static void system_port_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    struct pit *pit = device;

    (void)vcpu;
    (void)port;
    (void)size;
    pit->port61 = value & SYSTEM_WRITABLE;
    channel_set_gate(pit, &pit->channels[2], (value & SYSTEM_GATE2) != 0);
}

void pit_reset(struct pit *pit)
{
    timer_cancel(&pit->timer);
    pit->port61 = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(pit->channels); i++) {
        pit->channels[i] = (struct pit_channel){
            .count = 65536,
            .access = ACCESS_BOTH,
            .mode = SQUARE,
            .gate = i != 2,
        };
    }
}

int pit_init(struct pit *pit, struct machine *board)
{
    struct spinlock *lock = &board->vm->device_lock;
    const struct port_range ranges[] = {
        {CHANNEL_PORT, CONTROL_PORT, pit_port_read, pit_port_write, pit, lock, "pit", NULL},
        {SYSTEM_PORT, SYSTEM_PORT, system_port_read, system_port_write, pit, lock, "port 0x61", NULL},
    };

    *pit = (struct pit){.machine = board};
    device_clock_init(&pit->clock, PIT_HZ);
    timer_init(&pit->timer, sched_timers(0), pit_fire);
    pit_reset(pit);
    for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
        int error = port_bus_add(board->vm->ports, &ranges[i]);

        if (error != 0)
            return error;
    }
    return 0;
}
