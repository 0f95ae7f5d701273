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
    require(vcpu == &hostile.vcpu && gpa >= hostile.full && gpa < HOSTILE_RAM && device != NULL);
    require(vcpu->requests & REQUEST_DEVICE); /* it comes back to it */
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

static int write_check(gpa_t gpa, u64 bytes)
{
    int error = access_check(gpa, bytes);

    return !error && gpa + bytes > hostile.full ? -ENOMEM : error;
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
    return write_check(gpa, 1);
}

int guest_memory_write(struct guest_memory *memory, gpa_t gpa, const void *from, u64 bytes)
{
    int error = write_check(gpa, bytes);

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
    hostile.full = HOSTILE_RAM;
    hostile.waits = 0;
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

u64 hostile_in(u64 at, unsigned size)
{
    return mmio_bus_read(&hostile.vm.mmio, &hostile.vcpu, BAR + at, size);
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

static void queue_fill(const struct hostile_chain *chain, u32 queue)
{
    u8 *ring = hostile.ram + queue * HOSTILE_STEP;
    struct vring_desc *desc = (struct vring_desc *)ring;
    u32 length = 1;

    while (chain->flags[length - 1] & VRING_DESC_F_NEXT)
        length++;
    for (u32 i = 0; i < HOSTILE_QUEUE; i++) {
        desc[i] = (struct vring_desc){.addr = HOSTILE_DATA + 0x200 * i,
                                      .len = chain->lengths[i % length],
                                      .flags = chain->flags[i % length],
                                      .next = (u16)(i + 1)};
        ring[HOSTILE_AVAIL + 4 + 2 * i] = (u8)(i * length % (HOSTILE_QUEUE / length * length));
    }
}

void hostile_memory_make(const struct hostile_chain chains[], u32 queues, const uint8_t *bytes, size_t size)
{
    for (u32 queue = 0; queue < queues; queue++)
        queue_fill(&chains[queue], queue);
    for (size_t i = 0; i + 3 <= size; i += 3)
        hostile.ram[(bytes[i] | bytes[i + 1] << 8) % hostile.reach] = bytes[i + 2];
}

void hostile_offer(u32 queue, u8 count)
{
    hostile.ram[queue * HOSTILE_STEP + HOSTILE_AVAIL + 2] += count;
}

void hostile_queue_check(const struct virtio *virtio, u32 queue, bool held)
{
    const struct virtq *virtq = &virtio->queues[queue];

    require((virtq->told == virtq->ended && (u16)(virtq->next - virtq->ended) == held) ||
            (virtio->status & VIRTIO_CONFIG_S_NEEDS_RESET));
    require(!virtio->lacks_memory && !spinlock_held(&virtio->pci.lock));
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
