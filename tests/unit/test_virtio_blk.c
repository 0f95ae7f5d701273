/* SPDX-License-Identifier: MIT */
/*
 * A drive on the board: registers in any order, requests that end at once and later, shares of long queues,
 * resets while something goes on, INTA and messages.
 */
// sources: tests/unit/slow_device.c tests/unit/device_fakes.c tests/unit/fake_memory.c
// sources: tests/unit/fake_guest_ram.c hv/run/bus.c
// sources: hv/run/timer.c hv/memory/frame.c hv/memory/memory.c hv/memory/guest_map.c hv/storage/block.c
// sources: hv/storage/block_ram.c guest/devices/acpi_pm.c guest/devices/calendar.c guest/devices/clock.c
// sources: guest/devices/ioapic.c guest/devices/lapic.c guest/devices/lapic_base.c
// sources: guest/devices/lapic_page.c guest/devices/lapic_registers.c guest/devices/lapic_timer.c
// sources: guest/devices/pci.c guest/devices/pic.c guest/devices/pit.c guest/devices/reset.c
// sources: guest/devices/rtc.c guest/devices/uart.c guest/devices/msix.c guest/devices/virtio.c
// sources: guest/devices/virtio_ring.c guest/devices/virtio_buffers.c guest/devices/virtio_blk.c
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

#include "guest/devices/virtio_blk.h"
#include "hv/lib/errno.h"
#include "tests/unit/device_fakes.h"
#include "tests/unit/fake_guest_ram.h"
#include "tests/unit/fake_memory.h"
#include "tests/unit/slow_device.h"

#define SLOT    3u
#define BAR     (0xfe000000ull + SLOT * 0x10000)
#define COMMON  BAR
#define ISR     (BAR + 0x100)
#define CONFIG  (BAR + 0x200)
#define NOTIFY  (BAR + 0x1000)
#define TABLE   (BAR + 0x2000)
#define PENDING (BAR + 0x3000)
#define SIZE    64u
#define DESC    0x10000ull
#define AVAIL   0x20000ull
#define USED    0x30000ull
#define HEADERS 0x40000ull /* of request n: header, then its status */
#define DATA    0x100000ull
#define SECTORS ((4u << 20) / 512)
#define HOLE    0xd0000000ull
#define ALL     (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC))

static struct virtio_blk *blk;
static struct block_device disk; /* one that takes its time */
static char said[300];
static unsigned said_count;

void log_line(enum log_level level, const char *format, ...)
{
    va_list args;

    (void)level;
    va_start(args, format);
    vsnprintf(said, sizeof(said), format, args);
    va_end(args);
    said_count++;
}

bool log_limit_pass(struct log_limit *limit, u64 now, u64 interval, u32 burst)
{
    (void)now, (void)interval;
    return limit->used++ < burst;
}

/* ---------------------------------------------------------------- the board */

