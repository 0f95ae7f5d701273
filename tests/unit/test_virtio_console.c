/* SPDX-License-Identifier: MIT */
/*
 * A virtio console on the board: what is sent arrives, in shares; what is typed goes to the port that sent
 * last, as far as there is room for it; broken rules; resets while something is held.
 */
// sources: tests/unit/device_fakes.c tests/unit/fake_memory.c tests/unit/fake_guest_ram.c hv/run/bus.c
// sources: tests/unit/virtio_driver.c
// sources: hv/run/timer.c hv/memory/frame.c hv/memory/memory.c hv/memory/guest_map.c
// sources: guest/devices/acpi_pm.c guest/devices/calendar.c guest/devices/clock.c
// sources: guest/devices/ioapic.c guest/devices/lapic.c guest/devices/lapic_base.c
// sources: guest/devices/lapic_page.c guest/devices/lapic_registers.c guest/devices/lapic_timer.c
// sources: guest/devices/pci.c guest/devices/pic.c guest/devices/pit.c guest/devices/reset.c
// sources: guest/devices/rtc.c guest/devices/uart.c guest/devices/msix.c guest/devices/virtio.c
// sources: guest/devices/virtio_ring.c guest/devices/virtio_buffers.c guest/devices/virtio_console.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/devices/virtio_console.h"
#include "tests/unit/fake_memory.h"
#include "tests/unit/virtio_driver.h"

#define SLOT     11u
#define RECEIVE  0u
#define TRANSMIT 1u
#define SHARE    64u /* bytes of an exit, each way */
#define ROOM     0x200000ull

static struct virtio_console *hvc;

static int setup(void **state)
{
    board_setup(state);
    fake_memory_begin();
    driver_setup();
    hvc = virtio_console_create(board.machine, SLOT);
    assert_non_null(hvc);
    driver_plug(SLOT);
    driver_begin(DRIVER_RINGS, 2);
    return 0;
}

static int teardown(void **state)
{
    virtio_console_reset(hvc);
    virtio_console_destroy(hvc);
    assert_int_equal(frame_owned(frame_owner_support(0)), 0);
    return board_teardown(state);
}

static void send(const char *text)
{
    size_t size = strlen(text);

    memcpy(fake_guest_ram_at(DRIVER_DATA), text, size);
    driver_offer(TRANSMIT, 0, DRIVER_DATA, (u32)size, 0);
    driver_notify(TRANSMIT);
}

static void assert_written(const char *text)
{
    assert_int_equal(board.written_size, strlen(text));
    assert_memory_equal(board.written, text, board.written_size);
}

static void offer_room(u16 head, u32 bytes)
{
    memset(fake_guest_ram_at(ROOM), 0xee, 4096);
    driver_offer(RECEIVE, head, ROOM, bytes, VRING_DESC_F_WRITE);
    driver_notify(RECEIVE);
}

/* The latest chain of the receive queue holds this and no more. */
static void assert_received(u16 count, const char *text)
{
    u32 size = (u32)strlen(text);

    assert_int_equal(driver_used(RECEIVE)->idx, count);
    assert_int_equal(driver_used(RECEIVE)->ring[(count - 1) % DRIVER_SIZE].len, size);
    assert_memory_equal(fake_guest_ram_at(ROOM), text, size);
    assert_int_equal(*fake_guest_ram_at(ROOM + size), 0xee);
}

static void work(void)
{
    virtio_console_work(hvc, &board.vcpus[1]);
}

static void test_output(void **state)
{
    (void)state;
    send("hello");
    assert_written("hello");
    assert_int_equal(driver_used(TRANSMIT)->idx, 1);
    assert_int_equal(driver_used(TRANSMIT)->ring[0].len, 0);
    send("");
    assert_int_equal(driver_used(TRANSMIT)->idx, 2);
    assert_written("hello");
    for (unsigned i = 0; i < sizeof(struct virtio_console_config); i += 4)
        assert_int_equal(driver_in(DRIVER_CONFIG + i, 4), 0);
    assert_int_equal(driver_said_count, 0);
}

