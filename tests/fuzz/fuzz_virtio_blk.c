/* SPDX-License-Identifier: MIT */
/*
 * A drive whose driver writes any bytes into rings, tables and requests, while another vCPU changes them
 * behind each read. Every notification ends after a bounded number of accesses, none of which leaves RAM, and
 * the used index goes on by what has ended.
 */
// sources: guest/devices/virtio_blk.c guest/devices/virtio.c guest/devices/virtio_ring.c guest/devices/msix.c
// sources: guest/devices/virtio_buffers.c
// sources: guest/devices/pci.c hv/run/bus.c hv/storage/block.c hv/storage/block_ram.c hv/memory/frame.c
// sources: hv/memory/memory.c hv/memory/guest_map.c tests/unit/fake_memory.c tests/fuzz/hostile_machine.c
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "tests/fuzz/hostile_machine.h"
#include "tests/unit/fake_memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BYTES (256u << 10)

static struct machine *machine_make(void)
{
    const struct boot_file none = {0};
    struct machine *m = hostile_machine_make();
    struct block_device *disk;

    require(block_ram_create(&none, BYTES, frame_owner_support(0), &disk) == 0);
    m->disks[0] = virtio_blk_create(m, HOSTILE_SLOT, 0, disk);
    require(m->disks[0] != NULL);
    return m;
}

/* So that a random byte is more often a descriptor that leads somewhere. */
static void memory_make(const uint8_t *bytes, size_t size)
{
    u8 *ram = hostile.ram;

    for (u32 i = 0; i < HOSTILE_QUEUE; i++) {
        struct vring_desc *desc = (struct vring_desc *)ram + i;

        *desc = (struct vring_desc){.addr = 0x1000 + 0x200 * i,
                                    .len = i % 3 == 0   ? 16
                                           : i % 3 == 1 ? 512
                                                        : 1,
                                    .flags = (u16)(i % 3 != 2 ? VRING_DESC_F_NEXT : VRING_DESC_F_WRITE),
                                    .next = (u16)(i + 1)};
        ram[HOSTILE_AVAIL + 4 + 2 * i] = (u8)(3 * i % 15);
    }
    ram[HOSTILE_AVAIL + 2] = 5;
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
    hostile.reach = 0x3000; /* rings, headers and data */
    hostile.most = 200000;
    hostile_device_begin(data[0] & 1, 1);
    hostile.changes_left = MIN((size_t)data[1] * 3, (size - 4) / 2);
    hostile.changes = data + size - hostile.changes_left;
    memory_make(data + 4, size - 4 - hostile.changes_left);
    for (unsigned i = 0; i < 4; i++) {
        hostile_notify(0);
        hostile_count();
        virtio_blk_work(m->disks[0], &hostile.vcpu);
        hostile.ram[HOSTILE_AVAIL + 2] += data[2 + i / 2]; /* more chains, or too many */
        hostile.full = data[i] & 0x80 ? (data[i] & 0x7fu) << 9 : HOSTILE_RAM;
    }
    require(m->disks[0]->virtio.queues[0].told == m->disks[0]->virtio.queues[0].ended ||
            (m->disks[0]->virtio.status & VIRTIO_CONFIG_S_NEEDS_RESET));
    virtio_blk_reset(m->disks[0]);
    virtio_blk_destroy(m->disks[0]);
    require(frame_owned(frame_owner_support(0)) == 0 && frame_promised(frame_owner_support(0)) == 0);
    free(m);
    return 0;
}
