/* SPDX-License-Identifier: MIT */
/*
 * Who has the serial line: one VM's console or the monitor's prompt; Ctrl-] changes between them. Called by
 * the guests' UARTs, the drivers' input interrupt and the monitor, on any CPU. One lock, RANK_CONSOLE,
 * guards all of it; listeners and the command handler are called without it.
 */
#include "hv/operator/console.h"

#include <stdarg.h>

#include "hv/lib/lock.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/memory/frame.h"
#include "hv/operator/line_editor.h"
#include "hv/run/vm_config.h"

#define INPUT_SIZE 4096 /* power of two */
#define PROMPT     "lintel> "
#define LOG_PREFIX \
    "[lintel]"     /* the log's lines begin with it, and nobody else's: tools and people trust them */
#define FORGED '~' /* a guest's are shown with this in front of the last byte */

_Static_assert((CONSOLE_RING & (CONSOLE_RING - 1)) == 0 && (INPUT_SIZE & (INPUT_SIZE - 1)) == 0,
               "indices wrap");

struct console {
    char name[VM_NAME_MAX];
    u32 vm;
    struct {
        void (*input_ready)(void *context);
        void *context;
    } listeners[CONSOLE_PORTS];
    u64 written;                /* bytes ever; the ring holds the latest CONSOLE_RING of them */
    u64 written_virtio;         /* what that was behind the virtio console's latest; 0: it has no say */
    u32 input_head, input_tail; /* count up for ever; the difference is what waits */
    u64 input_dropped;
    u8 matched; /* bytes of LOG_PREFIX that the guest has printed just now */
    u8 input[INPUT_SIZE];
    char ring[CONSOLE_RING];
};

static struct {
    struct spinlock lock; /* RANK_CONSOLE: all of this, and of each console */
    struct list_node devices;
    struct console *consoles[VM_MAX]; /* by VM number */
    struct console *focus;            /* NULL: the prompt has the line */
    struct console *last;             /* where Ctrl-] at the prompt leads back to */
    bool prompting; /* the prompt was asked for; false at boot until the first console comes */
    bool lost;      /* the log wrote over the prompt since it was shown; set without the lock */
    u32 busy;       /* finished lines at work; console_prompt follows each, and no prompt before the last */
    struct line_editor editor;
    void (*run)(const char *line);
} line = {.lock = SPINLOCK_INIT(RANK_CONSOLE), .devices = LIST_INIT(line.devices)};

/* ---------------------------------------------------------------- output; the lock is held */

static void devices_write(const char *text, size_t size)
{
    struct console_device *device;

    lock_assert_held(&line.lock);
    list_for_each (device, &line.devices, node) {
        device->write(device, text, size);
    }
}

/* Text of our own: a terminal in raw mode wants CR before LF. */
static void text_write(const char *text)
{
    while (*text) {
        const char *end = strchr(text, '\n');
        size_t size = end ? (size_t)(end - text) : strlen(text);

        devices_write(text, size);
        text += size;
        if (!end)
            return;
        devices_write("\r\n", 2);
        text++;
    }
}

static void text_printf(const char *format, ...) PRINTF_LIKE(1, 2);
static void text_printf(const char *format, ...)
{
    char text[128];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    text_write(text);
}

/* What was typed and not yet finished stays: log lines and commands may stand between it and its end. */
static void prompt_show(void)
{
    WRITE_ONCE(line.lost, false);
    devices_write(PROMPT, sizeof(PROMPT) - 1);
    devices_write(line.editor.text, line.editor.length);
}

static void ring_replay(const struct console *console)
{
    size_t oldest = console->written % CONSOLE_RING;

    if (console->written > CONSOLE_RING) {
        devices_write(console->ring + oldest, CONSOLE_RING - oldest);
        devices_write(console->ring, oldest);
        return;
    }
    devices_write(console->ring, console->written);
}

/* Give the line to a console, or to the prompt. */
static void focus_set(struct console *console)
{
    lock_assert_held(&line.lock);
    line.focus = console;
    if (console) {
        line.last = console;
        line.prompting = false;
        text_printf("\n-- console of VM %s; Ctrl-] leads to the monitor --\n", console->name);
        ring_replay(console);
        return;
    }
    if (!line.prompting)
        text_write("\n-- monitor; `help` lists its commands, Ctrl-] leads back to the console --\n");
    line.prompting = true;
    if (!line.busy)
        prompt_show();
}

