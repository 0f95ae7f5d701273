/* SPDX-License-Identifier: MIT */
/*
 * The transport of virtio devices (contract in the header): "modern" alone, so that every kernel since 2014
 * has its driver and none needs ports. Accesses come from pci.c without a lock.
 */
#include "guest/devices/virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "guest/machine.h"
#include "hv/lib/errno.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/run/memory_wait.h"

/* BAR 0, a page for each kind of use, so that a kernel may map them apart. */
#define BAR_SIZE    0x4000u
#define BAR_COMMON  0x0000u
#define BAR_ISR     0x0100u
#define BAR_DEVICE  0x0200u
#define BAR_NOTIFY  0x1000u
#define BAR_TABLE   0x2000u
#define BAR_PENDING 0x3000u
#define COMMON_SIZE sizeof(struct virtio_pci_common_cfg)
#define ISR_SIZE    1u
#define NOTIFY_STEP 4u
_Static_assert(COMMON_SIZE == VIRTIO_PCI_COMMON_Q_NDATA && COMMON_SIZE <= BAR_ISR, "Virtio 1.1, 4.1.4.3");

/* Configuration space: the chain of capabilities. */
#define CAP_MSIX    0x40u
#define CAP_COMMON  0x50u
#define CAP_ISR     0x60u
#define CAP_DEVICE  0x70u
#define CAP_NOTIFY  0x80u
#define CAP_WINDOW  0x98u
#define WINDOW_DATA (CAP_WINDOW + (unsigned)offsetof(struct virtio_pci_cfg_cap, pci_cfg_data))
_Static_assert(sizeof(struct virtio_pci_cap) == 16 && sizeof(struct virtio_pci_notify_cap) == 20,
               "Virtio 1.1, 4.1.4");

#define VENDOR         0x1af4
#define FIRST_DEVICE   0x1040 /* + VIRTIO_ID_*; Virtio 1.1, 4.1.2 */
#define REVISION       1
#define ISR_QUEUE      BIT(0)
#define STATUS_SERVING (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK)
#define TRANSPORT_OFFERS \
    (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX))

/* No guest-physical address has these bits; so no ring goes around the end of all addresses. */
#define PLACE_IMPOSSIBLE BITS(63, 48)

#define NOWHERE BIT(63) /* no RAM is there */

#define FAILURES_TOLD       3
#define FAILURES_TOLD_IN_MS 1000
/* What a guest can have said again and again. */
#define NO_MEMORY_TOLD_IN_MS 10000

static struct virtio *virtio_of(struct pci_device *device)
{
    return container_of(device, struct virtio, pci);
}

static struct guest_memory *memory_of(const struct virtio *virtio)
{
    return &virtio->pci.machine->vm->memory;
}

/* ---------------------------------------------------------------- interrupts */

/* INTA follows the ISR, unless messages are sent. */
static void line_update(struct virtio *virtio)
{
    pci_set_interrupt(&virtio->pci, virtio->isr != 0 && !msix_is_on(&virtio->msix));
}

static void interrupt(struct virtio *virtio, u16 vector, u8 reason)
{
    if (msix_is_on(&virtio->msix)) {
        msix_raise(&virtio->msix, vector);
        return;
    }
    virtio->isr |= reason;
    line_update(virtio);
}

static void stop(struct virtio *virtio, const char *what, const char *why)
{
    if (virtio->status & VIRTIO_CONFIG_S_NEEDS_RESET)
        return;
    if (log_limit_pass(&virtio->log_limit, device_now(), FAILURES_TOLD_IN_MS * tsc_khz, FAILURES_TOLD))
        log_warning("VM %s: %s %s %s", virtio->pci.machine->vm->name, virtio->name, what, why);
    virtio->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    interrupt(virtio, virtio->config_vector, VIRTIO_PCI_ISR_CONFIG);
}

void virtio_fail(struct virtio *virtio, const char *why)
{
    stop(virtio, "waits for a reset: its driver", why);
}

void virtio_break(struct virtio *virtio, const char *why)
{
    stop(virtio, "waits for a reset:", why);
}

/* What was there once is there, unless the guest has given it away. */
void virtio_fail_write(struct virtio *virtio, int error, const char *why)
{
    virtio_fail(virtio,
                error == -ENOMEM ? "gave away what it had offered, and the machine has no memory left" : why);
}

