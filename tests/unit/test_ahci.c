/* SPDX-License-Identifier: MIT */
/*
 * The driver of AHCI controllers, with two of them made of variables, and the core for drives: which commands
 * reach the drives, that their queue is used by who has one, and what becomes of failures, silence and
 * nonsense. The sources are included, with the registers replaced. Time is the test's own, in microseconds.
 */
// sources: hv/storage/drive.c hv/storage/partition.c hv/storage/block.c hv/run/timer.c hv/lib/lock_check.c
// sources: hv/storage/drive_poll.c hv/storage/drive_open.c
// sources: hv/memory/frame.c hv/memory/memory.c hv/memory/guest_map.c arch/x86/machine/percpu.c
// sources: tests/unit/fake_memory.c tests/unit/fake_guest_ram.c hv/storage/cd_drive.c hv/storage/cd_packet.c
// sources: drivers/ata.c drivers/drives.c tests/unit/drive_world.c tests/unit/drive_user.c
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
#include "drivers/ahci.h"
static u32 fake_reg(const volatile u8 *base, u32 offset);
static void fake_reg_set(volatile u8 *base, u32 offset, u64 value);
#define ahci_reg       fake_reg
#define ahci_reg_set   fake_reg_set
#define tsc_boot_now() drive_now()
#include "drivers/ahci.c"
#include "drivers/ahci_packet.c"

#include "tests/unit/drive_user.h"
#include "tests/unit/drive_world.h"
#include "tests/unit/fake_memory.h"

#define CONTROLLERS 2u
#define PORTS       10u /* of each */
#define SECTORS     1024u
#define NOWHERE     (~0ull)
#define CAP_FIRST   (CAP_64 | CAP_NCQ | 31u << 8 | (PORTS - 1))
#define CAP_SECOND  (3u << 8 | (PORTS - 1)) /* no queue, four commands, 32 bits of address */

struct host_pci_function host_pci_functions[HOST_PCI_FUNCTIONS] = {
    {.address = 0, .class = CLASS}, {.address = 1, .class = CLASS}, {.address = 2, .class = 0x010802}};
u32 host_pci_count = 3;

void tsc_delay_us(u64 us)
{
    drive_time += us;
}

hpa_t host_pci_bar(u16 address, unsigned bar)
{
    assert_true(address < CONTROLLERS && bar == 5);
    return (address + 1) * SIZE_1G;
}

void host_pci_enable(u16 address, bool master)
{
    assert_true(address < CONTROLLERS && master);
}

void host_virtio_blk_start(void)
{
}

void host_ide_start(void)
{
}

/* ---------------------------------------------------------------- the hardware */

/* What is at a port. */
enum kind { NOTHING, DISK, QUEUE, QUEUE_OF_3, CD, BABBLER, MUTE };

static struct port {
    u8 kind;
    u32 registers[32];
    u8 content[SECTORS * BLOCK_SECTOR];
    u32 pending; /* by slot: has come, and has not ended */
    bool held;   /* it does not go on */
    bool failed; /* nor does this one, until it is reset */
    bool gone, never_stops, always_errs;
    u64 bad, silent; /* sectors which fail, or get no answer */
    u32 most;        /* pending at once */
    u32 queued, others, flushes, trims, resets, packets;
    u8 sense;     /* of a CD drive: the key with which the next packet fails; 0: none */
    bool no_word; /* ... once, without the drive's saying so */
    u32 short_by; /* bytes of a read */
    u32 to_host;  /* packets that say so */
} ports[CONTROLLERS][PORTS];
static u8 spaces[CONTROLLERS][ABAR_BYTES];

void *paging_map_device(hpa_t hpa, u64 size, enum paging_cache cache, u64 flags)
{
    assert_true(cache == CACHE_UNCACHED && flags == MAP_WRITE && size == ABAR_BYTES);
    return spaces[hpa / SIZE_1G - 1];
}

static struct ahci_header *header_of(struct port *port, u32 slot)
{
    hpa_t list = port->registers[P_LIST / 4] | (u64)port->registers[P_LIST_HIGH / 4] << 32;

    return (struct ahci_header *)phys_to_virt(list) + slot;
}

static struct ahci_table *table_of(struct port *port, u32 slot)
{
    const struct ahci_header *header = header_of(port, slot);

    return phys_to_virt(header->table | (u64)header->table_high << 32);
}

static u8 *data_of(const struct ahci_table *table)
{
    return phys_to_virt(table->data | (u64)table->data_high << 32);
}

