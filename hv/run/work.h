/* SPDX-License-Identifier: MIT */
/* Something to do on a CPU between vCPUs; on the boot CPU: monitor lines, the ends and resets of VMs. */
#ifndef HV_RUN_WORK_H
#define HV_RUN_WORK_H

#include "hv/lib/list.h"

/* Embedded in whatever it belongs to; run is called once for each time it was queued, with no lock held. */
struct sched_work {
    void (*run)(struct sched_work *work);
    struct list_node node;
    bool queued;
};

/* On the boot CPU. Any CPU, any context; queueing what is queued already does nothing. */
void sched_work_queue(struct sched_work *work);
/* On the CPU of that index; the same work is never queued on two. */
void sched_work_queue_on(u32 cpu, struct sched_work *work);

#endif
