/* SPDX-License-Identifier: MIT */
/*
 * A CD drive whose medium is a file, this guest's own kernel: commands, and thousands of times the tray opens
 * and closes while reads wait in the same ring. Each medium's going and coming is told once, each read ends
 * with the data or with the right sense. With "operator" it is the operator who takes media out and puts
 * others in, this file and a blank one by turns, until a key is typed.
 */
// conf: cdrom = virtio_cd.elf
#include "lib/serial.h"
#include "lib/tap.h"
#include "lib/virtio_scsi.h"

#define STEPS_MAX  16u
#define OPEN_TRAY  2u
#define CLOSE_TRAY 3u

static struct virtio drive, control;
static struct ring ring, control_ring;
static struct scsi_request requests[STEPS_MAX];
static u8 first[SCSI_BLOCK];

/* ---------------------------------------------------------------- commands */

/* Put a command into the ring, in the descriptors of this step; bytes of data are taken. */
static void put(u16 step, u8 unit, const u8 cdb[12], u32 bytes)
{
    scsi_describe(&drive, (u16)(3 * step), &requests[step], unit, cdb, bytes);
    ring_offer(&drive, (u16)(3 * step));
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

#define run(bytes, ...) scsi_run(&drive, &requests[0], bytes, __VA_ARGS__)

static bool is_first(u16 step)
{
    for (u32 i = 0; i < SCSI_BLOCK; i++)
        if (requests[step].data[i] != first[i])
            return false;
    return true;
}

/* ---------------------------------------------------------------- points */

static void found(void)
{
    ok(virtio_find(&drive, SCSI_SLOT) && pci_read(SCSI_SLOT, 0) == 0x10481af4 &&
           pci_read(SCSI_SLOT, PCI_CLASS_DEVICE) << 16 >> 16 == 0x0100,
       "virtio 1.x, SCSI: %x", pci_read(SCSI_SLOT, 0));
    drive.queue = SCSI_COMMANDS;
    virtio_begin(&drive, &ring, ALL_OFFERED);
    control = drive;
    control.queue = SCSI_CONTROL;
    virtio_queue(&control, &control_ring);
}

static void commands(void)
{
    const u8 *data = requests[0].data;
    u32 blocks;

    ok(run(36, 0x12, 0, 0, 0, 36) == SCSI_OK && data[0] == 5 && data[1] == 0x80 && data[8] == 'l',
       "INQUIRY: a CD drive");
    ok(run(SCSI_BLOCK, 0xa0, 0, 0, 0, 0, 0, 0, 0, 64) == SCSI_OK && data[3] == 8, "REPORT LUNS: one");
    ok(run(0, 0x00) == SCSI_WAS_RESET && run(0, 0x00) == SCSI_OK, "TEST UNIT READY: once that it was reset");
    ok(run(8, 0x25) == SCSI_OK && data[6] == 8, "READ CAPACITY: blocks of 2048");
    blocks = ((u32)data[1] << 16 | (u32)data[2] << 8 | data[3]) + 1;
    ok(run(SCSI_BLOCK, 0x28, 0, 0, 0, 0, 0, 0, 0, 1) == SCSI_OK && data[0] == 0x7f && data[1] == 'E',
       "READ: the first of %u blocks is the beginning of this kernel's file", blocks);
    for (u32 i = 0; i < SCSI_BLOCK; i++)
        first[i] = data[i];
    ok(run(SCSI_BLOCK, 0x28, 0, 0, (u8)(blocks >> 16), (u8)(blocks >> 8), (u8)blocks, 0, 0, 1) == 0x52100,
       "not behind the last one");
    ok(run(20, 0x43, 0, 0, 0, 0, 0, 0, 0, 20) == SCSI_OK && data[6] == 1 && data[14] == 0xaa, "READ TOC");
    ok(run(0, 0x2a) == 0x52000, "WRITE is not known");
    ok(scsi_do(&drive, &requests[0], 3, (const u8[12]){0x00}, 0) == 0x52500, "unit 3 is not there");
    ok(run(0, 0x1e, 0, 0, 0, 1) == SCSI_OK && run(0, 0x1b, 0, 0, 0, OPEN_TRAY) == 0x55302 &&
           run(0, 0x1e, 0, 0, 0, 0) == SCSI_OK,
       "a locked tray stays closed");
}

static void tasks(void)
{
    static struct scsi_task task;

    ok(scsi_task_do(&control, &task, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0, 0) == VIRTIO_SCSI_S_OK &&
           run(0, 0x00) == SCSI_WAS_RESET,
       "the unit is reset");
}

/* ---------------------------------------------------------------- the tray */

/* What a cycle asks for, all in the ring at once, and what must come of it. */
static const struct step {
    u8 cdb[12];
    u32 bytes, answer;
    u8 event, status; /* of GET EVENT STATUS NOTIFICATION */
} cycle[] = {
    {{0x28, [8] = 1}, SCSI_BLOCK, SCSI_OK, 0, 0},
    {{0x1b, [4] = OPEN_TRAY}, 0, SCSI_OK, 0, 0},
    {{0x28, [8] = 1}, SCSI_BLOCK, SCSI_NO_MEDIUM, 0, 0},
    {{0x4a, 1, [4] = 0x10, [8] = 8}, 8, SCSI_OK, 3, 1}, /* it has gone */
    {{0x4a, 1, [4] = 0x10, [8] = 8}, 8, SCSI_OK, 0, 1},
    {{0x28, [8] = 1}, SCSI_BLOCK, SCSI_NO_MEDIUM, 0, 0},
    {{0x1b, [4] = CLOSE_TRAY}, 0, SCSI_OK, 0, 0},
    {{0x28, [8] = 1}, SCSI_BLOCK, SCSI_CHANGED, 0, 0},
    {{0x4a, 1, [4] = 0x10, [8] = 8}, 8, SCSI_OK, 2, 2}, /* one has come */
    {{0x4a, 1, [4] = 0x10, [8] = 8}, 8, SCSI_OK, 0, 2},
    {{0x28, [8] = 1}, SCSI_BLOCK, SCSI_OK, 0, 0},
    {{0x00}, 0, SCSI_OK, 0, 0},
};
_Static_assert(ARRAY_SIZE(cycle) <= STEPS_MAX, "descriptors for each");

static bool step_is_right(u16 i)
{
    const struct step *step = &cycle[i];
    const u8 *data = requests[i].data;

    if (scsi_answer(&requests[i]) != step->answer)
        return false;
    if (step->cdb[0] == 0x4a)
        return data[4] == step->event && data[5] == step->status;
    return step->cdb[0] != 0x28 || (step->answer == SCSI_OK ? is_first(i) : data[0] == 0xaa);
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
            say("round %u, step %u: answer %x, event %u", round, i, scsi_answer(&requests[i]),
                requests[i].data[4]);
        }
    }
    ok(wrong == 0, "%u times the tray opens and closes under reads", cycles);
}

