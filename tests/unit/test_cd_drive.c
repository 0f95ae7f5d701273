/* SPDX-License-Identifier: MIT */
/*
 * CD drives of the machine: a made-up drive that takes packets as QEMU's does, whose media come and go under
 * the user's reads, with the core for drives around it. Time is the test's own; a tick is a microsecond.
 */
// sources: hv/storage/media.c hv/storage/cd_spare.c hv/lib/string.c hv/storage/cd_drive.c
// sources: hv/storage/cd_packet.c hv/storage/drive.c hv/storage/partition.c hv/storage/block.c
// sources: hv/storage/drive_poll.c hv/storage/drive_open.c
// sources: hv/run/timer.c hv/lib/lock_check.c hv/memory/frame.c hv/memory/memory.c hv/memory/guest_map.c
// sources: arch/x86/machine/percpu.c tests/unit/fake_memory.c tests/unit/fake_guest_ram.c
// sources: tests/unit/drive_world.c
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
#include "hv/storage/cd_spare.h"
#include "hv/storage/drive.h"
#include "tests/unit/drive_world.h"
#include "tests/unit/fake_guest_ram.h"
#include "tests/unit/fake_memory.h"

#define OWNER    ((frame_owner_t)17)
#define BUFFER   0x200000ull
#define READS    4u
#define AREA     0x100000ull
#define SECOND   1000000ull
#define NOT_DONE 77
#define BLOCKS   200u /* of the medium that is there at first */
#define ROUNDS   20000u

static struct guest_memory memory;
static struct spinlock vm_lock = SPINLOCK_INIT(RANK_VM);

/* ---------------------------------------------------------------- the hardware */

static struct {
    u32 medium; /* a number of its own for each; 0: none */
    u32 blocks;
    u32 sized; /* the medium whose size was asked last */
    bool open, locked;
    u8 attention; /* commands that find that it is another one: not ready, then a unit attention */
    bool event_new, event_eject;
    bool knows_events;
    int refuses[256]; /* commands that end so, whatever there is */
    u64 bad;          /* a block that fails; ~0: none */
    bool busy;        /* with what was told */
    bool asleep;      /* it does not answer */
    int reset_says;
    unsigned packets, events, readies, capacities, moves, senses, locks, resets;
    unsigned events_before_move; /* the last one */
} hw;

static struct drive drive;

static u8 content(u32 medium, u64 byte)
{
    return (u8)(medium * 101 + byte * 7 + (byte >> 11));
}

static void hw_start(struct drive *d, unsigned slot)
{
    (void)d;
    assert_int_equal(slot, 0);
    assert_true(spinlock_held(&drive.lock));
    assert_false(hw.busy);
    hw.busy = true;
    hw.packets++;
}

static void put_32(u8 *at, u32 value)
{
    for (u32 i = 0; i < 4; i++)
        at[i] = (u8)(value >> (24 - 8 * i));
}

static int hw_read(struct drive_slot *slot)
{
    const u8 *packet = slot->packet;
    u32 block = (u32)packet[2] << 24 | (u32)packet[3] << 16 | (u32)packet[4] << 8 | packet[5];
    u32 count = (u32)packet[7] << 8 | packet[8];

    assert_int_equal(count * CD_BLOCK, slot->bytes);
    if (block + count > hw.blocks)
        return -ENOTSUP;
    if (hw.bad >= block && hw.bad < block + count)
        return -EIO;
    for (u64 i = 0; i < slot->bytes; i++)
        slot->data[i] = content(hw.medium, (u64)block * CD_BLOCK + i);
    return 0;
}

static int hw_events(u8 *data)
{
    hw.events++;
    if (!hw.knows_events)
        return -ENOTSUP;
    memcpy(data, (u8[8]){0, 6, 4, 0x10}, 8);
    data[5] = (u8)(hw.open ? 1 : hw.medium ? 2 : 0);
    if (data[5] == 2 && hw.event_new)
        data[4] = 2;
    else if (data[5] == 2 && hw.event_eject)
        data[4] = 1;
    hw.event_new &= data[4] != 2;
    hw.event_eject = false;
    return 0;
}

