/* SPDX-License-Identifier: MIT */
/*
 * A random number generator on the board: what the CPU delivers and nothing else, in shares; a generator that
 * stops; none; broken rules; reset.
 */
// sources: tests/unit/device_fakes.c tests/unit/fake_memory.c tests/unit/fake_guest_ram.c hv/run/bus.c
// sources: tests/unit/virtio_driver.c
// sources: hv/run/timer.c hv/memory/frame.c hv/memory/memory.c hv/memory/guest_map.c
// sources: guest/devices/acpi_pm.c guest/devices/calendar.c guest/devices/clock.c
// sources: guest/devices/ioapic.c guest/devices/lapic.c guest/devices/lapic_base.c
// sources: guest/devices/lapic_page.c guest/devices/lapic_registers.c guest/devices/lapic_timer.c
// sources: guest/devices/pci.c guest/devices/pic.c guest/devices/pit.c guest/devices/reset.c
// sources: guest/devices/rtc.c guest/devices/uart.c guest/devices/msix.c guest/devices/virtio.c
// sources: guest/devices/virtio_ring.c guest/devices/virtio_buffers.c guest/devices/virtio_rng.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/machine/random.h"
#include "guest/devices/virtio_rng.h"
#include "tests/unit/fake_memory.h"
#include "tests/unit/virtio_driver.h"

#define SLOT 10u

static struct virtio_rng *rng;
static bool has_generator;
static u64 words, words_most; /* delivered, and how many there are */

bool random_available(void)
{
    return has_generator;
}

bool random_word(u64 *word)
{
    *word = 0xdeadbeefdeadbeefull; /* what the register holds means nothing */
    if (words == words_most)
        return false;
    words++;
    *word = 0x0101010101010101ull * (u8)words;
    return true;
}

static int setup(void **state)
{
    board_setup(state);
    fake_memory_begin();
    driver_setup();
    has_generator = true;
    words = 0;
    words_most = ~0ull;
    assert_int_equal(virtio_rng_create(board.machine, SLOT, &rng), 0);
    driver_plug(SLOT);
    driver_begin(DRIVER_RINGS, 1);
    return 0;
}

static int teardown(void **state)
{
    virtio_rng_reset(rng);
    virtio_rng_destroy(rng);
    assert_int_equal(frame_owned(frame_owner_support(0)), 0);
    return board_teardown(state);
}

/* Of these bytes so many are the CPU's, in order; the next one was not touched. */
static void assert_delivered(gpa_t at, u32 bytes, u8 first)
{
    for (u32 i = 0; i < bytes; i++)
        assert_int_equal(*fake_guest_ram_at(at + i), first + i / 8);
    assert_int_equal(*fake_guest_ram_at(at + bytes), 0xee);
}

static void ask(u16 head, u32 bytes)
{
    memset(fake_guest_ram_at(DRIVER_DATA), 0xee, 4096);
    driver_offer(0, head, DRIVER_DATA, bytes, VRING_DESC_F_WRITE);
    driver_notify(0);
}

static void test_bytes(void **state)
{
    (void)state;
    ask(0, 64);
    assert_int_equal(driver_used(0)->idx, 1);
    assert_int_equal(driver_used(0)->ring[0].len, 64);
    assert_delivered(DRIVER_DATA, 64, 1);
    ask(5, 13); /* no part of a word is given twice */
    assert_int_equal(driver_used(0)->ring[1].id, 5);
    assert_int_equal(driver_used(0)->ring[1].len, 13);
    assert_delivered(DRIVER_DATA, 13, 9);
    assert_int_equal(words, 10);
    ask(1, 1);
    assert_delivered(DRIVER_DATA, 1, 11);
    assert_int_equal(driver_said_count, 0);
    assert_int_equal(driver_in(DRIVER_CONFIG, 4), 0);
}

