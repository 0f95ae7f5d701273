/* SPDX-License-Identifier: MIT */
/*
 * The machine's drives: a made-up drive whose pieces end when the test says so, well, badly or never, against
 * a plain array. Time is the test's own; a tick is a microsecond.
 */
// sources: hv/storage/drive.c hv/storage/partition.c hv/storage/block.c hv/run/timer.c hv/lib/lock_check.c
// sources: hv/storage/drive_poll.c hv/storage/drive_open.c
// sources: hv/memory/frame.c hv/memory/memory.c hv/memory/guest_map.c arch/x86/machine/percpu.c
// sources: tests/unit/fake_memory.c tests/unit/fake_guest_ram.c hv/storage/cd_drive.c hv/storage/cd_packet.c
// sources: tests/unit/drive_world.c
// sources: hv/storage/media.c hv/storage/cd_spare.c hv/lib/string.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/tsc.h"
#include "hv/lib/errno.h"
#include "hv/storage/drive.h"
#include "tests/unit/drive_world.h"
#include "tests/unit/fake_guest_ram.h"
#include "tests/unit/fake_memory.h"

#define OWNER    ((frame_owner_t)17)
#define SECTORS  4096u
#define BYTES    (SECTORS * BLOCK_SECTOR)
#define BUFFER   0x200000ull
#define REQUESTS 12u
#define AREA     (BYTES / REQUESTS / BLOCK_SECTOR * BLOCK_SECTOR)
#define SECOND   1000000ull
#define NOT_DONE 77

static struct guest_memory memory;
static struct spinlock vm_lock = SPINLOCK_INIT(RANK_VM);

/* ---------------------------------------------------------------- the hardware */

static struct {
    u8 content[BYTES];
    bool has[DRIVE_SLOTS], ends[DRIVE_SLOTS]; /* it was told; it will say so when it is asked */
    bool at_once;                             /* it ends all that it gets */
    u64 bad;                                  /* a sector that fails; ~0: none */
    bool breaks;                              /* by standing still */
    bool dead;                                /* it never answers */
    int resets, reset_says;
    unsigned most, flushes, starts;
} hw;

static struct drive drive;

static void hw_start(struct drive *d, unsigned slot)
{
    unsigned busy = 0, alone = 0;

    assert_ptr_equal(d, &drive);
    assert_false(hw.has[slot]);
    assert_true(spinlock_held(&drive.lock));
    hw.has[slot] = true;
    hw.ends[slot] = hw.at_once;
    for (unsigned i = 0; i < DRIVE_SLOTS; i++) {
        busy += hw.has[i];
        alone +=
            hw.has[i] && (d->slots[i].operation == BLOCK_FLUSH || d->slots[i].operation == BLOCK_DISCARD);
    }
    assert_true(!alone || busy == 1);
    hw.most = MAX(hw.most, busy);
    hw.starts++;
    hw.flushes += d->slots[slot].operation == BLOCK_FLUSH;
}

/* What the drive does to its slot's buffer, whoever it is for. */
static void hw_move(const struct drive_slot *slot)
{
    u8 *at = hw.content + slot->sector * BLOCK_SECTOR;

    assert_true(slot->sector + slot->bytes / BLOCK_SECTOR <= SECTORS);
    if (slot->operation == BLOCK_READ)
        memcpy(slot->data, at, slot->bytes);
    if (slot->operation == BLOCK_WRITE)
        memcpy(at, slot->data, slot->bytes);
    if (slot->operation == BLOCK_DISCARD)
        memset(at, 0, slot->bytes);
}

static bool is_bad(const struct drive_slot *slot)
{
    return hw.bad >= slot->sector && hw.bad < slot->sector + slot->bytes / BLOCK_SECTOR;
}

static void hw_poll(struct drive *d)
{
    for (unsigned i = 0; i < DRIVE_SLOTS && !hw.dead; i++) {
        if (!hw.has[i] || !hw.ends[i])
            continue;
        if (is_bad(&d->slots[i]) && hw.breaks) {
            drive_failed(d);
            return;
        }
        hw.has[i] = false;
        if (!is_bad(&d->slots[i]))
            hw_move(&d->slots[i]);
        drive_slot_ended(d, i, is_bad(&d->slots[i]) ? -EIO : 0);
        drive_slot_ended(d, i, 0); /* it says it twice */
    }
    if (!hw.has[7])
        drive_slot_ended(d, 7, 0); /* and what is not so */
    drive_slot_ended(d, 200, 0);
}

