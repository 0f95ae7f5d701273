/* SPDX-License-Identifier: MIT */
/* The balloon's port as a driver calls it (docs/abi.md): registers that go in, and those that come out. */
#ifndef GUESTS_LIB_BALLOON_H
#define GUESTS_LIB_BALLOON_H

#include "hv/lib/types.h"

#define BALLOON_PORT  0x5670
#define BALLOON_MAGIC 0x456c6d6f

enum {
    BALLOON_START,
    BALLOON_GET_TARGET,
    BALLOON_LOCK,
    BALLOON_UNLOCK,
    BALLOON_GUEST_ID,
    BALLOON_BATCHED_LOCK = 6,
    BALLOON_BATCHED_UNLOCK,
    BALLOON_BATCHED_2M_LOCK,
    BALLOON_BATCHED_2M_UNLOCK,
    BALLOON_DOORBELL_SET,
};
enum {
    STATUS_SUCCESS,
    STATUS_COMMAND_INVALID,
    STATUS_PPN_INVALID,
    STATUS_PPN_LOCKED,
    STATUS_PPN_UNLOCKED,
    STATUS_PPN_PINNED,
    STATUS_PPN_NOT_NEEDED,
    STATUS_RESET,
    STATUS_BUSY,
    STATUS_CAPABILITIES = 0x03000000,
};
#define BALLOON_CAN_ALL 0x3e /* what Linux offers in 64-bit mode */

struct balloon_call {
    u64 rax, rcx, rbx, rsi, rdx;
};

static inline struct balloon_call balloon_raw(struct balloon_call call)
{
    asm volatile("inl %%dx"
                 : "+a"(call.rax), "+c"(call.rcx), "+b"(call.rbx), "+S"(call.rsi), "+d"(call.rdx)
                 :
                 : "memory");
    return call;
}

static inline struct balloon_call balloon_call(u64 command, u64 first, u64 second)
{
    return balloon_raw((struct balloon_call){BALLOON_MAGIC, command, first, second, BALLOON_PORT});
}

static inline u64 balloon_status(u64 command, u64 first, u64 second)
{
    return balloon_call(command, first, second).rax;
}

#endif
