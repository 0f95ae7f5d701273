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
// sources: hv/memory/memory.c hv/memory/guest_map.c tests/unit/fake_memory.c tests/fuzz/hostile_machine.c
// sources: tests/unit/fake_cd_drive.c
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_ring.h>

#include "hv/lib/string.h"
#include "tests/fuzz/hostile_machine.h"
#include "tests/unit/fake_cd_drive.h"
#include "tests/unit/fake_memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_BYTES (64u << 10)

static u8 file[FILE_BYTES];
static const struct boot_file image = {"cd.iso", file, sizeof(file)};

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

static int drive_submit(struct block_device *device, struct block_request *request)
{
    (void)device, (void)request;
    return 0;
}

static void drive_close(struct block_device *device)
{
    struct cd_user *user = fake_cd_drive.user;

    (void)device;
    fake_cd_drive.user = NULL; /* it begins no check any more */
    user->tell(user, CD_NEWS_CHECKED);
}

static const struct block_ops drive_ops = {.submit = drive_submit, .close = drive_close};

static struct machine *machine_make(void)
{
    static const struct media_host host = {clock_read, alarm_set};
    struct machine *m = hostile_machine_make();
    char why[100];

    media_start(&host);
    hostile.config.cdroms[0].file = image;
    hostile.config.cdrom_count = 3;
    hostile.config.cdroms[2].host = true;
    fake_cd_drive = (struct fake_cd_drive){.device = {.ops = &drive_ops, .depth = 1, .read_only = true},
                                           .sectors = FILE_BYTES / BLOCK_SECTOR};
    require(virtio_scsi_create(m, HOSTILE_SLOT, why, sizeof(why)) == 0);
    return m;
}

/* Chains of a header, a response and data, so that random bytes are more often a command's. */
static void memory_make(const uint8_t *bytes, size_t size)
{
    u8 *ram = hostile.ram;

    for (u32 queue = 0; queue < 3; queue++)
        for (u32 i = 0; i < HOSTILE_QUEUE; i++) {
            struct vring_desc *desc = (struct vring_desc *)(ram + queue * HOSTILE_STEP) + i;

            *desc = (struct vring_desc){
                .addr = 0x4000 + 0x200 * i,
                .len = i % 3 == 0   ? (queue ? 51 : 24)
                       : i % 3 == 1 ? (queue ? 108 : 1)
                                    : 0x1000,
                .flags = (u16)((i % 3 ? VRING_DESC_F_WRITE : 0) | (i % 3 == 2 ? 0 : VRING_DESC_F_NEXT)),
                .next = (u16)(i + 1)};
            ram[HOSTILE_AVAIL + queue * HOSTILE_STEP + 4 + 2 * i] = (u8)(3 * i % 15);
            ram[0x4000 + 0x200 * i] = 1; /* a header's LUN, and a task function's type would be 0 */
        }
    /* The input's bytes: five commands of 16 bytes, then pairs of where and what. */
    for (u32 i = 0; i < 5 && size >= 16; i++) {
        memcpy(ram + 0x4000 + 0x200 * (3 * i) + offsetof(struct virtio_scsi_cmd_req, cdb), bytes, 16);
        ram[0x4000 + 0x200 * (3 * i) + 3] = bytes[15] % 3; /* of which unit */
        bytes += 16;
        size -= 16;
    }
    for (size_t i = 0; i + 3 <= size; i += 3)
        ram[(bytes[i] | bytes[i + 1] << 8) % 0x6000] = bytes[i + 2];
}

/* What can be read is in a closed tray, and has the generation that commands are given. */
static void drives_check(const struct machine *m)
{
    for (u32 i = 0; i < 3; i++) {
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
    struct media *media = &m->scsi->units[what & 1].cd.media;
    struct block_device *medium;

    if ((what & 9) == 9) /* what the machine's drive may say, but for the end of a check, which comes once */
        fake_cd_drive.user->tell(fake_cd_drive.user, (what & 6) | (what & 2 ? 0 : 1 | 16));
    if (what & 2) {
        media->ops->eject(media, what & 4);
        return;
    }
    require(block_rom_create(&image, 0, frame_owner_support(0), &medium) == 0);
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
    hostile.reach = 0x6000; /* rings, headers and data */
    hostile.most = 400000;
    hostile_device_begin(data[0] & 1, 3); /* control, events, commands */
    hostile.changes_left = MIN((size_t)data[1] * 3, (size - 8) / 2);
    hostile.changes = data + size - hostile.changes_left;
    memory_make(data + 8, size - 8 - hostile.changes_left);
    for (unsigned i = 0; i < 4; i++) {
        hostile.ram[HOSTILE_AVAIL + 2] += data[2] >> (2 * i) & 3;
        hostile.ram[HOSTILE_AVAIL + 2 * HOSTILE_STEP + 2] += data[3 + i / 2] % 6;
        for (u32 queue = 0; queue < 3; queue++)
            hostile_notify(queue);
        hostile_count();
        virtio_scsi_work(m->scsi, &hostile.vcpu);
        drives_check(m);
        hostile.full = data[4 + i] & 0x80 ? (data[4 + i] & 0x7fu) << 9 : HOSTILE_RAM;
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
