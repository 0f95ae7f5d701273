/* SPDX-License-Identifier: MIT */
/*
 * The driver of legacy IDE disks on a channel of two drives made of variables, with the core for drives and a
 * clock of the test's own, of which a tick is a microsecond: who has the channel, and whose data it is. The
 * driver's source is included, with port access replaced.
 */
// sources: hv/storage/drive.c hv/storage/partition.c hv/storage/block.c hv/run/timer.c hv/lib/lock_check.c
// sources: hv/storage/drive_poll.c hv/storage/drive_open.c
// sources: hv/memory/frame.c hv/memory/memory.c hv/memory/guest_map.c arch/x86/machine/percpu.c
// sources: tests/unit/fake_memory.c tests/unit/fake_guest_ram.c hv/storage/cd_drive.c hv/storage/cd_packet.c
// sources: drivers/ata.c
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

#include "arch/x86/machine/cpu.h"
static u8 fake_in8(u16 port);
static void fake_out8(u16 port, u8 value);
static void fake_in16_many(u16 port, void *to, u64 count);
static void fake_out16_many(u16 port, const void *from, u64 count);
#define in8        fake_in8
#define out8       fake_out8
#define in16_many  fake_in16_many
#define out16_many fake_out16_many
#include "drivers/ide.c"

#include "tests/unit/drive_world.h"
#include "tests/unit/fake_guest_ram.h"
#include "tests/unit/fake_memory.h"

#define OWNER    ((frame_owner_t)17)
#define SECTORS  2048u
#define PORT     0x170
#define STATUS   0x376
#define BUFFER   0x200000ull
#define BYTES    (128u << 10) /* of a request at most */
#define SECOND   1000000ull
#define NOT_DONE 77

struct host_pci_function host_pci_functions[HOST_PCI_FUNCTIONS];
u32 host_pci_count;
const struct drive_ops ide_packet_ops;
static struct guest_memory memory;
static struct spinlock vm_lock = SPINLOCK_INIT(RANK_VM);

void tsc_delay_us(u64 us)
{
    drive_time += us;
}

u16 host_pci_port_bar(u16 address, unsigned bar)
{
    (void)address, (void)bar;
    return 0;
}

/* ---------------------------------------------------------------- the channel */

static struct device {
    u8 content[SECTORS * BLOCK_SECTOR];
    u8 status, buffer[BLOCK_SECTOR];
    u32 busy; /* looks at the status until it is done */
    u32 sector, left, words;
    bool writes, hangs;
    u32 bad;          /* a sector that can't be read, */
    bool bad_is_data; /* and the drive wants to give some for it */
} devices[DEVICES];
static u8 registers[8];
static bool in_reset;
static u32 ignored; /* commands that came while a device was not at rest */
static u32 resets, commands[DEVICES];

static struct device *selected(void)
{
    return &devices[(registers[IDE_DEVICE] & DEVICE_SLAVE) != 0];
}

/* A sector is over, or the command has just come. */
static void device_go_on(struct device *device)
{
    device->words = 0;
    device->status = ATA_STATUS_BUSY;
    device->busy = 9;
}

static void device_done(struct device *device)
{
    device->status = ATA_STATUS_READY;
    if (!device->left)
        return;
    if (device->writes) {
        device->status |= ATA_STATUS_DATA;
    } else if (device->sector == device->bad) {
        device->status |= ATA_STATUS_ERROR | (device->bad_is_data ? ATA_STATUS_DATA : 0);
        memset(device->buffer, 0xbd, BLOCK_SECTOR);
    } else {
        device->status |= ATA_STATUS_DATA;
        memcpy(device->buffer, device->content + device->sector * BLOCK_SECTOR, BLOCK_SECTOR);
    }
}

static u8 status_read(void)
{
    struct device *device = selected();

    if (device->status & ATA_STATUS_BUSY && !device->hangs && !in_reset && device->busy-- == 0)
        device_done(device);
    return device->status;
}

static void command(u8 value)
{
    struct device *device = selected();

    if (device->status & (ATA_STATUS_BUSY | ATA_STATUS_DATA)) {
        ignored++;
        return;
    }
    commands[device - devices]++;
    device->sector = registers[IDE_LOW] | (u32)registers[IDE_MIDDLE] << 8 | (u32)registers[IDE_HIGH] << 16;
    device->left = registers[IDE_COUNT];
    device->writes = value == ATA_WRITE_PIO;
    device_go_on(device);
    if (value != ATA_IDENTIFY)
        return;
    device->left = 1;
    device->status = ATA_STATUS_READY | ATA_STATUS_DATA;
    memset(device->buffer, 0, BLOCK_SECTOR);
    device->buffer[2 * 49 + 1] = 2;
    device->buffer[2 * 60 + 1] = SECTORS >> 8;
}