/* ---------------------------------------------------------------- devices and guests */

void console_device_add(struct console_device *device)
{
    spinlock_take(&line.lock);
    list_add_before(&line.devices, &device->node);
    spinlock_release(&line.lock);
}

struct console *console_create(const char *name, u32 vm)
{
    struct console *console = line.consoles[vm];

    if (console) /* the VM is started anew: it keeps its console and what was on it */
        return console;
    console = memory_alloc(sizeof(*console), frame_owner_support(vm));
    if (!console)
        return NULL;
    string_copy(console->name, name, sizeof(console->name));
    console->vm = vm;
    spinlock_take(&line.lock);
    line.consoles[vm] = console;
    if (!line.last) { /* the first VM has the line to begin with */
        line.last = console;
        line.focus = line.prompting ? NULL : console;
    }
    spinlock_release(&line.lock);
    return console;
}

void console_set_listener(struct console *console, enum console_port port, void (*input_ready)(void *context),
                          void *context)
{
    spinlock_take(&line.lock);
    console->listeners[port].input_ready = input_ready;
    console->listeners[port].context = context;
    spinlock_release(&line.lock);
}

static __attribute__((noinline)) void ring_write(struct console *console, const char *text, size_t size)
{
    size_t at, piece;

    if (size > CONSOLE_RING) {
        console->written += size - CONSOLE_RING;
        text += size - CONSOLE_RING;
        size = CONSOLE_RING;
    }
    at = console->written % CONSOLE_RING;
    piece = MIN(size, CONSOLE_RING - at);
    memcpy(console->ring + at, text, piece);
    memcpy(console->ring, text + piece, size - piece);
    console->written += size;
}

/* Does this byte finish the prefix? (Of its bytes only the first can begin it anew.) */
static inline bool prefix_ends(struct console *console, char byte)
{
    if (likely(byte != LOG_PREFIX[console->matched])) {
        console->matched = byte == LOG_PREFIX[0];
        return false;
    }
    console->matched = (u8)((console->matched + 1) % (sizeof(LOG_PREFIX) - 1));
    return console->matched == 0;
}

static inline void guest_show(struct console *console, const char *text, size_t size)
{
    if (likely(size == 1))
        console->ring[console->written++ % CONSOLE_RING] = *text;
    else
        ring_write(console, text, size);
    if (line.focus == console)
        devices_write(text, size);
}

void console_guest_write(struct console *console, const char *text, size_t size)
{
    const char forged = FORGED;

    spinlock_take(&line.lock);
    for (size_t i = 0; i < size; i++) {
        if (likely(!prefix_ends(console, text[i])))
            continue;
        guest_show(console, text, i);
        guest_show(console, &forged, 1);
        text += i;
        size -= i;
        i = 0;
    }
    guest_show(console, text, size);
    spinlock_release(&line.lock);
}

/* So the UART's bytes, which are written one by one, cost nothing more. */
static enum console_port input_port(const struct console *console)
{
    u64 last = READ_ONCE(console->written_virtio);

    return last && last == READ_ONCE(console->written) ? CONSOLE_VIRTIO : CONSOLE_UART;
}

void console_guest_write_virtio(struct console *console, const char *text, size_t size)
{
    console_guest_write(console, text, size);
    WRITE_ONCE(console->written_virtio, READ_ONCE(console->written));
}

void console_leave_virtio(struct console *console)
{
    WRITE_ONCE(console->written_virtio, 0);
}

bool console_guest_readable(const struct console *console, enum console_port port)
{
    return READ_ONCE(console->input_head) != READ_ONCE(console->input_tail) && input_port(console) == port;
}

int console_guest_read(struct console *console, enum console_port port)
{
    int byte = -1;

    if (!console_guest_readable(console, port))
        return -1;
    spinlock_take(&line.lock);
    if (console_guest_readable(console, port))
        byte = console->input[console->input_tail++ % INPUT_SIZE];
    spinlock_release(&line.lock);
    return byte;
}

