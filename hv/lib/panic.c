/* SPDX-License-Identifier: MIT */
/*
 * lintel's last words. First everything that helps (served vCPU, back trace, machine state), then the panic
 * line itself: whoever watches the serial line decides by its last line how lintel ended. No lock, no
 * allocation.
 */
#include "hv/lib/panic.h"

#include <stdarg.h>

#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/lib/printf.h"

static struct panic_hooks hooks;
static u32 panics; /* how many have begun: only the first tells its story */

void panic_hooks_set(const struct panic_hooks *new_hooks)
{
    hooks = *new_hooks;
}

NORETURN static void halt_for_ever(void)
{
    for (;;)
        asm volatile("cli; hlt" : : : "memory");
}

/* Where: " (CPU 0, serving VM web, vCPU 0)", as far as anybody knows. */
static void describe_place(char *text, size_t size)
{
    char served[128];
    bool serving = hooks.served && hooks.served(served, sizeof(served));

    text[0] = 0;
    if (hooks.cpu && serving)
        snprintf(text, size, " (CPU %u, serving %s)", hooks.cpu(), served);
    else if (hooks.cpu)
        snprintf(text, size, " (CPU %u)", hooks.cpu());
    else if (serving)
        snprintf(text, size, " (serving %s)", served);
}

NORETURN static void die(const char *words)
{
    char place[192];

    if (LOCKS_CHECKED)
        lock_check_end();
    log_enter_panic();
    if (__atomic_fetch_add(&panics, 1, __ATOMIC_SEQ_CST) > 0) {
        log_error("panic: within a panic: %s", words);
        halt_for_ever();
    }
    if (hooks.dump)
        hooks.dump();
    if (hooks.stop)
        hooks.stop();
    describe_place(place, sizeof(place));
    log_error("panic: %s%s", words, place);
    halt_for_ever();
}

void panic_at(const char *file, int line, const char *format, ...)
{
    char words[256];
    int length = snprintf(words, sizeof(words), "%s:%d: ", file, line);
    va_list args;

    if (length < (int)sizeof(words)) {
        va_start(args, format);
        vsnprintf(words + length, sizeof(words) - (size_t)length, format, args);
        va_end(args);
    }
    die(words);
}

void panic_exception(const char *title)
{
    die(title);
}
