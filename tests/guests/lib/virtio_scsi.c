/* SPDX-License-Identifier: MIT */
/* Commands and task functions for the CD drives' controller (contract in the header). Virtio 1.1, 5.6.6. */
#include "lib/virtio_scsi.h"

void scsi_describe(struct virtio *v, u16 first, struct scsi_request *request, u8 unit, const u8 cdb[12],
                   u32 bytes)
{
    struct vring_desc *desc = &v->ring->desc[first];

    request->header = (struct virtio_scsi_cmd_req){.lun = {1, 0, 0x40, unit}, .tag = first};
    for (u32 i = 0; i < 12; i++)
        request->header.cdb[i] = cdb[i];
    request->response.response = NO_ANSWER;
    request->data[0] = 0xaa;
    desc[0] = (struct vring_desc){(u64)&request->header, sizeof(request->header), VRING_DESC_F_NEXT,
                                  (u16)(first + 1)};
    desc[1] = (struct vring_desc){(u64)&request->response, sizeof(request->response),
                                  VRING_DESC_F_WRITE | (bytes ? VRING_DESC_F_NEXT : 0), (u16)(first + 2)};
    desc[2] = (struct vring_desc){(u64)request->data, bytes, VRING_DESC_F_WRITE, 0};
}

u32 scsi_answer(const struct scsi_request *request)
{
    const struct virtio_scsi_cmd_resp *response = &request->response;

    if (response->response == NO_ANSWER)
        return SCSI_NO_ANSWER;
    if (response->response != VIRTIO_SCSI_S_OK)
        return SCSI_RESPONSE(response->response);
    if (response->status == 0)
        return SCSI_OK;
    return (u32)response->sense[2] << 16 | (u32)response->sense[12] << 8 | response->sense[13];
}

u32 scsi_do(struct virtio *v, struct scsi_request *request, u8 unit, const u8 cdb[12], u32 bytes)
{
    struct vring_used_elem used;

    scsi_describe(v, 0, request, unit, cdb, bytes);
    ring_offer(v, 0);
    ring_notify(v);
    return ring_wait(v, &used) && used.id == 0 ? scsi_answer(request) : SCSI_NO_ANSWER;
}

void scsi_task_describe(struct virtio *v, struct scsi_task *task, u32 function, u8 unit, u64 tag)
{
    task->header = (struct virtio_scsi_ctrl_tmf_req){
        .type = VIRTIO_SCSI_T_TMF, .subtype = function, .lun = {1, 0, 0x40, unit}, .tag = tag};
    task->response = NO_ANSWER;
    v->ring->desc[0] = (struct vring_desc){(u64)&task->header, sizeof(task->header), VRING_DESC_F_NEXT, 1};
    v->ring->desc[1] = (struct vring_desc){(u64)&task->response, 1, VRING_DESC_F_WRITE, 0};
}

u8 scsi_task_do(struct virtio *v, struct scsi_task *task, u32 function, u8 unit, u64 tag)
{
    struct vring_used_elem used;

    scsi_task_describe(v, task, function, unit, tag);
    ring_offer(v, 0);
    ring_notify(v);
    return ring_wait(v, &used) ? task->response : NO_ANSWER;
}