static int hw_reset(struct drive *d, bool begin)
{
    (void)d;
    hw.resets += begin;
    if (hw.reset_says == 0)
        memset(hw.has, 0, sizeof(hw.has));
    return hw.reset_says;
}

static const struct drive_ops hw_ops = {hw_start, hw_poll, hw_reset};

/* ---------------------------------------------------------------- requests */

static struct request {
    struct block_request block;
    struct guest_segment segments[3];
    int status;
} requests[REQUESTS];
static struct block_device *disk;
static unsigned done_count;

static void done(struct block_request *block, int status)
{
    struct request *request = container_of(block, struct request, block);

    assert_true(spinlock_held_none());
    assert_int_equal(request->status, NOT_DONE);
    request->status = status;
    done_count++;
}

static int send(u32 number, enum block_operation operation, u64 sector, u64 sectors)
{
    struct request *request = &requests[number];
    gpa_t gpa = BUFFER + number * (gpa_t)AREA;
    u64 bytes = sectors * BLOCK_SECTOR;

    *request = (struct request){
        .status = NOT_DONE,
        .segments = {{gpa, MIN(bytes, 100u)}, {gpa + MIN(bytes, 100u), bytes - MIN(bytes, 100u)}, {0, 0}}};
    request->block = (struct block_request){.operation = operation,
                                            .sector = sector,
                                            .sectors = sectors,
                                            .memory = &memory,
                                            .segments = request->segments,
                                            .segment_count = 3,
                                            .done = done};
    return block_submit(disk, &request->block);
}

/* Likewise without memory. */
static int send_range(u32 number, enum block_operation operation, u64 sector, u64 sectors)
{
    requests[number] = (struct request){.status = NOT_DONE};
    requests[number].block = (struct block_request){
        .operation = operation, .sector = sector, .sectors = sectors, .memory = &memory, .done = done};
    return block_submit(disk, &requests[number].block);
}

static u8 *data_of(u32 number)
{
    return fake_guest_ram_at(BUFFER + number * (gpa_t)AREA);
}

/* Let time pass while the timer is set, at most this long. */
static void pass(u64 most)
{
    u64 end = drive_time + most;

    while (timer_is_set(&drive.timer) && drive.timer.deadline <= end) {
        drive_time = MAX(drive_time, drive.timer.deadline);
        timer_queue_run(&sched_cpus[0].timers, drive_time);
    }
    drive_time = MAX(drive_time, end);
}

static void begin(void)
{
    fake_memory_begin();
    fake_guest_ram_reset(&memory, 64 << 20);
    memory.lock = &vm_lock;
    drive_world_timers();
    memset(&hw, 0, sizeof(hw));
    hw.bad = ~0ull;
    hw.at_once = true;
    for (u32 i = 0; i < BYTES; i++)
        hw.content[i] = (u8)(i * 5 + (i >> 9));
    said[0] = '\0';
    done_count = 0;
}

static char why[160];

static int open_disk(const char *name, bool write)
{
    why[0] = '\0';
    return drive_open(name, write, OWNER, &disk, why, sizeof(why));
}

/* One drive for all tests, as there is no way to take one away: it begins anew. */
static void begin_open(void)
{
    static bool registered;

    begin();
    drive.state = DRIVE_WORKS;
    memset(drive.slots, 0, sizeof(drive.slots));
    if (!registered) {
        drive.ops = &hw_ops;
        strcpy(drive.name, "virtio:0");
        drive.sectors = SECTORS;
        drive.slot_count = DRIVE_SLOTS;
        drive.has_flush = drive.flush_alone = true;
        drive.discard_sectors = 4;
        drive.discard_most = 200;
        memset(hw.content, 0, 2 * BLOCK_SECTOR);
        hw.content[510] = 0x55;
        hw.content[511] = 0xaa;
        memcpy(hw.content + 446 + 4, (u8[]){0x83, 0, 0, 0, 100, 0, 0, 0, 0, 1, 0, 0}, 12); /* 100, 256 */
        memcpy(hw.content + 462 + 4, (u8[]){0x83, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0}, 12);   /* 2048, 256 */
        assert_int_equal(drive_register(&drive), 0);
        assert_non_null(strstr(said, "virtio:0: 2 MiB, MBR: part1, part2"));
        registered = true;
    }
    drive.slot_count = DRIVE_SLOTS;
    assert_int_equal(open_disk("virtio:0", true), 0);
}

