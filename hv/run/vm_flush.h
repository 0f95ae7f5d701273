/* SPDX-License-Identifier: MIT */
/*
 * When may a frame that was taken out of a running guest have another owner? Not when the flush was asked for
 * but when it is finished: no vCPU is in the guest with a translation from before, and no exit's handler is
 * still at work with what it looked up in the p2m before. Whoever takes frames away (a balloon) does so in
 * three steps, for as many frames at a time as it likes: a flush costs the same for one and for 512.
 *
 *   1. Under the VM's lock: take them out of the nested tables and of the p2m, ask for the flush (memory
 *      code: memory->flush, which is vm_flush_request), remember flush_debt_now(&memory->flush_debt).
 *   2. Without any lock: vm_flush_finish.
 *   3. flush_debt_check_since with the number of step 1, then frame_free_promised and the like.
 *
 * Who may call vm_flush_finish: the handler of an exit, on the vCPU's own CPU, or work on the boot CPU. Not a
 * timer's fire; and nobody who holds a lock, since a vCPU that spins for that lock, interrupts off, never
 * comes to its flush. So a device that calls it registers its ports without a lock and takes its own around
 * all but this. Two vCPUs of a VM may do it at the same time: each keeps its promise to the other while it
 * waits itself. Behind it the caller must not go on with an mfn, or an address in the direct map, from
 * before.
 *
 * It takes as long as the longest exit that another vCPU of this VM is in just now, a few microseconds as a
 * rule. A vCPU that halts, waits for a CPU or is held by sched_call costs nothing: its flush lies ahead of
 * its next turn.
 *
 * Readers and writers of guest memory that are no part of an exit (timers, work, a disk's interrupt) are not
 * waited for. They hold the VM's lock from the look into the p2m to the last access.
 */
#ifndef HV_RUN_VM_FLUSH_H
#define HV_RUN_VM_FLUSH_H

#include "hv/run/vm.h"

/*
 * A nested mapping was removed or tightened: each vCPU of the VM flushes before its next entry, and is kicked
 * so that it comes to it soon. Nobody waits. VM's lock held, or no vCPU runs. The argument is the struct vm.
 */
void vm_flush_request(void *context);

/* Wait until all that was requested up to now is as good as done. See above who may. */
void vm_flush_finish(struct vm *vm);

/*
 * The vCPU is outside the guest, its handler is over, and its flush is certain to come before its next entry:
 * say so to those who wait. Own CPU; the door into the guest (exit.c).
 */
static inline void vcpu_flush_promise(struct vcpu *vcpu)
{
    u32 wanted = __atomic_load_n(&vcpu->flush.wanted, __ATOMIC_ACQUIRE);

    __atomic_store_n(&vcpu->flush.promised, wanted, __ATOMIC_RELEASE);
}

#endif
