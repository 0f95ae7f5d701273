/* SPDX-License-Identifier: MIT */
/*
 * The clock of the PC/AT. Its time is a number of seconds at some TSC value; registers, flags and the next
 * interrupt are worked out from it. Ports come from the bus, interrupts from the timer queue; device lock.
 * Motorola MC146818A data sheet; CMOS bytes as PC firmware left them.
 */
#include "guest/devices/rtc.h"

#include "guest/devices/byte_port.h"
#include "guest/devices/calendar.h"
#include "guest/machine.h"
#include "hv/run/sched.h"

#define INDEX_PORT 0x70
#define DATA_PORT  0x71
#define RTC_LINE   8
#define RTC_HZ     32768

enum rtc_register {
    SECONDS = 0x00,
    SECONDS_ALARM = 0x01,
    MINUTES = 0x02,
    MINUTES_ALARM = 0x03,
    HOURS = 0x04,
    HOURS_ALARM = 0x05,
    WEEKDAY = 0x06,
    DAY = 0x07,
    MONTH = 0x08,
    YEAR = 0x09,
    REGISTER_A = 0x0a,
    REGISTER_B = 0x0b,
    REGISTER_C = 0x0c,
    REGISTER_D = 0x0d,
    CENTURY = 0x32,
};

#define A_UPDATING     BIT(7)
#define A_DIVIDER_STOP (BIT(6) | BIT(5)) /* both set: the divider chain is held in reset */
#define A_RATE         0x0f
#define A_RESET        0x26 /* 32,768 Hz crystal, 1024 Hz */
#define UPDATE_TICKS   8    /* UIP warns 244 us before each update */
#define HALF_SECOND    (RTC_HZ / 2)

#define B_SET     BIT(7)
#define B_BINARY  BIT(2)
#define B_24_HOUR BIT(1)

/* The same bits enable in B what they report in C. */
#define FLAG_PERIODIC BIT(6)
#define FLAG_ALARM    BIT(5)
#define FLAG_UPDATE   BIT(4)
#define FLAGS         (FLAG_PERIODIC | FLAG_ALARM | FLAG_UPDATE)
#define C_INTERRUPT   BIT(7)

#define D_VALID BIT(7)

#define HOUR_PM      BIT(7)
#define ALARM_ANY    0xc0 /* both bits set: every value matches */
#define JANUARY_2026 1767225600ull

u64 (*rtc_wall_clock_seconds)(void);

/* ---------------------------------------------------------------- the clock */

static u64 rtc_ticks(const struct rtc *rtc)
{
    return device_ticks_from_tsc(&rtc->clock, device_now() - rtc->base_tsc);
}

static s64 rtc_seconds_at(const struct rtc *rtc, u64 ticks)
{
    return rtc->base_seconds + (s64)(ticks / RTC_HZ);
}

/* The registers belong to the guest: it is setting them, or the divider is held. */
static bool rtc_is_stopped(const struct rtc *rtc)
{
    return (rtc->cmos[REGISTER_B] & B_SET) != 0 || (rtc->cmos[REGISTER_A] & A_DIVIDER_STOP) == A_DIVIDER_STOP;
}

