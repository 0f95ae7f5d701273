/* SPDX-License-Identifier: MIT */
/* See virtio_driver.h. */
#include "tests/unit/virtio_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define RINGS 0x10000ull /* of queue n: n + 1 times as high; descriptors, available and used ring */
#define AVAIL 0x4000ull
#define USED  0x8000ull

char driver_said[300];
unsigned driver_said_count;
static gpa_t bar;

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;

    (void)level;
    va_start(args, format);
    vsnprintf(driver_said, sizeof(driver_said), format, args);
    va_end(args);
    driver_said_count++;
}

bool log_limit_pass(struct log_limit *limit, u64 now, u64 interval, u32 burst)
{
    (void)now, (void)interval;
    return limit->used++ < burst;
}

void driver_setup(void)
{
    driver_said[0] = 0;
    driver_said_count = 0;
    fake_guest_ram_reset(&board.vm.memory, DRIVER_RAM);
    snprintf(board.vm.name, sizeof(board.vm.name), "v");
}

void driver_plug(unsigned slot)
{
    bar = 0xfe000000ull + slot * 0x10000;
    port_out(0xcf8, 4, 0x80000000 | slot << 11 | PCI_COMMAND);
    port_out(0xcfc, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

void driver_out(u32 offset, unsigned size, u64 value)
{
    mmio_bus_write(&board.vm.mmio, &board.vcpus[1], bar + offset, size, value);
}

u32 driver_in(u32 offset, unsigned size)
{
    return (u32)mmio_bus_read(&board.vm.mmio, &board.vcpus[1], bar + offset, size);
}

u8 driver_status(void)
{
    return (u8)driver_in(DRIVER_COMMON + VIRTIO_PCI_COMMON_STATUS, 1);
}

static void status_set(u8 value)
{
    driver_out(DRIVER_COMMON + VIRTIO_PCI_COMMON_STATUS, 1, value);
    assert_int_equal(driver_status(), value);
}

static void queue_begin(unsigned queue)
{
    gpa_t at = RINGS * (queue + 1);

    memset(fake_guest_ram_at(at), 0, RINGS);
    driver_out(DRIVER_COMMON + VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
    driver_out(DRIVER_COMMON + VIRTIO_PCI_COMMON_Q_SIZE, 2, DRIVER_SIZE);
    driver_out(DRIVER_COMMON + VIRTIO_PCI_COMMON_Q_DESCLO, 8, at);
    driver_out(DRIVER_COMMON + VIRTIO_PCI_COMMON_Q_AVAILLO, 8, at + AVAIL);
    driver_out(DRIVER_COMMON + VIRTIO_PCI_COMMON_Q_USEDLO, 8, at + USED);
    driver_out(DRIVER_COMMON + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

void driver_begin(u64 features, unsigned queues)
{
    status_set(0);
    status_set(3);
    for (u32 i = 0; i < 2; i++) {
        driver_out(DRIVER_COMMON + VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        driver_out(DRIVER_COMMON + VIRTIO_PCI_COMMON_GF, 4, features >> (32 * i));
    }
    status_set(11);
    for (unsigned i = 0; i < queues; i++)
        queue_begin(i);
    status_set(15);
}

struct vring_desc *driver_desc(unsigned queue, unsigned index)
{
    return (struct vring_desc *)fake_guest_ram_at(RINGS * (queue + 1)) + index;
}

struct vring_avail *driver_avail(unsigned queue)
{
    return (struct vring_avail *)fake_guest_ram_at(RINGS * (queue + 1) + AVAIL);
}

struct vring_used *driver_used(unsigned queue)
{
    return (struct vring_used *)fake_guest_ram_at(RINGS * (queue + 1) + USED);
}

void driver_offer(unsigned queue, u16 head, gpa_t at, u32 bytes, u16 flags)
{
    struct vring_avail *avail = driver_avail(queue);

    *driver_desc(queue, head) = (struct vring_desc){at, bytes, flags, 0};
    avail->ring[avail->idx++ % DRIVER_SIZE] = head;
}

void driver_notify(unsigned queue)
{
    driver_out(DRIVER_NOTIFY + 4 * queue, 2, queue);
}
