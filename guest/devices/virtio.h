/* SPDX-License-Identifier: MIT */
/*
 * A virtio 1.x device on the PCI bus, without what it is for: registers, features, queues, interrupts by
 * MSI-X or INTA. The device behind it (virtio_blk.c) serves the queues. pci.lock everywhere. Virtio 1.1, 4.1;
 * layouts: linux/virtio_pci.h.
 */
#ifndef GUEST_DEVICES_VIRTIO_H
#define GUEST_DEVICES_VIRTIO_H

#include "guest/devices/msix.h"
#include "guest/devices/virtio_ring.h"
#include "hv/lib/log.h"

#define VIRTIO_QUEUES_MAX (MSIX_VECTORS_MAX - 1)

struct virtio;

/*
 * What is left to do in guest memory is done in turns of a vCPU: of the one that notified the device last.
 * The device's lock, but for the look whether there is anything.
 */
struct virtio_worker {
    struct vcpu *vcpu;
    bool work; /* there is some */
};

struct virtio_ops {
    u16 type;        /* VIRTIO_ID_* */
    u16 class;       /* PCI's */
    u64 features;    /* offered beside those of the transport, by bit */
    u32 queue_count; /* at most VIRTIO_QUEUES_MAX */
    /* Of what is written, what must find memory, or the driver could never be told: see virtio_take. */
    u32 answer_bytes;
    bool answer_is_last; /* it is the last bytes, not the first ones */
    /* The driver says that it has put chains into a queue; virtio_take looks whether that may be used. */
    void (*notify)(struct virtio *virtio, unsigned queue);
    /*
     * The driver is about to read the device configuration, or has written to it; the device's lock held.
     * NULL: it does not change, or is read only.
     */
    void (*config_look)(struct virtio *virtio);
    void (*config_write)(struct virtio *virtio, u32 offset, unsigned size, u32 value);
    /* Forget all that came of the queues. False: some of it goes on; virtio_reset_end follows. */
    bool (*reset)(struct virtio *virtio);
};

struct virtio {
    struct pci_device pci;
    const struct virtio_ops *ops;
    const char *name;   /* for messages */
    const void *config; /* what the device's own registers hold; read only */
    u32 config_size;    /* 0: it has none */
    struct msix msix;
    u64 offered, accepted;               /* features */
    u32 offered_select, accepted_select; /* which half of them the registers show */
    u16 config_vector, queue_select;
    u8 status, isr, generation; /* the last: of the device configuration */
    bool resetting;             /* the driver wants a reset, and something still goes on */
    struct virtq queues[VIRTIO_QUEUES_MAX];
    struct virtio_worker worker;
    bool lacks_memory; /* the machine had none to be written to ... */
    gpa_t lacking;     /* ... here */
    gpa_t there;       /* of the latest answer: a page that has memory, or was given away since */
    struct log_limit log_limit, memory_limit; /* a guest can have the second one's said at will */
};

/* Plug it into a slot. No vCPU runs. */
void virtio_init(struct virtio *virtio, struct machine *machine, unsigned slot, const struct virtio_ops *ops);
/* As after power-on. Nothing of the queues goes on. */
void virtio_power_on(struct virtio *virtio);
/* What went on at reset has ended. */
void virtio_reset_end(struct virtio *virtio);

/* May chains be taken from the queue and its memory be written? */
bool virtio_is_usable(const struct virtio *virtio, unsigned queue);
/*
 * Take the next chain; false: there is none (a notification tells of the next), it waits for a reset, or the
 * machine has no memory where the used ring and the answer go. Then the chain is left where it is, and the
 * vCPU of the next turn waits for memory, as if it had touched that page itself. So who has taken a chain can
 * give it back.
 */
bool virtio_take(struct virtio *virtio, unsigned queue, struct virtq_chain *chain);
/* Show what was given back, and interrupt the driver if it wants that. */
void virtio_show(struct virtio *virtio, unsigned queue);
/* The device configuration reads otherwise now: tell the driver, if there is one. The device's lock held. */
void virtio_config_changed(struct virtio *virtio);
/* The driver broke the rules: "its driver `why`". No queue is served any more until it resets the device. */
void virtio_fail(struct virtio *virtio, const char *why);
/* The device itself can't go on: "`why`"; else as virtio_fail. */
void virtio_break(struct virtio *virtio, const char *why);
/* A write to what was there at virtio_take has failed: as virtio_fail; -ENOMEM has a sentence of its own. */
void virtio_fail_write(struct virtio *virtio, int error, const char *why);
/* A request ends with an error, as the machine had no memory for what it moves: say so, now and then. */
void virtio_tell_no_memory(struct virtio *virtio);

/* Something is left to do: REQUEST_DEVICE for its vCPU. Any CPU, the device's lock held. */
void virtio_work_want(struct virtio *virtio);
/* Is it this vCPU that has something to do? Without a lock; the answer may be old. */
static inline bool virtio_work_is_for(const struct virtio *virtio, const struct vcpu *vcpu)
{
    return READ_ONCE(virtio->worker.work) && READ_ONCE(virtio->worker.vcpu) == vcpu;
}
/* That has had its turn: release the device's lock; it waits for memory if the device lacks some. */
void virtio_turn_end(struct virtio *virtio, struct vcpu *vcpu);

static inline bool virtio_has(const struct virtio *virtio, unsigned feature)
{
    return virtio->accepted >> feature & 1;
}

#endif
