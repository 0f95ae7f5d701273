/* SPDX-License-Identifier: MIT */
/*
 * Port 0x5670, at which Linux's vmw_balloon driver speaks with hv/memory/balloon.c (docs/abi.md, "Balloon").
 * It is there under every personality: whoever knows the magic number may ask. State under the VM's lock.
 */
#ifndef GUEST_DEVICES_VMW_BALLOON_H
#define GUEST_DEVICES_VMW_BALLOON_H

#include "hv/run/vm_config.h"

struct machine;

/* A batch that takes more than one exit: how far a vCPU has come with it. */
struct vmw_batch {
    u64 command, page, count;
    u64 done;       /* entries answered; 0: none is under way */
    u32 connection; /* it belongs to */
};

struct vmw_balloon {
    struct machine *machine;
    u32 granted;    /* capabilities of the connection */
    bool started;   /* there is one */
    u32 connection; /* counts handshakes and resets */
    u64 asked_at;   /* host TSC when the target was asked for last, and what had been moved by then */
    u64 asked_moved;
    struct vmw_batch batches[VM_VCPUS_MAX];
};

int vmw_balloon_init(struct vmw_balloon *balloon, struct machine *machine);
void vmw_balloon_reset(struct vmw_balloon *balloon);

#endif