void console_input_again(struct console *console, enum console_port port)
{
    void (*ready)(void *context);
    void *context;

    if (!console_guest_readable(console, port))
        return;
    spinlock_take(&line.lock);
    ready = console->listeners[port].input_ready;
    context = console->listeners[port].context;
    spinlock_release(&line.lock);
    if (ready)
        ready(context);
}

u64 console_input_dropped(const struct console *console)
{
    return READ_ONCE(console->input_dropped);
}

/* ---------------------------------------------------------------- input */

static void guest_input_add(struct console *console, u8 byte)
{
    if (console->input_head - console->input_tail == INPUT_SIZE)
        console->input_dropped++;
    else
        console->input[console->input_head++ % INPUT_SIZE] = byte;
}

/* A byte at the prompt; true when it finished a line worth running, which is in finished then. */
static bool prompt_input(u8 byte, char *finished)
{
    enum line_key key;

    if (byte == CONSOLE_ESCAPE) {
        if (line.last)
            focus_set(line.last);
        return false;
    }
    if (READ_ONCE(line.lost) && !line.busy)
        prompt_show();
    key = line_editor_key(&line.editor, byte, devices_write);
    if (key == LINE_DONE && line.editor.length && line.run) {
        memcpy(finished, line.editor.text, LINE_MAX + 1);
        line_editor_clear(&line.editor);
        line.busy++;
        return true;
    }
    if (key != LINE_OPEN) {
        line_editor_clear(&line.editor);
        if (!line.busy)
            prompt_show();
    }
    return false;
}

/*
 * Hand bytes to whoever has the line, until a line for the monitor is complete (true; it is in finished).
 * *listener is the guest that got input: Ctrl-] twice leads back to the same one, so there is at most one.
 * Takes what it used from *bytes and *size.
 */
static bool input_take(const char **bytes, size_t *size, struct console **listener, char *finished)
{
    *listener = NULL;
    for (; *size; (*bytes)++, (*size)--) {
        u8 byte = (u8) * *bytes;

        if (!line.focus) {
            if (prompt_input(byte, finished)) {
                (*bytes)++;
                (*size)--;
                return true;
            }
        } else if (byte == CONSOLE_ESCAPE) {
            focus_set(NULL);
        } else {
            *listener = line.focus;
            guest_input_add(line.focus, byte);
        }
    }
    return false;
}

void console_input(const char *bytes, size_t size)
{
    char finished[LINE_MAX + 1];

    while (size) {
        struct console *listener;
        void (*ready)(void *context) = NULL;
        void *context = NULL;
        bool done;

        spinlock_take(&line.lock);
        done = input_take(&bytes, &size, &listener, finished);
        if (listener) {
            enum console_port port = input_port(listener);

            ready = listener->listeners[port].input_ready;
            context = listener->listeners[port].context;
        }
        spinlock_release(&line.lock);
        if (ready)
            ready(context);
        if (done)
            line.run(finished);
    }
}

/* ---------------------------------------------------------------- the monitor's side */

void console_focus(struct console *console)
{
    spinlock_take(&line.lock);
    focus_set(console);
    spinlock_release(&line.lock);
}

bool console_at_prompt(void)
{
    return !READ_ONCE(line.focus);
}

void console_prompt(void)
{
    spinlock_take(&line.lock);
    if (line.busy)
        line.busy--;
    if (!line.focus && !line.busy)
        prompt_show();
    spinlock_release(&line.lock);
}

void console_prompt_lost(void)
{
    WRITE_ONCE(line.lost, true);
}

void console_prompt_again(void)
{
    spinlock_take(&line.lock);
    if (!line.focus && line.prompting && !line.busy && READ_ONCE(line.lost))
        prompt_show();
    spinlock_release(&line.lock);
}

void console_printf(const char *format, ...)
{
    static char text[CONSOLE_PRINTF_MAX]; /* under the lock */
    va_list args;

    spinlock_take(&line.lock);
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    text_write(text);
    spinlock_release(&line.lock);
}

void console_set_command_handler(void (*run)(const char *text))
{
    spinlock_take(&line.lock);
    line.run = run;
    spinlock_release(&line.lock);
}