void virtio_tell_no_memory(struct virtio *virtio)
{
    if (log_limit_pass(&virtio->memory_limit, device_now(), NO_MEMORY_TOLD_IN_MS * tsc_khz, 1))
        log_warning("VM %s: %s answers with an error: the VM is promised no memory for what it reads or "
                    "writes, and the machine has none left",
                    virtio->pci.machine->vm->name, virtio->name);
}

void virtio_config_changed(struct virtio *virtio)
{
    virtio->generation++;
    if (!virtio->resetting && (virtio->status & VIRTIO_CONFIG_S_DRIVER_OK))
        interrupt(virtio, virtio->config_vector, VIRTIO_PCI_ISR_CONFIG);
}

/* ---------------------------------------------------------------- queues */

static inline bool is_usable(const struct virtio *virtio, unsigned queue)
{
    u8 status = virtio->status & (STATUS_SERVING | VIRTIO_CONFIG_S_NEEDS_RESET);

    return status == STATUS_SERVING && !virtio->resetting && virtio->queues[queue].enabled &&
           pci_is_master(&virtio->pci);
}

bool virtio_is_usable(const struct virtio *virtio, unsigned queue)
{
    return is_usable(virtio, queue);
}

/* May this byte be written? Also if no RAM can ever be there, which the write will tell. */
static bool is_there(struct virtio *virtio, gpa_t gpa)
{
    if (likely(guest_memory_provide(memory_of(virtio), gpa) != -ENOMEM))
        return true;
    virtio->lacks_memory = true;
    virtio->lacking = gpa;
    virtio_work_want(virtio);
    return false;
}

/* Of no more bytes than a page has. */
static bool are_there(struct virtio *virtio, gpa_t gpa, u64 bytes)
{
    return is_there(virtio, gpa) && is_there(virtio, gpa + bytes - 1);
}

static __attribute__((noinline)) bool used_is_there(struct virtio *virtio, struct virtq *queue)
{
    queue->used_is_there = are_there(virtio, queue->used, virtq_used_bytes(queue));
    return queue->used_is_there;
}

/* Where the part of the answer is that this buffer holds. */
static inline gpa_t answer_at(const struct virtio *virtio, const struct guest_segment *buffer, u64 bytes)
{
    return virtio->ops->answer_is_last ? buffer->gpa + buffer->bytes - bytes : buffer->gpa;
}

static __attribute__((noinline)) bool answer_find(struct virtio *virtio, const struct virtq_chain *chain)
{
    const struct guest_segment *first = chain->buffers + chain->readable;
    u64 left = virtio->ops->answer_bytes, part;

    for (u32 i = 0; i < chain->writable && left; i++, left -= part) {
        const struct guest_segment *buffer =
            &first[virtio->ops->answer_is_last ? chain->writable - 1u - i : i];

        part = MIN(buffer->bytes, left);
        if (!part)
            continue;
        if (!are_there(virtio, answer_at(virtio, buffer, part), part))
            return false;
        virtio->there = answer_at(virtio, buffer, part) & PAGE_MASK;
    }
    return true;
}

/* Most answers go to one buffer, and to the page of the one before. */
static inline bool answer_is_there(struct virtio *virtio, const struct virtq_chain *chain)
{
    u64 bytes = virtio->ops->answer_bytes;
    const struct guest_segment *buffer;

    if (!chain->writable)
        return true;
    buffer = &chain->buffers[chain->readable + (virtio->ops->answer_is_last ? chain->writable - 1u : 0)];
    if (likely(buffer->bytes >= bytes &&
               answer_at(virtio, buffer, bytes) - virtio->there <= PAGE_SIZE - bytes))
        return true;
    return answer_find(virtio, chain);
}

bool virtio_take(struct virtio *virtio, unsigned queue, struct virtq_chain *chain)
{
    struct virtq *virtq = &virtio->queues[queue];
    const char *why;
    bool more = true;
    int taken = 0;

    if (!is_usable(virtio, queue) || (!virtq->used_is_there && !used_is_there(virtio, virtq)))
        return false;
    while (taken == 0 && more) {
        taken = virtq_take(virtq, memory_of(virtio), chain, &why);
        if (taken != 0)
            break;
        taken = virtq_listen(virtq, memory_of(virtio), &more);
        why = "has a ring where no RAM is";
    }
    if (taken < 0)
        virtio_fail_write(virtio, taken, why);
    if (taken <= 0 || answer_is_there(virtio, chain))
        return taken > 0;
    virtq_leave(virtq);
    return false;
}