/* A command as its FIS says it. ATA8-ACS, AHCI 1.3.1. */
struct command {
    u8 code;
    bool queued, write;
    u32 tag, sectors;
    u64 sector;
};

static struct command command_of(struct port *port, u32 slot)
{
    const u8 *fis = table_of(port, slot)->fis;
    struct command command = {.code = fis[2]};
    u32 count = fis[12] | (u32)fis[13] << 8, feature = fis[3] | (u32)fis[11] << 8;

    assert_int_equal(fis[0], FIS_COMMAND);
    assert_int_equal(fis[1], FIS_IS_COMMAND);
    command.queued = command.code == ATA_READ_QUEUED || command.code == ATA_WRITE_QUEUED;
    command.write = command.code == ATA_WRITE_QUEUED || command.code == ATA_WRITE_DMA_EXT;
    command.sectors = command.queued ? feature : count;
    command.tag = count >> 3;
    for (u32 i = 0; i < 6; i++)
        command.sector |= (u64)fis[i < 3 ? 4 + i : 5 + i] << 8 * i;
    return command;
}

static bool touches(const struct command *command, u64 sector)
{
    return sector >= command->sector && sector < command->sector + command->sectors;
}

static void slot_gone(struct port *port, u32 slot)
{
    port->pending &= ~(u32)BIT(slot);
    port->registers[P_ACTIVE / 4] &= ~(u32)BIT(slot);
    port->registers[P_ISSUE / 4] &= ~(u32)BIT(slot);
}

/* It stops; without a queue it lets go of the command nevertheless, as QEMU does. */
static void slot_fail(struct port *port, u32 slot, u32 task)
{
    port->failed = true;
    port->registers[P_TASK / 4] = task;
    port->registers[P_IS / 4] |= BIT(30);
    if (port->kind != QUEUE && port->kind != QUEUE_OF_3)
        port->registers[P_ISSUE / 4] &= ~(u32)BIT(slot);
}

static void trim(struct port *port, const struct ahci_table *table)
{
    const u64 *ranges = (const u64 *)(const void *)data_of(table);

    port->trims++;
    for (u32 i = 0; i < 64 && ranges[i]; i++)
        memset(port->content + (ranges[i] & BITS(47, 0)) * BLOCK_SECTOR, 0, (ranges[i] >> 48) * BLOCK_SECTOR);
}

static void disk_serve(struct port *port, u32 slot)
{
    struct command command = command_of(port, slot);
    const struct ahci_table *table = table_of(port, slot);
    u8 *content = port->content + command.sector * BLOCK_SECTOR;

    if (command.code != ATA_FLUSH_EXT && touches(&command, port->silent))
        return;
    if (command.code != ATA_FLUSH_EXT && touches(&command, port->bad)) {
        slot_fail(port, slot, ATA_STATUS_READY | ATA_STATUS_ERROR | 0x40 << 8);
        return;
    }
    if (command.code == ATA_DATA_SET)
        trim(port, table);
    else if (command.write)
        memcpy(content, data_of(table), command.sectors * BLOCK_SECTOR);
    else if (command.code != ATA_FLUSH_EXT)
        memcpy(data_of(table), content, command.sectors * BLOCK_SECTOR);
    slot_gone(port, slot);
}

static void put_32(u8 *at, u32 value)
{
    for (u32 i = 0; i < 4; i++)
        at[i] = (u8)(value >> (24 - 8 * i));
}

static void cd_serve(struct port *port)
{
    static const u8 nothing_new[8] = {0, 6, 4, 0x10, 0, 2};
    const struct ahci_table *table = table_of(port, 0);
    const u8 *packet = table->packet;
    u32 wanted = table->data_bytes + 1, moved = 0;

    if (port->silent == packet[0])
        return;
    if (port->sense || port->no_word) {
        slot_fail(port, 0,
                  ATA_STATUS_READY | (port->no_word ? 0 : ATA_STATUS_ERROR | (u32)port->sense << 12));
        port->sense = 0;
        port->no_word = false;
        return;
    }
    switch (packet[0]) {
    case 0x4a: memcpy(data_of(table), nothing_new, moved = 8); break;
    case 0x25:
        put_32(data_of(table), SECTORS / 4 - 1);
        put_32(data_of(table) + 4, 2048);
        moved = 8;
        break;
    case 0x28:
        assert_int_equal(wanted, (packet[7] << 8 | packet[8]) * 2048);
        moved = wanted - port->short_by;
        memcpy(data_of(table), port->content + (packet[4] << 8 | packet[5]) * 2048, moved);
        break;
    default: break;
    }
    header_of(port, 0)->bytes_done = moved;
    slot_gone(port, 0);
}

