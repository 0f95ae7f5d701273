/* SPDX-License-Identifier: MIT */
/*
 * What a request to a drive in memory costs, in TSC ticks (one instruction each, see exits.c), from before
 * its descriptors are written to behind the interrupt that tells its end. With "depth=1" or "depth=32" on
 * its command line it only makes requests, so many at a time, and halts: tests/bench/run-bench counts the
 * exits; with "depth=0" it makes none.
 */
#include "lib/tap.h"
#include "lib/virtio_scsi.h"

#define ROUNDS   201u
#define REQUESTS 1024u
#define DEPTH    32u
#define VECTOR   0x51
#define SECTORS  ((64u << 20) / SECTOR)
#define SMALL    4096u
#define LARGE    65536u

static struct virtio drive;
static struct ring ring;
static struct blk_request requests[DEPTH];
static u8 data[DEPTH][LARGE] ALIGNED(4096);
static u64 samples[ROUNDS];
static volatile u32 ends;

static void ended(struct frame *frame)
{
    (void)frame;
    ends++;
    wrmsr(MSR_X2APIC + LAPIC_EOI / 16, 0);
}

static void begin(void)
{
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2);
    wrmsr(MSR_X2APIC + LAPIC_SVR / 16, 0x1ff);
    interrupt_handle(VECTOR, ended);
    if (!virtio_find(&drive, 1))
        bail_out("there is no drive");
    virtio_begin(&drive, &ring, ALL_OFFERED);
    msix_enable(&drive, true);
    msix_route(&drive, 1, VECTOR, false);
    common_write(&drive, VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
}

/* So many requests at once, and one interrupt for them; returns when it has come. */
static void batch(u32 depth, u32 type, u64 sector, u32 bytes)
{
    u32 before = ends;

    ring.avail.used_event = (u16)(ring.avail.idx + depth - 1);
    for (u16 i = 0; i < depth; i++) {
        blk_describe(&drive, (u16)(3 * i), &requests[i], type, sector + i * (bytes / SECTOR), data[i], bytes,
                     type == VIRTIO_BLK_T_IN);
        ring_offer(&drive, (u16)(3 * i));
    }
    ring_notify(&drive);
    while (ends == before)
        ;
    if (requests[depth - 1].status != VIRTIO_BLK_S_OK)
        bail_out("a request has failed");
}

static void report(const char *name)
{
    for (u32 i = 1; i < ROUNDS; i++)
        for (u32 j = i; j > 0 && samples[j] < samples[j - 1]; j--) {
            u64 swap = samples[j];

            samples[j] = samples[j - 1];
            samples[j - 1] = swap;
        }
    say("bench %s %lu %lu", name, samples[0], samples[ROUNDS / 2]);
}

static void measure(const char *name, u32 bytes, u32 step)
{
    u64 sector = 0;

    for (u32 i = 0; i < ROUNDS; i++) {
        u64 start = rdtsc();

        batch(1, VIRTIO_BLK_T_IN, sector, bytes);
        samples[i] = rdtsc() - start;
        sector = (sector + step) % (SECTORS - bytes / SECTOR);
    }
    report(name);
}

/* What Linux asks a CD drive every two seconds, from before its descriptors are written to its end. */
static void media_poll(void)
{
    static struct virtio cd;
    static struct ring cd_ring;
    static struct scsi_request request;

    if (!virtio_find(&cd, SCSI_SLOT))
        bail_out("there is no CD drive");
    cd.queue = SCSI_COMMANDS;
    virtio_begin(&cd, &cd_ring, ALL_OFFERED);
    for (u32 i = 0; i < ROUNDS; i++) {
        u64 start = rdtsc();

        if (scsi_run(&cd, &request, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8) != SCSI_OK)
            bail_out("a poll has failed");
        samples[i] = rdtsc() - start;
    }
    report("media_poll");
}

static void only_requests(u32 depth)
{
    for (u32 i = 0; depth && i < REQUESTS / depth; i++)
        batch(depth, VIRTIO_BLK_T_IN, 8 * (i % 100), SMALL);
    say("bench requests are done");
    for (;;)
        interrupt_wait();
}

void guest_main(void)
{
    begin();
    interrupts_on();
    /* What is read was written: blank pages have nothing to copy. */
    for (u64 sector = 0; sector < SECTORS; sector += DEPTH * LARGE / SECTOR)
        batch(DEPTH, VIRTIO_BLK_T_OUT, sector, LARGE);
    if (word_given("depth=0"))
        only_requests(0);
    if (word_given("depth=1"))
        only_requests(1);
    if (word_given("depth=32"))
        only_requests(DEPTH);
    plan(1);
    measure("disk_read_4k_random", SMALL, 8 * 1031);
    measure("disk_read_64k_sequential", LARGE, LARGE / SECTOR);
    media_poll();
    ok(true, "measured");
}
