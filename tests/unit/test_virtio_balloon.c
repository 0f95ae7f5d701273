/* SPDX-License-Identifier: MIT */
/*
 * A virtio balloon on the board, in front of a balloon that notes what it is told: page numbers cut in any
 * way, in turns of a vCPU and without the lock; a reset while pages move; statistics; the target. What
 * becomes of a page is hv/memory/balloon.c's (test_balloon.c).
 */
// sources: tests/unit/device_fakes.c tests/unit/fake_memory.c tests/unit/fake_guest_ram.c hv/run/bus.c
// sources: tests/unit/virtio_driver.c
// sources: hv/run/timer.c hv/memory/frame.c hv/memory/memory.c hv/memory/guest_map.c
// sources: guest/devices/acpi_pm.c guest/devices/calendar.c guest/devices/clock.c
// sources: guest/devices/ioapic.c guest/devices/lapic.c guest/devices/lapic_base.c
// sources: guest/devices/lapic_page.c guest/devices/lapic_registers.c guest/devices/lapic_timer.c
// sources: guest/devices/pci.c guest/devices/pic.c guest/devices/pit.c guest/devices/reset.c
// sources: guest/devices/rtc.c guest/devices/uart.c guest/devices/msix.c guest/devices/virtio.c
// sources: guest/devices/virtio_ring.c guest/devices/virtio_buffers.c guest/devices/virtio_balloon.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "guest/devices/virtio_balloon.h"
#include "hv/memory/balloon.h"
#include "tests/unit/fake_memory.h"
#include "tests/unit/virtio_driver.h"

#define SLOT       12u
#define INFLATE    0u
#define DEFLATE    1u
#define STATISTICS 2u
#define FEATURES   (DRIVER_RINGS | BIT(VIRTIO_BALLOON_F_STATS_VQ) | BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM))
#define PFNS       DRIVER_DATA
#define MANY       200u

static struct virtio_balloon *balloon;
static u32 cost, forgotten, ends;
static gfn_t taken[2][1000]; /* by queue */
static unsigned taken_count[2];
static u64 wanted;
static void (*meanwhile)(void); /* what another vCPU does while pages move */

/* ---------------------------------------------------------------- a balloon that takes every page */

void balloon_begin(struct guest_memory *memory)
{
    assert_false(spinlock_held(&balloon->virtio.pci.lock));
    spinlock_take(memory->lock);
}

static enum balloon_status note(unsigned queue, struct balloon_work *work, gfn_t gfn, unsigned order)
{
    assert_int_equal(order, FRAME_ORDER_4K);
    assert_true(work->all);
    taken[queue][taken_count[queue]++] = gfn;
    work->cost += cost;
    return BALLOON_DONE;
}

enum balloon_status balloon_lock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                 unsigned order)
{
    assert_true(spinlock_held(memory->lock));
    memory->balloon.moved++;
    return note(INFLATE, work, gfn, order);
}

enum balloon_status balloon_unlock(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                   unsigned order)
{
    assert_true(spinlock_held(memory->lock));
    return note(DEFLATE, work, gfn, order);
}

void balloon_end(struct guest_memory *memory, struct balloon_work *work)
{
    void (*then)(void) = meanwhile;

    (void)work;
    spinlock_release(memory->lock);
    ends++;
    meanwhile = NULL;
    if (then)
        then();
}

void balloon_forget(struct guest_memory *memory)
{
    assert_true(spinlock_held(memory->lock));
    forgotten++;
}

u64 balloon_wanted(const struct guest_memory *memory)
{
    assert_true(spinlock_held(memory->lock));
    return wanted;
}

/* ---------------------------------------------------------------- the board */

