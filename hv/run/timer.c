/* SPDX-License-Identifier: MIT */
/*
 * Timer queues (contract in the header): a pairing heap per CPU, under the queue's lock (RANK_TIMER). Called
 * by device models, the scheduler and the timer interrupt.
 *
 * A timer's children are a singly linked list of heaps, none of them due before it. `link` is the pointer
 * that points to the timer, wherever that is, so that it can be taken out without a search. Setting costs a
 * comparison; taking one out joins its children in pairs, which is logarithmic over time. Nothing recurses.
 *
 * Only the CPU that owns a queue programs its hardware; others kick it, and only for a deadline before all it
 * knows of. One that is gone or later fires early and finds nothing due.
 */
#include "hv/run/timer.h"

#include "arch/x86/machine/percpu.h"

/*
 * A guest can make its timers due at once, again and again: between so many of them the CPU looks at other
 * things.
 */
#define FIRES_PER_RUN 64

static void link_to(struct timer **link, struct timer *timer)
{
    *link = timer;
    if (timer != NULL)
        timer->link = link;
}

/* Join two heaps, neither empty: who is due first becomes the root, without siblings. The caller links it. */
static struct timer *meld(struct timer *a, struct timer *b)
{
    struct timer *root = b->deadline < a->deadline ? b : a, *child = root == a ? b : a;

    link_to(&child->sibling, root->child);
    link_to(&root->child, child);
    root->sibling = NULL;
    return root;
}

/* One heap of a list of heaps: joined two by two from the front, then one after the other from the back. */
static struct timer *meld_list(struct timer *list)
{
    struct timer *pairs = NULL, *root;

    if (list == NULL)
        return NULL;
    do {
        struct timer *a = list, *b = a->sibling;

        list = b != NULL ? b->sibling : NULL;
        if (b != NULL)
            a = meld(a, b);
        a->sibling = pairs;
        pairs = a;
    } while (list != NULL);
    root = pairs;
    list = root->sibling;
    root->sibling = NULL;
    while (list != NULL) {
        struct timer *next = list->sibling;

        root = meld(root, list);
        list = next;
    }
    return root;
}

static void heap_add(struct timer_queue *queue, struct timer *heap)
{
    if (heap != NULL && queue->first != NULL)
        heap = meld(queue->first, heap);
    if (heap != NULL)
        link_to(&queue->first, heap);
}

/* Take a timer that is set out of its queue. */
static void heap_remove(struct timer *timer)
{
    struct timer *below = meld_list(timer->child);

    link_to(timer->link, timer->sibling);
    timer->child = NULL;
    timer->sibling = NULL;
    timer->link = NULL;
    timer->deadline = TIMER_NEVER;
    heap_add(timer->queue, below);
}

static u64 earliest(const struct timer_queue *queue)
{
    return queue->first != NULL ? queue->first->deadline : TIMER_NEVER;
}

static void program(struct timer_queue *queue)
{
    lock_assert_held(&queue->lock);
    queue->running = false;
    queue->programmed = earliest(queue);
    queue->hardware->program(queue->programmed);
}

/* Lock held. */
static void changed(struct timer_queue *queue)
{
    lock_assert_held(&queue->lock);
    if (queue->running || earliest(queue) == queue->programmed)
        return;
    if (queue->cpu == cpu_this()->index)
        program(queue);
    else if (earliest(queue) < queue->programmed)
        queue->hardware->kick(queue->cpu);
}

void timer_queue_init(struct timer_queue *queue, u32 cpu, const struct timer_hardware *hardware)
{
    *queue = (struct timer_queue){.programmed = TIMER_NEVER, .cpu = cpu, .hardware = hardware};
    spinlock_init(&queue->lock, RANK_TIMER);
}

void timer_init(struct timer *timer, struct timer_queue *queue, void (*fire)(struct timer *timer))
{
    *timer = (struct timer){.deadline = TIMER_NEVER, .fire = fire, .queue = queue};
}

/* The heap stays in order: a timer without children may become later where it is, the root sooner. */
static bool keeps_place(const struct timer *timer, u64 deadline)
{
    return deadline != TIMER_NEVER &&
           (deadline >= timer->deadline ? timer->child == NULL : timer->queue->first == timer);
}

void timer_set(struct timer *timer, u64 deadline_tsc)
{
    struct timer_queue *queue = timer->queue;

    spinlock_take(&queue->lock);
    if (keeps_place(timer, deadline_tsc)) {
        timer->deadline = deadline_tsc;
    } else {
        if (timer_is_set(timer))
            heap_remove(timer);
        timer->deadline = deadline_tsc;
        if (deadline_tsc != TIMER_NEVER)
            heap_add(queue, timer);
    }
    changed(queue);
    spinlock_release(&queue->lock);
}

void timer_cancel(struct timer *timer)
{
    timer_set(timer, TIMER_NEVER);
}

void timer_move(struct timer *timer, struct timer_queue *queue)
{
    struct timer_queue *old = timer->queue;
    u64 deadline;

    if (old == queue)
        return;
    spinlock_take(&old->lock);
    deadline = timer->deadline;
    if (timer_is_set(timer))
        heap_remove(timer);
    timer->queue = queue;
    changed(old);
    spinlock_release(&old->lock);
    if (deadline != TIMER_NEVER)
        timer_set(timer, deadline);
}

/* Take out the earliest timer if it is due; NULL: none is. */
static struct timer *due_take(struct timer_queue *queue, u64 now)
{
    struct timer *timer;

    spinlock_take(&queue->lock);
    queue->running = true;
    timer = queue->first;
    if (timer != NULL && timer->deadline <= now)
        heap_remove(timer);
    else
        timer = NULL;
    spinlock_release(&queue->lock);
    return timer;
}

void timer_queue_run(struct timer_queue *queue, u64 now)
{
    for (unsigned i = 0; i < FIRES_PER_RUN; i++) {
        struct timer *timer = due_take(queue, now);

        if (timer == NULL)
            break;
        lock_assert_none();
        timer->fire(timer);
    }
    /* Always: the one shot of the hardware may be spent, even a little before its time. */
    spinlock_take(&queue->lock);
    program(queue);
    spinlock_release(&queue->lock);
}

void timer_queue_look(struct timer_queue *queue)
{
    spinlock_take(&queue->lock);
    changed(queue);
    spinlock_release(&queue->lock);
}