/* A long chain goes out in turns of the vCPU, and ends with the last byte. */
static void test_shares(void **state)
{
    (void)state;
    memset(fake_guest_ram_at(DRIVER_DATA), 'x', 4096);
    driver_offer(TRANSMIT, 0, DRIVER_DATA, 2 * SHARE + 5, 0);
    driver_offer(TRANSMIT, 3, DRIVER_DATA, 1, 0);
    driver_notify(TRANSMIT);
    assert_int_equal(board.written_size, SHARE);
    assert_int_equal(board.wakes[1], 1);
    assert_int_equal(driver_used(TRANSMIT)->idx, 0);
    virtio_console_work(hvc, &board.vcpus[0]); /* was not asked */
    assert_int_equal(board.written_size, SHARE);
    work();
    assert_int_equal(board.written_size, 2 * SHARE);
    assert_int_equal(driver_used(TRANSMIT)->idx, 0);
    work();
    assert_int_equal(board.written_size, 2 * SHARE + 6);
    assert_int_equal(driver_used(TRANSMIT)->idx, 2);
    work();
    assert_int_equal(board.wakes[1], 2);
    /* One that would hold the machine for years keeps nobody, and is forgotten with the driver. */
    driver_offer(TRANSMIT, 0, 0, 0x3000000, 0);
    driver_notify(TRANSMIT);
    assert_int_equal(board.written_size, 3 * SHARE + 6);
    driver_begin(DRIVER_RINGS, 2);
    work();
    assert_int_equal(board.written_size, 3 * SHARE + 6);
    send("new");
    assert_int_equal(board.written_size, 3 * SHARE + 9);
    assert_int_equal(driver_used(TRANSMIT)->idx, 1);
}

static void test_input(void **state)
{
    (void)state;
    offer_room(0, 100);
    board_type("uart"); /* nothing was sent yet */
    assert_int_equal(inb(0x3f8), 'u');
    work();
    assert_int_equal(driver_used(RECEIVE)->idx, 0);
    while (board.typed_read < board.typed_size || (inb(0x3fd) & 1))
        inb(0x3f8);
    send("$ ");
    board_type("abc");
    assert_int_equal(inb(0x3fd) & 1, 0);
    assert_int_equal(driver_used(RECEIVE)->idx, 0); /* guest memory is for turns of vCPUs */
    assert_true(board.vcpus[1].requests & REQUEST_DEVICE);
    work();
    assert_received(1, "abc");
    board_type("def"); /* there is no room */
    work();
    assert_int_equal(driver_used(RECEIVE)->idx, 1);
    offer_room(1, 2);
    assert_received(2, "de");
    offer_room(2, 2);
    assert_received(3, "f");
    /* A piece at a time, as long as there is room. */
    board_type("0123456789abcdefXYZ");
    driver_offer(RECEIVE, 3, ROOM, 4096, VRING_DESC_F_WRITE);
    driver_offer(RECEIVE, 4, ROOM + 0x100, 4096, VRING_DESC_F_WRITE);
    driver_notify(RECEIVE);
    assert_int_equal(driver_used(RECEIVE)->idx, 5);
    assert_memory_equal(fake_guest_ram_at(ROOM), "0123456789abcdef", 16);
    assert_memory_equal(fake_guest_ram_at(ROOM + 0x100), "XYZ", 3);
}

/* What is typed before the guest sends waits for it; and a driver that goes leaves the UART the line. */
static void test_input_waits(void **state)
{
    (void)state;
    send("$ ");
    board_type("early");
    work();
    offer_room(0, 100);
    assert_received(1, "early");
    driver_begin(DRIVER_RINGS, 2);
    assert_int_equal(board.input_port, CONSOLE_UART);
    board_type("u");
    assert_int_equal(inb(0x3f8), 'u');
}

/* The UART speaks between the key and the turn that fetches it: the key is the UART's, which is told. */
static void test_uart_speaks_meanwhile(void **state)
{
    (void)state;
    send("$ ");
    offer_room(0, 100);
    board_type("k");
    board.input_port = CONSOLE_UART;
    assert_int_equal(inb(0x3fd) & 1, 0);
    work();
    assert_int_equal(inb(0x3fd) & 1, 1);
    assert_int_equal(inb(0x3f8), 'k');
    assert_int_equal(driver_used(RECEIVE)->idx, 0);
}