static u8 fake_in8(u16 port)
{
    if (port == STATUS || port == PORT + IDE_COMMAND)
        return status_read();
    return port >= PORT && port < PORT + 8 ? registers[port - PORT] : 0xff;
}

static void fake_out8(u16 port, u8 value)
{
    if (port == STATUS) {
        in_reset = value & CONTROL_RESET;
        resets += in_reset;
        for (u32 i = 0; i < DEVICES && in_reset; i++) {
            devices[i].left = 0;
            devices[i].hangs = false;
            device_go_on(&devices[i]);
        }
        registers[IDE_DEVICE] &= in_reset ? (u8)~DEVICE_SLAVE : 0xff;
    } else if (port == PORT + IDE_COMMAND) {
        command(value);
    } else if (port >= PORT && port < PORT + 7) {
        registers[port - PORT] = value;
    }
}

static void words_move(u16 port, u8 *at, u64 count, bool write)
{
    struct device *device = selected();

    assert_int_equal(port, PORT);
    assert_int_equal(count, BLOCK_SECTOR / 2);
    assert_true(device->status & ATA_STATUS_DATA);
    if (write)
        memcpy(device->content + device->sector * BLOCK_SECTOR, at, BLOCK_SECTOR);
    else
        memcpy(at, device->buffer, BLOCK_SECTOR);
    device->sector++;
    device->left--;
    if (device->left || write)
        device_go_on(device);
    else
        device->status = ATA_STATUS_READY;
}

static void fake_in16_many(u16 port, void *to, u64 count)
{
    words_move(port, to, count, false);
}

static void fake_out16_many(u16 port, const void *from, u64 count)
{
    u8 copy[BLOCK_SECTOR];

    memcpy(copy, from, sizeof(copy));
    words_move(port, copy, count, true);
}

/* ---------------------------------------------------------------- two users */

static struct block_device *disks[DEVICES];
static struct request {
    struct block_request block;
    struct guest_segment segment;
    int status;
    bool again; /* whenever it has ended */
} requests[2 * DEVICES];

static void done(struct block_request *block, int status)
{
    struct request *request = container_of(block, struct request, block);

    request->status = status;
    if (request->again && !status)
        block_submit(disks[(request - requests) % DEVICES], block);
}

static u8 *data_of(u32 number)
{
    return fake_guest_ram_at(BUFFER + number * BYTES);
}

/* Requests 0 and 2 are of the first device, 1 and 3 of the second. */
static void send(u32 number, enum block_operation operation, u64 sector, u64 sectors)
{
    struct request *request = &requests[number];

    request->status = NOT_DONE;
    request->segment = (struct guest_segment){BUFFER + number * (gpa_t)BYTES, sectors * BLOCK_SECTOR};
    request->block = (struct block_request){.operation = operation,
                                            .sector = sector,
                                            .sectors = sectors,
                                            .memory = &memory,
                                            .segments = &request->segment,
                                            .segment_count = 1,
                                            .done = done};
    assert_int_equal(block_submit(disks[number % DEVICES], &request->block), -EINPROGRESS);
}

static bool reads_right(u32 number, u64 sector, u64 sectors)
{
    const struct device *device = &devices[number % DEVICES];

    return requests[number].status == 0 &&
           memcmp(data_of(number), device->content + sector * BLOCK_SECTOR, sectors * BLOCK_SECTOR) == 0;
}

/* Let time pass: timers fire when they are due, whoever sets them anew. */
static void pass(u64 most)
{
    struct timer_queue *timers = &sched_cpus[0].timers;
    u64 end = drive_time + most;

    while (timers->first && timers->first->deadline <= end) {
        drive_time = MAX(drive_time + 1, timers->first->deadline);
        timer_queue_run(timers, drive_time);
    }
    drive_time = MAX(drive_time, end);
}