static void end(void)
{
    block_abort(disk);
    block_close(disk);
    assert_int_equal(frame_owned(OWNER), 0);
    hw.dead = false;
    hw.at_once = true;
    memset(hw.ends, true, sizeof(hw.ends));
    pass(100 * SECOND);
    assert_int_equal(drive.busy, 0);
    for (u32 i = 0; i < DRIVE_SLOTS; i++)
        if (drive.slots[i].data)
            frame_free(drive.slots[i].data_hpa >> PAGE_SHIFT, DRIVE_SLOT_ORDER, FRAME_OWNER_HYPERVISOR);
}

/* ---------------------------------------------------------------- tests */

static void test_moves(void **state)
{
    (void)state;
    begin_open();
    memset(data_of(0), 0xab, 700 * BLOCK_SECTOR);
    assert_int_equal(send(0, BLOCK_WRITE, 1001, 300), -EINPROGRESS);
    assert_int_equal(send(1, BLOCK_READ, 3, 340), -EINPROGRESS);
    assert_int_equal(done_count, 0); /* never within the submission */
    pass(SECOND);
    assert_int_equal(done_count, 2);
    assert_int_equal(requests[0].status | requests[1].status, 0);
    assert_memory_equal(hw.content + 1001 * BLOCK_SECTOR, data_of(0), 300 * BLOCK_SECTOR);
    assert_int_not_equal(hw.content[1301 * BLOCK_SECTOR], 0xab);
    assert_memory_equal(hw.content + 3 * BLOCK_SECTOR, data_of(1), 340 * BLOCK_SECTOR);
    assert_int_equal(hw.starts, 1 + 6); /* in pieces of 128 sectors; the first is drive_register's, or none */
    assert_int_equal(send(2, BLOCK_READ, 3, 0), 0);
    end();
}

/* Nothing is looked at while nothing is out, and little while a drive takes its time. */
static void test_polls(void **state)
{
    u64 before;

    (void)state;
    begin_open();
    assert_false(timer_is_set(&drive.timer));
    hw.at_once = false;
    before = drive.polls;
    assert_int_equal(send(0, BLOCK_READ, 0, 8), -EINPROGRESS);
    pass(10000); /* as a disk that turns */
    assert_in_range(drive.polls - before, 8, 40);
    memset(hw.ends, true, sizeof(hw.ends));
    pass(1000);
    assert_int_equal(requests[0].status, 0);
    assert_false(timer_is_set(&drive.timer));
    before = drive.polls;
    pass(SECOND);
    assert_int_equal(drive.polls, before);
    end();
}

static void test_flush(void **state)
{
    (void)state;
    begin_open();
    hw.at_once = false;
    send(0, BLOCK_WRITE, 0, 300);
    send(1, BLOCK_FLUSH, 0, 0);
    send(2, BLOCK_READ, 0, 8);
    pass(1000);
    assert_int_equal(hw.flushes, 0);
    hw.at_once = true;
    memset(hw.ends, true, sizeof(hw.ends));
    pass(SECOND);
    assert_int_equal(done_count, 3);
    assert_int_equal(hw.flushes, 1);
    drive.has_flush = false;
    assert_int_equal(send(0, BLOCK_FLUSH, 0, 0), 0);
    drive.has_flush = true;
    end();
}

