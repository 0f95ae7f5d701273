/* SPDX-License-Identifier: MIT */
/*
 * One serial line for all: lintel's log, one VM's console, the monitor. Devices (serial, screen) register
 * as console devices; each VM has a console with an output ring (64 KiB, replayed on `console NAME`) and an
 * input queue. Any CPU; console lock.
 */
#ifndef HV_OPERATOR_CONSOLE_H
#define HV_OPERATOR_CONSOLE_H

#include "hv/lib/list.h"
#include "hv/lib/types.h"

#define CONSOLE_RING       65536
#define CONSOLE_ESCAPE     0x1d /* Ctrl-] */
#define CONSOLE_PRINTF_MAX 640

/* A device that shows text (and may deliver input through console_input). write must not block for long. */
struct console_device {
    const char *name;
    void (*write)(struct console_device *device, const char *text, size_t size);
    struct list_node node;
};
void console_device_add(struct console_device *device);

struct console;
/* name as in the configuration; NULL when memory is short. */
struct console *console_create(const char *name, u32 vm);

/* What a guest has in front of its console: its UART, and a virtio console beside it if it was given one. */
enum console_port { CONSOLE_UART, CONSOLE_VIRTIO, CONSOLE_PORTS };
/* Told when input waits for this port. Called without locks, on any CPU. */
void console_set_listener(struct console *console, enum console_port port, void (*input_ready)(void *context),
                          void *context);

/*
 * The guest's UART sent bytes / a port takes one byte of input (-1: none for it). Any CPU. All bytes are
 * shown as they are but the log's prefix: [lintel] becomes [lintel~], so that whoever reads the line knows
 * lintel's own words.
 */
void console_guest_write(struct console *console, const char *text, size_t size);
int console_guest_read(struct console *console, enum console_port port);
bool console_guest_readable(const struct console *console, enum console_port port);
/*
 * What is typed is for the port that has sent last: the virtio console's bytes come by the first of these,
 * and the second is for when nobody uses it any more. Any CPU.
 */
void console_guest_write_virtio(struct console *console, const char *text, size_t size);
void console_leave_virtio(struct console *console);
/*
 * What was typed for another port may be this one's by now: tell it, if something waits. Any CPU, no lock
 * held; not within its own listener.
 */
void console_input_again(struct console *console, enum console_port port);
/* Bytes typed that found the guest's input queue full. Any CPU. */
u64 console_input_dropped(const struct console *console);

/* Bytes came in on the serial line. Boot CPU, from the device's interrupt. */
void console_input(const char *bytes, size_t size);

/* Show this VM's console from now on (replays its ring); NULL: the monitor prompt. */
void console_focus(struct console *console);
/* Has the monitor the line? Any CPU; the answer may be old. */
bool console_at_prompt(void);
/*
 * A line that the command handler was given is done, or dropped: called once for each. Behind the last of
 * them shows the prompt again, if the line is not at a VM's console.
 */
void console_prompt(void);
/*
 * The log writes over the prompt / has done so: show what is lost of it again. Any CPU; the first takes no
 * lock.
 */
void console_prompt_lost(void);
void console_prompt_again(void);
/* Text of the monitor itself, shorter than CONSOLE_PRINTF_MAX; \n becomes CR LF. */
void console_printf(const char *format, ...) PRINTF_LIKE(1, 2);

/* The line editor hands each finished monitor line here; set by the monitor. */
void console_set_command_handler(void (*run)(const char *line));

#endif
