/* SPDX-License-Identifier: MIT */
/* Who reads and writes the drives of a test of host drivers: requests with memory of their own. */
#ifndef TESTS_UNIT_DRIVE_USER_H
#define TESTS_UNIT_DRIVE_USER_H

#include "hv/storage/block.h"

#define USER_REQUESTS 16u
#define USER_BYTES    (64u << 10) /* of a request at most */
#define USER_OWNER    ((frame_owner_t)17)
#define SECOND        1000000ull
#define NOT_DONE      77

struct user_request {
    struct block_request block;
    struct guest_segment segment;
    int status; /* NOT_DONE until it has ended, which is once */
};

extern struct user_request user_requests[USER_REQUESTS];

/* No request is known, and the guest's memory is zeros. */
void user_begin(void);
/* What block_submit says; in progress, it is request n. */
int user_submit(u32 n, struct block_device *disk, enum block_operation operation, u64 sector, u64 sectors);
/* ... and it must be. */
void user_send(u32 n, struct block_device *disk, enum block_operation operation, u64 sector, u64 sectors);
/* Its data. */
u8 *user_data(u32 n);
/* Let time pass: timers fire when they are due, whoever sets them anew. */
void user_pass(u64 us);

#endif
