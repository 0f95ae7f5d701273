/* SPDX-License-Identifier: MIT */
/*
 * The row of vCPUs that wait for a frame (contract in the header). Exits of any CPU join it; work on the boot
 * CPU serves it, from the front, whenever frames have become free. Who is served is promised what one touch
 * takes, so that nobody can be faster, and is woken to touch again.
 */
#include "hv/run/memory_wait.h"

#include "hv/run/sched_private.h"

/* Tables that one touch may need: those of the p2m with their tree, of the nested tables, in a new corner. */
#define TOUCH_TABLES 12u
#define TOLD_IN_MS   10000
#define TOLD_AT_MOST 1

static struct {
    struct spinlock lock;
    struct list_node row;
    u64 tickets; /* given so far */
} waiting = {.lock = SPINLOCK_INIT(RANK_MEMORY_WAIT)};

static void row_serve(struct sched_work *work);
static struct sched_work row_work = {.run = row_serve};

static void frames_freed(void)
{
    sched_work_queue(&row_work);
}

void memory_wait_init(void)
{
    list_init(&waiting.row);
    list_init(&row_work.node);
    frame_set_freed_hook(frames_freed);
}

/* Behind all with a smaller ticket: one that was served in vain has its place back. Lock held. */
static void row_join(struct vcpu *vcpu)
{
    struct list_node *at = &waiting.row;
    struct vcpu *other;

    list_for_each (other, &waiting.row, memory_wait.node) {
        if (other->memory_wait.ticket > vcpu->memory_wait.ticket) {
            at = &other->memory_wait.node;
            break;
        }
    }
    list_add_before(at, &vcpu->memory_wait.node);
}

static void tell(struct vcpu *vcpu, gpa_t gpa, const char *device)
{
    struct vm *vm = vcpu->vm;

    if (log_limit_pass(&vm->wait_limit, sched_now(), TOLD_IN_MS * tsc_khz, TOLD_AT_MOST))
        log_warning("VM %s: waits for memory: vCPU %u%s%s touched gpa %#llx, beyond what the VM is promised, "
                    "and the machine has none left; `balloon` shows who could give some",
                    vm->name, vcpu->index, device ? " for " : "", device ? device : "",
                    (unsigned long long)gpa);
}

/* The same touch, and nothing since: somebody else of its VM has taken what it was promised. */
static bool is_again(const struct vcpu *vcpu, gpa_t gpa)
{
    return vcpu->memory_wait.ticket && vcpu->memory_wait.gpa == gpa &&
           vcpu->exits[EXIT_NESTED_FAULT] - vcpu->memory_wait.faults <= 1;
}

void memory_wait(struct vcpu *vcpu, gpa_t gpa, const char *device)
{
    bool again;

    /* For another device of this turn already: this one finds out in the next. Nobody else sets it. */
    if (READ_ONCE(vcpu->memory_wait.waits))
        return;
    again = is_again(vcpu, gpa);
    if (!again)
        tell(vcpu, gpa, device);
    frame_await(1);
    spinlock_take(&waiting.lock);
    if (!again)
        vcpu->memory_wait.ticket = ++waiting.tickets;
    vcpu->memory_wait.gpa = gpa;
    vcpu->memory_wait.faults = vcpu->exits[EXIT_NESTED_FAULT];
    row_join(vcpu);
    WRITE_ONCE(vcpu->memory_wait.waits, true);
    spinlock_release(&waiting.lock);
    vcpu_request(vcpu, REQUEST_RESCHEDULE);
    sched_work_queue(&row_work); /* what became free before this one stood in the row was told to nobody */
}

static struct vcpu *row_first(void)
{
    struct vcpu *first = NULL;

    spinlock_take(&waiting.lock);
    if (!list_empty(&waiting.row))
        first = list_entry(waiting.row.next, struct vcpu, memory_wait.node);
    spinlock_release(&waiting.lock);
    return first;
}

/* Out of the row: on the boot CPU alone, so that the first stays the first meanwhile. */
static bool row_leave(struct vcpu *vcpu)
{
    bool waited;

    spinlock_take(&waiting.lock);
    waited = vcpu->memory_wait.waits;
    if (waited)
        list_remove(&vcpu->memory_wait.node);
    WRITE_ONCE(vcpu->memory_wait.waits, false);
    spinlock_release(&waiting.lock);
    if (waited)
        frame_await(-1);
    return waited;
}

/* A frame more, and tables to hand: all or nothing. */
static bool touch_promise(struct guest_memory *memory)
{
    frame_owner_t guest = frame_owner_guest(memory->vm), support = frame_owner_support(memory->vm);
    u64 tables = TOUCH_TABLES - MIN((u64)TOUCH_TABLES, frame_promised(support));
    struct frame_statistics now;
    bool done = false;

    /* Looked at first, since a promise that is taken back would be told as something that became free. */
    frame_statistics(&now);
    if (now.free - now.promised < 1 + tables)
        return false;
    spinlock_take(memory->lock);
    if (frame_promise(1, guest) == 0) {
        done = frame_promise(tables, support) == 0;
        if (!done)
            frame_unpromise(1, guest);
    }
    spinlock_release(memory->lock);
    return done;
}

static void row_serve(struct sched_work *work)
{
    struct vcpu *first;

    (void)work;
    while ((first = row_first()) != NULL && touch_promise(&first->vm->memory)) {
        row_leave(first);
        sched_vcpu_wake(first);
    }
}

void memory_wait_cancel(struct vcpu *vcpu)
{
    row_leave(vcpu);
    vcpu->memory_wait.ticket = 0;
}

bool memory_wait_any(const struct vm *vm)
{
    for (u32 i = 0; i < vm->vcpu_count; i++)
        if (READ_ONCE(vm->vcpus[i]->memory_wait.waits))
            return true;
    return false;
}