/* The last first, as a queue may do. */
static void port_go_on(struct port *port)
{
    for (u32 slot = 32; slot-- > 0 && !port->held && !port->failed;)
        if (port->pending & BIT(slot)) {
            if (port->kind == CD)
                cd_serve(port);
            else
                disk_serve(port, slot);
        }
}

static void identify_answer(struct port *port, u16 *words)
{
    memset(words, port->kind == BABBLER ? 0xff : 0, BLOCK_SECTOR);
    if (port->kind == CD) {
        words[0] = 0x8580;
        words[62] = BIT(15);
        return;
    }
    if (port->kind == BABBLER)
        return;
    words[49] = BIT(9);
    words[83] = BIT(14) | BIT(13) | BIT(10);
    words[100] = SECTORS;
    words[169] = 1;
    words[76] = port->kind == DISK ? 0 : BIT(8);
    words[75] = port->kind == QUEUE_OF_3 ? 2 : 31;
}

/* What must be right about a command before the drive sees it. */
static void command_check(struct port *port, u32 slot, const struct command *command)
{
    const struct ahci_header *header = header_of(port, slot);
    const struct ahci_table *table = table_of(port, slot);
    bool has_data = command->code != ATA_FLUSH_EXT;

    assert_int_equal(header->flags & 0x1f, 5);
    assert_int_equal(header->flags >> 16, has_data);
    assert_int_equal(!!(header->flags & AHCI_HEADER_WRITE), command->write || command->code == ATA_DATA_SET);
    assert_int_equal(header->flags & AHCI_HEADER_ATAPI, 0);
    if (has_data)
        assert_int_equal(table->data_bytes + 1, command->sectors * BLOCK_SECTOR);
    if (!command->queued) /* not beside the drive's queue */
        assert_true(port->kind == DISK || port->pending == 0 || command->code == ATA_READ_DMA_EXT ||
                    command->code == ATA_WRITE_DMA_EXT);
    assert_int_equal(!!(port->registers[P_ACTIVE / 4] & BIT(slot)), command->queued);
    if (command->queued)
        assert_int_equal(command->tag, slot);
    port->queued += command->queued;
    port->flushes += command->code == ATA_FLUSH_EXT;
    port->others += command->code == ATA_READ_DMA_EXT || command->code == ATA_WRITE_DMA_EXT;
}

static void packet_check(struct port *port)
{
    const struct ahci_header *header = header_of(port, 0);
    const u8 *fis = table_of(port, 0)->fis;

    assert_int_equal(header->flags & (0x1f | AHCI_HEADER_ATAPI | AHCI_HEADER_WRITE), 5 | AHCI_HEADER_ATAPI);
    assert_int_equal(fis[2], ATA_PACKET);
    assert_int_equal(fis[3], header->flags >> 16 ? ATAPI_DMA | ATAPI_DMA_TO_HOST : 0);
    port->to_host += fis[3] != 0;
    port->packets++;
}

static void issue(struct port *port, u32 slot)
{
    struct command command = command_of(port, slot);

    assert_true(port->registers[P_CMD / 4] & P_CMD_RUNS);
    assert_false(port->pending & BIT(slot)); /* a slot is free when its command has ended, not before */
    if (command.code == ATA_IDENTIFY || command.code == ATA_IDENTIFY_PACKET) {
        if (port->kind == MUTE)
            port->registers[P_ISSUE / 4] |= 1;
        else
            identify_answer(port, (u16 *)(void *)data_of(table_of(port, slot)));
        return;
    }
    if (port->kind == CD)
        packet_check(port);
    else
        command_check(port, slot, &command);
    port->pending |= BIT(slot);
    port->most = MAX(port->most, (u32)__builtin_popcount(port->pending));
    if (!command.queued) /* one of the queue is the drive's, as soon as it has come */
        port->registers[P_ISSUE / 4] |= BIT(slot);
}

static void control_set(struct port *port, u32 value)
{
    bool was_in_reset = (port->registers[P_CONTROL / 4] & 0xf) == P_CONTROL_RESET;

    port->registers[P_CONTROL / 4] = value;
    if ((value & 0xf) == P_CONTROL_RESET) {
        assert_false(port->registers[P_CMD / 4] & P_CMD_RUNS);
        port->registers[P_TASK / 4] = ATA_STATUS_BUSY;
    } else if (was_in_reset) {
        port->resets++;
        port->failed = false;
        port->registers[P_TASK / 4] = ATA_STATUS_READY;
    }
}

