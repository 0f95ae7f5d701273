/* SPDX-License-Identifier: MIT */
/* guest/devices/virtio_ring.c: chains of every shape, what no driver may do, counts, who is told. */
// sources: guest/devices/virtio_ring.c tests/unit/fake_guest_ram.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <linux/virtio_ring.h>

#include "guest/devices/virtio_ring.h"
#include "hv/lib/errno.h"
#include "tests/unit/fake_guest_ram.h"

#define SIZE  8u
#define DESC  0x1000ull
#define AVAIL 0x2000ull
#define USED  0x3000ull
#define TABLE 0x5000ull
#define HOLE  0xd0000000ull

static struct guest_memory memory;
static struct virtq queue;
static struct virtq_chain chain;
static const char *why;

static int setup(void **state)
{
    (void)state;
    fake_guest_ram_reset(&memory, 64 << 20);
    queue = (struct virtq){.size = SIZE, .enabled = true, .desc = DESC, .avail = AVAIL, .used = USED};
    return 0;
}

static struct vring_desc *desc_at(gpa_t table, u32 index)
{
    return (struct vring_desc *)fake_guest_ram_at(table) + index;
}

static void put(gpa_t table, u32 index, u64 at, u32 length, u16 flags, u16 next)
{
    *desc_at(table, index) = (struct vring_desc){at, length, flags, next};
}

static u16 *word_at(gpa_t gpa)
{
    return (u16 *)fake_guest_ram_at(gpa);
}

static void offer(u16 head)
{
    u16 *index = word_at(AVAIL + 2);

    *word_at(AVAIL + 4 + 2 * (*index % SIZE)) = head;
    ++*index;
}

static int take(void)
{
    return virtq_take(&queue, &memory, &chain, &why);
}

static void check_buffer(unsigned i, gpa_t at, u64 length)
{
    assert_int_equal(chain.buffers[i].gpa, at);
    assert_int_equal(chain.buffers[i].bytes, length);
}

static void test_empty(void **state)
{
    (void)state;
    assert_int_equal(take(), 0);
}

static void test_chain(void **state)
{
    (void)state;
    put(DESC, 5, 0x100000, 16, VRING_DESC_F_NEXT, 2);
    put(DESC, 2, 0x200000, 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 7);
    put(DESC, 7, ~0ull, ~0u, VRING_DESC_F_WRITE, 0);
    offer(5);
    assert_int_equal(take(), 1);
    assert_int_equal(chain.head, 5);
    assert_int_equal(chain.readable, 1);
    assert_int_equal(chain.writable, 2);
    check_buffer(0, 0x100000, 16);
    check_buffer(1, 0x200000, 512);
    check_buffer(2, ~0ull, ~0u); /* whether it is RAM is for those who touch it */
    assert_int_equal(take(), 0);
}

