/* SPDX-License-Identifier: MIT */
/*
 * A CD drive whose medium is a file, this guest's own kernel: commands, and thousands of times the tray opens
 * and closes while reads wait in the same ring. Each medium's going and coming is told once, each read ends
 * with the data or with the right sense.
 */
// conf: cdrom = virtio_cd.elf
#include <linux/virtio_scsi.h>

#include "lib/tap.h"
#include "lib/virtio.h"

#define SLOT       9u
#define QUEUE      2u
#define BLOCK      2048u
#define STEPS_MAX  16u
#define NOTHING    0xffffffffu /* no answer has come */
#define GOOD       0u
#define NO_MEDIUM  0x23a02u /* sense key, code, qualifier */
#define CHANGED    0x62800u
#define WAS_RESET  0x62900u
#define OPEN_TRAY  2u
#define CLOSE_TRAY 3u

struct request {
    struct virtio_scsi_cmd_req header;
    struct virtio_scsi_cmd_resp response;
    u8 data[BLOCK];
};

static struct virtio drive, control;
static struct ring ring, control_ring;
static struct request requests[STEPS_MAX];
static u8 first[BLOCK];

/* ---------------------------------------------------------------- commands */

/* Put a command into the ring, in the descriptors of this step; bytes of data are taken. */
static void put(u16 step, u8 unit, const u8 cdb[10], u32 bytes)
{
    struct request *request = &requests[step];
    struct vring_desc *desc = &ring.desc[3 * step];

    request->header = (struct virtio_scsi_cmd_req){.lun = {1, 0, 0x40, unit}, .tag = step};
    for (u32 i = 0; i < 10; i++)
        request->header.cdb[i] = cdb[i];
    request->response.response = NO_ANSWER;
    request->data[0] = 0xaa;
    desc[0] = (struct vring_desc){(u64)&request->header, sizeof(request->header), VRING_DESC_F_NEXT,
                                  (u16)(3 * step + 1)};
    desc[1] = (struct vring_desc){(u64)&request->response, sizeof(request->response),
                                  VRING_DESC_F_WRITE | (bytes ? VRING_DESC_F_NEXT : 0), (u16)(3 * step + 2)};
    desc[2] = (struct vring_desc){(u64)request->data, bytes, VRING_DESC_F_WRITE, 0};
    ring_offer(&drive, (u16)(3 * step));
}

static u32 answer(u16 step)
{
    const struct virtio_scsi_cmd_resp *response = &requests[step].response;

    if (response->response != VIRTIO_SCSI_S_OK)
        return NOTHING;
    if (response->status == 0)
        return GOOD;
    return (u32)response->sense[2] << 16 | (u32)response->sense[12] << 8 | response->sense[13];
}

/* Tell the device of so many, and wait for them all. */
static bool serve(u32 count)
{
    struct vring_used_elem used;

    ring_notify(&drive);
    while (count--)
        if (!ring_wait(&drive, &used))
            return false;
    return true;
}

static u32 run_bytes(const u8 cdb[10], u32 bytes)
{
    put(0, 0, cdb, bytes);
    return serve(1) ? answer(0) : NOTHING;
}
#define run(bytes, ...) run_bytes((const u8[10]){__VA_ARGS__}, bytes)

static bool is_first(u16 step)
{
    for (u32 i = 0; i < BLOCK; i++)
        if (requests[step].data[i] != first[i])
            return false;
    return true;
}

/* ---------------------------------------------------------------- points */

static void found(void)
{
    ok(virtio_find(&drive, SLOT) && pci_read(SLOT, 0) == 0x10481af4 &&
           pci_read(SLOT, PCI_CLASS_DEVICE) << 16 >> 16 == 0x0100,
       "virtio 1.x, SCSI: %x", pci_read(SLOT, 0));
    drive.queue = QUEUE;
    virtio_begin(&drive, &ring, ALL_OFFERED);
    control = drive;
    control.queue = 0;
    virtio_queue(&control, &control_ring);
}