/* ---------------------------------------------------------------- the operator */

static bool is_blank(void)
{
    for (u32 i = 0; i < SCSI_BLOCK; i++)
        if (requests[0].data[i])
            return false;
    return true;
}

/* What is read is of the medium that was told last, or an error. */
static bool read_is_right(u32 answer, bool there, u32 came)
{
    if (answer == SCSI_OK)
        return there && (came % 2 ? is_blank() : is_first(0));
    return answer == SCSI_NO_MEDIUM || answer == SCSI_CHANGED;
}

static void operated(void)
{
    u32 gone = 0, came = 0, reads = 0, wrong = 0;
    bool there = true;

    while (run(SCSI_BLOCK, 0x28, 0, 0, 0, 0, 0, 0, 0, 1) != SCSI_OK)
        ;
    for (u32 i = 0; i < SCSI_BLOCK; i++)
        first[i] = requests[0].data[i];
    say("it is read");
    while (!serial_has_key()) {
        u8 event;

        put(0, 0, (const u8[12]){0x28, [8] = 1}, SCSI_BLOCK);
        put(1, 0, (const u8[12]){0x4a, 1, [4] = 0x10, [8] = 8}, 8);
        wrong += !serve(2) || scsi_answer(&requests[1]) != SCSI_OK;
        wrong += !read_is_right(scsi_answer(&requests[0]), there, came);
        reads += scsi_answer(&requests[0]) == SCSI_OK;
        event = requests[1].data[4];
        if (!event)
            continue;
        wrong += event != (there ? 3 : 2); /* by turns, each once */
        gone += event == 3;
        came += event == 2;
        there = event == 2;
    }
    ok(wrong == 0 && reads, "media went %u times, came %u times; %u were wrong", gone, came, wrong);
}

void guest_main(void)
{
    if (word_given("operator")) {
        plan(2);
        found();
        operated();
        return;
    }
    plan(13);
    found();
    commands();
    tasks();
    trays(word_given("many") ? 10000 : 300);
}
