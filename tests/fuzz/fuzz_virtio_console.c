/* SPDX-License-Identifier: MIT */
/*
 * A virtio console whose driver writes any bytes into its rings, while another vCPU changes them behind each
 * read, memory comes and goes, the UART speaks and somebody types. One notification, or turn, sends 64 bytes
 * at most and takes no more keys; none of them that waits for the UART is left untold.
 */
// sources: guest/devices/virtio_console.c
// sources: guest/devices/virtio.c guest/devices/virtio_ring.c guest/devices/msix.c
// sources: guest/devices/virtio_buffers.c guest/devices/pci.c hv/run/bus.c hv/memory/frame.c
// sources: hv/memory/memory.c hv/memory/guest_map.c tests/unit/fake_memory.c tests/fuzz/hostile_machine.c
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "hv/operator/console.h"
#include "tests/fuzz/hostile_machine.h"
#include "tests/unit/fake_memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BYTES_AT_ONCE 64u
#define RECEIVE       0u
#define TRANSMIT      1u

static struct console {
    void (*input_ready)(void *context);
    void *context;
    enum console_port port; /* that has spoken last */
    u32 waiting, sent, taken;
} end;

void console_set_listener(struct console *console, enum console_port port, void (*input_ready)(void *context),
                          void *context)
{
    require(console == &end && port == CONSOLE_VIRTIO);
    end.input_ready = input_ready;
    end.context = context;
}

bool console_guest_readable(const struct console *console, enum console_port port)
{
    return console->waiting && console->port == port;
}

int console_guest_read(struct console *console, enum console_port port)
{
    if (!console_guest_readable(console, port))
        return -1;
    console->waiting--;
    return (int)(console->taken++ & 0xff);
}

void console_guest_write_virtio(struct console *console, const char *text, size_t size)
{
    u8 sum = 0;

    require(size && size <= BYTES_AT_ONCE);
    for (size_t i = 0; i < size; i++)
        sum = (u8)(sum + text[i]);
    console->sent += (u32)size;
    console->port = sum == 0x55 ? CONSOLE_UART : CONSOLE_VIRTIO; /* it may speak just then */
}

void console_leave_virtio(struct console *console)
{
    console->port = CONSOLE_UART;
}

void console_input_again(struct console *console, enum console_port port)
{
    require(port == CONSOLE_UART);
    if (console_guest_readable(console, port))
        console->waiting = 0; /* it takes them all */
}

/* What was typed for the virtio console and is the UART's now is told in a turn. */
static void turn(struct virtio_console *hvc)
{
    u32 sent = end.sent, taken = end.taken;
    bool wanted = virtio_work_is_for(&hvc->virtio, &hostile.vcpu);

    hostile_count();
    virtio_console_work(hvc, &hostile.vcpu);
    require(end.sent - sent <= BYTES_AT_ONCE && end.taken - taken <= BYTES_AT_ONCE);
    require(!wanted || !console_guest_readable(&end, CONSOLE_UART));
    hostile_queue_check(&hvc->virtio, RECEIVE, hvc->receiving.held);
    hostile_queue_check(&hvc->virtio, TRANSMIT, hvc->sending.held);
}

static void notification(struct virtio_console *hvc, u32 queue)
{
    u32 sent = end.sent, taken = end.taken;

    hostile_notify(queue);
    require(end.sent - sent <= BYTES_AT_ONCE && end.taken - taken <= BYTES_AT_ONCE);
    if (virtio_is_usable(&hvc->virtio, queue) && console_guest_readable(&end, CONSOLE_UART))
        require(hvc->virtio.worker.work && (hostile.vcpu.requests & REQUEST_DEVICE));
}

static void step(struct virtio_console *hvc, u8 what, u8 keys)
{
    hostile.full = what & 0x80 ? (what & 0x3fu) << 9 : HOSTILE_RAM;
    hostile_offer(RECEIVE, what & 3);
    hostile_offer(TRANSMIT, what >> 2 & 3);
    notification(hvc, what & 1);
    if (what & 0x10)
        end.port = CONSOLE_UART;
    end.waiting += keys % 40;
    if (keys && end.port == CONSOLE_VIRTIO)
        end.input_ready(end.context);
    if (what & 0x20)
        end.port = CONSOLE_UART;
    turn(hvc);
    if ((keys & 0xc0) == 0xc0)
        hostile_out(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    turn(hvc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct hostile_chain chains[] = {
        {{VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, VRING_DESC_F_WRITE}, {5, 30}},
        {{VRING_DESC_F_NEXT, VRING_DESC_F_NEXT, 0}, {7, 60, 1}},
    };
    struct machine *m;

    if (size < 12)
        return 0;
    fake_memory_begin();
    m = hostile_machine_make();
    end = (struct console){0};
    hostile.vm.console = &end;
    m->console = virtio_console_create(m, HOSTILE_SLOT);
    require(m->console != NULL);
    hostile.reach = 0x2000; /* the rings */
    hostile.most = 20000;
    hostile_device_begin(data[0] & 1, 2);
    hostile.changes_left = MIN((size_t)data[1] * 3, (size - 12) / 2);
    hostile.changes = data + size - hostile.changes_left;
    hostile_memory_make(chains, 2, data + 12, size - 12 - hostile.changes_left);
    for (unsigned i = 0; i < 5; i++)
        step(m->console, data[2 + 2 * i], data[3 + 2 * i]);
    virtio_console_reset(m->console);
    require(end.port == CONSOLE_UART);
    virtio_console_destroy(m->console);
    require(frame_owned(frame_owner_support(0)) == 0 && frame_promised(frame_owner_support(0)) == 0);
    free(m);
    return 0;
}
