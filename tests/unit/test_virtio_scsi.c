/* SPDX-License-Identifier: MIT */
/*
 * The CD drives' controller on the board: addresses, buffers cut in any way, commands that end later, a
 * medium that the operator takes while it is read, task management, resets while something goes on.
 */
// sources: tests/unit/slow_device.c tests/unit/device_fakes.c tests/unit/fake_memory.c
// sources: tests/unit/fake_guest_ram.c hv/run/bus.c
// sources: hv/run/timer.c hv/memory/frame.c hv/memory/memory.c hv/memory/guest_map.c hv/storage/block.c
// sources: hv/storage/block_ram.c guest/devices/acpi_pm.c guest/devices/calendar.c guest/devices/clock.c
// sources: guest/devices/ioapic.c guest/devices/lapic.c guest/devices/lapic_base.c
// sources: guest/devices/lapic_page.c guest/devices/lapic_registers.c guest/devices/lapic_timer.c
// sources: guest/devices/pci.c guest/devices/pic.c guest/devices/pit.c guest/devices/reset.c
// sources: guest/devices/rtc.c guest/devices/uart.c guest/devices/msix.c guest/devices/virtio.c
// sources: guest/devices/virtio_ring.c guest/devices/virtio_buffers.c guest/devices/virtio_scsi.c
// sources: hv/storage/scsi_cd.c hv/storage/media.c tests/unit/fake_cd_drive.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "guest/devices/virtio_scsi.h"
#include "hv/lib/errno.h"
#include "hv/lib/string.h"
#include "tests/unit/device_fakes.h"
#include "tests/unit/fake_cd_drive.h"
#include "tests/unit/fake_guest_ram.h"
#include "tests/unit/fake_memory.h"
#include "tests/unit/slow_device.h"

#define SLOT     3u
#define BAR      (0xfe000000ull + SLOT * 0x10000)
#define COMMON   BAR
#define CONFIG   (BAR + 0x200)
#define NOTIFY   (BAR + 0x1000)
#define SIZE     64u
#define RINGS    0x10000ull /* of queue n: n * 0x10000 above: descriptors, available and used ring */
#define AVAIL    0x4000ull
#define USED     0x8000ull
#define REQUESTS 0x40000ull /* of request n: its header, and its response 0x100 above */
#define DATA     0x100000ull
#define HOLE     0xd0000000ull
#define CONTROL  0u
#define COMMANDS 2u

static struct virtio_scsi *scsi;
static struct block_device disk; /* a medium that takes its time */
static u8 file[8192];
static char said[300];

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;

    (void)level;
    va_start(args, format);
    vsnprintf(said, sizeof(said), format, args);
    va_end(args);
}

bool log_limit_pass(struct log_limit *limit, u64 now, u64 interval, u32 burst)
{
    (void)now, (void)interval;
    return limit->used++ < burst;
}

size_t string_copy(char *to, const char *from, size_t size)
{
    return (size_t)snprintf(to, size, "%s", from);
}

static u64 clock_read(void)
{
    return 0;
}

static void alarm_set(u64 ms)
{
    (void)ms;
}

/* ---------------------------------------------------------------- the board */

static void out(gpa_t at, unsigned size, u64 value)
{
    mmio_bus_write(&board.vm.mmio, &board.vcpus[1], at, size, value);
}

static void notify(unsigned queue)
{
    out(NOTIFY + 4 * queue, 2, queue);
}

static u8 status(void)
{
    return (u8)mmio_bus_read(&board.vm.mmio, &board.vcpus[1], COMMON + VIRTIO_PCI_COMMON_STATUS, 1);
}

