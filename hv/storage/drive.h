/* SPDX-License-Identifier: MIT */
/*
 * The machine's own drives, whole or by partition, as block devices: what all host drivers (drivers/) have in
 * common. A driver hands over a piece of a request and looks, when asked, which pieces have ended; here
 * stand the queue, the cutting, the polling, time-outs, resets, and who may have what.
 *
 * A drive never sees a guest's frame. What it reads and writes is a buffer of its own, one per slot, that
 * lintel never gives back; data is copied between buffer and guest when a piece begins or has ended, under
 * the VM's lock. So a balloon may take any page, and a VM be reset or end, while the drive still works for
 * it: the piece becomes nobody's, its slot stays taken until the hardware has let go of it, and what it still
 * writes lands in the buffer. Nobody waits for that. The price is one copy. It also makes alignment, and the
 * count and length of a guest's segments, no matter of the hardware's. New pieces that touch the sectors of
 * a write that is nobody's wait for its end: the next life of the VM can't be overwritten by the last one.
 *
 * No CPU waits for a drive but at boot. While pieces are out, a timer looks for their ends, soon at first,
 * then after a quarter of the time that nothing has happened, at most a millisecond; a drive without work
 * costs nothing. A piece that takes 10 s is an I/O error, and the drive is reset; what was out beside it is
 * tried again, alone, so that the one that breaks the drive is found. A drive whose reset fails is lost: all
 * that is asked of it is an error at once.
 */
#ifndef HV_STORAGE_DRIVE_H
#define HV_STORAGE_DRIVE_H

#include "hv/lib/list.h"
#include "hv/lib/log.h"
#include "hv/run/timer.h"
#include "hv/storage/block.h"
#include "hv/storage/cd_drive.h"
#include "hv/storage/cd_packet.h"
#include "hv/storage/partition.h"

#define DRIVES_MAX         32
#define DRIVE_SLOTS        8u
#define DRIVE_SLOT_ORDER   4 /* frames of a slot's buffer, adjoining and aligned to its size */
#define DRIVE_SLOT_BYTES   (PAGE_SIZE << DRIVE_SLOT_ORDER)
#define DRIVE_DEPTH        16 /* requests of one user at once */
#define DRIVE_DISCARD_MOST 0x400000u
#define DRIVE_NAME_MAX     24 /* "virtio:31/part32" */

enum drive_state { DRIVE_WORKS, DRIVE_RESETTING, DRIVE_LOST };
enum drive_slot_state {
    DRIVE_SLOT_IDLE,
    DRIVE_SLOT_BUSY,  /* the hardware has it */
    DRIVE_SLOT_AGAIN, /* was out when the drive was reset: to be tried alone */
};

struct drive;
struct drive_job;

/* A piece of a request. */
struct drive_slot {
    u8 state;  /* enum drive_slot_state */
    bool last; /* it is tried alone: who fails now is the one that fails */
    bool own;  /* of a CD drive: no piece of a request, but a command of lintel's own */
    enum block_operation operation;
    u8 packet[CD_PACKET_BYTES]; /* of a CD drive: what is to be sent; all of them read, or move nothing */
    u64 sector;                 /* of the drive */
    u32 bytes;   /* 0 for a flush, of a discard its sectors'; of a CD drive's commands: at most */
    int status;  /* of the latest one */
    u64 started; /* ticks */
    u8 *data;
    hpa_t data_hpa;
    struct drive_job *job; /* NULL: nobody's any more */
    u64 offset;            /* in the job's data */
};

/* Called with the drive's lock held; none of them waits. */
struct drive_ops {
    /* Begin what stands in the slot. */
    void (*start)(struct drive *drive, unsigned slot);
    /* Say drive_slot_ended for each slot that has ended, or drive_failed. */
    void (*poll)(struct drive *drive);
    /*
     * Begin to make the hardware forget all that it was told, or (begin false) go on with that. 0: it works
     * and has forgotten; -EINPROGRESS: ask again; else it is beyond help.
     */
    int (*reset)(struct drive *drive, bool begin);
};

struct drive {
    const struct drive_ops *ops; /* this and what is below: the driver's, before drive_register */
    char name[DRIVE_NAME_MAX];   /* "virtio:0": stable */
    u64 sectors;
    u32 slot_count; /* pieces that the hardware takes at once, 1 to DRIVE_SLOTS */
    bool is_cd;     /* a CD drive: commands are packets, one at a time, and media come and go */
    bool read_only, has_flush;
    bool flush_alone;    /* a flush or discard goes out alone, and nothing beside it */
    u32 discard_sectors; /* as in struct block_device */
    u32 discard_most; /* sectors of a piece, at most DRIVE_DISCARD_MOST; its buffer is the driver's to fill */
    hpa_t dma_end;    /* its buffers must lie below; 0: anywhere */

    struct spinlock lock; /* RANK_DRIVE: all of this, the jobs of its users, and the hardware */
    u8 state;             /* enum drive_state */
    bool failed;          /* drive_failed was said */
    u32 busy;             /* slots */
    u64 quiet_since;      /* ticks; when a piece began or ended last */
    u64 reset_since;
    u64 polls; /* for statistics */
    struct timer timer;
    struct list_node jobs;  /* that have pieces to send */
    struct list_node ended; /* whose users are to be told */
    struct list_node users;
    struct partition_table table;
    struct cd_drive cd;
    struct drive_slot slots[DRIVE_SLOTS];
    struct log_limit log_limit;
};

/* ---- for drivers ---- */

/*
 * It works, and slot 0 has a buffer of a page. Reads its partitions and says what it is. -EIO: it does not
 * read; -ENOSPC. Boot CPU, at boot, no VM runs.
 */
int drive_register(struct drive *drive);
/* A slot's buffer, which drive_register wants of slot 0: for what a driver asks first. False: no memory. */
bool drive_buffer_make(struct drive *drive, u32 slot);
/* It was not registered, and its hardware is at rest. */
void drive_give_up(struct drive *drive);
/* From ops->poll. status: 0 or -EIO; of a CD drive one of cd_error_judge, too. */
void drive_slot_ended(struct drive *drive, unsigned slot, int status);
/* From ops->poll: something has happened, so it is worth looking again soon. */
void drive_moved(struct drive *drive);
/* From ops->start or ops->poll: the piece has not begun yet, so its time counts from now on. */
void drive_slot_waits(struct drive *drive, unsigned slot);
/* Likewise: it stands still until it is reset, and which piece is to blame is not known. */
void drive_failed(struct drive *drive);

/* ---- for cd_drive.c, under the drive's lock ---- */

/* Whose device this is. No lock. */
struct drive *drive_of(struct block_device *device);
/* There is something new to be sent, or to be told. */
void drive_go_on(struct drive *drive);
/* A line for the log that a guest may cause: not too many of them. */
bool drive_may_say(struct log_limit *limit);
/* As drive_open, a CD drive for one user alone. Without the lock. */
int drive_open_cd(const char *name, frame_owner_t owner, struct block_device **device, char *why,
                  size_t size);

/* ---- for users ---- */

/*
 * "virtio:0" or "virtio:0/part2", to be read, and written if write. Nobody else may have a sector of it then,
 * nor may it be written while others read. -ENOENT, -ENODEV: it is a CD drive, -EBUSY, -EROFS, -ENOMEM: why
 * says what would be right.
 * Boot CPU.
 */
int drive_open(const char *name, bool write, frame_owner_t owner, struct block_device **device, char *why,
               size_t size);

#ifdef LINTEL_HOST_TEST
u64 drive_now(void); /* a test's own clock */
#endif

#endif
