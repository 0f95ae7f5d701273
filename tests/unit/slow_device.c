/* SPDX-License-Identifier: MIT */
/* A block device whose requests end when the test says so (contract in the header). */
#include "tests/unit/slow_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/lib/errno.h"

struct slow slow;

static int submit(struct block_device *device, struct block_request *request)
{
    (void)device;
    assert_true(spinlock_held(slow.lock));
    assert_true(slow.waiting_count < ARRAY_SIZE(slow.waiting));
    slow.waiting[slow.waiting_count++] = request;
    return -EINPROGRESS;
}

void slow_end(unsigned i, int status)
{
    struct block_request *request = slow.waiting[i];

    slow.waiting[i] = slow.waiting[--slow.waiting_count];
    request->done(request, status);
}

static void abort_all(struct block_device *device)
{
    (void)device;
    while (slow.waiting_count)
        slow_end(0, slow.abort_status);
}

static void close_device(struct block_device *device)
{
    (void)device;
    assert_int_equal(slow.waiting_count, 0);
    slow.closed++;
}

struct block_device slow_device(u64 sectors, u32 depth)
{
    static const struct block_ops ops = {submit, abort_all, close_device};

    slow = (struct slow){.abort_status = -EIO};
    return (struct block_device){.ops = &ops, .name = "slow", .sectors = sectors, .depth = depth};
}
