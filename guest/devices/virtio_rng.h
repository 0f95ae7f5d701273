/* SPDX-License-Identifier: MIT */
/*
 * Random numbers for the guest: virtio-rng in front of the CPU's own generator. Its lock is that of its PCI
 * device. Virtio 1.1, 5.4.
 */
#ifndef GUEST_DEVICES_VIRTIO_RNG_H
#define GUEST_DEVICES_VIRTIO_RNG_H

#include "guest/devices/virtio.h"

struct virtio_rng {
    struct virtio virtio;
    struct virtq_chain chain; /* that is being filled; only under the lock */
};

/*
 * Plug it in. *rng is NULL, and the log says so, where the CPU has no generator. 0, -ENOMEM. Boot CPU; no
 * vCPU runs.
 */
int virtio_rng_create(struct machine *machine, unsigned slot, struct virtio_rng **rng);
/* As after power-on; it touches no guest memory from here on. Likewise. */
void virtio_rng_reset(struct virtio_rng *rng);
/* After virtio_rng_reset. */
void virtio_rng_destroy(struct virtio_rng *rng);
/* Go on with what is left to do. The vCPU that was asked for (REQUEST_DEVICE); no lock held. */
void virtio_rng_work(struct virtio_rng *rng, struct vcpu *vcpu);

#endif
