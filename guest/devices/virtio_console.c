/* SPDX-License-Identifier: MIT */
/*
 * Virtio consoles (contract in the header). What the guest sends goes to the VM's console in pieces of a
 * UART's FIFO, a few of them in one exit, the rest in further turns of the same vCPU: so a guest that sends
 * megabytes at once waits for a slow line as one with a UART does, and keeps neither the console's lock nor
 * its CPU meanwhile. What is typed is fetched when the console says that it is for this port, and the driver
 * has offered room; until then it waits at the console.
 */
#include "guest/devices/virtio_console.h"

#include <linux/virtio_ids.h>

#include "guest/machine.h"
#include "hv/operator/console.h"

enum { QUEUE_RECEIVE, QUEUE_TRANSMIT, QUEUES };

#define CLASS_COMMUNICATION 0x0780 /* other */
#define PIECE_BYTES         16u
/* What one exit, or the beginning of one turn, may carry, each way. */
#define SHARE_PIECES 4u

static struct virtio_console *console_of(struct virtio *virtio)
{
    return container_of(virtio, struct virtio_console, virtio);
}

static struct guest_memory *memory_of(const struct virtio_console *console)
{
    return &console->virtio.pci.machine->vm->memory;
}

static struct spinlock *lock_of(struct virtio_console *console)
{
    return &console->virtio.pci.lock;
}

static struct console *end_of(const struct virtio_console *console)
{
    return console->virtio.pci.machine->vm->console;
}

/* The one that is held, or the next one; false: there is none. */
static bool chain_hold(struct virtio_console *console, unsigned queue, struct virtio_console_chain *held)
{
    struct virtq_chain *chain = &held->chain;
    bool receives = queue == QUEUE_RECEIVE;

    if (held->held)
        return true;
    if (!virtio_take(&console->virtio, queue, chain))
        return false;
    if (receives ? chain->readable : chain->writable) {
        virtio_fail(&console->virtio,
                    "offered a buffer to be read where typed bytes go, or to be written where "
                    "it sends");
        return false;
    }
    held->left = (struct buffers){chain->buffers, receives ? chain->writable : chain->readable};
    held->bytes = buffers_bytes(&held->left);
    held->held = true;
    return true;
}

static void chain_end(struct virtio_console *console, unsigned queue, struct virtio_console_chain *held,
                      u32 written)
{
    int error = virtq_give(&console->virtio.queues[queue], memory_of(console), held->chain.head, written);

    held->held = false;
    if (error)
        virtio_fail_write(&console->virtio, error, "has a used ring where no RAM is");
}

/* ---------------------------------------------------------------- both ways */

static void piece_send(struct virtio_console *console)
{
    struct virtio_console_chain *sending = &console->sending;
    u64 bytes = MIN(sending->bytes, PIECE_BYTES);
    char text[PIECE_BYTES];

    if (buffers_take(&sending->left, memory_of(console), text, bytes)) {
        virtio_fail(&console->virtio, "sends bytes from where no RAM is");
        return;
    }
    if (bytes)
        console_guest_write_virtio(end_of(console), text, bytes);
    sending->bytes -= bytes;
    if (!sending->bytes)
        chain_end(console, QUEUE_TRANSMIT, sending, 0);
}

/* False: nothing was typed, or there is no room for it. */
static bool piece_receive(struct virtio_console *console)
{
    struct virtio_console_chain *receiving = &console->receiving;
    u32 bytes = 0;
    u8 typed[PIECE_BYTES];
    int byte = 0, error;

    if (!console_guest_readable(end_of(console), CONSOLE_VIRTIO) ||
        !chain_hold(console, QUEUE_RECEIVE, receiving))
        return false;
    if (!receiving->bytes) {
        virtio_fail(&console->virtio, "offered no room for typed bytes");
        return false;
    }
    while (byte >= 0 && bytes < MIN(receiving->bytes, PIECE_BYTES)) {
        byte = console_guest_read(end_of(console), CONSOLE_VIRTIO);
        if (byte >= 0)
            typed[bytes++] = (u8)byte;
    }
    if (!bytes) /* the UART was faster; the room stays for what comes next */
        return false;
    error = buffers_fill(&receiving->left, memory_of(console), typed, bytes);
    if (error)
        virtio_fail_write(&console->virtio, error, "has room for typed bytes where no RAM is");
    else
        chain_end(console, QUEUE_RECEIVE, receiving, bytes);
    return true;
}

