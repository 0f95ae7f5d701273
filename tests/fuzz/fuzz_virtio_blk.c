/* SPDX-License-Identifier: MIT */
/*
 * A drive whose driver writes any bytes into rings, tables and requests, while another vCPU changes them:
 * behind each read of guest memory a few bytes of it are others. Every notification ends after a bounded
 * number of accesses, none of which leaves RAM, and the used index goes on by what has ended. Two reads of
 * one word that were believed to agree would show here.
 */
// sources: guest/devices/virtio_blk.c guest/devices/virtio.c guest/devices/virtio_ring.c guest/devices/msix.c
// sources: guest/devices/virtio_buffers.c
// sources: guest/devices/pci.c hv/run/bus.c hv/storage/block.c hv/storage/block_ram.c hv/memory/frame.c
// sources: hv/memory/memory.c hv/memory/guest_map.c tests/unit/fake_memory.c
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "guest/machine.h"
#include "hv/lib/errno.h"
#include "tests/unit/fake_memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* RAM is [0, RAM) of the guest; the rest of guest_map.c's regions is left empty. */
#define RAM   0x10000ull
#define BAR   0xfe010000ull
#define DESC  0x0000ull
#define AVAIL 0x0800ull
#define USED  0x0c00ull
#define SIZE  16u
#define BYTES (256u << 10)
#define MOST  200000u /* accesses of one notification */

static u8 ram[RAM];
static struct vm vm;
static struct vcpu vcpu;
static struct port_bus ports;
static struct vm_config config;
static const uint8_t *changes;
static size_t changes_left;
static u32 accesses;

u64 test_now;
u64 tsc_khz = 1000000;

static void require(bool condition)
{
    if (!condition)
        abort();
}

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
    require(of == &vm && message->vector <= 0xff);
    return 1;
}

void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool asserted)
{
    (void)ioapic, (void)asserted;
    require(pin < IOAPIC_PINS);
}

void vcpu_wake(struct vcpu *whom, u32 request)
{
    require(whom == &vcpu && request == REQUEST_DEVICE);
    vcpu_request(whom, request);
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

/* The other vCPU: three bytes of the input say where and what. */
static void change(void)
{
    if (changes_left < 3)
        return;
    ram[(changes[0] | changes[1] << 8) % 0x1000] = changes[2];
    changes += 3;
    changes_left -= 3;
}

static int access_check(gpa_t gpa, u64 bytes)
{
    require(++accesses < MOST);
    return gpa <= RAM && bytes <= RAM - gpa ? 0 : -EFAULT;
}

int guest_memory_read(struct guest_memory *memory, gpa_t gpa, void *to, u64 bytes)
{
    int error = access_check(gpa, bytes);

    (void)memory;
    if (error)
        return error;
    memcpy(to, ram + gpa, bytes);
    change();
    return 0;
}

int guest_memory_write(struct guest_memory *memory, gpa_t gpa, const void *from, u64 bytes)
{
    int error = access_check(gpa, bytes);

    (void)memory;
    if (!error)
        memcpy(ram + gpa, from, bytes);
    return error;
}

int guest_memory_zero(struct guest_memory *memory, gpa_t gpa, u64 bytes)
{
    int error = access_check(gpa, bytes);

    (void)memory;
    if (!error)
        memset(ram + gpa, 0, bytes);
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

static void out(u64 at, unsigned size, u64 value)
{
    mmio_bus_write(&vm.mmio, &vcpu, BAR + at, size, value);
}

static struct machine *machine_make(void)
{
    const struct boot_file none = {0};
    struct machine *m = calloc(1, sizeof(*m));
    struct block_device *disk;

    vm = (struct vm){.config = &config, .ports = &ports, .machine = m};
    vcpu = (struct vcpu){.vm = &vm};
    vm.memory.regions[0] = (struct guest_region){0, RAM, REGION_RAM};
    vm.memory.region_count = 1;
    spinlock_init(&vm.device_lock, RANK_DEVICE);
    m->vm = &vm;
    port_bus_init(&ports);
    require(pci_host_init(&m->pci, m) == 0);
    require(block_ram_create(&none, BYTES, frame_owner_support(0), &disk) == 0);
    m->disks[0] = virtio_blk_create(m, 1, 0, disk);
    require(m->disks[0] != NULL);
    port_bus_write(&ports, &vcpu, 0xcf8, 4, 0x80000804);
    port_bus_write(&ports, &vcpu, 0xcfc, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    return m;
}

static void queue_make(u8 flags)
{
    u64 features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
                   (flags & 1 ? BIT(VIRTIO_RING_F_EVENT_IDX) : 0);

    out(VIRTIO_PCI_COMMON_STATUS, 1, 3);
    for (u32 i = 0; i < 2; i++) {
        out(VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        out(VIRTIO_PCI_COMMON_GF, 4, features >> (32 * i));
    }
    out(VIRTIO_PCI_COMMON_STATUS, 1, 11);
    out(VIRTIO_PCI_COMMON_Q_SIZE, 2, SIZE);
    out(VIRTIO_PCI_COMMON_Q_DESCLO, 4, DESC);
    out(VIRTIO_PCI_COMMON_Q_AVAILLO, 4, AVAIL);
    out(VIRTIO_PCI_COMMON_Q_USEDLO, 4, USED);
    out(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    out(VIRTIO_PCI_COMMON_STATUS, 1, 15);
}

/* So that a random byte is more often a descriptor that leads somewhere. */
static void memory_make(const uint8_t *bytes, size_t size)
{
    memset(ram, 0, sizeof(ram));
    for (u32 i = 0; i < SIZE; i++) {
        struct vring_desc *desc = (struct vring_desc *)(ram + DESC) + i;

        *desc = (struct vring_desc){.addr = 0x1000 + 0x200 * i,
                                    .len = i % 3 == 0   ? 16
                                           : i % 3 == 1 ? 512
                                                        : 1,
                                    .flags = (u16)(i % 3 != 2 ? VRING_DESC_F_NEXT : VRING_DESC_F_WRITE),
                                    .next = (u16)(i + 1)};
        ram[AVAIL + 4 + 2 * i] = (u8)(3 * i % 15);
    }
    ram[AVAIL + 2] = 5;
    /* The input's bytes come in pairs: where in the first 4 KiB and the requests' headers, and what. */
    for (size_t i = 0; i + 3 <= size; i += 3)
        ram[(bytes[i] | bytes[i + 1] << 8) % 0x3000] = bytes[i + 2];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine *m;

    if (size < 4)
        return 0;
    fake_memory_begin();
    m = machine_make();
    queue_make(data[0]);
    changes_left = MIN((size_t)data[1] * 3, (size - 4) / 2);
    changes = data + size - changes_left;
    memory_make(data + 4, size - 4 - changes_left);
    for (unsigned i = 0; i < 4; i++) {
        accesses = 0;
        out(0x1000, 2, 0);
        accesses = 0;
        virtio_blk_work(m->disks[0], &vcpu);
        ram[AVAIL + 2] = (u8)(ram[AVAIL + 2] + data[2 + i / 2]); /* more chains, or too many */
    }
    require(m->disks[0]->virtio.queues[0].told == m->disks[0]->virtio.queues[0].ended ||
            (m->disks[0]->virtio.status & VIRTIO_CONFIG_S_NEEDS_RESET));
    virtio_blk_reset(m->disks[0]);
    virtio_blk_destroy(m->disks[0]);
    require(frame_owned(frame_owner_support(0)) == 0 && frame_promised(frame_owner_support(0)) == 0);
    free(m);
    return 0;
}