/* However much room there is, one exit asks the CPU for 128 words at most. */
static void test_shares(void **state)
{
    (void)state;
    ask(0, 0x80000000u);
    assert_int_equal(driver_status(), 15);
    assert_int_equal(driver_used(0)->ring[0].len, 256);
    assert_delivered(DRIVER_DATA, 256, 1);
    for (u16 i = 0; i < 6; i++)
        driver_offer(0, i, DRIVER_DATA, 4096, VRING_DESC_F_WRITE);
    driver_notify(0);
    assert_int_equal(driver_used(0)->idx, 5);
    assert_int_equal(words, 32 * 5);
    assert_int_equal(board.wakes[1], 1);
    virtio_rng_work(rng, &board.vcpus[0]); /* was not asked */
    assert_int_equal(driver_used(0)->idx, 5);
    virtio_rng_work(rng, &board.vcpus[1]);
    assert_int_equal(driver_used(0)->idx, 7);
    virtio_rng_work(rng, &board.vcpus[1]);
    assert_int_equal(board.wakes[1], 1);
}

/* Fewer bytes, then the end: never one that the CPU did not deliver. */
static void test_generator_stops(void **state)
{
    (void)state;
    words_most = 3;
    ask(0, 64);
    assert_int_equal(driver_used(0)->ring[0].len, 24);
    assert_delivered(DRIVER_DATA, 24, 1);
    ask(1, 64);
    assert_int_equal(driver_used(0)->idx, 1);
    assert_int_equal(*fake_guest_ram_at(DRIVER_DATA), 0xee);
    assert_int_equal(driver_status(), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_string_equal(driver_said,
                        "VM v: its random number generator waits for a reset: the CPU's generator "
                        "delivers nothing any more");
    words_most = ~0ull;
    driver_begin(DRIVER_RINGS, 1);
    ask(0, 8);
    assert_int_equal(driver_used(0)->ring[0].len, 8);
}

static void test_no_generator(void **state)
{
    struct virtio_rng *none = rng;

    (void)state;
    has_generator = false;
    assert_int_equal(virtio_rng_create(board.machine, SLOT + 1, &none), 0);
    assert_null(none);
    assert_string_equal(driver_said, "VM v: is offered no virtio.rng: this CPU has no generator of random "
                                     "numbers (RDSEED, RDRAND) that works");
    assert_null(board.machine->pci.slots[SLOT + 1]);
}

static void test_broken_rules(void **state)
{
    (void)state;
    ask(0, 0);
    assert_int_equal(driver_status(), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
    driver_begin(DRIVER_RINGS, 1);
    driver_offer(0, 0, DRIVER_DATA, 64, 0);
    driver_notify(0);
    assert_int_equal(driver_status(), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_string_equal(driver_said,
                        "VM v: its random number generator waits for a reset: its driver offered a "
                        "buffer to be read, or no room, for random numbers");
    driver_begin(DRIVER_RINGS, 1);
    driver_offer(0, 0, DRIVER_HOLE, 64, VRING_DESC_F_WRITE);
    driver_notify(0);
    assert_int_equal(driver_status(), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_int_equal(driver_used(0)->idx, 0);
}

/* The vCPU waits for the memory that the numbers would go to; then it gets them. */
static void test_no_memory(void **state)
{
    (void)state;
    fake_guest_ram_full = DRIVER_DATA + 255;
    ask(0, 4096);
    assert_int_equal(words, 0);
    virtio_rng_work(rng, &board.vcpus[1]);
    assert_int_equal(board.memory_waits[1], 1);
    assert_int_equal(board.waits_for, DRIVER_DATA + 255);
    fake_guest_ram_full = ~0ull;
    virtio_rng_work(rng, &board.vcpus[1]);
    assert_delivered(DRIVER_DATA, 256, 1);
    assert_int_equal(driver_status(), 15);
}

static void test_reset_is_power_on(void **state)
{
    struct virtio_rng *before = malloc(sizeof(*before));

    (void)state;
    virtio_rng_reset(rng);
    memcpy(before, rng, sizeof(*before));
    driver_plug(SLOT);
    driver_begin(DRIVER_RINGS | BIT(VIRTIO_RING_F_EVENT_IDX), 1);
    for (u16 i = 0; i < 8; i++)
        driver_offer(0, i, DRIVER_DATA, 64, VRING_DESC_F_WRITE);
    driver_notify(0);
    assert_true(rng->virtio.worker.work);
    virtio_rng_reset(rng);
    before->virtio.pci.lock = rng->virtio.pci.lock; /* its tickets go on */
    assert_memory_equal(before, rng, sizeof(*before));
    free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shares, setup, teardown),
        cmocka_unit_test_setup_teardown(test_generator_stops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_generator, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_rules, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