/* There was no room for it, then the UART has spoken: when room comes, it is too late. */
static void test_uart_spoke_before_there_was_room(void **state)
{
    (void)state;
    send("$ ");
    board_type("m");
    work();
    board.input_port = CONSOLE_UART;
    offer_room(0, 100);
    assert_int_equal(inb(0x3fd) & 1, 0); /* an exit to this device is no place for that one */
    work();
    assert_int_equal(inb(0x3f8), 'm');
    board.vcpus[1].requests = 0;
    work();
    assert_int_equal(board.vcpus[1].requests, 0);
}

/* A driver that goes leaves the UART what was typed for it; one whose FIFO is full keeps nobody at work. */
static void test_driver_goes(void **state)
{
    (void)state;
    send("$ ");
    board_type("0123456789");
    work();
    driver_begin(DRIVER_RINGS, 2);
    work();
    assert_int_equal(inb(0x3f8), '0');
    board.vcpus[1].requests = 0;
    for (unsigned i = 0; i < 3; i++)
        work();
    assert_int_equal(board.vcpus[1].requests, 0);
}

static void test_broken_rules(void **state)
{
    static const struct {
        unsigned queue;
        gpa_t at;
        u32 bytes;
        u16 flags;
        const char *why;
    } rows[] = {
        {TRANSMIT, DRIVER_DATA, 1, VRING_DESC_F_WRITE, "offered a buffer to be read where typed bytes go"},
        {TRANSMIT, DRIVER_HOLE, 1, 0, "sends bytes from where no RAM is"},
        {TRANSMIT, DRIVER_RAM - 8, 16, 0, "sends bytes from where no RAM is"},
        {RECEIVE, ROOM, 1, 0, "offered a buffer to be read where typed bytes go"},
        {RECEIVE, ROOM, 0, VRING_DESC_F_WRITE, "offered no room for typed bytes"},
        {RECEIVE, DRIVER_HOLE, 8, VRING_DESC_F_WRITE, "has room for typed bytes where no RAM is"},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        driver_begin(DRIVER_RINGS, 2);
        send("$ ");
        board_type("z");
        hvc->virtio.log_limit.used = 0;
        driver_offer(rows[i].queue, 5, rows[i].at, rows[i].bytes, rows[i].flags);
        driver_notify(rows[i].queue);
        assert_int_equal(driver_status(), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
        assert_non_null(strstr(driver_said, rows[i].why));
        work();
        board.typed_read = board.typed_size;
    }
}

/* What was typed waits at the console until there is memory for it. */
static void test_no_memory(void **state)
{
    (void)state;
    send("$ ");
    offer_room(0, 4096);
    fake_guest_ram_full = ROOM;
    board_type("late");
    assert_int_equal(board.memory_waits[1], 0);
    work();
    assert_int_equal(board.memory_waits[1], 1);
    assert_int_equal(board.waits_for, ROOM);
    assert_int_equal(board.typed_read, 0);
    fake_guest_ram_full = ~0ull;
    work();
    assert_received(1, "late");
    assert_int_equal(driver_status(), 15);
    assert_int_equal(driver_said_count, 0);
}

static void test_reset_is_power_on(void **state)
{
    struct virtio_console *before = malloc(sizeof(*before));

    (void)state;
    virtio_console_reset(hvc);
    memcpy(before, hvc, sizeof(*before));
    driver_plug(SLOT);
    driver_begin(DRIVER_RINGS | BIT(VIRTIO_RING_F_EVENT_IDX), 2);
    memset(fake_guest_ram_at(DRIVER_DATA), 'x', 4096);
    driver_offer(TRANSMIT, 0, DRIVER_DATA, 1000, 0);
    driver_notify(TRANSMIT);
    assert_true(hvc->sending.held && hvc->virtio.worker.work);
    assert_int_equal(board.input_port, CONSOLE_VIRTIO);
    virtio_console_reset(hvc);
    assert_int_equal(board.input_port, CONSOLE_UART);
    before->virtio.pci.lock = hvc->virtio.pci.lock; /* its tickets go on */
    assert_memory_equal(before, hvc, sizeof(*before));
    free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_output, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shares, setup, teardown),
        cmocka_unit_test_setup_teardown(test_input, setup, teardown),
        cmocka_unit_test_setup_teardown(test_input_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_uart_speaks_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_uart_spoke_before_there_was_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_driver_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_rules, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
