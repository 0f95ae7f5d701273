/* SPDX-License-Identifier: MIT */
/*
 * Power-off by ACPI's sleep state S5 (ACPI 6.5, 4.8.3.2 and 16.1.1) and the ways to reset a PC, from the one
 * that firmware names to the one that cannot fail. The log line comes first, because nothing comes after:
 * whoever watches the serial line reads from its last line how lintel ended.
 */
#include "drivers/power.h"

#include "arch/x86/machine/cpu.h"
#include "arch/x86/machine/paging.h"
#include "arch/x86/machine/tsc.h"
#include "drivers/screen.h"
#include "drivers/serial.h"
#include "hv/lib/log.h"

#define PM1_SCI_ENABLED  BIT(0) /* the machine is in ACPI mode */
#define PM1_SLEEP_TYPE   10     /* shift; three bits */
#define PM1_SLEEP_ENABLE BIT(13)

#define RESET_CONTROL        0xcf9 /* of Intel's chip sets and those that follow them */
#define RESET_CONTROL_HARD   0x02
#define RESET_CONTROL_GO     0x06
#define KEYBOARD_COMMAND     0x64
#define KEYBOARD_BUSY        BIT(1)
#define KEYBOARD_PULSE_RESET 0xfe

static const struct acpi_info *acpi; /* NULL: nothing is known */

void power_init(const struct acpi_info *info)
{
    acpi = info;
}

static void wait_ms(u32 ms)
{
    while (ms-- > 0)
        tsc_delay_us(1000);
}

/*
 * The sleep control register may be dead while firmware runs the machine in legacy mode: take it over, at
 * most 1 s.
 */
static void acpi_mode_enter(void)
{
    u32 ms;

    if (!acpi->smi_command || !acpi->acpi_enable || (in16(acpi->pm1a_control) & PM1_SCI_ENABLED))
        return;
    out8(acpi->smi_command, acpi->acpi_enable);
    for (ms = 0; ms < 1000 && !(in16(acpi->pm1a_control) & PM1_SCI_ENABLED); ms++)
        wait_ms(1);
}

/* The type first, then type and go: some chip sets want the two writes. */
static void sleep_write(u16 port, u8 type, bool go)
{
    u16 value;

    if (!port)
        return;
    value = (u16)(in16(port) & ~(7u << PM1_SLEEP_TYPE | PM1_SLEEP_ENABLE));
    out16(port, (u16)(value | (u32)type << PM1_SLEEP_TYPE | (go ? PM1_SLEEP_ENABLE : 0)));
}

static void sleep_s5(void)
{
    acpi_mode_enter();
    sleep_write(acpi->pm1a_control, acpi->sleep_type_a, false);
    sleep_write(acpi->pm1b_control, acpi->sleep_type_b, false);
    sleep_write(acpi->pm1a_control, acpi->sleep_type_a, true);
    sleep_write(acpi->pm1b_control, acpi->sleep_type_b, true);
    wait_ms(2000);
}

/* Nothing draws or sends any more after this. */
static void last_words_show(void)
{
    screen_draw();
    serial_flush();
}

NORETURN static void give_up(const char *sentence)
{
    log_error("halted: %s", sentence);
    last_words_show();
    cpu_halt_for_ever();
}

void power_off(void)
{
    log_error("power off"); /* the last words are seen at every level: who runs the machine judges by them */
    last_words_show();
    if (!acpi || !acpi->pm1a_control || acpi->sleep_type_a == ACPI_SLEEP_UNKNOWN)
        give_up("power-off is not possible: the ACPI tables do not tell how");
    sleep_s5();
    give_up("power-off has had no effect within 2 s");
}

static void reset_by_acpi(void)
{
    volatile u8 *reset;

    if (!acpi || !acpi->reset.address)
        return;
    if (!acpi->reset.memory) {
        out8((u16)acpi->reset.address, acpi->reset_value);
        return;
    }
    reset = paging_map_device(acpi->reset.address, 1, CACHE_UNCACHED, MAP_WRITE);
    if (reset)
        *reset = acpi->reset_value;
}

static void reset_by_chip_set(void)
{
    out8(RESET_CONTROL, RESET_CONTROL_HARD);
    tsc_delay_us(50);
    out8(RESET_CONTROL, RESET_CONTROL_GO);
}

static void reset_by_keyboard(void)
{
    u32 ms;

    for (ms = 0; ms < 100 && (in8(KEYBOARD_COMMAND) & KEYBOARD_BUSY); ms++)
        wait_ms(1);
    out8(KEYBOARD_COMMAND, KEYBOARD_PULSE_RESET);
}

/*
 * No IDT: the exception cannot be delivered, nor can the double fault that follows, and the CPU shuts down.
 */
static void reset_by_triple_fault(void)
{
    static const struct PACKED {
        u16 limit;
        u64 base;
    } none;

    asm volatile("lidt %0; ud2" : : "m"(none));
}

void machine_reset(void)
{
    static void (*const ways[])(void) = {reset_by_acpi, reset_by_chip_set, reset_by_keyboard,
                                         reset_by_triple_fault};
    size_t i;

    log_error("reset");
    last_words_show();
    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        ways[i]();
        wait_ms(100);
    }
    give_up("reset has had no effect");
}