static void cmd_set(struct port *port, u32 value)
{
    bool runs = value & P_CMD_START;

    value &= ~(u32)(P_CMD_RUNS | P_CMD_FIS_RUNS);
    if (runs || port->never_stops)
        value |= P_CMD_RUNS;
    if (value & P_CMD_FIS)
        value |= P_CMD_FIS_RUNS;
    if (!runs) /* AHCI 1.3.1, 3.3.14: both are cleared, and the drive is told nothing more */
        port->registers[P_ISSUE / 4] = port->registers[P_ACTIVE / 4] = port->pending = 0;
    if (runs)
        port->failed = false;
    port->registers[P_CMD / 4] = value;
}

static void port_set(struct port *port, u32 offset, u32 value)
{
    switch (offset) {
    case P_IS:
    case P_ERROR: port->registers[offset / 4] &= ~value; break;
    case P_CMD: cmd_set(port, value); break;
    case P_CONTROL: control_set(port, value); break;
    case P_ACTIVE: port->registers[offset / 4] |= value; break;
    case P_ISSUE:
        for (u32 slot = 0; slot < 32; slot++)
            if (value & BIT(slot))
                issue(port, slot);
        break;
    default: port->registers[offset / 4] = value; break;
    }
}

static u32 controller_get(u32 controller, u32 offset)
{
    return offset == CAP ? (controller ? CAP_SECOND : CAP_FIRST) : offset == PI ? BITS(PORTS - 1, 0) : 0;
}

static struct port *port_at(const volatile u8 *base, u32 *offset, u32 *controller)
{
    u64 at = (u64)(base - spaces[0]);

    *controller = (u32)(at / ABAR_BYTES);
    at = at % ABAR_BYTES + *offset;
    *offset = (u32)(at % 0x80);
    return at < 0x100 ? NULL : &ports[*controller][(at - 0x100) / 0x80];
}

static u32 fake_reg(const volatile u8 *base, u32 offset)
{
    u32 controller;
    struct port *port = port_at(base, &offset, &controller);

    drive_time++;
    if (!port)
        return controller_get(controller, offset);
    if (port->gone)
        return ~0u;
    if (offset == P_ISSUE || offset == P_ACTIVE)
        port_go_on(port);
    return port->registers[offset / 4] | (offset == P_IS && port->always_errs ? BIT(30) : 0);
}

static void fake_reg_set(volatile u8 *base, u32 offset, u64 value)
{
    u32 controller;
    struct port *port = port_at(base, &offset, &controller);

    if (port && !port->gone)
        port_set(port, offset, (u32)value);
}

/* ---------------------------------------------------------------- around the tests */

enum which { P_QUEUE, P_DISK, P_QUEUE_OF_3, P_NOTHING, P_CD, P_BABBLER, P_MUTE, P_STUCK, P_UNPLUGGED };
static const u8 kinds[PORTS] = {QUEUE, DISK, QUEUE_OF_3, NOTHING, CD, BABBLER, MUTE, QUEUE, QUEUE};
static char why[200];

static void power_on(struct port *port, enum kind kind, u32 number)
{
    port->kind = (u8)kind;
    port->registers[P_STATUS / 4] = kind == NOTHING ? 0 : 0x123;
    port->registers[P_SIGNATURE / 4] = kind == CD ? SIG_PACKETS : SIG_DISK;
    port->registers[P_CMD / 4] = P_CMD_START | P_CMD_RUNS | P_CMD_FIS | P_CMD_FIS_RUNS; /* the firmware's */
    port->bad = port->silent = NOWHERE;
    for (u32 i = BLOCK_SECTOR; i < sizeof(port->content); i++)
        port->content[i] = (u8)(i * (number + 5) + (i >> 9));
}

static int group_setup(void **state)
{
    (void)state;
    for (u32 i = 0; i < PORTS; i++)
        power_on(&ports[0][i], kinds[i], i);
    power_on(&ports[1][0], QUEUE, 7);
    fake_memory_begin();
    drive_world_timers();
    drive_world_media();
    host_ahci_start();
    return 0;
}