static bool is_usable(const struct virtio_console *console, unsigned queue)
{
    return virtio_is_usable(&console->virtio, queue);
}

static void serve(struct virtio_console *console)
{
    bool more = true;

    for (u32 i = 0; i < SHARE_PIECES && more; i++) {
        more = is_usable(console, QUEUE_TRANSMIT) && chain_hold(console, QUEUE_TRANSMIT, &console->sending);
        if (more)
            piece_send(console);
        if (is_usable(console, QUEUE_RECEIVE))
            more |= piece_receive(console);
    }
    if (is_usable(console, QUEUE_TRANSMIT))
        virtio_show(&console->virtio, QUEUE_TRANSMIT);
    if (is_usable(console, QUEUE_RECEIVE))
        virtio_show(&console->virtio, QUEUE_RECEIVE);
    if (more)
        virtio_work_want(&console->virtio);
}

void virtio_console_work(struct virtio_console *console, struct vcpu *vcpu)
{
    if (!virtio_work_is_for(&console->virtio, vcpu))
        return;
    spinlock_take(lock_of(console));
    console->virtio.worker.work = false;
    serve(console);
    virtio_turn_end(&console->virtio, vcpu);
    console_input_again(end_of(console), CONSOLE_UART);
}

/*
 * The UART may have spoken since something was typed for this port, or this port's driver has gone: what
 * waits is the UART's. It is told at the end of a turn, where no lock is held.
 */
static void uart_tell(struct virtio_console *console)
{
    if (console_guest_readable(end_of(console), CONSOLE_UART))
        virtio_work_want(&console->virtio);
}

static void notified(struct virtio *virtio, unsigned queue)
{
    struct virtio_console *console = console_of(virtio);

    (void)queue;
    console->virtio.worker.work = false;
    serve(console);
    uart_tell(console);
}

/* Somebody has typed. Guest memory is for a turn of a vCPU. */
static void input_ready(void *context)
{
    struct virtio_console *console = context;

    spinlock_take(lock_of(console));
    virtio_work_want(&console->virtio);
    spinlock_release(lock_of(console));
}

/* ---------------------------------------------------------------- life */

static void driver_forget(struct virtio_console *console)
{
    console->sending = console->receiving = (struct virtio_console_chain){0};
    console_leave_virtio(end_of(console));
}

static bool driver_reset(struct virtio *virtio)
{
    driver_forget(console_of(virtio));
    uart_tell(console_of(virtio));
    return true;
}

static const struct virtio_ops console_ops = {
    .type = VIRTIO_ID_CONSOLE,
    .class = CLASS_COMMUNICATION,
    .queue_count = QUEUES,
    .answer_bytes = PIECE_BYTES,
    .notify = notified,
    .reset = driver_reset,
};

struct virtio_console *virtio_console_create(struct machine *m, unsigned slot)
{
    struct virtio_console *console = memory_alloc(sizeof(*console), frame_owner_support(m->vm->index));

    if (!console)
        return NULL;
    console->virtio.name = "its virtio console";
    console->virtio.config = &console->config;
    console->virtio.config_size = sizeof(console->config);
    virtio_init(&console->virtio, m, slot, &console_ops);
    console_set_listener(end_of(console), CONSOLE_VIRTIO, input_ready, console);
    return console;
}

void virtio_console_reset(struct virtio_console *console)
{
    spinlock_take(lock_of(console));
    driver_forget(console);
    virtio_power_on(&console->virtio);
    spinlock_release(lock_of(console));
}

void virtio_console_destroy(struct virtio_console *console)
{
    console_set_listener(end_of(console), CONSOLE_VIRTIO, NULL, NULL);
    memory_free(console, sizeof(*console), frame_owner_support(console->virtio.pci.machine->vm->index));
}
