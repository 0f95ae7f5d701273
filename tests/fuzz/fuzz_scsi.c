/* SPDX-License-Identifier: MIT */
/*
 * The CD drives' controller with a driver that writes any bytes into rings, task functions and commands,
 * while another vCPU changes them behind each read, and an operator changes media between two notifications.
 * Every notification ends after a bounded number of accesses, none of which leaves RAM, and what waits to be
 * told is told of a medium that is there.
 */
// sources: guest/devices/virtio_scsi.c guest/devices/virtio.c guest/devices/virtio_ring.c
// sources: guest/devices/msix.c guest/devices/virtio_buffers.c hv/storage/scsi_cd.c hv/storage/media.c
// sources: guest/devices/pci.c hv/run/bus.c hv/storage/block.c hv/storage/block_ram.c hv/memory/frame.c
// sources: hv/memory/memory.c hv/memory/guest_map.c tests/unit/fake_memory.c
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "guest/machine.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "tests/unit/fake_memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* RAM is [0, RAM) of the guest; the rest of guest_map.c's regions is left empty. */
#define RAM        0x10000ull
#define BAR        0xfe010000ull
#define DESC       0x0000ull
#define AVAIL      0x0800ull
#define USED       0x0c00ull
#define SIZE       16u
#define FILE_BYTES (64u << 10)
#define QUEUE_STEP 0x1000ull /* between the rings of two queues */
#define MOST       400000u   /* accesses of one notification */

static u8 ram[RAM];
static u8 file[FILE_BYTES];
static struct vm vm;
static struct vcpu vcpu;
static struct port_bus ports;
static struct vm_config config;
static const uint8_t *changes;
static size_t changes_left;
static u32 accesses;

static const struct boot_file image = {"cd.iso", file, sizeof(file)};
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

size_t string_copy(char *to, const char *from, size_t size)
{
    return (size_t)snprintf(to, size, "%s", from);
}

static u64 clock_read(void)
{
    return test_now;
}

