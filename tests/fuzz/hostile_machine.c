/* SPDX-License-Identifier: MIT */
/* A VM for fuzzers of virtio devices (contract in the header). */
#include "tests/fuzz/hostile_machine.h"

#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "hv/lib/errno.h"
#include "hv/run/memory_wait.h"

#define BAR    0xfe010000ull
#define NOTIFY 0x1000u

struct hostile hostile;
static struct port_bus ports;

u64 test_now;
u64 tsc_khz = 1000000;

void require(bool condition)
{
    if (!condition)
        abort();
}

/* ---------------------------------------------------------------- what lies beside the device */

void log_line(enum log_level level, const char *format, ...)
{
    (void)level, (void)format;
}

bool log_limit_pass(struct log_limit *limit, u64 now, u64 interval, u32 burst)
{
    (void)limit, (void)now, (void)interval, (void)burst;
    return true;
}

unsigned lapic_deliver(struct vm *of, const struct lapic_message *message)
{
    require(of == &hostile.vm && message->vector <= 0xff);
    return 1;
}

void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool asserted)
{
    (void)ioapic, (void)asserted;
    require(pin < IOAPIC_PINS);
}

void vcpu_wake(struct vcpu *whom, u32 request)
{
    require(whom == &hostile.vcpu && request == REQUEST_DEVICE);
    vcpu_request(whom, request);
}

void memory_wait(struct vcpu *vcpu, gpa_t gpa, const char *device)
{
    require(vcpu == &hostile.vcpu && gpa < HOSTILE_RAM && device != NULL);
    hostile.waits++;
}

u32 reset_control_read(struct reset_ports *reset)
{
    (void)reset;
    return 0;
}

void reset_control_write(struct reset_ports *reset, u8 value)
{
    (void)reset, (void)value;
}

/* ---------------------------------------------------------------- guest memory */

/* The other vCPU. */
static void change(void)
{
    const uint8_t *bytes = hostile.changes;

    if (hostile.changes_left < 3)
        return;
    hostile.ram[(bytes[0] | bytes[1] << 8) % hostile.reach] = bytes[2];
    hostile.changes += 3;
    hostile.changes_left -= 3;
}

static int access_check(gpa_t gpa, u64 bytes)
{
    require(++hostile.accesses < hostile.most);
    return gpa <= HOSTILE_RAM && bytes <= HOSTILE_RAM - gpa ? 0 : -EFAULT;
}

int guest_memory_read(struct guest_memory *memory, gpa_t gpa, void *to, u64 bytes)
{
    int error = access_check(gpa, bytes);

    (void)memory;
    if (error)
        return error;
    memcpy(to, hostile.ram + gpa, bytes);
    change();
    return 0;
}

int guest_memory_provide(struct guest_memory *memory, gpa_t gpa)
{
    (void)memory;
    return access_check(gpa, 1);
}

int guest_memory_write(struct guest_memory *memory, gpa_t gpa, const void *from, u64 bytes)
{
    int error = access_check(gpa, bytes);

    (void)memory;
    if (!error)
        memcpy(hostile.ram + gpa, from, bytes);
    return error;
}

int guest_memory_zero(struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    int error = access_check(gpa, bytes);

    (void)memory;
    if (!error)
        memset(hostile.ram + gpa, 0, bytes);
    return error;
}

int guest_memory_read_u16(struct guest_memory *memory, gpa_t gpa, u16 *value)
{
    return gpa & 1 ? -EINVAL : guest_memory_read(memory, gpa, value, 2);
}

int guest_memory_write_u16(struct guest_memory *memory, gpa_t gpa, u16 value)
{
    return gpa & 1 ? -EINVAL : guest_memory_write(memory, gpa, &value, 2);
}

/* ---------------------------------------------------------------- the machine */

struct machine *hostile_machine_make(void)
{
    struct machine *m = calloc(1, sizeof(*m));

    memset(hostile.ram, 0, sizeof(hostile.ram));
    hostile.vm = (struct vm){.config = &hostile.config, .ports = &ports, .machine = m};
    hostile.vcpu = (struct vcpu){.vm = &hostile.vm};
    hostile.vm.memory.regions[0] = (struct guest_region){0, HOSTILE_RAM, REGION_RAM};
    hostile.vm.memory.region_count = 1;
    spinlock_init(&hostile.vm.device_lock, RANK_DEVICE);
    m->vm = &hostile.vm;
    port_bus_init(&ports);
    require(pci_host_init(&m->pci, m) == 0);
    return m;
}

void hostile_out(u64 at, unsigned size, u64 value)
{
    mmio_bus_write(&hostile.vm.mmio, &hostile.vcpu, BAR + at, size, value);
}

static void queue_begin(u32 number)
{
    u64 at = number * HOSTILE_STEP;

    hostile_out(VIRTIO_PCI_COMMON_Q_SELECT, 2, number);
    hostile_out(VIRTIO_PCI_COMMON_Q_SIZE, 2, HOSTILE_QUEUE);
    hostile_out(VIRTIO_PCI_COMMON_Q_DESCLO, 4, at);
    hostile_out(VIRTIO_PCI_COMMON_Q_AVAILLO, 4, at + HOSTILE_AVAIL);
    hostile_out(VIRTIO_PCI_COMMON_Q_USEDLO, 4, at + HOSTILE_USED);
    hostile_out(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

void hostile_device_begin(bool event_index, u32 queues)
{
    u64 features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
                   (event_index ? BIT(VIRTIO_RING_F_EVENT_IDX) : 0);

    port_bus_write(&ports, &hostile.vcpu, 0xcf8, 4, 0x80000000 | HOSTILE_SLOT << 11 | PCI_COMMAND);
    port_bus_write(&ports, &hostile.vcpu, 0xcfc, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    hostile_out(VIRTIO_PCI_COMMON_STATUS, 1, 3);
    for (u32 i = 0; i < 2; i++) {
        hostile_out(VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        hostile_out(VIRTIO_PCI_COMMON_GF, 4, features >> (32 * i));
    }
    hostile_out(VIRTIO_PCI_COMMON_STATUS, 1, 11);
    for (u32 i = 0; i < queues; i++)
        queue_begin(i);
    hostile_out(VIRTIO_PCI_COMMON_STATUS, 1, 15);
}

void hostile_count(void)
{
    hostile.accesses = 0;
}

void hostile_notify(u32 queue)
{
    hostile_count();
    hostile_out(NOTIFY + 4 * queue, 2, queue);
}
