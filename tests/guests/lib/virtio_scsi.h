/* SPDX-License-Identifier: MIT */
/* Commands and task functions for the CD drives' controller, over lib/virtio.h. */
#ifndef GUESTS_LIB_VIRTIO_SCSI_H
#define GUESTS_LIB_VIRTIO_SCSI_H

#include <linux/virtio_scsi.h>

#include "lib/virtio.h"

#define SCSI_SLOT     9u
#define SCSI_CONTROL  0u /* queues */
#define SCSI_EVENTS   1u
#define SCSI_COMMANDS 2u
#define SCSI_BLOCK    2048u

/* What a command came to: 0, or sense key, code and qualifier in one number. */
#define SCSI_OK          0u
#define SCSI_NO_MEDIUM   0x23a02u
#define SCSI_CHANGED     0x62800u
#define SCSI_WAS_RESET   0x62900u
#define SCSI_NO_ANSWER   0xffffffffu
#define SCSI_RESPONSE(r) (0x1000000u | (r)) /* VIRTIO_SCSI_S_*: it did not come to a command */

struct scsi_request {
    struct virtio_scsi_cmd_req header;
    struct virtio_scsi_cmd_resp response;
    u8 data[SCSI_BLOCK];
};

/* A command in descriptors `first` and the next two; data: bytes of request->data. It is not offered. */
void scsi_describe(struct virtio *v, u16 first, struct scsi_request *request, u8 unit, const u8 cdb[12],
                   u32 bytes);
u32 scsi_answer(const struct scsi_request *request);
/* The same, offered and waited for. */
u32 scsi_do(struct virtio *v, struct scsi_request *request, u8 unit, const u8 cdb[12], u32 bytes);
#define scsi_run(v, request, bytes, ...) scsi_do(v, request, 0, (const u8[12]){__VA_ARGS__}, bytes)

struct scsi_task {
    struct virtio_scsi_ctrl_tmf_req header;
    volatile u8 response;
};

/* A task function in descriptors 0 and 1 of the control queue. */
void scsi_task_describe(struct virtio *v, struct scsi_task *task, u32 function, u8 unit, u64 tag);
/* VIRTIO_SCSI_S_*, NO_ANSWER */
u8 scsi_task_do(struct virtio *v, struct scsi_task *task, u32 function, u8 unit, u64 tag);

#endif