static int setup(void **state)
{
    static bool started;
    char why[160];

    (void)state;
    memset(registers, 0, sizeof(registers));
    memset(requests, 0, sizeof(requests));
    for (u32 i = 0; i < DEVICES; i++) {
        memset(&devices[i], 0, sizeof(devices[i]));
        devices[i].status = ATA_STATUS_READY;
        devices[i].bad = ~0u;
        for (u32 j = BLOCK_SECTOR; j < sizeof(devices[i].content); j++)
            devices[i].content[j] = (u8)(j * (i + 5) + (j >> 9));
    }
    if (!started) {
        fake_memory_begin();
        drive_world_timers();
        host_ide_start();
        started = true;
    }
    ignored = resets = 0;
    fake_guest_ram_reset(&memory, 64 << 20);
    memory.lock = &vm_lock;
    for (u32 i = 0; i < DEVICES; i++)
        assert_int_equal(drive_open(i ? "ide:3" : "ide:2", true, OWNER, &disks[i], why, sizeof(why)), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(requests); i++)
        requests[i].again = false;
    for (u32 i = 0; i < DEVICES; i++)
        block_abort(disks[i]);
    pass(100 * SECOND);
    for (u32 i = 0; i < DEVICES; i++)
        block_close(disks[i]);
    assert_int_equal(frame_owned(OWNER), 0);
    assert_null(channels[1].owner);
    assert_int_equal(ignored, 0);
    return 0;
}

/* ---------------------------------------------------------------- tests */

static void test_moves(void **state)
{
    (void)state;
    send(0, BLOCK_READ, 5, 200);
    send(1, BLOCK_READ, 7, 256);
    pass(SECOND);
    assert_true(reads_right(0, 5, 200) && reads_right(1, 7, 256));
    memset(data_of(2), 0x5a, 300);
    send(2, BLOCK_WRITE, 100, 150);
    send(1, BLOCK_READ, 99, 152);
    pass(SECOND);
    assert_int_equal(requests[2].status, 0);
    assert_memory_equal(devices[0].content + 100 * BLOCK_SECTOR, data_of(2), 150 * BLOCK_SECTOR);
    assert_true(reads_right(1, 99, 152));
    assert_int_equal(resets, 0);
}

/* One user asks without a pause; the other one, of the drive beside it, waits no longer than for a piece. */
static void test_each_in_turn(void **state)
{
    (void)state;
    requests[0].again = requests[2].again = true;
    send(0, BLOCK_READ, 0, 128);
    send(2, BLOCK_READ, 128, 128);
    send(1, BLOCK_READ, 300, 8);
    pass(SECOND);
    assert_true(reads_right(1, 300, 8));
    assert_int_equal(requests[0].status, 0);
}

/* A drive is silent; the one beside it waits, and has no error of it. */
static void test_beside_a_silent_one(void **state)
{
    (void)state;
    devices[0].hangs = true;
    send(0, BLOCK_READ, 0, 8);
    send(1, BLOCK_READ, 300, 8);
    pass(9 * SECOND);
    assert_int_equal(requests[1].status, NOT_DONE);
    pass(3 * SECOND);
    assert_int_equal(requests[0].status, -EIO);
    assert_int_equal(resets, 1);
    assert_true(reads_right(1, 300, 8));
    send(0, BLOCK_READ, 0, 8);
    pass(SECOND);
    assert_true(reads_right(0, 0, 8));
}

/* A drive that is still at work when it should be at rest gets no command, nor its end. */
static void test_still_at_work(void **state)
{
    (void)state;
    devices[1].status = ATA_STATUS_BUSY;
    devices[1].busy = 1000;
    send(1, BLOCK_READ, 300, 8);
    pass(SECOND);
    assert_true(reads_right(1, 300, 8));
    assert_int_equal(resets, 0);
}

/* One that fails with data which nobody takes: the next read does not have that. */
static void test_data_left_over(void **state)
{
    (void)state;
    devices[0].bad = 20;
    devices[0].bad_is_data = true;
    send(0, BLOCK_READ, 16, 8);
    pass(SECOND);
    assert_int_equal(requests[0].status, -EIO);
    send(0, BLOCK_READ, 100, 8);
    send(1, BLOCK_READ, 300, 8);
    pass(SECOND);
    assert_true(reads_right(0, 100, 8) && reads_right(1, 300, 8));
    /* Nor does one where the data came from nowhere. */
    devices[1].status |= ATA_STATUS_DATA;
    memset(devices[1].buffer, 0xbd, BLOCK_SECTOR);
    send(1, BLOCK_READ, 400, 8);
    pass(SECOND);
    assert_true(requests[1].status == -EIO || reads_right(1, 400, 8));
    send(1, BLOCK_READ, 500, 8);
    pass(SECOND);
    assert_true(reads_right(1, 500, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_moves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_in_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_beside_a_silent_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_still_at_work, setup, teardown),
        cmocka_unit_test_setup_teardown(test_data_left_over, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
