/* SPDX-License-Identifier: MIT */
/*
 * The driver's side of a virtio device on the board (device_fakes.h), for its unit test: registers by BAR 0,
 * rings in the fake guest's RAM. Link virtio_driver.c, which also hears what is logged.
 */
#ifndef TESTS_UNIT_VIRTIO_DRIVER_H
#define TESTS_UNIT_VIRTIO_DRIVER_H

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "tests/unit/device_fakes.h"
#include "tests/unit/fake_guest_ram.h"

#define DRIVER_RAM   (64ull << 20)
#define DRIVER_SIZE  64u         /* of each queue */
#define DRIVER_DATA  0x100000ull /* free for the test from here on */
#define DRIVER_HOLE  0xd0000000ull
#define DRIVER_RINGS BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC)

extern char driver_said[300]; /* the latest line of the log */
extern unsigned driver_said_count;

/* RAM for the guest; then the device is created; then its memory and bus mastering are switched on. */
void driver_setup(void);
void driver_plug(unsigned slot);

/* BAR 0, by vCPU 1. */
void driver_out(u32 offset, unsigned size, u64 value);
u32 driver_in(u32 offset, unsigned size);
#define DRIVER_COMMON 0x0000u
#define DRIVER_ISR    0x0100u
#define DRIVER_CONFIG 0x0200u
#define DRIVER_NOTIFY 0x1000u
u8 driver_status(void);

/* Reset, agree on these features, set up so many queues, and begin. */
void driver_begin(u64 features, unsigned queues);

struct vring_desc *driver_desc(unsigned queue, unsigned index);
struct vring_avail *driver_avail(unsigned queue);
struct vring_used *driver_used(unsigned queue);
/* One buffer in descriptor `head`, made available; flags: VRING_DESC_F_WRITE or 0. */
void driver_offer(unsigned queue, u16 head, gpa_t at, u32 bytes, u16 flags);
void driver_notify(unsigned queue);

#endif