static int setup(void **state)
{
    (void)state;
    fake_memory_begin();
    user_begin();
    for (u32 i = 0; i < CONTROLLERS * PORTS; i++) {
        struct port *port = &ports[i / PORTS][i % PORTS];

        port->most = port->queued = port->others = port->flushes = port->trims = port->resets = 0;
        port->packets = port->to_host = 0;
    }
    said[0] = '\0';
    return 0;
}

/* ahci:N, to be written. */
static struct block_device *disk_open(u32 number)
{
    struct block_device *disk;
    char name[16];

    snprintf(name, sizeof(name), "ahci:%u", number);
    assert_int_equal(drive_open(name, true, USER_OWNER, &disk, why, sizeof(why)), 0);
    return disk;
}

static void disk_close(struct block_device *disk)
{
    block_close(disk);
    assert_int_equal(frame_owned(USER_OWNER), 0);
}

static bool reads_right(const struct port *port, u32 n, u64 sector, u64 sectors)
{
    return user_requests[n].status == 0 &&
           memcmp(user_data(n), port->content + sector * BLOCK_SECTOR, sectors * BLOCK_SECTOR) == 0;
}

/* ---------------------------------------------------------------- tests */

/* Who is there; what is not to be believed, or says nothing, is left out, and takes but its time. */
static void test_found(void **state)
{
    struct block_device *disk;
    struct drive *drive;

    (void)state;
    for (u32 number = 0; number < 2 * PORTS; number++) {
        bool there = number == PORTS || (number < PORTS && (kinds[number] == DISK || kinds[number] == QUEUE ||
                                                            kinds[number] == QUEUE_OF_3));
        char name[16];

        snprintf(name, sizeof(name), "ahci:%u", number);
        assert_int_equal(drive_open(name, false, USER_OWNER, &disk, why, sizeof(why)), there ? 0
                                                                                       : number == P_CD
                                                                                           ? -ENODEV
                                                                                           : -ENOENT);
        if (!there)
            continue;
        assert_int_equal(disk->sectors, SECTORS);
        drive = drive_of(disk);
        assert_int_equal(drive->slot_count, number == P_QUEUE_OF_3 ? 3 : number == PORTS ? 4 : DRIVE_SLOTS);
        assert_int_equal(ahci_of(drive)->queues, number != P_DISK && number != PORTS);
        disk_close(disk);
    }
    assert_int_equal(ports[0][P_MUTE].registers[P_CMD / 4] & (P_CMD_RUNS | P_CMD_FIS_RUNS), 0);
}

/* What each operation is to the drive, with its queue and without: command_check has the details. */
static void commands(struct port *port, u32 number, bool queue)
{
    struct block_device *disk = disk_open(number);

    user_send(0, disk, BLOCK_READ, 5, 128);
    user_send(1, disk, BLOCK_READ, 900, 124);
    user_pass(SECOND);
    assert_true(reads_right(port, 0, 5, 128) && reads_right(port, 1, 900, 124));
    memset(user_data(2), 0x5a, 50 * BLOCK_SECTOR);
    user_send(2, disk, BLOCK_WRITE, 100, 50);
    user_send(3, disk, BLOCK_FLUSH, 0, 0);
    user_pass(SECOND);
    user_send(4, disk, BLOCK_DISCARD, 120, 10);
    user_pass(SECOND);
    user_send(5, disk, BLOCK_READ, 99, 52);
    user_pass(SECOND);
    assert_true(user_requests[2].status == 0 && user_requests[3].status == 0 && user_requests[4].status == 0);
    assert_true(reads_right(port, 5, 99, 52));
    for (u32 i = 0; i < 52 * BLOCK_SECTOR; i++) {
        u32 sector = 99 + i / BLOCK_SECTOR;

        if (sector >= 100 && sector < 150)
            assert_int_equal(user_data(5)[i], sector >= 120 && sector < 130 ? 0 : 0x5a);
    }
    assert_int_equal(port->queued, queue ? 4 : 0);
    assert_int_equal(port->others, queue ? 0 : 4);
    assert_true(port->flushes == 1 && port->trims == 1 && port->resets == 0);
    disk_close(disk);
}

static void test_commands(void **state)
{
    (void)state;
    commands(&ports[0][P_QUEUE], P_QUEUE, true);
    commands(&ports[0][P_DISK], P_DISK, false);
    commands(&ports[1][0], PORTS, false); /* the drive has a queue, its controller has none */
}

