/* SPDX-License-Identifier: MIT */
/*
 * The serial line: one 16550, 115200 baud, 8N1. It shows lintel's log (as a log sink) and the focused console
 * (as a console device) and delivers what is typed to console_input.
 */
#ifndef DRIVERS_SERIAL_H
#define DRIVERS_SERIAL_H

#include "drivers/acpi.h"

/* "com1" .. "com4" to their customary ports; 0 for any other name. */
u16 serial_port(const char *name);

/*
 * Start the 16550 at port and make it a log sink and a console device; a second call moves the line to
 * another port and shows the log there once more. Output is polled until serial_take_interrupts, which counts
 * for a line that comes later, too. Boot CPU. 0, or -ENODEV when no 16550 answers (then the line stays where
 * it was); else as serial_take_interrupts.
 */
int serial_init(u16 port);

/*
 * From now on the line's interrupt brings input and takes output; on CPU apic_id. After host_ioapic_init;
 * acpi stays. 0, or -ENODEV or -ENOSPC when it cannot be routed: then output stays polled and there is no
 * input. Without a line: 0.
 */
int serial_take_interrupts(const struct acpi_info *acpi, u32 apic_id);

/* Wait, within bounds, until the last byte has left the machine. Any CPU. */
void serial_flush(void);

#endif