/* From a reset on. */
static void go_on(void)
{
    const u64 features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC);

    assert_int_equal(status(), 0);
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 3);
    for (u32 i = 0; i < 2; i++) {
        out(COMMON + VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        out(COMMON + VIRTIO_PCI_COMMON_GF, 4, features >> (32 * i));
    }
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 11);
    memset(fake_guest_ram_at(RINGS), 0, 0x30000);
    for (u64 i = 0; i < 3; i++) {
        out(COMMON + VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
        out(COMMON + VIRTIO_PCI_COMMON_Q_SIZE, 2, SIZE);
        out(COMMON + VIRTIO_PCI_COMMON_Q_DESCLO, 8, RINGS + i * 0x10000);
        out(COMMON + VIRTIO_PCI_COMMON_Q_AVAILLO, 8, RINGS + i * 0x10000 + AVAIL);
        out(COMMON + VIRTIO_PCI_COMMON_Q_USEDLO, 8, RINGS + i * 0x10000 + USED);
        out(COMMON + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    }
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 15);
    assert_int_equal(status(), 15);
}

static void begin(void)
{
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    go_on();
}

static void power_on(void)
{
    port_out(0xcf8, 4, 0x80000000 | SLOT << 11 | PCI_COMMAND);
    port_out(0xcfc, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    begin();
}

static int setup_with(void **state, bool drive)
{
    static const struct media_host host = {clock_read, alarm_set};
    char why[100];

    board_setup(state);
    fake_memory_begin();
    fake_guest_ram_reset(&board.vm.memory, 64 << 20);
    media_start(&host);
    disk = slow_device(4000, 2);
    disk.read_only = true;
    slow.abort_status = 0; /* it even says that all was read */
    for (u32 i = 0; i < sizeof(file); i++)
        file[i] = (u8)(i >> 11);
    board.config.cdroms[0].file = (struct boot_file){"a.iso", file, sizeof(file)};
    board.config.cdrom_count = 2;
    board.config.cdroms[1].host = drive;
    fake_cd_drive = (struct fake_cd_drive){.device = disk};
    string_copy(board.config.cdroms[1].name, "ide:2", sizeof(board.config.cdroms[1].name));
    assert_int_equal(virtio_scsi_create(board.machine, SLOT, why, sizeof(why)), 0);
    scsi = board.machine->scsi;
    slow.lock = &scsi->virtio.pci.lock;
    power_on();
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, false);
}

static int setup_drive(void **state)
{
    return setup_with(state, true);
}

static int teardown(void **state)
{
    virtio_scsi_reset(scsi);
    while (scsi->units[1].cd.media.checking) /* as block_close of a drive does */
        fake_cd_drive.user->tell(fake_cd_drive.user, CD_NEWS_CHECKED);
    virtio_scsi_destroy(scsi);
    board.machine->scsi = NULL;
    assert_int_equal(frame_owned(frame_owner_support(0)), 0);
    return board_teardown(state);
}

/* ---------------------------------------------------------------- requests */

static u16 used_count(unsigned queue)
{
    u16 count;

    memcpy(&count, fake_guest_ram_at(RINGS + queue * 0x10000 + USED + 2), 2);
    return count;
}

static const struct virtio_scsi_cmd_resp *answer(u16 n)
{
    return (const void *)fake_guest_ram_at(REQUESTS + 0x200u * n + 0x100);
}

static void put(unsigned queue, u16 n, u32 header_bytes, u32 response_bytes, gpa_t data, u32 bytes)
{
    struct vring_desc *desc = (struct vring_desc *)fake_guest_ram_at(RINGS + queue * 0x10000) + 3 * n;
    struct vring_avail *avail = (struct vring_avail *)fake_guest_ram_at(RINGS + queue * 0x10000 + AVAIL);
    gpa_t at = REQUESTS + 0x200u * n;

    memset(fake_guest_ram_at(at + 0x100), 0xee, 108);
    desc[0] = (struct vring_desc){at, header_bytes, VRING_DESC_F_NEXT, (u16)(3 * n + 1)};
    desc[1] = (struct vring_desc){at + 0x100, response_bytes,
                                  VRING_DESC_F_WRITE | (bytes ? VRING_DESC_F_NEXT : 0), (u16)(3 * n + 2)};
    desc[2] = (struct vring_desc){data, bytes, VRING_DESC_F_WRITE, 0};
    avail->ring[avail->idx++ % SIZE] = 3 * n;
}

