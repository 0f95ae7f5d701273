/* SPDX-License-Identifier: MIT */
/* Virtqueues (contract in the header). */
#include "guest/devices/virtio_ring.h"

#include <linux/virtio_ring.h>

#include "hv/lib/errno.h"

_Static_assert(sizeof(struct vring_desc) == 16 && sizeof(struct vring_used_elem) == 8, "Virtio 1.1, 2.6");
_Static_assert(offsetof(struct vring_avail, ring) == 4 && offsetof(struct vring_used, ring) == 4,
               "Virtio 1.1, 2.6.6 and 2.6.8");

/* ---------------------------------------------------------------- where things are */

static gpa_t avail_index(const struct virtq *queue)
{
    return queue->avail + offsetof(struct vring_avail, idx);
}

static gpa_t avail_entry(const struct virtq *queue, u16 entry)
{
    return queue->avail + offsetof(struct vring_avail, ring) + 2u * (entry & (queue->size - 1u));
}

/* Behind the entries: for which used entry the driver wants an interrupt. */
static gpa_t used_event(const struct virtq *queue)
{
    return queue->avail + offsetof(struct vring_avail, ring) + 2u * queue->size;
}

static gpa_t used_index(const struct virtq *queue)
{
    return queue->used + offsetof(struct vring_used, idx);
}

static gpa_t used_entry(const struct virtq *queue, u16 entry)
{
    return queue->used + offsetof(struct vring_used, ring) +
           sizeof(struct vring_used_elem) * (entry & (queue->size - 1u));
}

/* Behind the entries: for which available entry the device wants to be notified. */
static gpa_t avail_event(const struct virtq *queue)
{
    return queue->used + offsetof(struct vring_used, ring) + sizeof(struct vring_used_elem) * queue->size;
}

u32 virtq_used_bytes(const struct virtq *queue)
{
    return (u32)(avail_event(queue) + sizeof(__virtio16) - queue->used);
}

/* ---------------------------------------------------------------- chains */

/* A table of descriptors that is being walked: the queue's own, or one that an indirect descriptor names. */
struct table {
    gpa_t at;
    u32 entries;
    bool indirect;
};

static const char *buffer_add(struct virtq_chain *chain, const struct vring_desc *desc)
{
    u32 count = (u32)chain->readable + chain->writable;

    if (count == VIRTQ_SIZE_MAX)
        return "made a chain of too many descriptors";
    if (desc->flags & VRING_DESC_F_WRITE)
        chain->writable++;
    else if (chain->writable == 0)
        chain->readable++;
    else
        return "put a buffer to be read behind one to be written";
    chain->buffers[count] = (struct guest_segment){desc->addr, desc->len};
    return NULL;
}

static const char *table_enter(struct table *table, const struct vring_desc *desc)
{
    if (table->indirect)
        return "put an indirect table into an indirect table";
    if (desc->flags & (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE))
        return "gave an indirect descriptor a successor, or let it be written";
    if (desc->len == 0 || desc->len % sizeof(*desc) != 0 || desc->len / sizeof(*desc) > VIRTQ_SIZE_MAX)
        return "gave an indirect table an impossible length";
    *table = (struct table){.at = desc->addr, .entries = desc->len / sizeof(*desc), .indirect = true};
    return NULL;
}

/* Follow the chain from its head to its end; each step adds a buffer or enters the one indirect table. */
static const char *chain_walk(const struct virtq *queue, struct guest_memory *memory,
                              struct virtq_chain *chain)
{
    struct table table = {.at = queue->desc, .entries = queue->size};
    struct vring_desc desc;
    const char *why = NULL;
    u32 index = chain->head;

    while (!why) {
        if (index >= table.entries)
            return "named a descriptor that its table does not have";
        if (guest_memory_read(memory, table.at + index * sizeof(desc), &desc, sizeof(desc)))
            return "has descriptors where no RAM is";
        if (desc.flags & VRING_DESC_F_INDIRECT) {
            why = table_enter(&table, &desc);
            index = 0;
            continue;
        }
        why = buffer_add(chain, &desc);
        if (!(desc.flags & VRING_DESC_F_NEXT))
            break;
        index = desc.next;
    }
    return why;
}

int virtq_take(struct virtq *queue, struct guest_memory *memory, struct virtq_chain *chain, const char **why)
{
    *why = "has an available ring where no RAM is";
    if (queue->seen == queue->next && guest_memory_read_u16(memory, avail_index(queue), &queue->seen))
        return -EFAULT;
    if (queue->seen == queue->next)
        return 0;
    if ((u16)(queue->seen - queue->next) > queue->size) {
        *why = "made more chains available than its queue holds";
        return -EINVAL;
    }
    if (guest_memory_read_u16(memory, avail_entry(queue, queue->next), &chain->head))
        return -EFAULT;
    chain->readable = chain->writable = 0;
    *why = chain_walk(queue, memory, chain);
    if (*why)
        return -EINVAL;
    queue->next++;
    return 1;
}

/* ---------------------------------------------------------------- used ring and notifications */

int virtq_give(struct virtq *queue, struct guest_memory *memory, u16 head, u32 bytes)
{
    const struct vring_used_elem element = {.id = head, .len = bytes};

    return guest_memory_write(memory, used_entry(queue, queue->ended++), &element, sizeof(element));
}

static int wants_interrupt(const struct virtq *queue, struct guest_memory *memory, u16 before, bool *wants)
{
    u16 word = 0;
    int error = guest_memory_read_u16(memory, queue->event_index ? used_event(queue) : queue->avail, &word);

    if (queue->event_index)
        *wants = vring_need_event(word, queue->told, before);
    else
        *wants = !(word & VRING_AVAIL_F_NO_INTERRUPT);
    return error;
}

int virtq_show(struct virtq *queue, struct guest_memory *memory, bool *interrupt)
{
    u16 before = queue->told;
    int error;

    *interrupt = false;
    if (queue->ended == queue->told)
        return 0;
    queue->told = queue->ended;
    error = guest_memory_write_u16(memory, used_index(queue), queue->told);
    /* The driver says what it wants, then looks at the index; we do both the other way round. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return error ? error : wants_interrupt(queue, memory, before, interrupt);
}

int virtq_listen(struct virtq *queue, struct guest_memory *memory, bool *more)
{
    int error = 0;

    *more = false;
    if (queue->event_index)
        error = guest_memory_write_u16(memory, avail_event(queue), queue->next);
    if (error)
        return error;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    error = guest_memory_read_u16(memory, avail_index(queue), &queue->seen);
    *more = queue->seen != queue->next; /* virtq_take goes by what was seen here */
    return error;
}
