/* SPDX-License-Identifier: MIT */
/*
 * A virtio console with one port, whose other end is the VM's console as the UART's is. Its lock is that of
 * its PCI device. Virtio 1.1, 5.3; layouts: linux/virtio_console.h.
 */
#ifndef GUEST_DEVICES_VIRTIO_CONSOLE_H
#define GUEST_DEVICES_VIRTIO_CONSOLE_H

#include <linux/virtio_console.h>

#include "guest/devices/virtio.h"
#include "guest/devices/virtio_buffers.h"

/* A chain that was taken and is not given back yet. */
struct virtio_console_chain {
    bool held;
    u64 bytes; /* that it holds, or has room for; of what is being sent: what is left */
    struct buffers left;
    struct virtq_chain chain;
};

struct virtio_console {
    struct virtio virtio;
    struct virtio_console_config config; /* of no use without the features that go with it */
    struct virtio_console_chain sending, receiving;
};

/* Plug it in. NULL: no memory. Boot CPU; no vCPU runs. */
struct virtio_console *virtio_console_create(struct machine *machine, unsigned slot);
/* As after power-on; it touches no guest memory from here on. Likewise. */
void virtio_console_reset(struct virtio_console *console);
/* After virtio_console_reset. */
void virtio_console_destroy(struct virtio_console *console);
/* Go on with what is left to do. The vCPU that was asked for (REQUEST_DEVICE); no lock held. */
void virtio_console_work(struct virtio_console *console, struct vcpu *vcpu);

#endif