/* Request n to a unit: a CDB, and so many bytes for data. */
static void offer(u16 n, u8 unit, const u8 cdb[12], gpa_t data, u32 bytes)
{
    struct virtio_scsi_cmd_req header = {.lun = {1, 0, 0x40, unit}, .tag = 100u + n};

    memcpy(header.cdb, cdb, 12);
    memcpy(fake_guest_ram_at(REQUESTS + 0x200u * n), &header, sizeof(header));
    put(COMMANDS, n, sizeof(header), 108, data, bytes);
}

static const u8 test_unit_ready[12];
static const u8 read_first[12] = {0x28, [8] = 1};

static u8 ask(u8 unit, const u8 cdb[12], gpa_t data, u32 bytes)
{
    offer(0, unit, cdb, data, bytes);
    notify(COMMANDS);
    return answer(0)->response == VIRTIO_SCSI_S_OK ? answer(0)->status : 0x80 | answer(0)->response;
}

static void wake_up(u8 unit)
{
    assert_int_equal(ask(unit, test_unit_ready, 0, 0), SCSI_CHECK_CONDITION);
    assert_int_equal(answer(0)->sense[12], 0x29);
}

static void insert(u8 unit, struct block_device *medium)
{
    struct media *media = &scsi->units[unit].cd.media;

    assert_int_equal(media->ops->insert(media, medium), 0);
}

/* The disk into unit 1, whose guest has heard of the reset and of the change. */
static void insert_seen(void)
{
    insert(1, &disk);
    wake_up(1);
    assert_int_equal(ask(1, test_unit_ready, 0, 0), SCSI_CHECK_CONDITION);
}

static int eject(u8 unit, bool force)
{
    struct media *media = &scsi->units[unit].cd.media;

    return media->ops->eject(media, force);
}

static void work(void)
{
    virtio_scsi_work(scsi, &board.vcpus[1]);
}

/* ---------------------------------------------------------------- commands */

static void test_commands(void **state)
{
    static const u8 inquiry[12] = {0x12, [4] = 36}, luns[12] = {0xa0, [9] = 24};

    (void)state;
    assert_int_equal(ask(0, inquiry, DATA, 64), SCSI_GOOD);
    assert_int_equal(answer(0)->resid, 64 - 36);
    assert_memory_equal(fake_guest_ram_at(DATA + 8), "lintel", 6);
    assert_int_equal(ask(0, inquiry, DATA, 4), SCSI_GOOD);
    assert_int_equal(ask(7, luns, DATA, 24), SCSI_GOOD);
    assert_int_equal(*fake_guest_ram_at(DATA + 17), 1);
    wake_up(0);
    wake_up(1);
    assert_int_equal(ask(0, read_first, DATA, 2048), SCSI_GOOD);
    assert_int_equal(answer(0)->resid, 0);
    assert_memory_equal(fake_guest_ram_at(DATA), file, 2048);
    assert_int_equal(ask(1, read_first, DATA, 2048), SCSI_CHECK_CONDITION);
    assert_int_equal(answer(0)->sense_len, 18);
    assert_int_equal(answer(0)->sense[12], 0x3a);
    assert_int_equal(answer(0)->resid, 2048);
    assert_int_equal(ask(2, test_unit_ready, 0, 0), SCSI_CHECK_CONDITION);
    assert_int_equal(answer(0)->sense[12], 0x25);
    assert_int_equal(ask(0, read_first, DATA, 2047), 0x80 | VIRTIO_SCSI_S_OVERRUN);
    assert_int_equal(ask(0, read_first, HOLE, 2048), SCSI_CHECK_CONDITION);
    assert_int_equal(ask(0, inquiry, HOLE, 64), 0x80 | VIRTIO_SCSI_S_FAILURE);
}