static void test_indirect(void **state)
{
    (void)state;
    put(DESC, 0, 0x100000, 1, VRING_DESC_F_NEXT, 1);
    put(DESC, 1, TABLE, 3 * 16, VRING_DESC_F_INDIRECT, 0);
    put(TABLE, 0, 0x100001, 2, VRING_DESC_F_NEXT, 2);
    put(TABLE, 2, 0x100002, 3, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
    put(TABLE, 1, 0x100003, 4, VRING_DESC_F_WRITE, 0);
    offer(0);
    assert_int_equal(take(), 1);
    assert_int_equal(chain.readable, 2);
    assert_int_equal(chain.writable, 2);
    for (unsigned i = 0; i < 4; i++)
        check_buffer(i, 0x100000 + i, i + 1);
}

/* The longest chain, and one more. */
static void test_longest(void **state)
{
    (void)state;
    for (u16 i = 0; i < VIRTQ_SIZE_MAX; i++)
        put(TABLE, i, 0x100000, 1, i + 1u < VIRTQ_SIZE_MAX ? VRING_DESC_F_NEXT : 0, i + 1);
    put(DESC, 0, TABLE, VIRTQ_SIZE_MAX * 16, VRING_DESC_F_INDIRECT, 0);
    put(DESC, 1, 0x100000, 1, VRING_DESC_F_NEXT, 0);
    offer(0);
    offer(1);
    assert_int_equal(take(), 1);
    assert_int_equal(chain.readable, VIRTQ_SIZE_MAX);
    assert_int_equal(take(), -EINVAL);
    assert_string_equal(why, "made a chain of too many descriptors");
}

static void refused(const char *reason)
{
    why = NULL;
    offer(0);
    assert_true(take() < 0);
    assert_non_null(why);
    assert_string_equal(why, reason);
    setup(NULL);
}

static void test_refused_chains(void **state)
{
    (void)state;
    offer(SIZE - 1); /* the index is right, what it names is not */
    *word_at(AVAIL + 4) = SIZE;
    refused("named a descriptor that its table does not have");
    put(DESC, 0, 0, 1, VRING_DESC_F_NEXT, SIZE);
    refused("named a descriptor that its table does not have");
    put(DESC, 0, 0, 1, VRING_DESC_F_NEXT, 0);
    refused("made a chain of too many descriptors");
    put(DESC, 0, 0, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
    put(DESC, 1, 0, 1, 0, 0);
    refused("put a buffer to be read behind one to be written");
    queue.desc = HOLE;
    refused("has descriptors where no RAM is");
    queue.avail = HOLE;
    why = NULL;
    assert_true(take() < 0);
    assert_string_equal(why, "has an available ring where no RAM is");
}

static void test_refused_tables(void **state)
{
    static const u32 lengths[] = {0, 1, 15, 17, 16 * (VIRTQ_SIZE_MAX + 1), 0xfffffff0};

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        put(DESC, 0, TABLE, lengths[i], VRING_DESC_F_INDIRECT, 0);
        refused("gave an indirect table an impossible length");
    }
    put(DESC, 0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
    put(TABLE, 0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
    refused("put an indirect table into an indirect table");
    put(DESC, 0, TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 0);
    refused("gave an indirect descriptor a successor, or let it be written");
    put(DESC, 0, TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
    refused("gave an indirect descriptor a successor, or let it be written");
    put(DESC, 0, HOLE, 16, VRING_DESC_F_INDIRECT, 0);
    refused("has descriptors where no RAM is");
    put(DESC, 0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
    put(TABLE, 0, 0, 1, VRING_DESC_F_NEXT, 1);
    refused("named a descriptor that its table does not have");
}

static void test_index_jumps(void **state)
{
    (void)state;
    *word_at(AVAIL + 2) = SIZE + 1;
    assert_int_equal(take(), -EINVAL);
    assert_string_equal(why, "made more chains available than its queue holds");
    setup(NULL);
    *word_at(AVAIL + 2) = 0xffff;
    assert_int_equal(take(), -EINVAL);
}

/* The counts run through 65535; entries stand where the counts say, by the queue's size. */
static void test_counts_wrap(void **state)
{
    (void)state;
    queue.next = queue.seen = queue.ended = queue.told = *word_at(AVAIL + 2) = 0xfffe;
    for (u16 i = 0; i < SIZE; i++) {
        put(DESC, i, 0x1000u * i, 1, 0, 0);
        offer(i);
    }
    for (u16 i = 0; i < SIZE; i++) {
        bool interrupt;

        assert_int_equal(take(), 1);
        assert_int_equal(chain.head, i);
        assert_int_equal(virtq_give(&queue, &memory, i, 100u + i), 0);
        assert_int_equal(virtq_show(&queue, &memory, &interrupt), 0);
        assert_true(interrupt);
        assert_int_equal(*word_at(USED + 2), (u16)(0xffff + i));
    }
    assert_int_equal(take(), 0);
    for (u16 i = 0; i < SIZE; i++) {
        const struct vring_used_elem *used =
            (struct vring_used_elem *)fake_guest_ram_at(USED + 4 + 8 * ((0xfffeu + i) % SIZE));

        assert_int_equal(used->id, i);
        assert_int_equal(used->len, 100 + i);
    }
}

static bool show(void)
{
    bool interrupt;

    assert_int_equal(virtq_show(&queue, &memory, &interrupt), 0);
    return interrupt;
}

static void test_interrupts(void **state)
{
    (void)state;
    assert_false(show()); /* nothing is new */
    virtq_give(&queue, &memory, 0, 0);
    *word_at(AVAIL) = VRING_AVAIL_F_NO_INTERRUPT;
    assert_false(show());
    queue.event_index = true;
    *word_at(AVAIL + 4 + 2 * SIZE) = 3; /* once the entry of this number, counted from 0, is there */
    virtq_give(&queue, &memory, 0, 0);
    virtq_give(&queue, &memory, 0, 0);
    assert_false(show());
    virtq_give(&queue, &memory, 0, 0);
    virtq_give(&queue, &memory, 0, 0);
    assert_true(show());
    virtq_give(&queue, &memory, 0, 0);
    assert_false(show());
}

static void test_listening(void **state)
{
    bool more;

    (void)state;
    put(DESC, 0, 0, 1, 0, 0);
    offer(0);
    assert_int_equal(take(), 1);
    queue.event_index = true;
    assert_int_equal(virtq_listen(&queue, &memory, &more), 0);
    assert_false(more);
    assert_int_equal(*word_at(USED + 4 + 8 * SIZE), 1);
    offer(0);
    assert_int_equal(virtq_listen(&queue, &memory, &more), 0);
    assert_true(more);
    *word_at(AVAIL + 2) = 1;     /* an index that runs to and fro keeps nobody busy: */
    assert_int_equal(take(), 1); /* what was seen counts */
    assert_int_equal(take(), -EINVAL);
    queue.used = HOLE;
    assert_int_equal(virtq_listen(&queue, &memory, &more), -EFAULT);
    assert_int_equal(virtq_give(&queue, &memory, 0, 0), -EFAULT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_empty, setup),
        cmocka_unit_test_setup(test_chain, setup),
        cmocka_unit_test_setup(test_indirect, setup),
        cmocka_unit_test_setup(test_longest, setup),
        cmocka_unit_test_setup(test_refused_chains, setup),
        cmocka_unit_test_setup(test_refused_tables, setup),
        cmocka_unit_test_setup(test_index_jumps, setup),
        cmocka_unit_test_setup(test_counts_wrap, setup),
        cmocka_unit_test_setup(test_interrupts, setup),
        cmocka_unit_test_setup(test_listening, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