/* Several at once, as many as both can; a tag is used again when its command has ended, not before. */
static void in_flight(struct port *port, u32 number, u32 most)
{
    struct block_device *disk = disk_open(number);
    u32 all = (u32)BITS(most - 1, 0), first = all & 5;

    port->held = true;
    for (u32 n = 0; n < 12; n++)
        user_send(n, disk, BLOCK_READ, 20 * n, 1 + n);
    user_pass(SECOND / 10);
    assert_int_equal(port->pending, all);
    assert_int_equal(port->registers[P_ACTIVE / 4], ahci_of(drive_of(disk))->queues ? all : 0);
    for (u32 slot = 0; slot < 3; slot += 2)
        disk_serve(port, slot);
    assert_int_equal(port->pending, all & ~first);
    user_pass(SECOND / 10);
    assert_int_equal(port->pending, all);
    for (u32 n = 0; n < 12; n++)
        assert_int_equal(user_requests[n].status, n == 0 || n == 2 ? 0 : NOT_DONE);
    port->held = false;
    user_pass(SECOND);
    for (u32 n = 0; n < 12; n++)
        assert_true(reads_right(port, n, 20 * n, 1 + n));
    assert_int_equal(port->most, most);
    disk_close(disk);
}

static void test_in_flight(void **state)
{
    (void)state;
    in_flight(&ports[0][P_QUEUE], P_QUEUE, DRIVE_SLOTS);
    in_flight(&ports[0][P_QUEUE_OF_3], P_QUEUE_OF_3, 3);
    in_flight(&ports[0][P_DISK], P_DISK, DRIVE_SLOTS); /* in the controller's list alone */
    in_flight(&ports[1][0], PORTS, 4);
    assert_int_equal(ports[0][P_DISK].queued + ports[1][0].queued, 0);
}

/* A flush has no place in the queue: it waits for it to be empty, and what comes later waits for it. */
static void test_flush_beside_the_queue(void **state)
{
    struct port *port = &ports[0][P_QUEUE];
    struct block_device *disk = disk_open(P_QUEUE);

    (void)state;
    port->held = true;
    user_send(0, disk, BLOCK_WRITE, 0, 8);
    user_send(1, disk, BLOCK_WRITE, 8, 8);
    user_send(2, disk, BLOCK_FLUSH, 0, 0);
    user_send(3, disk, BLOCK_READ, 100, 8);
    user_pass(SECOND / 10);
    assert_true(port->pending == 3 && port->flushes == 0);
    disk_serve(port, 1);
    user_pass(SECOND / 10);
    assert_true(port->flushes == 0 && user_requests[2].status == NOT_DONE);
    port->held = false;
    user_pass(SECOND);
    assert_int_equal(port->flushes, 1);
    for (u32 n = 0; n < 4; n++)
        assert_int_equal(user_requests[n].status, 0);
    disk_close(disk);
}

/* One of many can't be read: it alone is an error, the others are tried again, behind one reset each time. */
static void failing(struct port *port, u32 number)
{
    struct block_device *disk = disk_open(number);

    port->bad = 203;
    port->held = true; /* until all are out */
    for (u32 n = 0; n < 8; n++)
        user_send(n, disk, BLOCK_READ, 100 * n, 64);
    user_pass(SECOND / 10);
    port->held = false;
    user_pass(SECOND);
    for (u32 n = 0; n < 8; n++)
        assert_true(n == 2 ? user_requests[n].status == -EIO : reads_right(port, n, 100 * n, 64));
    assert_true(port->resets >= 1 && port->resets <= 2);
    assert_non_null(strstr(said, "reading failed at sector 200"));
    port->bad = NOWHERE;
    user_send(2, disk, BLOCK_READ, 200, 64);
    user_pass(SECOND);
    assert_true(reads_right(port, 2, 200, 64));
    disk_close(disk);
}

static void test_failures(void **state)
{
    (void)state;
    failing(&ports[0][P_QUEUE], P_QUEUE);
    failing(&ports[0][P_DISK], P_DISK);
}

/* No answer is an error behind 10 s, and a reset; nobody else has one of it, and the drive is there again. */
static void silence(struct port *port, u32 number)
{
    struct block_device *disk = disk_open(number);

    port->silent = 410;
    user_send(0, disk, BLOCK_READ, 400, 64);
    user_send(1, disk, BLOCK_READ, 500, 64);
    user_pass(9 * SECOND);
    assert_int_equal(user_requests[0].status, NOT_DONE);
    assert_true(reads_right(port, 1, 500, 64) && port->resets == 0);
    user_pass(2 * SECOND);
    assert_int_equal(user_requests[0].status, -EIO);
    assert_int_equal(port->resets, 1);
    port->silent = NOWHERE;
    user_send(0, disk, BLOCK_READ, 400, 64);
    user_pass(SECOND);
    assert_true(reads_right(port, 0, 400, 64));
    disk_close(disk);
}