static void test_targets(void **state)
{
    struct virtio_scsi_cmd_req *header = (void *)fake_guest_ram_at(REQUESTS);

    (void)state;
    offer(0, 0, test_unit_ready, 0, 0);
    header->lun[1] = 1;
    notify(COMMANDS);
    assert_int_equal(answer(0)->response, VIRTIO_SCSI_S_BAD_TARGET);
    offer(0, 0, test_unit_ready, 0, 0);
    header->lun[2] = 0xc1; /* a well-known one */
    notify(COMMANDS);
    assert_int_equal(answer(0)->response, VIRTIO_SCSI_S_OK);
    assert_int_equal(answer(0)->sense[12], 0x25);
    assert_int_equal(used_count(COMMANDS), 2);
}

/* The response and the data in one buffer, and in odd pieces. */
static void test_layouts(void **state)
{
    struct vring_desc *desc = (struct vring_desc *)fake_guest_ram_at(RINGS + COMMANDS * 0x10000);

    (void)state;
    wake_up(0);
    offer(0, 0, read_first, 0, 0);
    desc[1] = (struct vring_desc){DATA, 100, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2};
    desc[2] = (struct vring_desc){DATA + 100, 8 + 1000, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 10};
    desc[10] = (struct vring_desc){DATA + 1108, 0, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 11};
    desc[11] = (struct vring_desc){DATA + 1108, 5000, VRING_DESC_F_WRITE, 0};
    notify(COMMANDS);
    assert_memory_equal(fake_guest_ram_at(DATA + 108), file, 2048);
    assert_int_equal(((struct virtio_scsi_cmd_resp *)fake_guest_ram_at(DATA))->resid, 6000 - 2048);
}