void virtio_show(struct virtio *virtio, unsigned queue)
{
    struct virtq *virtq = &virtio->queues[queue];
    bool wanted;
    int error = virtq_show(virtq, memory_of(virtio), &wanted);

    if (error)
        virtio_fail_write(virtio, error, "has a ring where no RAM is");
    else if (wanted)
        interrupt(virtio, virtq->vector, ISR_QUEUE);
}

/* ---------------------------------------------------------------- turns of a vCPU */

void virtio_work_want(struct virtio *virtio)
{
    virtio->worker.work = true;
    if (virtio->worker.vcpu)
        vcpu_wake(virtio->worker.vcpu, REQUEST_DEVICE);
}

void virtio_turn_end(struct virtio *virtio, struct vcpu *vcpu)
{
    bool waits = virtio->lacks_memory && virtio->worker.vcpu == vcpu; /* else it is another's by now */
    gpa_t gpa = virtio->lacking;

    virtio->lacks_memory = false;
    spinlock_release(&virtio->pci.lock);
    if (waits)
        memory_wait(vcpu, gpa, virtio->name);
}

static void notify(struct virtio *virtio, struct vcpu *vcpu, u32 offset)
{
    u32 queue = offset / NOTIFY_STEP;

    if (queue >= virtio->ops->queue_count)
        return;
    WRITE_ONCE(virtio->worker.vcpu, vcpu);
    virtio->ops->notify(virtio, queue);
    virtio->lacks_memory = false; /* the turn finds out by itself */
}

static void queue_enable(struct virtio *virtio, struct virtq *queue)
{
    bool right = ((queue->desc | queue->avail | queue->used) & PLACE_IMPOSSIBLE) == 0 &&
                 IS_ALIGNED(queue->desc, VRING_DESC_ALIGN_SIZE) &&
                 IS_ALIGNED(queue->avail, VRING_AVAIL_ALIGN_SIZE) &&
                 IS_ALIGNED(queue->used, VRING_USED_ALIGN_SIZE) && queue->size != 0 &&
                 queue->size <= VIRTQ_SIZE_MAX && (queue->size & (queue->size - 1)) == 0;

    if (!right) {
        virtio_fail(virtio, "enabled a queue of an impossible size or place");
        return;
    }
    queue->event_index = virtio_has(virtio, VIRTIO_RING_F_EVENT_IDX);
    queue->enabled = true;
}

/* ---------------------------------------------------------------- life */

static void registers_reset(struct virtio *virtio)
{
    virtio->accepted = 0;
    virtio->offered_select = virtio->accepted_select = 0;
    virtio->config_vector = VIRTIO_MSI_NO_VECTOR;
    virtio->queue_select = 0;
    virtio->status = virtio->isr = virtio->generation = 0;
    virtio->resetting = virtio->lacks_memory = false;
    virtio->lacking = 0;
    virtio->there = NOWHERE;
    for (u32 i = 0; i < virtio->ops->queue_count; i++)
        virtio->queues[i] = (struct virtq){.size = VIRTQ_SIZE_MAX, .vector = VIRTIO_MSI_NO_VECTOR};
    line_update(virtio);
}

void virtio_reset_end(struct virtio *virtio)
{
    if (virtio->resetting)
        registers_reset(virtio);
}

/* The status reads 0, which the driver waits for, when nothing touches its memory any more. */
static void reset_begin(struct virtio *virtio)
{
    virtio->resetting = true;
    if (virtio->ops->reset(virtio))
        registers_reset(virtio);
}

