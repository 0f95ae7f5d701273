/* SPDX-License-Identifier: MIT */
/*
 * The SCSI controller of the guest's CD drives: virtio-scsi, one target, cd0 to cd3 are its logical units 0
 * to 3. Its lock is that of its PCI device, and guards the drives, too. Virtio 1.1, 5.6; layouts:
 * linux/virtio_scsi.h.
 */
#ifndef GUEST_DEVICES_VIRTIO_SCSI_H
#define GUEST_DEVICES_VIRTIO_SCSI_H

#include <linux/virtio_scsi.h>

#include "guest/devices/virtio.h"
#include "hv/storage/cd_drive.h"
#include "hv/storage/scsi_cd.h"

#define VIRTIO_SCSI_SLOTS 8u /* commands that may be in progress, all drives together */

enum scsi_slot_state { SCSI_SLOT_FREE, SCSI_SLOT_IN_PROGRESS, SCSI_SLOT_ENDED };

/* A command of the driver's, from its chain to its end. */
struct virtio_scsi_slot {
    struct block_request request;
    struct virtio_scsi *scsi;
    u8 state;   /* enum scsi_slot_state */
    bool abort; /* the driver wants no more of it than its end */
    u8 unit;
    int result; /* of one that has ended by itself */
    u64 tag;    /* the driver's */
    u64 room;   /* bytes for data */
    struct scsi_command command;
    struct virtq_chain chain;
    struct guest_segment data[VIRTQ_SIZE_MAX]; /* the part of the chain that takes what is read */
};

struct virtio_scsi_unit {
    struct scsi_cd cd;
    struct virtio_scsi *scsi;
    u32 in_progress; /* slots, at the medium */

    /* Behind it stands a drive of the machine, which does what the guest does to this one; or NULL. */
    struct block_device *drive;
    struct cd_user user;
    bool drive_is_open, drive_is_locked; /* as it was told, or has told */
};

struct virtio_scsi {
    struct virtio virtio;
    struct virtio_scsi_config config;
    u32 in_progress;            /* slots, of all drives */
    bool answering;             /* a task management function waits until what it aborts has ended */
    struct virtq_chain control; /* its chain */
    u32 unit_count;
    struct virtio_scsi_unit units[VM_CDROMS_MAX];
    struct virtio_scsi_slot slots[VIRTIO_SCSI_SLOTS];
};

/*
 * Plug a controller in, machine->scsi, with the drives and media that vm->config says. -ENOMEM: why says for
 * what; what is there goes with the machine. Boot CPU; no vCPU runs.
 */
int virtio_scsi_create(struct machine *machine, unsigned slot, char *why, size_t size);
/* As after power-on; media stay in. It touches no guest memory from here on. Likewise. */
void virtio_scsi_reset(struct virtio_scsi *scsi);
/* Give it and its media back; after virtio_scsi_reset. */
void virtio_scsi_destroy(struct virtio_scsi *scsi);
/* Go on with what is left to do. The vCPU that was asked for (REQUEST_DEVICE); no lock held. */
void virtio_scsi_work(struct virtio_scsi *scsi, struct vcpu *vcpu);

#endif