static int setup(void **state)
{
    board_setup(state);
    fake_memory_begin();
    driver_setup();
    spinlock_init(&board.vm.lock, RANK_VM);
    board.vm.memory.lock = &board.vm.lock;
    board.vm.memory.balloon = (struct balloon){0};
    cost = 10;
    forgotten = ends = 0;
    memset(taken_count, 0, sizeof(taken_count));
    wanted = 0x1234;
    meanwhile = NULL;
    balloon = virtio_balloon_create(board.machine, SLOT);
    assert_non_null(balloon);
    driver_plug(SLOT);
    driver_begin(FEATURES, 3);
    forgotten = 0;
    return 0;
}

static int teardown(void **state)
{
    assert_false(spinlock_held(&balloon->virtio.pci.lock));
    virtio_balloon_reset(balloon);
    virtio_balloon_destroy(balloon);
    assert_int_equal(frame_owned(frame_owner_support(0)), 0);
    return board_teardown(state);
}

static void work(void)
{
    virtio_balloon_work(balloon, &board.vcpus[1]);
}

static void pfns_write(u32 first, u32 count)
{
    for (u32 i = 0; i < count; i++) {
        u32 pfn = first + i;

        memcpy(fake_guest_ram_at(PFNS + 4 * i), &pfn, 4);
    }
}

static void offer(unsigned queue, u32 first, u32 count)
{
    pfns_write(first, count);
    driver_offer(queue, 0, PFNS, 4 * count, 0);
    driver_notify(queue);
}

static void assert_taken(unsigned queue, u32 first, u32 count)
{
    assert_int_equal(taken_count[queue], count);
    for (u32 i = 0; i < count; i++)
        assert_int_equal(taken[queue][i], first + i);
}

/* ---------------------------------------------------------------- pages */

static void test_pages(void **state)
{
    (void)state;
    offer(INFLATE, 0x500, 3);
    assert_int_equal(taken_count[INFLATE], 0); /* all of it is for a turn */
    assert_true(board.vcpus[1].requests & REQUEST_DEVICE);
    virtio_balloon_work(balloon, &board.vcpus[0]); /* was not asked */
    assert_int_equal(taken_count[INFLATE], 0);
    work();
    assert_taken(INFLATE, 0x500, 3);
    assert_int_equal(driver_used(INFLATE)->idx, 1);
    offer(DEFLATE, 0xfffffffe, 2);
    work();
    assert_taken(DEFLATE, 0xfffffffe, 2);
    assert_int_equal(driver_used(DEFLATE)->idx, 1);
    assert_int_equal(driver_said_count, 0);
}

/* Cut within a number, more than are read at once, and more than a turn may cost. */
static void test_turns(void **state)
{
    u16 turns = 0;

    (void)state;
    pfns_write(1, MANY);
    *driver_desc(INFLATE, 0) = (struct vring_desc){PFNS, 6, VRING_DESC_F_NEXT, 1};
    *driver_desc(INFLATE, 1) = (struct vring_desc){PFNS + 6, 0, VRING_DESC_F_NEXT, 2};
    *driver_desc(INFLATE, 2) = (struct vring_desc){PFNS + 6, 4 * MANY - 6, 0, 0};
    driver_avail(INFLATE)->idx++;
    driver_notify(INFLATE);
    cost = 100; /* 15 pages a turn */
    while (driver_used(INFLATE)->idx == 0) {
        work();
        turns++;
        assert_true(taken_count[INFLATE] <= 15u * turns);
        assert_true(turns < 30);
    }
    assert_taken(INFLATE, 1, MANY);
    assert_int_equal(ends, turns);
    offer(INFLATE, 0, 0); /* a chain without a page */
    work();
    assert_int_equal(driver_used(INFLATE)->idx, 2);
    assert_int_equal(ends, turns);
}