/* In pieces of the drive's, each alone; who may not write may not discard; a drive may not be able to. */
static void test_discard(void **state)
{
    unsigned starts;
    u8 before, behind;

    (void)state;
    begin_open();
    before = hw.content[1500 * BLOCK_SECTOR - 1];
    behind = hw.content[2000 * BLOCK_SECTOR];
    starts = hw.starts;
    assert_int_equal(disk->discard_sectors, 4);
    assert_int_equal(send_range(0, BLOCK_DISCARD, 1500, 500), -EINPROGRESS);
    send(1, BLOCK_READ, 0, 8);
    pass(SECOND);
    assert_int_equal(done_count, 2);
    assert_int_equal(requests[0].status | requests[1].status, 0);
    assert_int_equal(hw.starts - starts, 3 + 1);
    for (u32 i = 0; i < 500 * BLOCK_SECTOR; i++)
        assert_int_equal(hw.content[1500 * BLOCK_SECTOR + i], 0);
    assert_int_equal(hw.content[1500 * BLOCK_SECTOR - 1], before);
    assert_int_equal(hw.content[2000 * BLOCK_SECTOR], behind);
    assert_int_equal(send_range(0, BLOCK_DISCARD, 1500, 0), 0);
    assert_int_equal(send_range(0, BLOCK_DISCARD, SECTORS - 1, 2), -EINVAL);
    block_close(disk);
    assert_int_equal(open_disk("virtio:0", false), 0);
    assert_int_equal(disk->discard_sectors, 0);
    assert_int_equal(send_range(0, BLOCK_DISCARD, 0, 8), -EROFS);
    block_close(disk);
    drive.discard_sectors = 0;
    assert_int_equal(open_disk("virtio:0", true), 0);
    assert_int_equal(send_range(0, BLOCK_DISCARD, 0, 8), -ENOTSUP);
    drive.discard_sectors = 4;
    end();
}

/* A discard of the last life does not take what the next one writes. */
static void test_abort_of_a_discard(void **state)
{
    (void)state;
    begin_open();
    hw.at_once = false;
    send_range(0, BLOCK_DISCARD, 1000, 100);
    block_abort(disk);
    memset(data_of(1), 0x22, 8 * BLOCK_SECTOR);
    drive.flush_alone = false; /* virtio's does not wait for anybody */
    send(1, BLOCK_WRITE, 1096, 8);
    pass(1000);
    assert_int_equal(drive.busy, 1);
    memset(hw.ends, true, sizeof(hw.ends));
    hw.at_once = true;
    pass(SECOND);
    drive.flush_alone = true;
    assert_int_equal(requests[1].status, 0);
    assert_int_equal(hw.content[1096 * BLOCK_SECTOR], 0x22);
    end();
}

/* The VM ends or is reset; the drive goes on for nobody, and touches nothing of the VM's. */
static void test_abort(void **state)
{
    (void)state;
    begin_open();
    hw.at_once = false;
    send(0, BLOCK_READ, 0, 300);
    memset(data_of(1), 0x11, 8 * BLOCK_SECTOR);
    send(1, BLOCK_WRITE, 1000, 8);
    for (u32 i = 2; i < REQUESTS; i++)
        send(i, BLOCK_READ, 8 * i, 8);
    block_abort(disk);
    assert_int_equal(done_count, REQUESTS);
    for (u32 i = 0; i < REQUESTS; i++)
        assert_int_equal(requests[i].status, -EIO);
    memset(data_of(0), 0x77, 300 * BLOCK_SECTOR);
    assert_int_equal(drive.busy, DRIVE_SLOTS);

    memset(data_of(1), 0x22, 8 * BLOCK_SECTOR); /* the next life of the VM */
    send(1, BLOCK_WRITE, 1007, 8);
    memset(hw.ends, true, sizeof(hw.ends)); /* all but the write */
    for (u32 i = 0; i < DRIVE_SLOTS; i++)
        hw.ends[i] = drive.slots[i].operation != BLOCK_WRITE;
    hw.at_once = true;
    pass(SECOND);
    assert_int_equal(requests[1].status, NOT_DONE); /* it waits for the write of the last life */
    assert_int_equal(data_of(0)[0], 0x77);
    assert_int_equal(data_of(0)[299 * BLOCK_SECTOR], 0x77);
    memset(hw.ends, true, sizeof(hw.ends));
    pass(SECOND);
    assert_int_equal(requests[1].status, 0);
    assert_int_equal(hw.content[1006 * BLOCK_SECTOR], 0x11);
    assert_int_equal(hw.content[1007 * BLOCK_SECTOR], 0x22);
    end();
}

static void test_bad_sector(void **state)
{
    (void)state;
    begin_open();
    hw.bad = 500;
    send(0, BLOCK_READ, 0, 600);
    send(1, BLOCK_READ, 600, 600);
    pass(SECOND);
    assert_int_equal(requests[0].status, -EIO);
    assert_int_equal(requests[1].status, 0);
    assert_int_equal(hw.resets, 0);
    assert_non_null(strstr(said, "drive virtio:0: reading failed at sector 384"));
    end();
}