static void status_write(struct virtio *virtio, u8 value)
{
    u64 must = BIT(VIRTIO_F_VERSION_1);

    if (value == 0) {
        reset_begin(virtio);
        return;
    }
    if ((virtio->accepted & ~virtio->offered) || !(virtio->accepted & must))
        value &= (u8)~VIRTIO_CONFIG_S_FEATURES_OK;
    virtio->status = value | (virtio->status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

/* ---------------------------------------------------------------- common registers */

static u32 half(u64 value, u32 select)
{
    return select < 2 ? (u32)(value >> (32 * select)) : 0;
}

static void half_set(u64 *value, u32 select, u32 word)
{
    if (select < 2)
        *value = (*value & ~(0xffffffffull << (32 * select))) | (u64)word << (32 * select);
}

static struct virtq *queue_selected(struct virtio *virtio)
{
    return virtio->queue_select < virtio->ops->queue_count ? &virtio->queues[virtio->queue_select] : NULL;
}

static u32 queue_read(const struct virtio *virtio, const struct virtq *queue, u32 offset)
{
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE: return queue->size;
    case VIRTIO_PCI_COMMON_Q_MSIX: return queue->vector;
    case VIRTIO_PCI_COMMON_Q_ENABLE: return queue->enabled;
    case VIRTIO_PCI_COMMON_Q_NOFF: return virtio->queue_select;
    case VIRTIO_PCI_COMMON_Q_DESCLO: return half(queue->desc, 0);
    case VIRTIO_PCI_COMMON_Q_DESCHI: return half(queue->desc, 1);
    case VIRTIO_PCI_COMMON_Q_AVAILLO: return half(queue->avail, 0);
    case VIRTIO_PCI_COMMON_Q_AVAILHI: return half(queue->avail, 1);
    case VIRTIO_PCI_COMMON_Q_USEDLO: return half(queue->used, 0);
    case VIRTIO_PCI_COMMON_Q_USEDHI: return half(queue->used, 1);
    default: return 0;
    }
}

static u32 common_read(struct virtio *virtio, u32 offset)
{
    const struct virtq *queue = queue_selected(virtio);

    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT: return virtio->offered_select;
    case VIRTIO_PCI_COMMON_DF: return half(virtio->offered, virtio->offered_select);
    case VIRTIO_PCI_COMMON_GFSELECT: return virtio->accepted_select;
    case VIRTIO_PCI_COMMON_GF: return half(virtio->accepted, virtio->accepted_select);
    case VIRTIO_PCI_COMMON_MSIX: return virtio->config_vector;
    case VIRTIO_PCI_COMMON_NUMQ: return virtio->ops->queue_count;
    case VIRTIO_PCI_COMMON_STATUS: return virtio->status;
    case VIRTIO_PCI_COMMON_CFGGENERATION: return virtio->generation;
    case VIRTIO_PCI_COMMON_Q_SELECT: return virtio->queue_select;
    default: return queue ? queue_read(virtio, queue, offset) : 0;
    }
}

/* A vector that does not exist is refused by reading back as none. */
static u16 vector_checked(const struct virtio *virtio, u32 value)
{
    return (u16)value < virtio->msix.count ? (u16)value : VIRTIO_MSI_NO_VECTOR;
}

/* What describes a queue stands still once it is enabled. */
static void queue_write(struct virtio *virtio, struct virtq *queue, u32 offset, u32 value)
{
    if (offset == VIRTIO_PCI_COMMON_Q_MSIX)
        queue->vector = vector_checked(virtio, value);
    if (queue->enabled)
        return;
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE: queue->size = (u16)value; return;
    case VIRTIO_PCI_COMMON_Q_DESCLO: half_set(&queue->desc, 0, value); return;
    case VIRTIO_PCI_COMMON_Q_DESCHI: half_set(&queue->desc, 1, value); return;
    case VIRTIO_PCI_COMMON_Q_AVAILLO: half_set(&queue->avail, 0, value); return;
    case VIRTIO_PCI_COMMON_Q_AVAILHI: half_set(&queue->avail, 1, value); return;
    case VIRTIO_PCI_COMMON_Q_USEDLO: half_set(&queue->used, 0, value); return;
    case VIRTIO_PCI_COMMON_Q_USEDHI: half_set(&queue->used, 1, value); return;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        if ((u16)value == 1)
            queue_enable(virtio, queue);
        return;
    default: return;
    }
}

static void common_write(struct virtio *virtio, u32 offset, u32 value)
{
    struct virtq *queue = queue_selected(virtio);

    if (virtio->resetting)
        return;
    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT: virtio->offered_select = value; return;
    case VIRTIO_PCI_COMMON_GFSELECT: virtio->accepted_select = value; return;
    case VIRTIO_PCI_COMMON_GF:
        if (!(virtio->status & VIRTIO_CONFIG_S_FEATURES_OK))
            half_set(&virtio->accepted, virtio->accepted_select, value);
        return;
    case VIRTIO_PCI_COMMON_MSIX: virtio->config_vector = vector_checked(virtio, value); return;
    case VIRTIO_PCI_COMMON_STATUS: status_write(virtio, (u8)value); return;
    case VIRTIO_PCI_COMMON_Q_SELECT: virtio->queue_select = (u16)value; return;
    default:
        if (queue)
            queue_write(virtio, queue, offset, value);
    }
}

/* ---------------------------------------------------------------- BAR 0 */