static u8 field_encode(const struct rtc *rtc, unsigned value)
{
    return (u8)(rtc->cmos[REGISTER_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned field_decode(const struct rtc *rtc, u8 field)
{
    return rtc->cmos[REGISTER_B] & B_BINARY ? field : (field >> 4) * 10u + (field & 15);
}

static u8 hour_encode(const struct rtc *rtc, unsigned hour)
{
    if (rtc->cmos[REGISTER_B] & B_24_HOUR)
        return field_encode(rtc, hour);
    return field_encode(rtc, hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned hour_decode(const struct rtc *rtc, u8 field)
{
    if (rtc->cmos[REGISTER_B] & B_24_HOUR)
        return field_decode(rtc, field);
    return field_decode(rtc, field & (u8)~HOUR_PM) % 12 + (field & HOUR_PM ? 12 : 0);
}

/* Bring the time registers up to date. */
static void rtc_show_time(struct rtc *rtc)
{
    s64 seconds = rtc_seconds_at(rtc, rtc_ticks(rtc));
    struct calendar date;

    if (rtc_is_stopped(rtc))
        return;
    calendar_from_seconds(seconds, &date);
    rtc->cmos[SECONDS] = field_encode(rtc, date.second);
    rtc->cmos[MINUTES] = field_encode(rtc, date.minute);
    rtc->cmos[HOURS] = hour_encode(rtc, date.hour);
    rtc->cmos[WEEKDAY] = field_encode(rtc, date.weekday + 1);
    rtc->cmos[DAY] = field_encode(rtc, date.day);
    rtc->cmos[MONTH] = field_encode(rtc, date.month);
    rtc->cmos[YEAR] = field_encode(rtc, date.year % 100);
    rtc->cmos[CENTURY] = field_encode(rtc, date.year / 100 % 100);
}

/* Go on from what the time registers say; the part of the second that has passed stays. */
static void rtc_adopt_time(struct rtc *rtc)
{
    const struct calendar date = {
        .year = field_decode(rtc, rtc->cmos[CENTURY]) * 100 + field_decode(rtc, rtc->cmos[YEAR]),
        .month = field_decode(rtc, rtc->cmos[MONTH]),
        .day = field_decode(rtc, rtc->cmos[DAY]),
        .hour = hour_decode(rtc, rtc->cmos[HOURS]),
        .minute = field_decode(rtc, rtc->cmos[MINUTES]),
        .second = field_decode(rtc, rtc->cmos[SECONDS]),
    };

    rtc->base_seconds = calendar_to_seconds(&date) - (s64)(rtc_ticks(rtc) / RTC_HZ);
}

/* ---------------------------------------------------------------- flags and interrupts */

/* Clock ticks between periodic interrupts; 0: none. */
static u64 rtc_period(const struct rtc *rtc)
{
    unsigned rate = rtc->cmos[REGISTER_A] & A_RATE;

    if (rate == 0 || (rtc->cmos[REGISTER_A] & A_DIVIDER_STOP) == A_DIVIDER_STOP)
        return 0;
    return 1ull << (rate <= 2 ? rate + 6 : rate - 1);
}

/* One field of the alarm: its value, or -1 for any. */
static int alarm_field(const struct rtc *rtc, enum rtc_register number)
{
    u8 field = rtc->cmos[number];

    if ((field & ALARM_ANY) == ALARM_ANY)
        return -1;
    return (int)(number == HOURS_ALARM ? hour_decode(rtc, field) : field_decode(rtc, field));
}

/* The first second from `from` on that the alarm matches; CALENDAR_NEVER for an impossible one. */
static s64 rtc_next_alarm(const struct rtc *rtc, s64 from)
{
    return calendar_next_match(from, alarm_field(rtc, HOURS_ALARM), alarm_field(rtc, MINUTES_ALARM),
                               alarm_field(rtc, SECONDS_ALARM));
}

/* Set the flags for all that has happened since this was called last. */
static void rtc_collect(struct rtc *rtc)
{
    u64 ticks = rtc_ticks(rtc), period = rtc_period(rtc);
    s64 before = rtc_seconds_at(rtc, rtc->seen_ticks), now = rtc_seconds_at(rtc, ticks);

    if (period != 0 && ticks / period != rtc->seen_ticks / period)
        rtc->cmos[REGISTER_C] |= FLAG_PERIODIC;
    if (now != before && !rtc_is_stopped(rtc)) {
        rtc->cmos[REGISTER_C] |= FLAG_UPDATE;
        if (rtc_next_alarm(rtc, before + 1) <= now)
            rtc->cmos[REGISTER_C] |= FLAG_ALARM;
    }
    rtc->seen_ticks = ticks;
}

/* The tick of the next event that is enabled, or ~0. */
static u64 rtc_next_event(const struct rtc *rtc)
{
    u8 enabled = rtc->cmos[REGISTER_B];
    u64 ticks = rtc->seen_ticks, period = rtc_period(rtc), next = ~0ull;
    s64 alarm;

    if ((enabled & FLAG_PERIODIC) != 0 && period != 0)
        next = (ticks / period + 1) * period;
    if (rtc_is_stopped(rtc))
        return next;
    if (enabled & FLAG_UPDATE)
        next = MIN(next, (ticks / RTC_HZ + 1) * RTC_HZ);
    if (enabled & FLAG_ALARM) {
        alarm = rtc_next_alarm(rtc, rtc_seconds_at(rtc, ticks) + 1);
        if (alarm != CALENDAR_NEVER)
            next = MIN(next, (u64)(alarm - rtc->base_seconds) * RTC_HZ);
    }
    return next;
}

/* After any change: drive the line, and wake up for the next event unless one waits to be read already. */
static void rtc_update(struct rtc *rtc)
{
    u8 *flags = &rtc->cmos[REGISTER_C];
    bool interrupt = (*flags & rtc->cmos[REGISTER_B] & FLAGS) != 0;
    u64 next = interrupt ? ~0ull : rtc_next_event(rtc);

    *flags = (u8)((*flags & FLAGS) | (interrupt ? C_INTERRUPT : 0));
    machine_set_line(rtc->machine, RTC_LINE, interrupt);
    if (next != ~0ull)
        timer_set(&rtc->timer, rtc->base_tsc + device_ticks_to_tsc(&rtc->clock, next));
    else if (timer_is_set(&rtc->timer))
        timer_cancel(&rtc->timer);
}

static void rtc_fire(struct timer *timer)
{
    struct rtc *rtc = container_of(timer, struct rtc, timer);

    spinlock_take(&rtc->machine->vm->device_lock);
    rtc_collect(rtc);
    rtc_update(rtc);
    spinlock_release(&rtc->machine->vm->device_lock);
}

/* ---------------------------------------------------------------- registers */

static bool is_time(unsigned index)
{
    return index <= YEAR ? (index & 1) == 0 || index >= WEEKDAY : index == CENTURY;
}

/* Register A or B changes: with it the clock may stop, begin, or read its fields in another way. */
static void rtc_write_control(struct rtc *rtc, unsigned index, u8 value)
{
    bool stopped = rtc_is_stopped(rtc);
    bool held = (rtc->cmos[REGISTER_A] & A_DIVIDER_STOP) == A_DIVIDER_STOP;

    rtc_show_time(rtc);
    if (index == REGISTER_A)
        value &= (u8)~A_UPDATING;
    else if (value & B_SET)
        value &= (u8)~FLAG_UPDATE; /* no updates, no update interrupts */
    rtc->cmos[index] = value;
    if (held && (rtc->cmos[REGISTER_A] & A_DIVIDER_STOP) != A_DIVIDER_STOP) {
        /* A released divider chain makes its first update after half a second. */
        rtc->base_tsc = device_now() - device_ticks_to_tsc(&rtc->clock, HALF_SECOND);
        rtc->seen_ticks = rtc_ticks(rtc);
    }
    if (stopped && !rtc_is_stopped(rtc))
        rtc_adopt_time(rtc);
}

static void rtc_write_data(struct rtc *rtc, u8 value)
{
    unsigned index = rtc->index;

    rtc_collect(rtc);
    if (index == REGISTER_A || index == REGISTER_B) {
        rtc_write_control(rtc, index, value);
    } else if (is_time(index)) {
        rtc_show_time(rtc);
        rtc->cmos[index] = value;
        if (!rtc_is_stopped(rtc))
            rtc_adopt_time(rtc);
    } else if (index != REGISTER_C && index != REGISTER_D) {
        rtc->cmos[index] = value;
    }
    rtc_update(rtc);
}

static u8 rtc_read_flags(struct rtc *rtc)
{
    u8 flags;

    rtc_collect(rtc);
    flags = rtc->cmos[REGISTER_C] & FLAGS;
    if ((flags & rtc->cmos[REGISTER_B]) != 0)
        flags |= C_INTERRUPT;
    rtc->cmos[REGISTER_C] = 0;
    rtc_update(rtc);
    return flags;
}

static u8 rtc_read_a(const struct rtc *rtc)
{
    bool updating = !rtc_is_stopped(rtc) && rtc_ticks(rtc) % RTC_HZ >= RTC_HZ - UPDATE_TICKS;

    return rtc->cmos[REGISTER_A] | (updating ? A_UPDATING : 0);
}

static u8 rtc_read(void *device, u16 port)
{
    struct rtc *rtc = device;

    if (port == INDEX_PORT)
        return 0xff; /* write only */
    switch (rtc->index) {
    case REGISTER_A: return rtc_read_a(rtc);
    case REGISTER_C: return rtc_read_flags(rtc);
    default: break;
    }
    if (is_time(rtc->index))
        rtc_show_time(rtc);
    return rtc->cmos[rtc->index];
}

static void rtc_write(void *device, u16 port, u8 value)
{
    struct rtc *rtc = device;

    /* Bit 7 of the index masks NMIs on real boards; here none come that way. */
    if (port == INDEX_PORT)
        rtc->index = value & (RTC_CMOS_BYTES - 1);
    else
        rtc_write_data(rtc, value);
}

static u32 rtc_port_read(struct vcpu *vcpu, void *device, u16 port, unsigned size)
{
    (void)vcpu;
    return byte_port_read(device, port, size, rtc_read);
}

static void rtc_port_write(struct vcpu *vcpu, void *device, u16 port, unsigned size, u32 value)
{
    (void)vcpu;
    byte_port_write(device, port, size, value, rtc_write);
}

/* ---------------------------------------------------------------- CMOS */

static void cmos_set(struct rtc *rtc, unsigned index, u64 value, u64 most, unsigned bytes)
{
    value = MIN(value, most);
    for (unsigned i = 0; i < bytes; i++)
        rtc->cmos[index + i] = (u8)(value >> 8 * i);
}

/* Memory sizes where firmware wrote them: some kernels and boot loaders still look here. */
static void cmos_describe_memory(struct rtc *rtc, u64 memory)
{
    u64 low = MIN(memory, MACHINE_HOLE_START), high = memory - low;

    cmos_set(rtc, 0x15, 640, 640, 2);                                       /* KiB of conventional memory */
    cmos_set(rtc, 0x17, low < 1 << 20 ? 0 : (low >> 10) - 1024, 0xffff, 2); /* KiB above 1 MiB */
    cmos_set(rtc, 0x30, low < 1 << 20 ? 0 : (low >> 10) - 1024, 0xffff, 2); /* the same, as found */
    cmos_set(rtc, 0x34, low < 1 << 24 ? 0 : (low >> 16) - 256, 0xffff, 2);  /* 64 KiB units above 16 MiB */
    cmos_set(rtc, 0x5b, high >> 16, 0xffffff, 3);                           /* 64 KiB units above 4 GiB */
}

void rtc_reset(struct rtc *rtc)
{
    timer_cancel(&rtc->timer);
    rtc->base_seconds = (s64)(rtc_wall_clock_seconds != NULL ? rtc_wall_clock_seconds() : JANUARY_2026);
    rtc->base_tsc = device_now();
    rtc->seen_ticks = 0;
    rtc->index = 0;
    for (unsigned i = 0; i < RTC_CMOS_BYTES; i++)
        rtc->cmos[i] = 0;
    rtc->cmos[REGISTER_A] = A_RESET;
    rtc->cmos[REGISTER_B] = B_24_HOUR;
    rtc->cmos[REGISTER_D] = D_VALID;
    cmos_describe_memory(rtc, rtc->machine->vm->config->memory);
    rtc_show_time(rtc);
}

int rtc_init(struct rtc *rtc, struct machine *board)
{
    const struct port_range range = {
        .first = INDEX_PORT,
        .last = DATA_PORT,
        .read = rtc_port_read,
        .write = rtc_port_write,
        .device = rtc,
        .lock = &board->vm->device_lock,
        .name = "rtc",
    };

    *rtc = (struct rtc){.machine = board};
    device_clock_init(&rtc->clock, RTC_HZ);
    timer_init(&rtc->timer, sched_timers(0), rtc_fire);
    rtc_reset(rtc);
    return port_bus_add(board->vm->ports, &range);
}