static void reset_by_other(void)
{
    driver_out(DRIVER_COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_int_equal(driver_status(), 15); /* pages move */
}

static void notify_by_other(void)
{
    mmio_bus_write(&board.vm.mmio, &board.vcpus[0], 0xfe000000 + SLOT * 0x10000 + DRIVER_NOTIFY, 2, 0);
    virtio_balloon_work(balloon, &board.vcpus[0]);
    assert_int_equal(taken_count[INFLATE], 128);
}

/* A reset waits for the pages that move; what was left of the chain is forgotten. */
static void test_reset_while_pages_move(void **state)
{
    (void)state;
    offer(INFLATE, 1, MANY);
    meanwhile = reset_by_other;
    work();
    assert_int_equal(taken_count[INFLATE], 128);
    assert_int_equal(forgotten, 1);
    assert_int_equal(driver_status(), 0);
    assert_int_equal(driver_used(INFLATE)->idx, 0);
    driver_begin(FEATURES, 3);
    work();
    assert_int_equal(taken_count[INFLATE], 128);
    offer(DEFLATE, 7, 1);
    work();
    assert_taken(DEFLATE, 7, 1);
}

/* Two vCPUs do not move pages at once; the one that came later goes on. */
static void test_two_vcpus(void **state)
{
    (void)state;
    offer(INFLATE, 1, MANY);
    meanwhile = notify_by_other;
    work();
    assert_int_equal(taken_count[INFLATE], 128);
    work(); /* it has passed to the other one */
    assert_int_equal(taken_count[INFLATE], 128);
    virtio_balloon_work(balloon, &board.vcpus[0]);
    assert_taken(INFLATE, 1, MANY);
    assert_int_equal(driver_used(INFLATE)->idx, 1);
}

static void test_broken_rules(void **state)
{
    static const struct {
        gpa_t at;
        u32 bytes;
        u16 flags;
        const char *why;
    } rows[] = {
        {PFNS, 5, 0, "gave a part of a page's number, or a buffer to be written"},
        {PFNS, 4, VRING_DESC_F_WRITE, "gave a part of a page's number, or a buffer to be written"},
        {DRIVER_HOLE, 4, 0, "has numbers of pages where no RAM is"},
        {DRIVER_RAM - 4, 8, 0, "has numbers of pages where no RAM is"},
    };

    (void)state;
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
        driver_begin(FEATURES, 3);
        balloon->virtio.log_limit.used = 0;
        driver_offer(i % 2, 0, rows[i / 2].at, rows[i / 2].bytes, rows[i / 2].flags);
        driver_notify(i % 2);
        work();
        assert_int_equal(driver_status(), 15 | VIRTIO_CONFIG_S_NEEDS_RESET);
        assert_non_null(strstr(driver_said, rows[i / 2].why));
        assert_false(virtio_balloon_ask(balloon));
    }
    assert_int_equal(taken_count[INFLATE] + taken_count[DEFLATE], 0);
}

/* ---------------------------------------------------------------- target and statistics */