static u8 isr_read(struct virtio *virtio)
{
    u8 isr = virtio->isr;

    virtio->isr = 0;
    line_update(virtio);
    return isr;
}

static u32 device_read(struct virtio *virtio, u32 offset, unsigned size)
{
    u32 value = 0;

    if (virtio->ops->config_look)
        virtio->ops->config_look(virtio);
    if (offset <= virtio->config_size && size <= virtio->config_size - offset)
        memcpy(&value, (const u8 *)virtio->config + offset, size);
    return value;
}

static u32 registers_read(struct virtio *virtio, u32 offset, unsigned size)
{
    if (offset < BAR_COMMON + COMMON_SIZE)
        return common_read(virtio, offset);
    if (offset == BAR_ISR)
        return isr_read(virtio);
    if (offset >= BAR_DEVICE && offset < BAR_NOTIFY)
        return device_read(virtio, offset - BAR_DEVICE, size);
    if (offset % 4 != 0 || offset < BAR_TABLE)
        return 0;
    return offset < BAR_PENDING ? msix_read_table(&virtio->msix, offset - BAR_TABLE)
                                : msix_read_pending(&virtio->msix, offset - BAR_PENDING);
}

static void registers_write(struct virtio *virtio, struct vcpu *vcpu, u32 offset, unsigned size, u32 value)
{
    if (offset >= BAR_NOTIFY && offset < BAR_TABLE)
        notify(virtio, vcpu, offset - BAR_NOTIFY);
    else if (offset < BAR_COMMON + COMMON_SIZE)
        common_write(virtio, offset, value);
    else if (offset >= BAR_DEVICE && offset < BAR_NOTIFY && virtio->ops->config_write)
        virtio->ops->config_write(virtio, offset - BAR_DEVICE, size, value);
    else if (offset >= BAR_TABLE && offset < BAR_PENDING && size == 4 && offset % 4 == 0)
        msix_write_table(&virtio->msix, offset - BAR_TABLE, value);
}

/* No register has eight bytes, but two halves may be asked for at once. */
static u64 bar_read(struct pci_device *device, u64 offset, unsigned size)
{
    struct virtio *virtio = virtio_of(device);
    u64 value;

    spinlock_take(&device->lock);
    value = registers_read(virtio, (u32)offset, MIN(size, 4u));
    if (size == 8)
        value |= (u64)registers_read(virtio, (u32)offset + 4, 4) << 32;
    spinlock_release(&device->lock);
    return value;
}

static void bar_write(struct pci_device *device, struct vcpu *vcpu, u64 offset, unsigned size, u64 value)
{
    struct virtio *virtio = virtio_of(device);

    spinlock_take(&device->lock);
    registers_write(virtio, vcpu, (u32)offset, MIN(size, 4u), (u32)value);
    if (size == 8)
        registers_write(virtio, vcpu, (u32)offset + 4, 4, (u32)(value >> 32));
    spinlock_release(&device->lock);
}

/* ---------------------------------------------------------------- configuration space */

/* The window through which BAR 0 is reached without memory accesses (4.1.4.9): is it open, and where to? */
static bool window_open(const struct virtio *virtio, unsigned offset, u32 *at, u32 *size)
{
    const u8 *cap = virtio->pci.config + CAP_WINDOW;

    memcpy(at, cap + VIRTIO_PCI_CAP_OFFSET, sizeof(*at));
    memcpy(size, cap + VIRTIO_PCI_CAP_LENGTH, sizeof(*size));
    return offset == WINDOW_DATA && cap[VIRTIO_PCI_CAP_BAR] == 0 &&
           (*size == 1 || *size == 2 || *size == 4) && *at % *size == 0 && *at < BAR_SIZE;
}

static void config_before_read(struct pci_device *device, unsigned offset)
{
    struct virtio *virtio = virtio_of(device);
    u32 at, width;

    if (window_open(virtio, offset, &at, &width))
        pci_config_set(device, WINDOW_DATA, width, registers_read(virtio, at, width));
}

static void config_written(struct pci_device *device, struct vcpu *vcpu, unsigned offset)
{
    struct virtio *virtio = virtio_of(device);
    u32 at, width, value = 0;

    line_update(virtio); /* MSI-X may have been switched, or unmasked, or the bus given */
    msix_look(&virtio->msix);
    if (!window_open(virtio, offset, &at, &width))
        return;
    memcpy(&value, device->config + WINDOW_DATA, width);
    registers_write(virtio, vcpu, at, width, value);
}

