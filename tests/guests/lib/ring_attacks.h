/* SPDX-License-Identifier: MIT */
/*
 * What a driver can do wrong with a queue, whatever the device behind it is for: chains, indirect tables,
 * rings, places. Each is a point (tap.h): the device waits for a reset, answers nothing until then, and works
 * behind it.
 */
#ifndef GUESTS_LIB_RING_ATTACKS_H
#define GUESTS_LIB_RING_ATTACKS_H

#include "lib/virtio.h"

struct ring_target {
    struct virtio *virtio;
    struct ring *ring;
    /*
     * Begin anew with a right request in descriptors 0 to 2, which is not offered yet: to be read, and two to
     * be written, one of which, `answer`, the device always writes.
     */
    void (*describe)(void);
    unsigned answer;
    bool (*works)(void); /* begins anew, and asks it for something */
};

#define ATTACKS_CHAINS 11
#define ATTACKS_TABLES 10
#define ATTACKS_RINGS  4
#define ATTACKS_PLACES 13
#define ATTACKS_ALL    (ATTACKS_CHAINS + ATTACKS_TABLES + ATTACKS_RINGS + ATTACKS_PLACES)

void attack_chains(const struct ring_target *target);
void attack_tables(const struct ring_target *target);
void attack_rings(const struct ring_target *target);
void attack_places(const struct ring_target *target);

/* Offer chain 0 twice; the device was to refuse it. */
void attack(const struct ring_target *target, const char *what);

static inline bool needs_reset(const struct virtio *virtio)
{
    return virtio_status(virtio) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

#endif