static void test_target(void **state)
{
    (void)state;
    assert_int_equal(driver_in(DRIVER_CONFIG, 4), 0x1234);
    wanted = 0x100000005ull;
    assert_true(virtio_balloon_ask(balloon));
    assert_int_equal(driver_in(DRIVER_ISR, 1), 2);
    assert_int_equal((u8)driver_in(DRIVER_COMMON + VIRTIO_PCI_COMMON_CFGGENERATION, 1), 1);
    assert_int_equal(driver_in(DRIVER_CONFIG, 4), 0xffffffff);
    driver_out(DRIVER_CONFIG + 4, 4, 77);
    assert_int_equal(driver_in(DRIVER_CONFIG + 4, 4), 77);
    driver_out(DRIVER_CONFIG, 4, 1); /* is read only */
    driver_out(DRIVER_CONFIG + 8, 4, 1);
    assert_int_equal(driver_in(DRIVER_CONFIG, 4), 0xffffffff);
    assert_int_equal(driver_in(DRIVER_CONFIG + 8, 4), 0);
    driver_out(DRIVER_COMMON + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_false(virtio_balloon_ask(balloon));
    assert_int_equal(forgotten, 1);
}

static void say(u16 tag, u64 value, unsigned place)
{
    const struct virtio_balloon_stat entry = {tag, value};

    memcpy(fake_guest_ram_at(PFNS + sizeof(entry) * place), &entry, sizeof(entry));
}

static void test_statistics(void **state)
{
    const struct balloon_statistics *said = &board.vm.memory.balloon.statistics;

    (void)state;
    say(VIRTIO_BALLOON_S_MEMTOT, 1 << 30, 0);
    say(VIRTIO_BALLOON_S_HTLB_PGFAIL, 5, 1); /* not shown */
    say(0xffff, 6, 2);
    say(VIRTIO_BALLOON_S_CACHES, 7, 3);
    driver_offer(STATISTICS, 3, PFNS, 4 * sizeof(struct virtio_balloon_stat) + 9, 0); /* and a part of one */
    driver_notify(STATISTICS);
    work();
    assert_int_equal(said->at, test_now);
    assert_int_equal(said->known, BIT(VIRTIO_BALLOON_S_MEMTOT) | BIT(VIRTIO_BALLOON_S_CACHES));
    assert_int_equal(said->values[VIRTIO_BALLOON_S_MEMTOT], 1 << 30);
    assert_int_equal(driver_used(STATISTICS)->idx, 0); /* it is kept until others are wanted */
    assert_true(virtio_balloon_ask(balloon));
    assert_int_equal(driver_used(STATISTICS)->idx, 0);
    work();
    assert_int_equal(driver_used(STATISTICS)->idx, 1);
    assert_int_equal(driver_used(STATISTICS)->ring[0].id, 3);
    virtio_balloon_ask(balloon);
    work(); /* there is nothing to give */
    assert_int_equal(driver_used(STATISTICS)->idx, 1);
    driver_offer(STATISTICS, 3, PFNS, 0, 0); /* nor to say: this one is wanted back at once */
    driver_notify(STATISTICS);
    work();
    assert_int_equal(said->known, 0);
    assert_int_equal(driver_used(STATISTICS)->idx, 2);
}

static void test_reset_is_power_on(void **state)
{
    struct virtio_balloon *before = malloc(sizeof(*before));

    (void)state;
    virtio_balloon_reset(balloon);
    memcpy(before, balloon, sizeof(*before));
    driver_plug(SLOT);
    driver_begin(FEATURES | BIT(VIRTIO_RING_F_EVENT_IDX), 3);
    driver_in(DRIVER_CONFIG, 4);
    driver_out(DRIVER_CONFIG + 4, 4, 77);
    driver_offer(STATISTICS, 3, PFNS, 10, 0);
    offer(INFLATE, 1, MANY);
    virtio_balloon_ask(balloon);
    work();
    assert_true(balloon->held && balloon->virtio.worker.work);
    virtio_balloon_reset(balloon);
    before->virtio.pci.lock = balloon->virtio.pci.lock; /* its tickets go on */
    assert_memory_equal(before, balloon, sizeof(*before));
    free(before);
}

/* Pages are not moved before their chain can be given back. */
static void test_no_memory(void **state)
{
    (void)state;
    fake_guest_ram_full = 0;
    *(__le32 *)(void *)fake_guest_ram_at(PFNS) = 5;
    driver_offer(DEFLATE, 0, PFNS, 4, 0);
    driver_notify(DEFLATE);
    virtio_balloon_work(balloon, &board.vcpus[1]);
    assert_int_equal(taken_count[DEFLATE], 0);
    assert_int_equal(board.memory_waits[1], 1);
    fake_guest_ram_full = ~0ull;
    virtio_balloon_work(balloon, &board.vcpus[1]);
    assert_int_equal(taken_count[DEFLATE], 1);
    assert_int_equal(driver_used(DEFLATE)->idx, 1);
    assert_int_equal(driver_status(), 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_while_pages_move, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_vcpus, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_rules, setup, teardown),
        cmocka_unit_test_setup_teardown(test_target, setup, teardown),
        cmocka_unit_test_setup_teardown(test_statistics, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_is_power_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