static int hw_tray(u8 what)
{
    hw.moves++;
    hw.events_before_move = hw.events;
    assert_true(what == 2 || what == 3);
    if (what == 2 && hw.locked)
        return -ENOTSUP;
    hw.open = what == 2;
    return 0;
}

/* What it says to a packet. */
static int hw_serve(struct drive_slot *slot)
{
    u8 opcode = slot->packet[0];

    hw.readies += opcode == 0x00;
    hw.capacities += opcode == 0x25;
    if (opcode == 0x4a && !hw.refuses[opcode])
        return hw_events(slot->data);
    if (opcode == 0x03 && !hw.refuses[opcode]) {
        hw.senses++;
        hw.attention = hw.attention == 1 ? 0 : hw.attention;
        return 0;
    }
    if (hw.refuses[opcode])
        return hw.refuses[opcode];
    if (hw.attention == 3) {
        hw.attention = 1;
        return -ENOMEDIUM;
    }
    if (hw.attention) /* until it is asked for the cause */
        return -ESTALE;
    if (opcode == 0x1e) {
        hw.locked = slot->packet[4];
        hw.locks++;
        return 0;
    }
    if (opcode == 0x1b)
        return hw_tray(slot->packet[4]);
    if (!hw.medium || hw.open)
        return -ENOMEDIUM;
    if (opcode == 0x28)
        return hw_read(slot);
    if (opcode == 0x25) {
        hw.sized = hw.medium;
        put_32(slot->data, hw.blocks - 1);
        put_32(slot->data + 4, CD_BLOCK);
        return 0;
    }
    assert_int_equal(opcode, 0x00);
    return 0;
}

static void hw_poll(struct drive *d)
{
    if (!hw.busy || hw.asleep)
        return;
    hw.busy = false;
    drive_slot_ended(d, 0, hw_serve(&d->slots[0]));
    drive_slot_ended(d, 0, 0); /* it says it twice */
    hw_poll(d);                /* and answers at once what comes of it */
}

static int hw_reset(struct drive *d, bool begin)
{
    (void)d;
    hw.resets += begin;
    if (hw.reset_says == 0) {
        hw.busy = hw.locked = false;
        hw.attention = 0;
    }
    return hw.reset_says;
}

static const struct drive_ops hw_ops = {hw_start, hw_poll, hw_reset};

/* Hands put another medium in, or none (blocks 0). */
static void exchange(u32 blocks)
{
    static u32 number = 1;

    hw.medium = blocks ? ++number : 0;
    hw.blocks = blocks;
    hw.open = false;
    hw.event_new = blocks;
    hw.attention = blocks ? 3 : 0;
}

/* ---------------------------------------------------------------- the user */

static struct {
    struct cd_user user;
    struct media media;
    u32 medium; /* that it believes to be there; 0: none */
    unsigned gone, came, eject, checked;
    bool open;
} me;
static struct block_device *cd;
static char why[160];

static void tell(struct cd_user *user, u32 news)
{
    assert_ptr_equal(user, &me.user);
    assert_true(spinlock_held_none());
    if (news & CD_NEWS_GONE) {
        me.gone++;
        me.medium = 0;
    }
    if (news & CD_NEWS_CAME && cd_drive_take(cd)) {
        me.came++;
        me.medium = hw.sized;
    }
    me.eject += !!(news & CD_NEWS_EJECT_WANTED);
    me.checked += !!(news & CD_NEWS_CHECKED);
    me.open = cd_drive_is_open(cd);
    if (news & CD_NEWS_CHECKED)
        media_checked(&me.media, 0);
}

static void check_events(struct media *media, u32 clearing)
{
    (void)media;
    if (!cd_drive_check(cd, clearing))
        media_checked(&me.media, 0);
}

static struct read {
    struct block_request block;
    struct guest_segment segment;
    u32 medium; /* as was believed when it was asked for */
    int status;
} reads[READS];

static u8 *data_of(u32 n)
{
    return fake_guest_ram_at(BUFFER + n * AREA);
}