/* One that stops the whole drive costs itself alone. */
static void test_standing_still(void **state)
{
    (void)state;
    begin_open();
    hw.bad = 500;
    hw.breaks = true;
    for (u32 i = 0; i < 6; i++)
        send(i, BLOCK_READ, 100 * i, 128);
    send(6, BLOCK_WRITE, 900, 8);
    pass(SECOND);
    assert_int_equal(done_count, 7);
    for (u32 i = 0; i < 7; i++)
        assert_int_equal(requests[i].status, i == 4 || i == 5 ? -EIO : 0);
    assert_int_equal(drive.state, DRIVE_WORKS);
    end();
}

static void test_silence(void **state)
{
    (void)state;
    begin_open();
    hw.at_once = false;
    send(0, BLOCK_READ, 0, 8);
    pass(5 * SECOND);
    send(1, BLOCK_READ, 8, 8);
    pass(4 * SECOND);
    assert_int_equal(done_count, 0);
    hw.at_once = true;
    pass(2 * SECOND);
    assert_int_equal(requests[0].status, -EIO);
    assert_int_equal(requests[1].status, 0); /* tried again */
    assert_int_equal(hw.resets, 1);
    assert_non_null(strstr(said, "has not answered for 10 s"));
    assert_int_equal(send(0, BLOCK_READ, 0, 8), -EINPROGRESS);
    pass(SECOND);
    assert_int_equal(requests[0].status, 0);
    end();
}

static void test_lost(void **state)
{
    (void)state;
    begin_open();
    hw.dead = true;
    hw.reset_says = -EINPROGRESS;
    for (u32 i = 0; i < REQUESTS; i++)
        send(i, BLOCK_WRITE, 128 * i, 128);
    pass(11 * SECOND);
    assert_int_equal(drive.state, DRIVE_RESETTING);
    assert_int_equal(hw.starts, DRIVE_SLOTS); /* nothing begins while the hardware may have the buffers */
    pass(11 * SECOND);
    assert_int_equal(done_count, REQUESTS);
    for (u32 i = 0; i < REQUESTS; i++)
        assert_int_equal(requests[i].status, -EIO);
    assert_int_equal(send(0, BLOCK_READ, 0, 8), -EIO);
    assert_non_null(strstr(said, "is lost"));
    assert_false(timer_is_set(&drive.timer));
    end();
}

/* A CPU looks whose clock is a little behind that of the CPU which began. */
static void test_clock_behind(void **state)
{
    (void)state;
    begin_open();
    pass(SECOND);
    hw.at_once = false;
    send(0, BLOCK_READ, 0, 8);
    drive_time -= 5;
    timer_queue_run(&sched_cpus[0].timers, drive_time + 100);
    assert_int_equal(hw.resets, 0);
    hw.reset_says = -EINPROGRESS;
    pass(11 * SECOND);
    assert_int_equal(hw.resets, 1);
    drive_time = drive.reset_since - 5;
    timer_queue_run(&sched_cpus[0].timers, drive_time + 2000);
    assert_int_equal(drive.state, DRIVE_RESETTING);
    hw.reset_says = 0;
    pass(3 * SECOND);
    assert_int_equal(requests[0].status, -EIO);
    assert_int_equal(drive.state, DRIVE_WORKS);
    end();
}