/* One structure of BAR 0, as the driver finds it. */
static void capability_write(struct virtio *virtio, unsigned at, unsigned next, u8 type, u32 offset,
                             u32 length)
{
    struct virtio_pci_cap cap = {
        .cap_vndr = PCI_CAP_ID_VNDR,
        .cap_next = (u8)next,
        .cap_len = sizeof(cap),
        .cfg_type = type,
        .offset = offset,
        .length = length,
    };

    if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
        cap.cap_len = sizeof(struct virtio_pci_notify_cap);
    if (type == VIRTIO_PCI_CAP_PCI_CFG)
        cap.cap_len = sizeof(struct virtio_pci_cfg_cap);
    memcpy(virtio->pci.config + at, &cap, sizeof(cap));
}

static void capabilities_write(struct virtio *virtio)
{
    struct pci_device *pci = &virtio->pci;
    unsigned behind_isr = virtio->config_size ? CAP_DEVICE : CAP_NOTIFY; /* no empty structure (4.1.4.6) */

    pci->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    pci->config[PCI_CAPABILITY_LIST] = CAP_MSIX;
    msix_init(&virtio->msix, pci, CAP_MSIX, CAP_COMMON, virtio->ops->queue_count + 1, BAR_TABLE, BAR_PENDING);
    capability_write(virtio, CAP_COMMON, CAP_ISR, VIRTIO_PCI_CAP_COMMON_CFG, BAR_COMMON, COMMON_SIZE);
    capability_write(virtio, CAP_ISR, behind_isr, VIRTIO_PCI_CAP_ISR_CFG, BAR_ISR, ISR_SIZE);
    if (virtio->config_size)
        capability_write(virtio, CAP_DEVICE, CAP_NOTIFY, VIRTIO_PCI_CAP_DEVICE_CFG, BAR_DEVICE,
                         virtio->config_size);
    capability_write(virtio, CAP_NOTIFY, CAP_WINDOW, VIRTIO_PCI_CAP_NOTIFY_CFG, BAR_NOTIFY,
                     NOTIFY_STEP * virtio->ops->queue_count);
    pci_config_set(pci, CAP_NOTIFY + VIRTIO_PCI_NOTIFY_CAP_MULT, 4, NOTIFY_STEP);
    capability_write(virtio, CAP_WINDOW, 0, VIRTIO_PCI_CAP_PCI_CFG, 0, 0);
    pci_config_allow(pci, CAP_WINDOW + VIRTIO_PCI_CAP_BAR, 1, 0xff);
    pci_config_allow(pci, CAP_WINDOW + VIRTIO_PCI_CAP_OFFSET, 4, ~0u);
    pci_config_allow(pci, CAP_WINDOW + VIRTIO_PCI_CAP_LENGTH, 4, ~0u);
    pci_config_allow(pci, WINDOW_DATA, 4, ~0u);
}

void virtio_power_on(struct virtio *virtio)
{
    msix_reset(&virtio->msix);
    pci_device_reset(&virtio->pci);
    registers_reset(virtio);
    virtio->worker = (struct virtio_worker){0};
}

void virtio_init(struct virtio *virtio, struct machine *m, unsigned slot, const struct virtio_ops *ops)
{
    static const struct pci_device_ops pci_ops = {bar_read, bar_write, config_before_read, config_written};
    struct pci_device *pci = &virtio->pci;

    assert(ops->queue_count <= VIRTIO_QUEUES_MAX && BAR_DEVICE + virtio->config_size <= BAR_NOTIFY);
    virtio->ops = ops;
    virtio->offered = ops->features | TRANSPORT_OFFERS;
    pci->ops = &pci_ops;
    pci_device_init(pci, m, slot, BAR_SIZE);
    pci_config_set(pci, PCI_VENDOR_ID, 2, VENDOR);
    pci_config_set(pci, PCI_DEVICE_ID, 2, (u32)FIRST_DEVICE + ops->type);
    pci_config_set(pci, PCI_SUBSYSTEM_VENDOR_ID, 2, VENDOR);
    pci_config_set(pci, PCI_SUBSYSTEM_ID, 2, (u32)FIRST_DEVICE + ops->type);
    pci->config[PCI_REVISION_ID] = REVISION;
    pci_config_set(pci, PCI_CLASS_DEVICE, 2, ops->class);
    capabilities_write(virtio);
    virtio_power_on(virtio);
}