static void test_silence(void **state)
{
    (void)state;
    silence(&ports[0][P_QUEUE], P_QUEUE);
    silence(&ports[0][P_DISK], P_DISK);
}

static void is_lost(struct block_device *disk)
{
    assert_non_null(strstr(said, "is lost"));
    assert_int_equal(user_submit(3, disk, BLOCK_READ, 0, 8), -EIO);
    assert_int_equal(user_submit(3, disk, BLOCK_FLUSH, 0, 0), -EIO);
    disk_close(disk);
}

/* A port that does not stop, or is gone: errors, behind bounded time, and at once from then on. */
static void test_lost(void **state)
{
    struct block_device *disk = disk_open(P_STUCK);

    (void)state;
    ports[0][P_STUCK].silent = 3;
    ports[0][P_STUCK].never_stops = true;
    user_send(0, disk, BLOCK_READ, 0, 8);
    user_send(1, disk, BLOCK_WRITE, 1, 8);
    user_pass(25 * SECOND);
    assert_true(user_requests[0].status == -EIO && user_requests[1].status == -EIO);
    is_lost(disk);
    said[0] = '\0';
    disk = disk_open(P_UNPLUGGED);
    ports[0][P_UNPLUGGED].held = true;
    for (u32 n = 0; n < 12; n++)
        user_send(n, disk, BLOCK_READ, 20 * n, 1 + n);
    ports[0][P_UNPLUGGED].gone = true;
    user_pass(SECOND);
    for (u32 n = 0; n < 12; n++)
        assert_int_equal(user_requests[n].status, -EIO);
    is_lost(disk);
}

/* Registers that say what can't be: bits of commands that nobody gave, errors without end or cause. */
static void test_nonsense(void **state)
{
    struct port *port = &ports[0][P_QUEUE];
    struct block_device *disk = disk_open(P_QUEUE);

    (void)state;
    port->registers[P_ACTIVE / 4] = port->registers[P_ISSUE / 4] = 0xffffff00;
    user_send(0, disk, BLOCK_READ, 5, 64);
    user_pass(SECOND);
    assert_true(reads_right(port, 0, 5, 64));
    port->registers[P_IS / 4] = port->registers[P_ERROR / 4] = ~0u;
    for (u32 n = 0; n < 6; n++)
        user_send(n, disk, BLOCK_READ, 40 * n, 32);
    user_pass(SECOND);
    for (u32 n = 0; n < 6; n++)
        assert_true(reads_right(port, n, 40 * n, 32));
    port->always_errs = true;
    for (u32 n = 0; n < 6; n++)
        user_send(n, disk, BLOCK_READ, 40 * n, 32);
    user_pass(30 * SECOND);
    for (u32 n = 0; n < 6; n++)
        assert_true(user_requests[n].status == -EIO || reads_right(port, n, 40 * n, 32));
    port->always_errs = false;
    user_send(0, disk, BLOCK_READ, 5, 64);
    user_pass(SECOND);
    assert_true(reads_right(port, 0, 5, 64));
    disk_close(disk);
}

/* A VM that ends under its commands waits for none of them; the slots are the drive's until it lets go. */
static void test_abort(void **state)
{
    struct port *port = &ports[0][P_QUEUE];
    struct block_device *disk = disk_open(P_QUEUE);

    (void)state;
    port->held = true;
    memset(user_data(0), 0x77, 8 * BLOCK_SECTOR);
    user_send(0, disk, BLOCK_WRITE, 600, 8);
    user_send(1, disk, BLOCK_READ, 700, 8);
    block_abort(disk);
    assert_true(user_requests[0].status == -EIO && user_requests[1].status == -EIO);
    user_send(2, disk, BLOCK_READ, 600, 8); /* the next life: behind the write that is nobody's */
    user_send(3, disk, BLOCK_READ, 800, 8);
    user_pass(SECOND / 10);
    assert_int_equal(port->pending, 3);
    port->held = false;
    user_pass(SECOND);
    assert_true(reads_right(port, 2, 600, 8) && reads_right(port, 3, 800, 8));
    assert_int_equal(user_data(2)[0], 0x77);
    disk_close(disk);
}

/* ---------------------------------------------------------------- CD drives */

static struct block_device *cd;
static u32 news;