static void test_failures(void **state)
{
    (void)state;
    offer(0, 0, test_unit_ready, 0, 0);
    ((struct vring_desc *)fake_guest_ram_at(RINGS + COMMANDS * 0x10000))[1].len = 107;
    notify(COMMANDS);
    assert_int_equal(status(), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_non_null(strstr(said, "without a header or a place for the response"));
    begin();
    wake_up(0);
}

/* ---------------------------------------------------------------- what ends later */

/* The medium goes while it is read: the right sense, whatever the medium says, and no data counts. */
static void test_eject_under_reads(void **state)
{
    (void)state;
    insert_seen();
    offer(1, 1, read_first, DATA, 2048);
    offer(2, 1, read_first, DATA, 2048);
    offer(3, 1, read_first, DATA, 2048);
    notify(COMMANDS);
    assert_int_equal(slow.waiting_count, 2);
    assert_int_equal(answer(3)->status, SCSI_TASK_SET_FULL); /* of its depth */
    assert_int_equal(eject(1, true), 0);
    assert_int_equal(slow.closed, 1);
    work();
    for (u16 i = 1; i < 3; i++) {
        assert_int_equal(answer(i)->response, VIRTIO_SCSI_S_OK);
        assert_int_equal(answer(i)->status, SCSI_CHECK_CONDITION);
        assert_memory_equal(answer(i)->sense + 12, "\x3a\x02", 2);
        assert_int_equal(answer(i)->resid, 2048);
    }
    assert_int_equal(used_count(COMMANDS), 5);
    assert_int_equal(ask(1, test_unit_ready, 0, 0), SCSI_CHECK_CONDITION);
    assert_int_equal(scsi->in_progress, 0);
}

/* The guest opens the tray over its own read, the operator puts another medium into it. */
static void test_exchange_under_a_read(void **state)
{
    static const u8 open_tray[12] = {0x1b, [4] = 2};
    struct block_device other = disk;

    (void)state;
    insert_seen();
    offer(1, 1, read_first, DATA, 2048);
    notify(COMMANDS);
    assert_int_equal(ask(1, open_tray, 0, 0), SCSI_GOOD);
    insert(1, &other);
    assert_int_equal(slow.closed, 1); /* the one that lay there */
    work();
    assert_int_equal(answer(1)->sense[2], 6);
    assert_int_equal(answer(1)->sense[12], 0x28);
    assert_int_equal(ask(1, test_unit_ready, 0, 0), SCSI_GOOD); /* that was the one of this change */
    assert_int_equal(eject(1, true), 0);
}

static void task(u16 n, u32 type, u8 unit, u64 tag)
{
    struct virtio_scsi_ctrl_tmf_req header = {.subtype = type, .lun = {1, 0, 0x40, unit}, .tag = tag};

    memcpy(fake_guest_ram_at(REQUESTS + 0x200u * n), &header, sizeof(header));
    put(CONTROL, n, sizeof(header), 1, 0, 0);
    notify(CONTROL);
}

static u8 task_answer(u16 n)
{
    return *fake_guest_ram_at(REQUESTS + 0x200u * n + 0x100);
}

static void test_tasks(void **state)
{
    (void)state;
    insert_seen();
    offer(1, 1, read_first, DATA, 2048);
    offer(2, 1, read_first, DATA, 2048);
    notify(COMMANDS);
    task(10, VIRTIO_SCSI_T_TMF_QUERY_TASK, 1, 101);
    assert_int_equal(task_answer(10), VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
    task(10, VIRTIO_SCSI_T_TMF_QUERY_TASK, 1, 199);
    assert_int_equal(task_answer(10), VIRTIO_SCSI_S_OK);
    task(10, VIRTIO_SCSI_T_TMF_ABORT_TASK, 1, 101);
    assert_int_equal(task_answer(10), 0xee); /* when it has ended */
    task(11, VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, 1, 0);
    assert_int_equal(task_answer(11), 0xee); /* and this one behind it */
    slow_end(0, 0);
    work();
    assert_int_equal(answer(1)->response, VIRTIO_SCSI_S_ABORTED);
    assert_int_equal(task_answer(10), VIRTIO_SCSI_S_OK);
    assert_int_equal(task_answer(11), VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
    slow_end(0, 0);
    work();
    assert_int_equal(answer(2)->response, VIRTIO_SCSI_S_OK);
    assert_int_equal(answer(2)->status, SCSI_GOOD);
    task(10, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 1, 0);
    assert_int_equal(task_answer(10), VIRTIO_SCSI_S_OK);
    wake_up(1);
    task(10, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 5, 0);
    assert_int_equal(task_answer(10), VIRTIO_SCSI_S_INCORRECT_LUN);
    task(10, VIRTIO_SCSI_T_TMF_CLEAR_ACA, 1, 0);
    assert_int_equal(task_answer(10), VIRTIO_SCSI_S_FUNCTION_REJECTED);
    assert_int_equal(eject(1, true), 0);
}

/* A read that was aborted says nothing of the change that it met: the next command does. */
static void test_exchange_under_an_aborted_read(void **state)
{
    static const u8 open_tray[12] = {0x1b, [4] = 2};
    struct block_device other = disk;

    (void)state;
    insert_seen();
    offer(1, 1, read_first, DATA, 2048);
    notify(COMMANDS);
    task(10, VIRTIO_SCSI_T_TMF_ABORT_TASK, 1, 101);
    assert_int_equal(ask(1, open_tray, 0, 0), SCSI_GOOD);
    insert(1, &other);
    work();
    assert_int_equal(answer(1)->response, VIRTIO_SCSI_S_ABORTED);
    assert_int_equal(ask(1, test_unit_ready, 0, 0), SCSI_CHECK_CONDITION);
    assert_int_equal(answer(0)->sense[12], 0x28);
    assert_int_equal(ask(1, test_unit_ready, 0, 0), SCSI_GOOD);
    assert_int_equal(eject(1, true), 0);
}

/* A driver that begins anew before the vCPU that notified has had a turn hears nothing of its last life. */
static void test_reset_forgets(void **state)
{
    (void)state;
    insert_seen();
    offer(1, 1, read_first, DATA, 2048);
    notify(COMMANDS);
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    slow_end(0, 0);
    go_on();
    work();
    assert_int_equal(used_count(COMMANDS), 0);
    assert_int_equal(answer(1)->response, 0xee);
    assert_int_equal(ask(1, test_unit_ready, 0, 0), SCSI_GOOD);
    assert_int_equal(eject(1, false), 0);
}

/* What has ended waits for a turn of the vCPU that notified last; then another one notifies. */
static void test_another_notifies(void **state)
{
    (void)state;
    insert_seen();
    offer(1, 1, read_first, DATA, 2048);
    notify(COMMANDS);
    slow_end(0, 0);
    mmio_bus_write(&board.vm.mmio, &board.vcpus[0], NOTIFY, 2, CONTROL);
    work();
    assert_int_equal(answer(1)->response, VIRTIO_SCSI_S_OK);
    assert_int_equal(eject(1, false), 0);
}

/* The driver's reset ends when the medium has ended; nothing is written meanwhile. */
static void test_reset_waits(void **state)
{
    (void)state;
    insert_seen();
    offer(1, 1, read_first, DATA, 2048);
    notify(COMMANDS);
    task(10, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 1, 0);
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_int_equal(status(), 15);
    slow_end(0, 0);
    assert_int_equal(status(), 0);
    work();
    assert_int_equal(answer(1)->response, 0xee);
    assert_int_equal(task_answer(10), 0xee);
    begin();
    assert_int_equal(ask(1, test_unit_ready, 0, 0), SCSI_GOOD);
    /* And the machine's does not wait. */
    offer(1, 1, read_first, DATA, 2048);
    notify(COMMANDS);
    virtio_scsi_reset(scsi);
    assert_int_equal(slow.waiting_count, 0);
    assert_int_equal(answer(1)->response, 0xee);
    assert_int_equal(eject(1, false), 0);
}

/* ---------------------------------------------------------------- a drive of the machine */

static void tell(u32 news)
{
    fake_cd_drive.user->tell(fake_cd_drive.user, news);
}

/* What GET EVENT STATUS NOTIFICATION says: code and status. */
static u32 event(void)
{
    static const u8 get_event[12] = {0x4a, 1, [4] = 0x10, [8] = 8};
    const u8 *data = fake_guest_ram_at(DATA);

    assert_int_equal(ask(1, get_event, DATA, 8), SCSI_GOOD);
    return (u32)data[4] << 8 | data[5];
}

static u32 sense_of(u16 n)
{
    return answer(n)->status ? (u32)answer(n)->sense[2] << 16 | (u32)answer(n)->sense[12] << 8 : 0;
}

static void test_drive_polls(void **state)
{
    struct media *media = &scsi->units[1].cd.media;
    char text[MEDIA_DESCRIPTION_MAX];

    (void)state;
    assert_int_equal(media->by_itself, 0);
    assert_int_equal(media_interval(media), MEDIA_POLL_STANDARD);
    assert_int_equal(fake_cd_drive.checks, 1); /* at once */
    assert_true(media->checking);
    tell(CD_NEWS_CHECKED);
    assert_false(media->checking);
    media_flush(media, 0);
    assert_int_equal(fake_cd_drive.checks, 2);
    fake_cd_drive.open = true;
    tell(CD_NEWS_CHECKED | CD_NEWS_GONE);
    assert_int_equal(media->pending, MEDIA_CHANGE);
    media->ops->describe(media, text, sizeof(text));
    assert_string_equal(text, "ide:2, empty, tray open");
    assert_int_equal(event(), 0x301);
    assert_int_equal(media->pending, 0);
    fake_cd_drive.is_lost = true;
    media_flush(media, 0);
    assert_false(media->checking);
    assert_int_equal(media->ops->insert(media, &disk), -EPERM);
}

/* A guest that closes what it had open, and locked, has it looked at closely, polls or not. */
static void test_drive_closed(void **state)
{
    static const u8 lock[12] = {0x1e, [4] = 1}, allow[12] = {0x1e};
    struct media *media = &scsi->units[1].cd.media;

    (void)state;
    tell(CD_NEWS_CHECKED);
    wake_up(1);
    assert_int_equal(media_set_poll(media, MEDIA_POLL_NEVER), 0);
    for (u32 i = 1; i < 4; i++) {
        assert_int_equal(ask(1, lock, 0, 0), SCSI_GOOD);
        assert_int_equal(ask(1, lock, 0, 0), SCSI_GOOD);
        assert_int_equal(fake_cd_drive.checks, i);
        assert_int_equal(ask(1, allow, 0, 0), SCSI_GOOD);
        assert_int_equal(ask(1, allow, 0, 0), SCSI_GOOD);
        assert_int_equal(fake_cd_drive.checks, i + 1);
        assert_true(fake_cd_drive.thorough);
        tell(CD_NEWS_CHECKED);
    }
    media_flush(media, 0);
    assert_false(fake_cd_drive.thorough);
}

static void test_drive_exchange(void **state)
{
    (void)state;
    tell(CD_NEWS_CHECKED);
    wake_up(1);
    assert_int_equal(ask(1, test_unit_ready, 0, 0), SCSI_GOOD);
    offer(1, 1, read_first, DATA, 2048);
    notify(COMMANDS);
    fake_cd_drive.sectors = 8;
    tell(CD_NEWS_GONE | CD_NEWS_CAME);
    slow_end(0, 0);
    work();
    assert_int_equal(sense_of(1), 0x62800); /* its data was the last one's */
    assert_int_equal(event(), 0x302);
    assert_int_equal(event(), 0x202);
    assert_int_equal(ask(1, (const u8[12]){0x28, [5] = 2, [8] = 1}, DATA, 2048), SCSI_CHECK_CONDITION);
    assert_int_equal(sense_of(0), 0x52100); /* it is smaller */
    /* The drive finds it gone before the user has been told. */
    offer(1, 1, read_first, DATA, 2048);
    notify(COMMANDS);
    slow_end(0, -ENOMEDIUM);
    work();
    assert_int_equal(sense_of(1), 0x23a00);
    tell(CD_NEWS_GONE);
    assert_int_equal(ask(1, test_unit_ready, 0, 0), SCSI_CHECK_CONDITION);
    assert_int_equal(event(), 0x300);
    /* It came, and went again before it could be taken. */
    fake_cd_drive.sectors = 0;
    tell(CD_NEWS_CAME);
    assert_int_equal(event(), 0x000);
}

static void test_drive_tray(void **state)
{
    static const u8 lock[12] = {0x1e, [4] = 1}, allow[12] = {0x1e}, open[12] = {0x1b, [4] = 2},
                    close[12] = {0x1b, [4] = 3};

    (void)state;
    wake_up(1);
    assert_int_equal(ask(1, lock, 0, 0), SCSI_GOOD);
    assert_true(fake_cd_drive.locked);
    tell(CD_NEWS_EJECT_WANTED);
    assert_int_equal(event(), 0x102);
    assert_int_equal(ask(1, open, 0, 0), SCSI_CHECK_CONDITION);
    assert_int_equal(eject(1, false), -EAGAIN);
    assert_int_equal(fake_cd_drive.moves, 0);
    assert_int_equal(event(), 0x102);
    assert_int_equal(ask(1, allow, 0, 0), SCSI_GOOD);
    assert_int_equal(ask(1, open, 0, 0), SCSI_GOOD);
    assert_int_equal(ask(1, open, 0, 0), SCSI_GOOD);
    assert_false(fake_cd_drive.locked);
    assert_true(fake_cd_drive.open);
    assert_int_equal(fake_cd_drive.moves, 1);
    tell(CD_NEWS_CHECKED);
    assert_int_equal(event(), 0x301);
    virtio_scsi_reset(scsi); /* no reset of a machine closes a tray */
    power_on();
    wake_up(1);
    assert_int_equal(fake_cd_drive.moves, 1);
    assert_int_equal(event(), 0x001);
    assert_int_equal(ask(1, close, 0, 0), SCSI_GOOD);
    assert_false(fake_cd_drive.open);
    assert_int_equal(fake_cd_drive.moves, 2);
    assert_int_equal(ask(1, test_unit_ready, 0, 0), SCSI_CHECK_CONDITION); /* until it has been looked at */
    assert_int_equal(eject(1, false), -ENOENT);
    assert_int_equal(eject(1, true), -EINPROGRESS); /* what can't be read comes out, too */
    assert_true(fake_cd_drive.open);
    assert_int_equal(eject(1, true), -ENOENT);
    assert_int_equal(ask(1, close, 0, 0), SCSI_GOOD);
    assert_int_equal(fake_cd_drive.moves, 4);
    fake_cd_drive.sectors = 4000;
    tell(CD_NEWS_CAME);
    assert_int_equal(event(), 0x202);
    ask(1, lock, 0, 0);
    ask(1, lock, 0, 0);
    assert_int_equal(fake_cd_drive.locks, 3);
    assert_int_equal(eject(1, true), -EINPROGRESS);
    assert_true(fake_cd_drive.open);
    assert_int_equal(slow.closed, 0); /* the drive stays */
    virtio_scsi_reset(scsi);
    assert_false(fake_cd_drive.locked);
}

/* Without memory for the data a command fails; without it for the response it is not begun. */
static void test_no_memory(void **state)
{
    (void)state;
    offer(0, 0, test_unit_ready, 0, 0); /* ends with the unit attention of a beginning */
    notify(COMMANDS);
    fake_guest_ram_full = DATA;
    offer(1, 0, read_first, DATA, 2048);
    notify(COMMANDS);
    assert_int_equal(used_count(COMMANDS), 2);
    assert_int_equal(answer(1)->response, VIRTIO_SCSI_S_OK);
    assert_int_equal(answer(1)->status, 2);
    assert_non_null(
        strstr(said, "its CD drives' controller answers with an error: the VM is promised no memory"));
    fake_guest_ram_full = REQUESTS + 0x1000;
    offer(8, 0, test_unit_ready, 0, 0); /* in another page than what was there before */
    notify(COMMANDS);
    virtio_scsi_work(scsi, &board.vcpus[1]);
    assert_int_equal(used_count(COMMANDS), 2);
    assert_int_equal(board.memory_waits[1], 1);
    assert_int_equal(board.waits_for, REQUESTS + 0x200 * 8 + 0x100);
    fake_guest_ram_full = ~0ull;
    virtio_scsi_work(scsi, &board.vcpus[1]);
    assert_int_equal(used_count(COMMANDS), 3);
    assert_int_equal(answer(8)->status, 0);
    assert_int_equal(status(), 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
        cmocka_unit_test_setup_teardown(test_targets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_layouts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eject_under_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exchange_under_a_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exchange_under_an_aborted_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tasks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_forgets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_notifies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drive_polls, setup_drive, teardown),
        cmocka_unit_test_setup_teardown(test_drive_closed, setup_drive, teardown),
        cmocka_unit_test_setup_teardown(test_drive_exchange, setup_drive, teardown),
        cmocka_unit_test_setup_teardown(test_drive_tray, setup_drive, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };

    return cmocka_run_group_tests_name("virtio_scsi", tests, NULL, NULL);
}