static void alarm_set(u64 ms)
{
    (void)ms;
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
    ram[(changes[0] | changes[1] << 8) % 0x4000] = changes[2];
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

static struct media *drive(const struct machine *m, unsigned i)
{
    return &m->scsi->units[i].cd.media;
}

static struct machine *machine_make(void)
{
    static const struct media_host host = {clock_read, alarm_set};
    struct machine *m = calloc(1, sizeof(*m));
    char why[100];

    media_start(&host);
    config.cdroms[0].file = image;
    config.cdrom_count = 2;
    vm = (struct vm){.config = &config, .ports = &ports, .machine = m};
    vcpu = (struct vcpu){.vm = &vm};
    vm.memory.regions[0] = (struct guest_region){0, RAM, REGION_RAM};
    vm.memory.region_count = 1;
    spinlock_init(&vm.device_lock, RANK_DEVICE);
    m->vm = &vm;
    port_bus_init(&ports);
    require(pci_host_init(&m->pci, m) == 0);
    require(virtio_scsi_create(m, 1, why, sizeof(why)) == 0);
    port_bus_write(&ports, &vcpu, 0xcf8, 4, 0x80000804);
    port_bus_write(&ports, &vcpu, 0xcfc, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    return m;
}

/* Queue n has its rings in page n: control, events, commands. */
static void queues_make(u8 flags)
{
    u64 features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
                   (flags & 1 ? BIT(VIRTIO_RING_F_EVENT_IDX) : 0);

    out(VIRTIO_PCI_COMMON_STATUS, 1, 3);
    for (u32 i = 0; i < 2; i++) {
        out(VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        out(VIRTIO_PCI_COMMON_GF, 4, features >> (32 * i));
    }
    out(VIRTIO_PCI_COMMON_STATUS, 1, 11);
    for (u32 i = 0; i < 3; i++) {
        out(VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
        out(VIRTIO_PCI_COMMON_Q_SIZE, 2, SIZE);
        out(VIRTIO_PCI_COMMON_Q_DESCLO, 4, DESC + i * QUEUE_STEP);
        out(VIRTIO_PCI_COMMON_Q_AVAILLO, 4, AVAIL + i * QUEUE_STEP);
        out(VIRTIO_PCI_COMMON_Q_USEDLO, 4, USED + i * QUEUE_STEP);
        out(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    }
    out(VIRTIO_PCI_COMMON_STATUS, 1, 15);
}

/* Chains of a header, a response and data, so that random bytes are more often a command's. */
static void memory_make(const uint8_t *bytes, size_t size)
{
    memset(ram, 0, sizeof(ram));
    for (u32 queue = 0; queue < 3; queue++)
        for (u32 i = 0; i < SIZE; i++) {
            struct vring_desc *desc = (struct vring_desc *)(ram + DESC + queue * QUEUE_STEP) + i;

            *desc = (struct vring_desc){
                .addr = 0x4000 + 0x200 * i,
                .len = i % 3 == 0   ? (queue ? 51 : 24)
                       : i % 3 == 1 ? (queue ? 108 : 1)
                                    : 0x1000,
                .flags = (u16)((i % 3 ? VRING_DESC_F_WRITE : 0) | (i % 3 == 2 ? 0 : VRING_DESC_F_NEXT)),
                .next = (u16)(i + 1)};
            ram[AVAIL + queue * QUEUE_STEP + 4 + 2 * i] = (u8)(3 * i % 15);
            ram[0x4000 + 0x200 * i] = 1; /* a header's LUN, and a task function's type would be 0 */
        }
    /* The input's bytes: five commands of 16 bytes, then pairs of where and what. */
    for (u32 i = 0; i < 5 && size >= 16; i++) {
        memcpy(ram + 0x4000 + 0x200 * (3 * i) + offsetof(struct virtio_scsi_cmd_req, cdb), bytes, 16);
        ram[0x4000 + 0x200 * (3 * i) + 3] = bytes[15] & 1; /* of which unit */
        bytes += 16;
        size -= 16;
    }
    for (size_t i = 0; i + 3 <= size; i += 3)
        ram[(bytes[i] | bytes[i + 1] << 8) % 0x6000] = bytes[i + 2];
}

/* What can be read is in a closed tray, and has the generation that commands are given. */
static void drives_check(const struct machine *m)
{
    for (u32 i = 0; i < 2; i++) {
        const struct scsi_cd *cd = &m->scsi->units[i].cd;

        require(!(cd->media.pending & ~(u32)MEDIA_EVENTS));
        require(cd->medium == NULL || cd->medium->read_only);
        require(!(cd->events & 2) || scsi_cd_is_ready(cd)); /* "new medium" is told of one that is there */
        require(!(cd->attentions & 2) || scsi_cd_is_ready(cd));
        require(m->scsi->units[i].in_progress == 0);
    }
}

static void operate(const struct machine *m, u8 what)
{
    struct media *media = drive(m, what & 1);
    struct block_device *medium;

    if (what & 2) {
        media->ops->eject(media, what & 4);
        return;
    }
    require(block_rom_create(&image, frame_owner_support(0), &medium) == 0);
    if (media->ops->insert(media, medium))
        block_close(medium);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine *m;

    if (size < 8)
        return 0;
    fake_memory_begin();
    m = machine_make();
    queues_make(data[0]);
    changes_left = MIN((size_t)data[1] * 3, (size - 8) / 2);
    changes = data + size - changes_left;
    memory_make(data + 8, size - 8 - changes_left);
    for (unsigned i = 0; i < 4; i++) {
        ram[AVAIL + 2] = (u8)(ram[AVAIL + 2] + (data[2] >> (2 * i) & 3));
        ram[AVAIL + 2 * QUEUE_STEP + 2] = (u8)(ram[AVAIL + 2 * QUEUE_STEP + 2] + data[3 + i / 2] % 6);
        for (unsigned queue = 0; queue < 3; queue++) {
            accesses = 0;
            out(0x1000 + 4 * queue, 2, queue);
        }
        accesses = 0;
        virtio_scsi_work(m->scsi, &vcpu);
        drives_check(m);
        operate(m, data[5 + i / 2] >> (4 * (i % 2)));
        drives_check(m);
    }
    virtio_scsi_reset(m->scsi);
    drives_check(m);
    virtio_scsi_destroy(m->scsi);
    require(frame_owned(frame_owner_support(0)) == 0 && frame_promised(frame_owner_support(0)) == 0);
    free(m);
    return 0;
}