static void test_names(void **state)
{
    struct block_device *whole, *part;

    (void)state;
    begin_open();
    whole = disk;
    assert_int_equal(open_disk("virtio:0/part1", false), -EBUSY);
    assert_string_equal(
        why, "virtio:0/part1 is in use as virtio:0, and one of the two writes; right would be another "
             "drive, or write = no for both");
    block_close(whole);
    assert_int_equal(open_disk("virtio:1", false), -ENOENT);
    assert_string_equal(why, "there is no drive virtio:1; right would be one of virtio:0");
    assert_int_equal(open_disk("virtio:0/part3", false), -ENOENT);
    assert_string_equal(why, "drive virtio:0 has no partition 3; right would be part1, part2");
    assert_int_equal(open_disk("virtio:0/part99", false), -ENOENT);
    drive.read_only = true;
    assert_int_equal(open_disk("virtio:0/part2", true), -EROFS);
    drive.read_only = false;
    assert_int_equal(open_disk("virtio:0/part1", true), 0);
    part = disk;
    assert_int_equal(open_disk("virtio:0", false), -EBUSY);
    assert_int_equal(open_disk("virtio:0/part2", true), 0);
    block_close(part);
    assert_string_equal(disk->name, "virtio:0/part2");
    assert_int_equal(disk->sectors, 256);
    memset(data_of(0), 0x5a, BLOCK_SECTOR);
    send(0, BLOCK_WRITE, 255, 1);
    assert_int_equal(send(1, BLOCK_READ, 255, 2), -EINVAL);
    pass(SECOND);
    assert_int_equal(hw.content[(2048 + 255) * BLOCK_SECTOR], 0x5a);
    block_close(disk);
    assert_int_equal(open_disk("virtio:0/part2", false), 0);
    part = disk;
    assert_int_equal(open_disk("virtio:0", false), 0); /* both read */
    assert_int_equal(send(0, BLOCK_WRITE, 0, 1), -EROFS);
    block_close(part);
    end();
}

/* Any order of ends, errors, breaks and resets: each request is told once, and what went well is right. */
static void test_random(void **state)
{
    static u8 model[BYTES];
    static const u8 zeros[AREA];

    (void)state;
    begin_open();
    memcpy(model, hw.content, BYTES);
    hw.at_once = false;
    srand(1);
    memset(requests, 0, sizeof(requests));
    for (u32 round = 0; round < 20000; round++) {
        u32 number = (u32)rand() % REQUESTS;
        u64 area = SECTORS / REQUESTS, first = number * area + (u64)rand() % 16;
        u64 count = 1 + (u64)rand() % (area - 16);
        struct request *request = &requests[number];

        hw.bad = rand() % 4 ? ~0ull : (u64)rand() % SECTORS;
        hw.breaks = rand() % 2;
        hw.ends[rand() % DRIVE_SLOTS] = true;
        if (request->status != NOT_DONE) {
            static const enum block_operation operations[] = {BLOCK_READ, BLOCK_WRITE, BLOCK_READ,
                                                              BLOCK_WRITE, BLOCK_DISCARD};
            enum block_operation operation = operations[rand() % 5];

            if (operation == BLOCK_WRITE)
                for (u64 i = 0; i < count * BLOCK_SECTOR; i++)
                    data_of(number)[i] = (u8)(round + i);
            assert_int_equal(send(number, operation, first, count), -EINPROGRESS);
        }
        pass((u64)rand() % 300);
        for (u32 i = 0; i < REQUESTS; i++) {
            struct block_request *block = &requests[i].block;
            u8 *at = model + block->sector * BLOCK_SECTOR;

            if (requests[i].status == NOT_DONE || !block->segment_count)
                continue;
            if (block->operation == BLOCK_WRITE) /* of one that failed, a part may be there */
                memcpy(at, requests[i].status ? hw.content + block->sector * BLOCK_SECTOR : data_of(i),
                       block->sectors * BLOCK_SECTOR);
            else if (block->operation == BLOCK_DISCARD)
                memcpy(at, requests[i].status ? hw.content + block->sector * BLOCK_SECTOR : zeros,
                       block->sectors * BLOCK_SECTOR);
            else if (requests[i].status == 0)
                assert_memory_equal(data_of(i), at, block->sectors * BLOCK_SECTOR);
            block->segment_count = 0;
        }
    }
    hw.bad = ~0ull;
    hw.at_once = true;
    memset(hw.ends, true, sizeof(hw.ends));
    pass(30 * SECOND);
    for (u32 i = 0; i < REQUESTS; i++)
        assert_int_not_equal(requests[i].status, NOT_DONE);
    assert_true(hw.resets > 10);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves),        cmocka_unit_test(test_polls),
        cmocka_unit_test(test_flush),        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_discard),      cmocka_unit_test(test_abort_of_a_discard),
        cmocka_unit_test(test_bad_sector),   cmocka_unit_test(test_standing_still),
        cmocka_unit_test(test_silence),      cmocka_unit_test(test_lost),
        cmocka_unit_test(test_clock_behind), cmocka_unit_test(test_names),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
