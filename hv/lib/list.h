/* SPDX-License-Identifier: MIT */
/* Doubly linked circular lists whose node lives inside the element. The caller holds the list's lock. */
#ifndef HV_LIB_LIST_H
#define HV_LIB_LIST_H

#include "hv/lib/types.h"

struct list_node {
    struct list_node *next, *previous;
};

#define LIST_INIT(name)  \
    {                    \
        &(name), &(name) \
    }

static inline void list_init(struct list_node *head)
{
    head->next = head;
    head->previous = head;
}

static inline bool list_empty(const struct list_node *head)
{
    return head->next == head;
}

/* Put node before at: with at = head it becomes the last element. */
static inline void list_add_before(struct list_node *at, struct list_node *node)
{
    node->next = at;
    node->previous = at->previous;
    at->previous->next = node;
    at->previous = node;
}

/* Take node out; it may be taken out again without harm, as list_empty(node) then holds. */
static inline void list_remove(struct list_node *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    list_init(node);
}

#define list_entry(pointer, type, member) container_of(pointer, type, member)

/* Walk; element is a variable; the current one must not be removed. */
#define list_for_each(element, head, member)                                             \
    for (struct list_node *element##_node = (head)->next;                                \
         element##_node != (head) &&                                                     \
         ((element) = list_entry(element##_node, __typeof__(*(element)), member), true); \
         element##_node = element##_node->next)

#endif