static void plug(struct block_device *device)
{
    said_count = 0;
    fake_guest_ram_reset(&board.vm.memory, 64 << 20);
    snprintf(board.vm.name, sizeof(board.vm.name), "v");
    blk = virtio_blk_create(board.machine, SLOT, 5, device);
    assert_non_null(blk);
    port_out(0xcf8, 4, 0x80000000 | SLOT << 11 | PCI_COMMAND);
    port_out(0xcfc, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static int setup(void **state)
{
    const struct boot_file none = {0};
    struct block_device *ram;

    board_setup(state);
    fake_memory_begin();
    assert_int_equal(block_ram_create(&none, SECTORS * 512ull, frame_owner_support(0), &ram), 0);
    plug(ram);
    return 0;
}

static int setup_slow(void **state)
{
    board_setup(state);
    fake_memory_begin();
    disk = slow_device(SECTORS, 4);
    plug(&disk);
    slow.lock = &blk->virtio.pci.lock;
    return 0;
}

static int teardown(void **state)
{
    bool was_slow = blk->disk == &disk;

    virtio_blk_reset(blk);
    virtio_blk_destroy(blk);
    assert_int_equal(slow.closed, was_slow);
    slow.closed = 0;
    assert_int_equal(frame_owned(frame_owner_support(0)), 0);
    return board_teardown(state);
}

static void out(gpa_t at, unsigned size, u64 value)
{
    mmio_bus_write(&board.vm.mmio, &board.vcpus[1], at, size, value);
}

static u32 in(gpa_t at, unsigned size)
{
    return (u32)mmio_bus_read(&board.vm.mmio, &board.vcpus[1], at, size);
}

static u8 status(void)
{
    return (u8)in(COMMON + VIRTIO_PCI_COMMON_STATUS, 1);
}

/* From a reset on. */
static void go_on(u64 features)
{
    assert_int_equal(status(), 0);
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 3);
    for (u32 i = 0; i < 2; i++) {
        out(COMMON + VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        out(COMMON + VIRTIO_PCI_COMMON_GF, 4, features >> (32 * i));
    }
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 11);
    assert_int_equal(status(), 11);
    memset(fake_guest_ram_at(DESC), 0, 0x40000);
    out(COMMON + VIRTIO_PCI_COMMON_Q_SIZE, 2, SIZE);
    out(COMMON + VIRTIO_PCI_COMMON_Q_DESCLO, 8, DESC);
    out(COMMON + VIRTIO_PCI_COMMON_Q_AVAILLO, 8, AVAIL);
    out(COMMON + VIRTIO_PCI_COMMON_Q_USEDLO, 4, USED);
    out(COMMON + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 15);
    assert_int_equal(status(), 15);
}

static void begin(u64 features)
{
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    go_on(features);
}

static u16 used_count(void)
{
    u16 count;

    memcpy(&count, fake_guest_ram_at(USED + 2), 2);
    return count;
}

static u8 answer(u16 n)
{
    return *fake_guest_ram_at(HEADERS + 32u * n + 16);
}

/* Request n, of descriptors 3n, 3n + 1, 3n + 2. */
static void offer(u16 n, u32 type, u64 sector, gpa_t data, u32 bytes)
{
    const bool written = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    const struct virtio_blk_outhdr header = {.type = type, .sector = sector};
    struct vring_desc *desc = (struct vring_desc *)fake_guest_ram_at(DESC) + 3 * n;
    struct vring_avail *avail = (struct vring_avail *)fake_guest_ram_at(AVAIL);
    gpa_t at = HEADERS + 32u * n;

    memcpy(fake_guest_ram_at(at), &header, sizeof(header));
    *fake_guest_ram_at(at + 16) = 0xee;
    desc[0] = (struct vring_desc){at, 16, VRING_DESC_F_NEXT, (u16)(3 * n + (bytes ? 1 : 2))};
    desc[1] = (struct vring_desc){data, bytes, VRING_DESC_F_NEXT | (written ? VRING_DESC_F_WRITE : 0),
                                  (u16)(3 * n + 2)};
    desc[2] = (struct vring_desc){at + 16, 1, VRING_DESC_F_WRITE, 0};
    avail->ring[avail->idx++ % SIZE] = 3 * n;
}

static u8 ask(u32 type, u64 sector, gpa_t data, u32 bytes)
{
    offer(0, type, sector, data, bytes);
    out(NOTIFY, 2, 0);
    return answer(0);
}

/* ---------------------------------------------------------------- registers */

static void test_registers(void **state)
{
    (void)state;
    assert_int_equal(in(COMMON + VIRTIO_PCI_COMMON_NUMQ, 2), 1);
    assert_int_equal(in(COMMON + VIRTIO_PCI_COMMON_Q_SIZE, 2), 128);
    assert_int_equal(in(COMMON + VIRTIO_PCI_COMMON_MSIX, 2), 0xffff);
    out(COMMON + VIRTIO_PCI_COMMON_MSIX, 2, 1);
    assert_int_equal(in(COMMON + VIRTIO_PCI_COMMON_MSIX, 2), 1);
    out(COMMON + VIRTIO_PCI_COMMON_MSIX, 2, 2);
    assert_int_equal(in(COMMON + VIRTIO_PCI_COMMON_MSIX, 2), 0xffff);
    out(COMMON + VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
    assert_int_equal(in(COMMON + VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
    out(COMMON + VIRTIO_PCI_COMMON_Q_SIZE, 2, 3);
    out(COMMON + VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
    assert_int_equal(in(COMMON + VIRTIO_PCI_COMMON_Q_SIZE, 2), 128);
    assert_int_equal(in(CONFIG, 4), SECTORS);
    assert_int_equal(in(CONFIG + sizeof(struct virtio_blk_config) - 2, 4), 0);
    out(COMMON + VIRTIO_PCI_COMMON_DFSELECT, 4, 2);
    assert_int_equal(in(COMMON + VIRTIO_PCI_COMMON_DF, 4), 0);
    begin(ALL);
    out(COMMON + VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0x777000); /* too late */
    assert_int_equal(in(COMMON + VIRTIO_PCI_COMMON_Q_DESCLO, 4), DESC);
    out(COMMON + VIRTIO_PCI_COMMON_GF, 4, 0);
    assert_int_equal(in(COMMON + VIRTIO_PCI_COMMON_GF, 4), 1);
}

/* What a reset leaves is what a new device has. */
static void test_reset_is_power_on(void **state)
{
    struct virtio *before = malloc(sizeof(*before));

    (void)state;
    virtio_blk_reset(blk);
    memcpy(before, &blk->virtio, sizeof(*before));
    port_out(0xcfc, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    begin(ALL | BIT(VIRTIO_RING_F_EVENT_IDX));
    ask(VIRTIO_BLK_T_OUT, 0, DATA, 512);
    out(TABLE, 4, 0xfee00000);
    for (unsigned i = 0x40; i < 0xb0; i += 4) {
        port_out(0xcf8, 4, 0x80000000 | SLOT << 11 | i);
        port_out(0xcfc, 4, ~0u);
    }
    virtio_blk_reset(blk);
    before->pci.lock = blk->virtio.pci.lock; /* its tickets go on */
    before->log_limit = blk->virtio.log_limit;
    assert_memory_equal(before, &blk->virtio, sizeof(*before));
    free(before);
}

/* ---------------------------------------------------------------- requests */

static void test_requests(void **state)
{
    (void)state;
    begin(ALL);
    memset(fake_guest_ram_at(DATA), 0x5a, 8192);
    assert_int_equal(ask(VIRTIO_BLK_T_OUT, 100, DATA, 8192), VIRTIO_BLK_S_OK);
    assert_int_equal(ask(VIRTIO_BLK_T_IN, 100, DATA + 8192, 8192), VIRTIO_BLK_S_OK);
    assert_memory_equal(fake_guest_ram_at(DATA), fake_guest_ram_at(DATA + 8192), 8192);
    assert_int_equal(ask(VIRTIO_BLK_T_GET_ID, 0, DATA, 20), VIRTIO_BLK_S_OK);
    assert_memory_equal(fake_guest_ram_at(DATA), "disk5\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
    assert_int_equal(ask(VIRTIO_BLK_T_GET_ID, 0, DATA + 100, 3), VIRTIO_BLK_S_OK);
    assert_memory_equal(fake_guest_ram_at(DATA + 100), "dis\x5a", 4);
    assert_int_equal(ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(ask(VIRTIO_BLK_T_SCSI_CMD, 0, 0, 0), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(ask(VIRTIO_BLK_T_IN, SECTORS, DATA, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, HOLE, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, DATA, 127 * 0x8000), VIRTIO_BLK_S_IOERR); /* too much at once */
    assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, DATA, 126 * 0x8000), VIRTIO_BLK_S_OK);
    assert_int_equal(used_count(), 10);
    assert_int_equal(said_count, 0);
}

/* One broken rule, one sentence, one interrupt for the configuration; then nothing until the reset. */
static void test_failure(void **state)
{
    (void)state;
    begin(ALL);
    ask(VIRTIO_BLK_T_IN, 0, DATA, 512);
    in(ISR, 1);
    offer(1, VIRTIO_BLK_T_IN, 0, DATA, 512);
    ((struct vring_desc *)fake_guest_ram_at(DESC))[3].next = 200;
    out(NOTIFY, 2, 0);
    assert_int_equal(status(), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_int_equal(in(ISR, 1), 2);
    assert_string_equal(
        said, "VM v: disk5 waits for a reset: its driver named a descriptor that its table does not have");
    out(NOTIFY, 2, 0);
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 15);
    assert_int_equal(status(), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_int_equal(used_count(), 1);
    assert_int_equal(said_count, 1);
    begin(ALL);
    assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
}

/* The rest of a long queue comes in further turns of the vCPU that notified. */
static void test_shares(void **state)
{
    (void)state;
    begin(ALL);
    for (u16 i = 0; i < 5; i++)
        offer(i, VIRTIO_BLK_T_IN, 0, DATA, 512 << 10);
    out(NOTIFY, 2, 0);
    assert_int_equal(used_count(), 2); /* of 1 MiB together */
    assert_int_equal(board.wakes[1], 1);
    assert_true(board.vcpus[1].requests & REQUEST_DEVICE);
    virtio_blk_work(blk, &board.vcpus[0]); /* was not asked */
    assert_int_equal(used_count(), 2);
    virtio_blk_work(blk, &board.vcpus[1]);
    assert_int_equal(used_count(), 4);
    virtio_blk_work(blk, &board.vcpus[1]);
    assert_int_equal(used_count(), 5);
    assert_int_equal(board.wakes[1], 2);
    virtio_blk_work(blk, &board.vcpus[1]);
    assert_int_equal(used_count(), 5);
}

static void test_discard_takes_a_share(void **state)
{
    const struct virtio_blk_discard_write_zeroes range = {.num_sectors = 4096};

    (void)state;
    begin(ALL);
    memcpy(fake_guest_ram_at(DATA), &range, sizeof(range));
    offer(0, VIRTIO_BLK_T_DISCARD, 0, DATA, sizeof(range));
    offer(1, VIRTIO_BLK_T_FLUSH, 0, 0, 0);
    out(NOTIFY, 2, 0);
    assert_int_equal(used_count(), 1);
    assert_int_equal(answer(0), VIRTIO_BLK_S_OK);
    virtio_blk_work(blk, &board.vcpus[1]);
    assert_int_equal(used_count(), 2);
}

/* ---------------------------------------------------------------- the machine has no memory */

static void turn(void)
{
    virtio_blk_work(blk, &board.vcpus[1]);
}

/* What is read has no place: an error of the request, and no word of the driver's faults. */
static void test_no_memory_for_data(void **state)
{
    (void)state;
    begin(ALL);
    memset(fake_guest_ram_at(DATA), 0x5a, 8192);
    assert_int_equal(ask(VIRTIO_BLK_T_OUT, 0, DATA, 8192), VIRTIO_BLK_S_OK);
    fake_guest_ram_full = DATA + 0x5000;
    assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, DATA + 0x4000, 8192), VIRTIO_BLK_S_IOERR);
    assert_string_equal(said, "VM v: disk5 answers with an error: the VM is promised no memory for what it "
                              "reads or writes, and the machine has none left");
    assert_int_equal(ask(VIRTIO_BLK_T_GET_ID, 0, DATA + 0x5000, 20), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, DATA + 0x2000, 8192), VIRTIO_BLK_S_OK);
    assert_int_equal(status(), 15);
    assert_int_equal(board.memory_waits[1], 0);
}

/* The answer itself has none: nothing is begun, and the vCPU waits as if it had touched that page. */
static void test_no_memory_for_the_answer(void **state)
{
    static const gpa_t full[] = {HEADERS + 16, USED, USED + 4 + 8 * SIZE + 1};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(full); i++) {
        begin(ALL);
        board.memory_waits[1] = 0;
        fake_guest_ram_full = full[i];
        assert_int_equal(ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0), 0xee);
        assert_int_equal(board.memory_waits[1], 0); /* an exit is no place to wait */
        assert_true(board.vcpus[1].requests & REQUEST_DEVICE);
        vcpu_request_done(&board.vcpus[1], REQUEST_DEVICE);
        turn();
        assert_int_equal(board.memory_waits[1], 1);
        assert_int_equal(board.waits_for, full[i]);
        assert_true(board.vcpus[1].requests & REQUEST_DEVICE); /* when it has waited */
        assert_int_equal(answer(0), 0xee);
        assert_int_equal(used_count(), 0);
        fake_guest_ram_full = ~0ull;
        turn();
        assert_int_equal(answer(0), VIRTIO_BLK_S_OK);
        assert_int_equal(used_count(), 1);
        turn();
        assert_int_equal(board.memory_waits[1], 1);
        assert_int_equal(status(), 15);
    }
    assert_int_equal(said_count, 0);
}

/* A driver that begins anew waits for nothing that the one before it lacked. */
static void test_reset_waits_for_no_memory(void **state)
{
    (void)state;
    begin(ALL);
    fake_guest_ram_full = HEADERS;
    ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0);
    begin(ALL);
    turn();
    assert_int_equal(board.memory_waits[1], 0);
}

/* The place of the answer was there, so the guest itself has taken it away. */
static void test_memory_given_away(void **state)
{
    (void)state;
    begin(ALL);
    offer(0, VIRTIO_BLK_T_OUT, 0, DATA, 512);
    out(NOTIFY, 2, 0);
    assert_int_equal(slow.waiting_count, 1);
    fake_guest_ram_full = HEADERS;
    slow_end(0, 0);
    turn();
    assert_int_equal(status(), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_string_equal(said, "VM v: disk5 waits for a reset: its driver gave away what it had offered, and "
                              "the machine has no memory left");
    assert_int_equal(board.memory_waits[1], 0);
}

/* ---------------------------------------------------------------- requests that end later */

static void test_slow(void **state)
{
    (void)state;
    begin(ALL);
    for (u16 i = 0; i < 6; i++)
        offer(i, VIRTIO_BLK_T_IN, i, DATA + 512u * i, 512);
    out(NOTIFY, 2, 0);
    assert_int_equal(slow.waiting_count, 4); /* its depth */
    assert_int_equal(slow.waiting[3]->sector, 3);
    slow_end(2, -EIO);                 /* in any order */
    assert_int_equal(used_count(), 0); /* guest memory is for turns of vCPUs */
    assert_int_equal(answer(2), 0xee);
    assert_int_equal(board.wakes[1], 1);
    virtio_blk_work(blk, &board.vcpus[1]);
    assert_int_equal(used_count(), 1);
    assert_int_equal(answer(2), VIRTIO_BLK_S_IOERR);
    assert_int_equal(slow.waiting_count, 4); /* the fifth has gone out */
    while (slow.waiting_count)
        slow_end(0, 0);
    virtio_blk_work(blk, &board.vcpus[1]);
    assert_int_equal(used_count(), 5);
    slow_end(0, 0);
    virtio_blk_work(blk, &board.vcpus[1]);
    assert_int_equal(used_count(), 6);
    for (u16 i = 0; i < 6; i++)
        assert_int_equal(answer(i), i == 2 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

/* The driver's reset ends when the drive has ended; nothing is written meanwhile. */
static void test_reset_waits(void **state)
{
    (void)state;
    begin(ALL);
    offer(0, VIRTIO_BLK_T_IN, 0, DATA, 512);
    offer(1, VIRTIO_BLK_T_IN, 0, DATA, 512);
    out(NOTIFY, 2, 0);
    slow_end(1, 0);
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_int_equal(status(), 15);
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 1); /* not yet */
    virtio_blk_work(blk, &board.vcpus[1]);
    slow_end(0, 0);
    assert_int_equal(status(), 0);
    virtio_blk_work(blk, &board.vcpus[1]);
    assert_int_equal(used_count(), 0);
    assert_int_equal(answer(0), 0xee);
    begin(ALL);
    offer(0, VIRTIO_BLK_T_IN, 0, DATA, 512);
    out(NOTIFY, 2, 0);
    slow_end(0, 0);
    virtio_blk_work(blk, &board.vcpus[1]);
    assert_int_equal(answer(0), 0);
}

/* A driver that begins anew before the vCPU that notified has had a turn hears nothing of its last life. */
static void test_reset_forgets(void **state)
{
    (void)state;
    begin(ALL);
    offer(0, VIRTIO_BLK_T_IN, 0, DATA, 512);
    out(NOTIFY, 2, 0);
    out(COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    slow_end(0, 0);
    go_on(ALL);
    virtio_blk_work(blk, &board.vcpus[1]);
    assert_int_equal(used_count(), 0);
    assert_int_equal(answer(0), 0);
    for (u16 i = 0; i < 4; i++)
        offer(i, VIRTIO_BLK_T_IN, 0, DATA, 512);
    out(NOTIFY, 2, 0);
    assert_int_equal(slow.waiting_count, 4);
}

/* What has ended waits for a turn of the vCPU that notified last; then another one notifies. */
static void test_another_notifies(void **state)
{
    (void)state;
    begin(ALL);
    offer(0, VIRTIO_BLK_T_IN, 0, DATA, 512);
    out(NOTIFY, 2, 0);
    slow_end(0, 0);
    mmio_bus_write(&board.vm.mmio, &board.vcpus[0], NOTIFY, 2, 0);
    virtio_blk_work(blk, &board.vcpus[1]);
    assert_int_equal(used_count(), 1);
}

/* The machine's reset does not wait: the drive ends everything at once. */
static void test_abort(void **state)
{
    (void)state;
    begin(ALL);
    for (u16 i = 0; i < 4; i++)
        offer(i, VIRTIO_BLK_T_OUT, 0, DATA, 512);
    out(NOTIFY, 2, 0);
    assert_int_equal(slow.waiting_count, 4);
    virtio_blk_reset(blk);
    assert_int_equal(slow.waiting_count, 0);
    virtio_blk_work(blk, &board.vcpus[1]);
    assert_int_equal(used_count(), 0);
}

/* ---------------------------------------------------------------- interrupts */

static void route(u32 entry, u32 address, u32 data, u32 control)
{
    out(TABLE + 16 * entry, 8, address);
    out(TABLE + 16 * entry + 8, 4, data);
    out(TABLE + 16 * entry + 12, 4, control);
}

static void msix_flags(u16 flags)
{
    port_out(0xcf8, 4, 0x80000000 | SLOT << 11 | 0x40);
    port_out(0xcfe, 2, flags);
}

static void test_messages(void **state)
{
    (void)state;
    for (unsigned i = 0; i < BOARD_VCPUS; i++)
        mmio_out(i, 0xfee000f0, 0x1ff);
    begin(ALL);
    msix_flags(PCI_MSIX_FLAGS_ENABLE);
    out(COMMON + VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
    route(1, 0xfee01000, 0x44, 0); /* to local APIC 1 */
    ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0);
    assert_int_equal(take_interrupt(1), 0x44);
    assert_int_equal(take_interrupt(0), -1);
    route(1, 0xfed01000, 0x45, 0); /* no message */
    ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0);
    route(1, 0xfee00000, 0x46, 1); /* masked */
    ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0);
    assert_int_equal(in(PENDING, 4), 2);
    assert_int_equal(in(PENDING + 4, 4), 0);
    route(1, 0xfee00000, 0x46, 0);
    assert_int_equal(take_interrupt(0), 0x46);
    mmio_out(0, 0xfee000b0, 0); /* its end */
    assert_int_equal(in(PENDING, 4), 0);
    msix_flags(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0);
    assert_int_equal(take_interrupt(0), -1);
    msix_flags(PCI_MSIX_FLAGS_ENABLE);
    assert_int_equal(take_interrupt(0), 0x46);
    assert_int_equal(in(PENDING, 4), 0);
    assert_int_equal(in(ISR, 1), 0); /* messages leave no trace there */
    assert_int_equal(board.machine->pci.asserted[SLOT % PCI_PINS], 0);
}

static void test_line(void **state)
{
    const u32 pin = (u32)BIT(pci_slot_pin(SLOT));

    (void)state;
    begin(ALL);
    ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0);
    assert_int_equal(board.machine->ioapic.asserted, pin);
    port_out(0xcf8, 4, 0x80000000 | SLOT << 11 | PCI_COMMAND);
    port_out(0xcfc, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
    assert_int_equal(board.machine->ioapic.asserted, 0);
    assert_int_equal(port_in(0xcfe, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
    port_out(0xcfc, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    assert_int_equal(board.machine->ioapic.asserted, pin);
    msix_flags(PCI_MSIX_FLAGS_ENABLE); /* who sends messages drives no line */
    assert_int_equal(board.machine->ioapic.asserted, 0);
    msix_flags(0);
    assert_int_equal(in(ISR, 1), 1);
    assert_int_equal(board.machine->ioapic.asserted, 0);
}

static void test_not_master(void **state)
{
    (void)state;
    begin(ALL);
    port_out(0xcf8, 4, 0x80000000 | SLOT << 11 | PCI_COMMAND);
    port_out(0xcfc, 2, PCI_COMMAND_MEMORY);
    ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0);
    assert_int_equal(used_count(), 0);
    port_out(0xcfc, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    out(NOTIFY, 2, 0);
    assert_int_equal(used_count(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shares, setup, teardown),
        cmocka_unit_test_setup_teardown(test_discard_takes_a_share, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory_for_data, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory_for_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_waits_for_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_given_away, setup_slow, teardown),
        cmocka_unit_test_setup_teardown(test_slow, setup_slow, teardown),
        cmocka_unit_test_setup_teardown(test_reset_waits, setup_slow, teardown),
        cmocka_unit_test_setup_teardown(test_reset_forgets, setup_slow, teardown),
        cmocka_unit_test_setup_teardown(test_another_notifies, setup_slow, teardown),
        cmocka_unit_test_setup_teardown(test_abort, setup_slow, teardown),
        cmocka_unit_test_setup_teardown(test_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_master, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