static void commands(void)
{
    const u8 *data = requests[0].data;
    u32 blocks;

    ok(run(36, 0x12, 0, 0, 0, 36) == GOOD && data[0] == 5 && data[1] == 0x80 && data[8] == 'l',
       "INQUIRY: a CD drive");
    ok(run(BLOCK, 0xa0, 0, 0, 0, 0, 0, 0, 0, 64) == GOOD && data[3] == 8, "REPORT LUNS: one");
    ok(run(0, 0x00) == WAS_RESET && run(0, 0x00) == GOOD, "TEST UNIT READY: once that it was reset");
    ok(run(8, 0x25) == GOOD && data[6] == 8, "READ CAPACITY: blocks of 2048");
    blocks = ((u32)data[1] << 16 | (u32)data[2] << 8 | data[3]) + 1;
    ok(run(BLOCK, 0x28, 0, 0, 0, 0, 0, 0, 0, 1) == GOOD && data[0] == 0x7f && data[1] == 'E',
       "READ: the first of %u blocks is the beginning of this kernel's file", blocks);
    for (u32 i = 0; i < BLOCK; i++)
        first[i] = data[i];
    ok(run(BLOCK, 0x28, 0, 0, (u8)(blocks >> 16), (u8)(blocks >> 8), (u8)blocks, 0, 0, 1) == 0x52100,
       "not behind the last one");
    ok(run(20, 0x43, 0, 0, 0, 0, 0, 0, 0, 20) == GOOD && data[6] == 1 && data[14] == 0xaa, "READ TOC");
    ok(run(0, 0x2a) == 0x52000, "WRITE is not known");
    put(0, 3, (const u8[10]){0x00}, 0);
    ok(serve(1) && answer(0) == 0x52500, "unit 3 is not there");
    ok(run(0, 0x1e, 0, 0, 0, 1) == GOOD && run(0, 0x1b, 0, 0, 0, OPEN_TRAY) == 0x55302 &&
           run(0, 0x1e, 0, 0, 0, 0) == GOOD,
       "a locked tray stays closed");
}

static void tasks(void)
{
    static struct virtio_scsi_ctrl_tmf_req header = {.subtype = VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET,
                                                     .lun = {1, 0, 0x40, 0}};
    static volatile u8 response = NO_ANSWER;
    struct vring_used_elem used;

    control_ring.desc[0] = (struct vring_desc){(u64)&header, sizeof(header), VRING_DESC_F_NEXT, 1};
    control_ring.desc[1] = (struct vring_desc){(u64)&response, 1, VRING_DESC_F_WRITE, 0};
    ring_offer(&control, 0);
    ring_notify(&control);
    ok(ring_wait(&control, &used) && response == VIRTIO_SCSI_S_OK && run(0, 0x00) == WAS_RESET,
       "the unit is reset");
}

/* ---------------------------------------------------------------- the tray */

/* What a cycle asks for, all in the ring at once, and what must come of it. */
static const struct step {
    u8 cdb[10];
    u32 bytes, answer;
    u8 event, status; /* of GET EVENT STATUS NOTIFICATION */
} cycle[] = {
    {{0x28, [8] = 1}, BLOCK, GOOD, 0, 0},
    {{0x1b, [4] = OPEN_TRAY}, 0, GOOD, 0, 0},
    {{0x28, [8] = 1}, BLOCK, NO_MEDIUM, 0, 0},
    {{0x4a, 1, [4] = 0x10, [8] = 8}, 8, GOOD, 3, 1}, /* it has gone */
    {{0x4a, 1, [4] = 0x10, [8] = 8}, 8, GOOD, 0, 1},
    {{0x28, [8] = 1}, BLOCK, NO_MEDIUM, 0, 0},
    {{0x1b, [4] = CLOSE_TRAY}, 0, GOOD, 0, 0},
    {{0x28, [8] = 1}, BLOCK, CHANGED, 0, 0},
    {{0x4a, 1, [4] = 0x10, [8] = 8}, 8, GOOD, 2, 2}, /* one has come */
    {{0x4a, 1, [4] = 0x10, [8] = 8}, 8, GOOD, 0, 2},
    {{0x28, [8] = 1}, BLOCK, GOOD, 0, 0},
    {{0x00}, 0, GOOD, 0, 0},
};
_Static_assert(ARRAY_SIZE(cycle) <= STEPS_MAX, "descriptors for each");

static bool step_is_right(u16 i)
{
    const struct step *step = &cycle[i];
    const u8 *data = requests[i].data;

    if (answer(i) != step->answer)
        return false;
    if (step->cdb[0] == 0x4a)
        return data[4] == step->event && data[5] == step->status;
    return step->cdb[0] != 0x28 || (step->answer == GOOD ? is_first(i) : data[0] == 0xaa);
}

static void trays(u32 cycles)
{
    u32 wrong = 0;

    for (u32 round = 0; round < cycles && !wrong; round++) {
        for (u16 i = 0; i < ARRAY_SIZE(cycle); i++)
            put(i, 0, cycle[i].cdb, cycle[i].bytes);
        wrong += !serve(ARRAY_SIZE(cycle));
        for (u16 i = 0; i < ARRAY_SIZE(cycle); i++) {
            if (step_is_right(i))
                continue;
            wrong++;
            say("round %u, step %u: answer %x, event %u", round, i, answer(i), requests[i].data[4]);
        }
    }
    ok(wrong == 0, "%u times the tray opens and closes under reads", cycles);
}

void guest_main(void)
{
    plan(13);
    found();
    commands();
    tasks();
    trays(word_given("many") ? 10000 : 300);
}