/* Right data of the right medium, or an error. */
static void done(struct block_request *block, int status)
{
    struct read *read = container_of(block, struct read, block);
    const u8 *data = data_of((u32)(read - reads));

    assert_true(spinlock_held_none());
    assert_int_equal(read->status, NOT_DONE);
    read->status = status;
    for (u64 i = 0; !status && i < read->block.sectors * BLOCK_SECTOR; i++)
        assert_int_equal(data[i], content(read->medium, read->block.sector * BLOCK_SECTOR + i));
}

static int send(u32 n, u32 block, u32 blocks)
{
    struct read *read = &reads[n];

    *read = (struct read){
        .status = NOT_DONE, .medium = me.medium, .segment = {BUFFER + n * AREA, (u64)blocks * CD_BLOCK}};
    read->block = (struct block_request){.operation = BLOCK_READ,
                                         .sector = block * 4ull,
                                         .sectors = blocks * 4ull,
                                         .memory = &memory,
                                         .segments = &read->segment,
                                         .segment_count = 1,
                                         .done = done};
    return block_submit(cd, &read->block);
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

/* One look of the timer. */
static void step(void)
{
    if (!timer_is_set(&drive.timer))
        return;
    drive_time = MAX(drive_time, drive.timer.deadline);
    timer_queue_run(&sched_cpus[0].timers, drive_time);
}

static int open_cd(void)
{
    static const struct media_ops ops = {.check_events = check_events};
    int error;

    error = cd_drive_open("ide:0", OWNER, &cd, why, sizeof(why));
    if (error)
        return error;
    me.medium = cd->sectors ? hw.sized : 0;
    me.user = (struct cd_user){&me.media, tell};
    me.media = (struct media){.ops = &ops, .supported = MEDIA_EVENTS};
    media_add(&me.media); /* whose first check ends at once, as nobody listens yet */
    cd_drive_listen(cd, &me.user);
    return 0;
}

static void begin(void)
{
    static bool registered;

    fake_memory_begin();
    fake_guest_ram_reset(&memory, 64 << 20);
    memory.lock = &vm_lock;
    memset(&hw, 0, sizeof(hw));
    memset(&me, 0, sizeof(me));
    said[0] = '\0';
    hw.bad = ~0ull;
    hw.knows_events = true;
    exchange(BLOCKS);
    drive_world_media();
    memset(&drive.cd, 0, sizeof(drive.cd));
    memset(drive.slots, 0, sizeof(drive.slots));
    drive.state = DRIVE_WORKS;
    drive.busy = 0;
    if (!registered) {
        drive_world_timers();
        drive.ops = &hw_ops;
        strcpy(drive.name, "ide:0");
        drive.is_cd = drive.read_only = true;
        drive.slot_count = 1;
        assert_int_equal(drive_register(&drive), 0);
        assert_non_null(strstr(said, "drive ide:0: a CD drive, with a medium in it"));
        pass(SECOND);
        assert_int_equal(drive.cd.spare.media.pending, 0);
        registered = true;
    } else {
        assert_true(drive_buffer_make(&drive, 0));
        cd_spare_begin(&drive);
        spinlock_take(&drive.lock);
        cd_doubt(&drive);
        drive_go_on(&drive);
        spinlock_release(&drive.lock);
        pass(SECOND);
    }
    assert_int_equal(open_cd(), 0);
    assert_int_equal(cd->sectors, BLOCKS * 4);
    hw.packets = hw.events = hw.readies = hw.capacities = hw.senses = 0;
}

static void end(void)
{
    block_abort(cd);
    block_close(cd);
    media_remove(&me.media);
    hw.asleep = false;
    hw.reset_says = 0;
    pass(100 * SECOND);
    assert_int_equal(drive.busy, 0);
    assert_false(timer_is_set(&drive.timer));
    assert_int_equal(frame_owned(OWNER), 0);
    frame_free(drive.slots[0].data_hpa >> PAGE_SHIFT, DRIVE_SLOT_ORDER, FRAME_OWNER_HYPERVISOR);
}

static void check(void)
{
    unsigned before = me.checked;

    media_flush(&me.media, 0);
    assert_int_equal(me.checked, before); /* never within the call */
    pass(SECOND);
    assert_int_equal(me.checked, before + 1);
}

/* ---------------------------------------------------------------- tests */

static void test_open(void **state)
{
    struct block_device *other;

    (void)state;
    begin();
    assert_int_equal(cd_drive_open("ide:0", OWNER, &other, why, sizeof(why)), -EBUSY);
    assert_string_equal(why, "ide:0 is in use as ide:0; right would be another drive");
    assert_int_equal(cd_drive_open("ide:1", OWNER, &other, why, sizeof(why)), -ENOENT);
    assert_string_equal(why, "there is no drive ide:1; right would be one of ide:0");
    assert_int_equal(drive_open("ide:0", false, OWNER, &other, why, sizeof(why)), -ENODEV);
    assert_string_equal(why, "drive ide:0 is a CD drive; right would be cdrom = ide:0");
    assert_int_equal(drive_open("ide:1", false, OWNER, &other, why, sizeof(why)), -ENOENT);
    assert_string_equal(why,
                        "there is no drive ide:1, nor any other disk; right would be a file or ram:SIZE");
    end();
}

/* All of it, in pieces; nothing is asked meanwhile, nothing behind it. */
static void test_reads(void **state)
{
    (void)state;
    begin();
    for (u32 block = 0; block < BLOCKS; block += 50)
        assert_int_equal(send(block / 50, block, 50), -EINPROGRESS);
    pass(SECOND);
    for (u32 i = 0; i < READS; i++)
        assert_int_equal(reads[i].status, 0);
    assert_int_equal(hw.packets, READS * 2); /* of 32 blocks at most */
    assert_int_equal(send(0, BLOCKS, 1), -EINVAL);
    assert_int_equal(send(0, BLOCKS - 1, 2), -EINVAL);
    hw.bad = 7;
    assert_int_equal(send(0, 0, 40), -EINPROGRESS);
    assert_int_equal(send(1, 40, 40), -EINPROGRESS);
    pass(SECOND);
    assert_int_equal(reads[0].status, -EIO);
    assert_int_equal(reads[1].status, 0);
    assert_non_null(strstr(said, "drive ide:0: reading failed at sector 0"));
    assert_int_equal(me.gone + hw.resets, 0);
    pass(SECOND);
    assert_false(timer_is_set(&drive.timer)); /* idle, it costs nothing */
    end();
}

/* One command a check, whatever there is in it. */
static void test_checks(void **state)
{
    (void)state;
    begin();
    for (u32 i = 0; i < 5; i++)
        check();
    assert_int_equal(hw.packets, 5);
    assert_int_equal(hw.events, 5);
    exchange(0);
    check();
    assert_int_equal(me.gone, 1);
    for (u32 i = 0; i < 5; i++)
        check();
    assert_int_equal(hw.packets, 11);
    assert_int_equal(me.gone, 1);
    assert_int_equal(me.came, 0);
    end();
}

static void changes(void)
{
    exchange(30);
    check();
    assert_int_equal(me.gone, 1);
    assert_int_equal(me.came, 1);
    assert_int_equal(cd->sectors, 30 * 4);
    assert_int_equal(send(0, 0, 30), -EINPROGRESS);
    assert_int_equal(send(1, 30, 1), -EINVAL); /* it is smaller */
    pass(SECOND);
    assert_int_equal(reads[0].status, 0);
    exchange(0);
    check();
    assert_int_equal(me.gone, 2);
    assert_int_equal(send(0, 0, 1), -ENOMEDIUM);
    exchange(300);
    check();
    assert_int_equal(me.came, 2);
    assert_int_equal(me.gone, 2); /* there was none */
    assert_int_equal(send(0, 299, 1), -EINPROGRESS);
    pass(SECOND);
    assert_int_equal(reads[0].status, 0);
}

static void test_changes(void **state)
{
    (void)state;
    begin();
    changes();
    hw.open = true;
    check();
    assert_int_equal(me.gone, 3);
    assert_true(me.open);
    end();
}

/* A drive that does not tell of events is asked once for them, and then whether it is ready. */
static void test_without_events(void **state)
{
    (void)state;
    begin();
    hw.knows_events = false;
    check();
    assert_int_equal(hw.events, 1);
    assert_int_equal(hw.readies, 1);
    check();
    check();
    assert_int_equal(hw.packets, 4);
    assert_int_equal(hw.readies, 3);
    exchange(0);
    check();
    assert_int_equal(me.gone, 1);
    exchange(50);
    check(); /* not ready at first, as QEMU's says */
    check();
    assert_int_equal(me.came, 1);
    assert_int_equal(hw.events, 1);
    exchange(60);
    check();
    check();
    assert_int_equal(me.came, 2);
    assert_int_equal(cd->sectors, 240);
    /* "Not ready" says nothing about a tray that was opened: only then can its user close it. */
    cd_drive_move_tray(cd, true);
    me.medium = 0;
    pass(SECOND);
    check();
    assert_true(cd_drive_is_open(cd));
    cd_drive_move_tray(cd, false);
    pass(SECOND);
    assert_false(cd_drive_is_open(cd));
    assert_int_equal(me.came, 3);
    end();
}

/* The medium goes between two pieces of a read, and the drive tells so, or a check finds it. */
static void test_exchange_under_a_read(void **state)
{
    (void)state;
    for (u32 with_check = 0; with_check < 2; with_check++) {
        begin();
        assert_int_equal(send(0, 0, 100), -EINPROGRESS);
        assert_int_equal(send(1, 100, 50), -EINPROGRESS);
        hw.asleep = true;
        step();
        if (with_check)
            media_flush(&me.media, 0);
        exchange(BLOCKS);
        hw.attention = with_check ? 0 : 3; /* with the check alone to tell of it */
        hw.asleep = false;
        pass(SECOND);
        assert_int_equal(reads[1].status, -ENOMEDIUM);
        if (!with_check) /* else its first piece was read of the new one: then all of it must fail */
            assert_int_equal(reads[0].status, -ENOMEDIUM);
        assert_int_not_equal(reads[0].status, 0);
        assert_int_equal(me.gone, 1);
        assert_int_equal(me.came, 1);
        assert_null(strstr(said, "failed"));
        end();
    }
}

static void test_lock(void **state)
{
    (void)state;
    begin();
    cd_drive_lock_tray(cd, true);
    pass(SECOND);
    assert_true(hw.locked);
    hw.event_eject = true;
    check();
    assert_int_equal(me.eject, 1);
    check();
    assert_int_equal(me.eject, 1);
    cd_drive_move_tray(cd, true); /* even so */
    assert_int_equal(send(0, 0, 1), -ENOMEDIUM);
    pass(SECOND);
    assert_true(hw.open);
    assert_false(hw.locked);
    assert_int_equal(me.gone, 0); /* who did it knows */
    me.medium = 0;
    check();
    assert_true(me.open);
    cd_drive_move_tray(cd, false);
    pass(SECOND);
    assert_int_equal(me.came, 1);
    assert_true(hw.locked); /* it is still wanted */
    assert_int_equal(hw.moves, 2);
    hw.locks = 0;
    for (u32 i = 0; i < 101; i++) /* as often as it likes */
        cd_drive_lock_tray(cd, i & 1);
    pass(SECOND);
    assert_in_range(hw.locks, 1, 2);
    assert_false(hw.locked);
    end();
    assert_false(hw.locked);
}

/* What was on its way of an answer says nothing about a tray that was moved meanwhile. */
static void test_eject_under_a_check(void **state)
{
    (void)state;
    begin();
    media_flush(&me.media, 0);
    cd_drive_move_tray(cd, true);
    me.medium = 0;
    me.open = false;
    while (!me.checked) /* nor about the tray, which is to be open */
        step();
    assert_true(me.open);
    pass(SECOND);
    assert_int_equal(me.came + me.gone, 0);
    assert_int_equal(me.checked, 2); /* and the one behind it */
    check();
    assert_int_equal(me.came + me.gone, 0);
    assert_true(me.open);
    assert_non_null(strstr(said, "drive ide:0: its tray has been opened"));
    end();
}

/* No check begins while the tray moves, to and fro; one does at once behind it, and finds what lies there. */
static void test_no_check_while_the_tray_moves(void **state)
{
    (void)state;
    begin();
    hw.asleep = true;
    cd_drive_move_tray(cd, true);
    me.medium = 0;
    step();
    assert_int_equal(hw.packets, 1);
    cd_drive_move_tray(cd, false);
    cd_drive_move_tray(cd, true);
    cd_drive_move_tray(cd, false);
    exchange(30);
    for (u32 i = 0; i < 3; i++)
        media_flush(&me.media, 0);
    hw.asleep = false;
    pass(SECOND);
    assert_int_equal(hw.events_before_move, 0);
    assert_in_range(hw.moves, 1, 2); /* the first one may meet the news of the exchange */
    assert_false(hw.open);
    assert_int_equal(hw.events, 1);
    assert_int_equal(me.checked, 1);
    assert_int_equal(me.came, 1);
    assert_int_equal(me.gone, 0);
    assert_int_equal(cd->sectors, 30 * 4);
    /* One that can't be moved is found out at once, too. */
    hw.refuses[0x1b] = -EIO;
    cd_drive_move_tray(cd, true);
    me.medium = 0;
    pass(SECOND);
    assert_non_null(strstr(said, "drive ide:0: its tray can't be opened"));
    assert_false(cd_drive_is_open(cd));
    assert_int_equal(me.came, 2);
    assert_int_equal(me.medium, hw.medium);
    check(); /* nothing blocks any more */
    end();
}

static void test_silence(void **state)
{
    (void)state;
    begin();
    hw.asleep = true;
    assert_int_equal(send(0, 0, 100), -EINPROGRESS);
    media_flush(&me.media, 0);
    pass(11 * SECOND);
    assert_int_equal(reads[0].status, -EIO);
    assert_int_equal(hw.resets, 1);
    hw.asleep = false;
    pass(SECOND);
    assert_int_equal(me.checked, 1);
    assert_int_equal(me.gone, 1); /* who knows? */
    assert_int_equal(me.came, 1);
    /* That it was silent when it was asked for events does not mean that it does not know the command. */
    hw.asleep = true;
    media_flush(&me.media, 0);
    pass(11 * SECOND);
    hw.asleep = false;
    pass(SECOND);
    assert_int_equal(me.checked, 2);
    hw.events = hw.readies = 0;
    media_flush(&me.media, 0);
    pass(SECOND);
    assert_int_equal(me.checked, 3);
    assert_int_equal(hw.events, 1);
    assert_int_equal(hw.readies, 0);
    /* One that can't even be reset. */
    hw.asleep = true;
    hw.reset_says = -EINPROGRESS;
    media_flush(&me.media, 0);
    assert_int_equal(send(0, 0, 1), -EINPROGRESS);
    pass(60 * SECOND);
    assert_int_equal(me.checked, 4);
    assert_int_equal(me.gone, 3);
    assert_int_not_equal(reads[0].status, NOT_DONE);
    assert_int_not_equal(reads[0].status, 0);
    assert_false(cd_drive_check(cd, false));
    assert_int_equal(send(0, 0, 1), -EIO);
    cd_drive_move_tray(cd, true); /* which blocks nothing */
    cd_drive_lock_tray(cd, true);
    assert_false(timer_is_set(&drive.timer));
    assert_int_equal(me.media.blocks, 0);
    end();
}

/* One that lets itself be reset, and answers nothing behind that, is not asked for ever. */
static void test_silent(void **state)
{
    (void)state;
    begin();
    hw.asleep = true;
    media_flush(&me.media, 0);
    pass(100 * SECOND);
    assert_int_equal(drive.state, DRIVE_LOST);
    assert_in_range(hw.resets, 2, 5);
    assert_int_equal(me.checked, 1);
    assert_int_equal(me.gone, 1);
    assert_false(timer_is_set(&drive.timer));
    end();
}

/* A drive that has something to say against each command, or some, is not asked without end. */
static void test_endless_attentions(void **state)
{
    (void)state;
    begin();
    cd_drive_lock_tray(cd, true);
    pass(SECOND);
    for (u32 opcode = 0; opcode < 256; opcode++)
        hw.refuses[opcode] = -ESTALE;
    for (u32 i = 0; i < 3; i++) {
        hw.packets = 0;
        check();
        assert_in_range(hw.packets, 1, 20);
    }
    cd_drive_move_tray(cd, true);
    cd_drive_move_tray(cd, false);
    pass(SECOND);
    assert_in_range(hw.packets, 1, 40);
    assert_false(timer_is_set(&drive.timer));
    /* The lock alone, of a medium that is always there. */
    memset(hw.refuses, 0, sizeof(hw.refuses));
    hw.attention = 0;
    hw.refuses[0x1e] = -ESTALE;
    hw.packets = 0;
    check();
    assert_in_range(hw.packets, 1, 100);
    assert_false(timer_is_set(&drive.timer));
    hw.refuses[0x1e] = 0;
    check();
    assert_int_equal(me.medium, hw.medium);
    assert_true(hw.locked);
    /* And one that can't be locked at all. */
    exchange(BLOCKS);
    hw.locked = false;
    hw.refuses[0x1e] = -ENOTSUP;
    check();
    hw.packets = 0;
    check();
    assert_int_equal(hw.packets, 1);
    end();
}

/* One that somebody has locked before lintel came. */
static void test_locked_by_others(void **state)
{
    (void)state;
    begin();
    hw.locked = true;
    cd_drive_move_tray(cd, true);
    pass(SECOND);
    assert_true(hw.open);
    end();
}

/* Whoever closes it hears the end of his check, once, and nothing more. */
static void test_close(void **state)
{
    (void)state;
    begin();
    media_flush(&me.media, 0);
    exchange(30);
    end();
    assert_int_equal(me.checked, 1);
    assert_int_equal(me.gone + me.came, 0);
}

/* A drive that says nothing of a new medium when it is asked for events: who closes it asks twice. */
static void test_hint(void **state)
{
    (void)state;
    begin();
    exchange(30);
    hw.event_new = false;
    check();
    assert_int_equal(hw.packets, 1);
    assert_int_equal(me.gone, 0);
    media_close(&me.media, false);
    pass(SECOND);
    assert_int_equal(hw.events, 2);
    assert_int_equal(hw.readies, 1);
    assert_int_equal(me.checked, 2);
    assert_int_equal(me.gone, 1);
    assert_int_equal(me.came, 1);
    assert_int_equal(me.medium, hw.medium);
    hw.packets = 0;
    hw.open = true;
    media_close(&me.media, false);
    pass(SECOND);
    assert_int_equal(hw.packets, 2);
    assert_int_equal(me.gone, 2);
    assert_true(me.open); /* of which the second answer says nothing */
    hw.knows_events = false;
    check();
    hw.packets = 0;
    media_close(&me.media, false);
    pass(SECOND);
    assert_int_equal(hw.packets, 1);
    end();
}

/* ---------------------------------------------------------------- a drive that no VM has */

static const char *described(struct media *media)
{
    static char text[MEDIA_DESCRIPTION_MAX];

    media->ops->describe(media, text, sizeof(text));
    return text;
}

static u32 events_recorded(u64 *number)
{
    struct media_record record;
    u32 events = 0;

    while (media_record_get(number, &record)) {
        assert_string_equal(record.vm, "-");
        assert_string_equal(record.name, "ide:0");
        events |= record.events;
    }
    return events;
}

static void spare_looks(struct media *media)
{
    u64 checks = media->checks;

    for (u32 i = 0; i < 3; i++) /* as often as the operator likes, one at a time */
        media->ops->seen(media);
    pass(SECOND);
    assert_int_equal(media->checks, checks + 1);
}

static void test_spare(void **state)
{
    struct media *media;
    u64 number = 0;

    (void)state;
    begin();
    assert_ptr_equal(media_next(NULL), &me.media); /* its VM's alone */
    assert_null(media_next(&me.media));
    block_close(cd);
    media_remove(&me.media);
    media = media_next(NULL);
    assert_null(media->vm);
    assert_int_equal(media->supported, MEDIA_EVENTS);
    assert_int_equal(media_interval(media), 0); /* unless the operator wants it */
    assert_false(timer_is_set(&drive.timer));
    assert_string_equal(described(media), "a medium");
    assert_int_equal(media->ops->insert(media, NULL), -EPERM);
    events_recorded(&number);
    /* Each change is told again once the operator has seen the last one. */
    for (u32 i = 0; i < 3; i++) {
        exchange(30 + i);
        spare_looks(media);
        assert_int_equal(events_recorded(&number), MEDIA_CHANGE);
        spare_looks(media);
        assert_int_equal(events_recorded(&number), 0);
    }
    hw.locked = true; /* by whomever */
    assert_int_equal(media->ops->eject(media, false), -EINPROGRESS);
    assert_int_equal(events_recorded(&number), MEDIA_CHANGE);
    pass(SECOND);
    assert_true(hw.open);
    assert_string_equal(described(media), "empty, tray open");
    assert_int_equal(media->ops->eject(media, false), -EINPROGRESS); /* somebody may have shut it */
    pass(SECOND);
    exchange(50);
    assert_int_equal(media_set_poll(media, 20), 0);
    pass(SECOND);
    assert_string_equal(described(media), "a medium");
    assert_int_equal(media_set_poll(media, MEDIA_POLL_NEVER), 0);
    /* A VM has it from here on, in the middle of a look. */
    media->ops->seen(media);
    assert_int_equal(open_cd(), 0);
    assert_int_equal(cd->sectors, 50 * 4);
    assert_ptr_equal(media_next(NULL), &me.media);
    check();
    block_close(cd);
    media_remove(&me.media);
    media = media_next(NULL);
    hw.asleep = true;
    hw.reset_says = -EIO;
    media->ops->seen(media);
    pass(60 * SECOND);
    assert_string_equal(described(media), "lost");
    assert_int_equal(media->ops->eject(media, false), -EIO);
    media->ops->seen(media);
    assert_false(media->checking || drive.cd.spare.clears);
    assert_int_equal(frame_owned(OWNER), 0);
    frame_free(drive.slots[0].data_hpa >> PAGE_SHIFT, DRIVE_SLOT_ORDER, FRAME_OWNER_HYPERVISOR);
}

static u32 next_random(void)
{
    static u64 seed = 0x1234567;

    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(seed >> 33);
}

static void act(u32 what)
{
    u32 n = next_random() % READS, blocks = 1 + next_random() % 120, medium = me.medium;
    int status;

    switch (what) {
    case 0: exchange(next_random() % 4 ? 1 + next_random() % 300 : 0); break;
    case 1: hw.open = !hw.locked && !hw.open; break;
    case 2: media_flush(&me.media, 0); break;
    case 3: cd_drive_lock_tray(cd, next_random() & 1); break;
    case 4: hw.event_eject = true; break;
    case 5:
        cd_drive_move_tray(cd, next_random() & 1);
        me.medium = 0;
        break;
    case 6: hw.asleep = !(next_random() % 8); break;
    case 7: hw.asleep = false; break;
    default:
        if (reads[n].status == NOT_DONE)
            break;
        status = send(n, next_random() % 300, blocks);
        if (status != -EINPROGRESS)
            reads[n].status = status;
        assert_true(status == -EINPROGRESS || status == -ENOMEDIUM || status == -EINVAL);
        assert_true(status != -EINPROGRESS || medium); /* nothing is read of what is not known */
        break;
    }
}

/* Whatever happens in whatever order: no data of a medium passes for another one's, and all reads end. */
static void test_anything(void **state)
{
    (void)state;
    begin();
    memset(reads, 0, sizeof(reads));
    for (u32 i = 0; i < ROUNDS; i++) {
        act(next_random() % 16);
        for (u32 steps = next_random() % 4; steps; steps--)
            step();
    }
    hw.asleep = hw.open = false;
    if (!hw.medium)
        exchange(20);
    pass(100 * SECOND);
    check();
    check();
    assert_int_equal(me.medium, hw.medium);
    assert_int_equal(cd->sectors, hw.blocks * 4);
    for (u32 n = 0; n < READS; n++)
        assert_int_not_equal(reads[n].status, NOT_DONE);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_without_events),
        cmocka_unit_test(test_exchange_under_a_read),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_eject_under_a_check),
        cmocka_unit_test(test_no_check_while_the_tray_moves),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_endless_attentions),
        cmocka_unit_test(test_locked_by_others),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_hint),
        cmocka_unit_test(test_spare),
        cmocka_unit_test(test_anything),
    };

    return cmocka_run_group_tests_name("cd_drive", tests, NULL, NULL);
}