static void tell(struct cd_user *user, u32 what)
{
    (void)user;
    news |= what;
    if (what & CD_NEWS_CAME)
        cd_drive_take(cd);
}

static struct cd_user cd_user = {.tell = tell};

static int cd_setup(void **state)
{
    setup(state);
    assert_int_equal(cd_drive_open("ahci:4", USER_OWNER, &cd, why, sizeof(why)), 0);
    cd_drive_listen(cd, &cd_user);
    assert_true(cd_drive_check(cd, false)); /* the last test may have left a doubt about its medium */
    user_pass(SECOND);
    assert_int_equal(cd->sectors, SECTORS);
    ports[0][P_CD].packets = ports[0][P_CD].to_host = ports[0][P_CD].resets = 0;
    news = 0;
    return 0;
}

static int cd_teardown(void **state)
{
    (void)state;
    ports[0][P_CD].silent = NOWHERE;
    ports[0][P_CD].short_by = 0;
    user_pass(30 * SECOND);
    disk_close(cd);
    return 0;
}

static void test_cd_reads(void **state)
{
    struct port *port = &ports[0][P_CD];

    (void)state;
    user_send(0, cd, BLOCK_READ, 8, 128);
    user_send(1, cd, BLOCK_READ, 1020, 4);
    user_pass(SECOND);
    assert_true(reads_right(port, 0, 8, 128) && reads_right(port, 1, 1020, 4));
    assert_true(port->most == 1 && port->packets == 2 && port->to_host == 2 && port->resets == 0);
    port->short_by = 4;
    user_send(0, cd, BLOCK_READ, 8, 16);
    user_pass(SECOND);
    assert_int_equal(user_requests[0].status, -EIO);
    port->held = true;
    user_send(0, cd, BLOCK_READ, 0, 4);
    user_pass(SECOND / 10);
    header_of(port, 0)->bytes_done = ~0u; /* more than it was asked for, so the controller says */
    slot_gone(port, 0);
    port->held = false;
    user_pass(SECOND);
    assert_int_equal(user_requests[0].status, -EIO);
}

/* What the drive refuses stops the port, which is started again without a reset. */
static void test_cd_refuses(void **state)
{
    struct port *port = &ports[0][P_CD];

    (void)state;
    port->sense = 2; /* not ready: no medium */
    user_send(0, cd, BLOCK_READ, 8, 16);
    user_pass(SECOND);
    assert_int_equal(user_requests[0].status, -ENOMEDIUM);
    assert_int_equal(port->resets, 0);
    assert_true(news & CD_NEWS_GONE);
    assert_true(port->registers[P_CMD / 4] & P_CMD_RUNS);
}

/* What does not come from the drive, or does not come at all, takes a reset. */
static void test_cd_fails(void **state)
{
    struct port *port = &ports[0][P_CD];

    (void)state;
    port->no_word = true;
    user_send(0, cd, BLOCK_READ, 8, 16);
    user_pass(SECOND);
    assert_int_equal(user_requests[0].status, -EIO);
    assert_int_equal(port->resets, 1);
}

static void test_cd_is_silent(void **state)
{
    struct port *port = &ports[0][P_CD];

    (void)state;
    port->silent = 0x28;
    user_send(0, cd, BLOCK_READ, 8, 16);
    user_pass(9 * SECOND);
    assert_int_equal(user_requests[0].status, NOT_DONE);
    user_pass(2 * SECOND);
    assert_int_equal(user_requests[0].status, -EIO);
    assert_int_equal(port->resets, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_found, setup),
        cmocka_unit_test_setup(test_commands, setup),
        cmocka_unit_test_setup(test_in_flight, setup),
        cmocka_unit_test_setup(test_flush_beside_the_queue, setup),
        cmocka_unit_test_setup(test_failures, setup),
        cmocka_unit_test_setup(test_silence, setup),
        cmocka_unit_test_setup(test_nonsense, setup),
        cmocka_unit_test_setup(test_abort, setup),
        cmocka_unit_test_setup_teardown(test_cd_reads, cd_setup, cd_teardown),
        cmocka_unit_test_setup_teardown(test_cd_refuses, cd_setup, cd_teardown),
        cmocka_unit_test_setup_teardown(test_cd_fails, cd_setup, cd_teardown),
        cmocka_unit_test_setup_teardown(test_cd_is_silent, cd_setup, cd_teardown),
        cmocka_unit_test_setup(test_lost, setup),
    };

    return cmocka_run_group_tests(tests, group_setup, NULL);
}
