/* SPDX-License-Identifier: MIT */
/* A block device whose requests end when the test says so; its devices share what waits. */
#ifndef TESTS_UNIT_SLOW_DEVICE_H
#define TESTS_UNIT_SLOW_DEVICE_H

#include "hv/storage/block.h"

struct slow {
    struct spinlock *lock; /* its user's, under which requests come */
    struct block_request *waiting[8];
    unsigned waiting_count, closed;
    int abort_status; /* what an aborted request is said to have ended with */
};
extern struct slow slow;

/* Nothing waits, and nothing was closed. */
struct block_device slow_device(u64 sectors, u32 depth);
/* The i-th of those that wait; the last one takes its place. */
void slow_end(unsigned i, int status);

#endif
