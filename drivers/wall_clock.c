/* SPDX-License-Identifier: MIT */
/*
 * The machine's CMOS clock, read once at boot; afterwards the TSC counts. Motorola MC146818A data sheet. Boot
 * CPU.
 */
#include "drivers/wall_clock.h"

#include "arch/x86/machine/tsc.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define CMOS_INDEX        0x70
#define CMOS_DATA         0x71
#define STATUS_A          0x0a
#define STATUS_A_UPDATING BIT(7)
#define STATUS_B_BINARY   BIT(2)
#define STATUS_B_24_HOURS BIT(1)
#define HOUR_PM           BIT(7)

static u64 boot_seconds, boot_tsc;

static u8 cmos_read(u8 index)
{
    out8(CMOS_INDEX, index);
    return in8(CMOS_DATA);
}

static struct cmos_date date_read(void)
{
    return (struct cmos_date){
        .second = cmos_read(0x00),
        .minute = cmos_read(0x02),
        .hour = cmos_read(0x04),
        .day = cmos_read(0x07),
        .month = cmos_read(0x08),
        .year = cmos_read(0x09),
        .century = cmos_read(0x32), /* where ACPI's FADT puts it on every PC of today */
        .status_b = cmos_read(0x0b),
    };
}

static unsigned number(u8 value, u8 status_b)
{
    return status_b & STATUS_B_BINARY ? value : (value >> 4) * 10u + (value & 0xf);
}

static unsigned hour_of(struct cmos_date date)
{
    unsigned hour = number(date.hour & (u8)~HOUR_PM, date.status_b);

    if (date.status_b & STATUS_B_24_HOURS)
        return number(date.hour, date.status_b);
    return hour % 12 + (date.hour & HOUR_PM ? 12 : 0);
}

/*
 * Days from 1970-01-01 to the given day of the Gregorian calendar; months count from March, so that the leap
 * day is last.
 */
static u64 days_since_1970(unsigned year, unsigned month, unsigned day)
{
    unsigned shifted = month < 3 ? year - 1 : year;
    unsigned from_march = (month + 9) % 12;

    return 365ull * shifted + shifted / 4 - shifted / 100 + shifted / 400 + (153 * from_march + 2) / 5 + day -
           1 - 719468;
}

u64 cmos_date_seconds(struct cmos_date date)
{
    unsigned century = number(date.century, date.status_b);
    unsigned year =
        number(date.year, date.status_b) + (century >= 19 && century <= 21 ? century * 100 : 2000);
    unsigned month = number(date.month, date.status_b), day = number(date.day, date.status_b);
    unsigned minute = number(date.minute, date.status_b), second = number(date.second, date.status_b);
    unsigned hour = hour_of(date);

    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 ||
        second > 60)
        return 0;
    return ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
}

#define READ_TRIES 1000

/* Two equal readings outside an update are one that did not tear. */
void wall_clock_init(void)
{
    for (unsigned tries = 0; tries < READ_TRIES; tries++) {
        struct cmos_date first, second;

        if (cmos_read(STATUS_A) & STATUS_A_UPDATING) {
            tsc_delay_us(300);
            continue;
        }
        first = date_read();
        second = date_read();
        if (memcmp(&first, &second, sizeof(first)) != 0)
            continue;
        boot_seconds = cmos_date_seconds(first);
        boot_tsc = read_tsc();
        if (boot_seconds)
            return;
    }
    boot_seconds = days_since_1970(2026, 1, 1) * 86400;
    boot_tsc = read_tsc();
    log_warning("the CMOS clock tells no date: guests start on 2026-01-01");
}

u64 wall_clock_seconds(void)
{
    return boot_seconds + tsc_to_ns(tsc_boot_now() - boot_tsc) / 1000000000;
}
