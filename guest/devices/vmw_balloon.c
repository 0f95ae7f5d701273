/* SPDX-License-Identifier: MIT */
/*
 * The balloon's port: IN EAX, DX with a magic number in EAX, a command in ECX, arguments in EBX and ESI. The
 * reference is Linux's driver, drivers/misc/vmw_balloon.c. Registers and batches are the guest's and hostile:
 * each entry of a batch is read once, checked, carried out, and its status written back.
 *
 * A batch may be 512 pages of 2 MiB, more than one exit may take. So a call does a part of it and has the
 * guest execute the instruction again; how far it has come is kept here, per vCPU, and nothing of it in the
 * guest. Exits of the vCPU's own CPU; the bus takes no lock.
 */
#include "guest/devices/vmw_balloon.h"

#include "guest/devices/clock.h"
#include "guest/machine.h"
#include "hv/memory/balloon.h"

#define BALLOON_PORT  0x5670
#define BALLOON_MAGIC 0x456c6d6fu

/* The driver's names (enum vmballoon_cmd_type). */
enum command {
    COMMAND_START,
    COMMAND_GET_TARGET,
    COMMAND_LOCK,
    COMMAND_UNLOCK,
    COMMAND_GUEST_ID,
    COMMAND_BATCHED_LOCK = 6,
    COMMAND_BATCHED_UNLOCK,
    COMMAND_BATCHED_2M_LOCK,
    COMMAND_BATCHED_2M_UNLOCK,
    COMMAND_DOORBELL_SET,
};

#define CAPABILITY_BASIC     BIT(1)
#define CAPABILITY_BATCH     BIT(2)
#define CAPABILITY_2M        BIT(3)
#define CAPABILITY_64_TARGET BIT(5) /* bit 4, the doorbell, is never granted */

enum status {
    STATUS_SUCCESS,
    STATUS_COMMAND_INVALID,
    STATUS_PPN_INVALID,
    STATUS_PPN_LOCKED,
    STATUS_PPN_UNLOCKED,
    STATUS_PPN_PINNED,
    STATUS_PPN_NOT_NEEDED,
    STATUS_RESET,
    STATUS_BUSY,
    STATUS_SUCCESS_WITH_CAPABILITIES = 0x03000000,
    STATUS_AGAIN = -1, /* none of the protocol's: the batch goes on at the next exit */
};

static const u8 page_statuses[BALLOON_STATUS_COUNT] = {
    [BALLOON_DONE] = STATUS_SUCCESS,      [BALLOON_NO_RAM] = STATUS_PPN_INVALID,
    [BALLOON_LOCKED] = STATUS_PPN_LOCKED, [BALLOON_UNLOCKED] = STATUS_PPN_UNLOCKED,
    [BALLOON_PINNED] = STATUS_PPN_PINNED, [BALLOON_NOT_NEEDED] = STATUS_PPN_NOT_NEEDED,
    [BALLOON_BUSY] = STATUS_BUSY,
};

#define ENTRY_STATUS    BITS(4, 0)
#define ENTRY_RESERVED  BITS(11, 5)
#define BATCH_MOST      512u
#define ENTRIES_AT_ONCE 64u
/*
 * Of work->cost, for one call; an exit may be two, as the light way's goes on in the full one, and the last
 * page of each may be one of 2 MiB in pieces. tests/bench/balloon.c measures that.
 */
#define COST_OF_CALL 1500u

struct call {
    struct vmw_balloon *balloon;
    struct vcpu *vcpu;
    struct guest_memory *memory;
    u64 command, first, second; /* ECX, EBX, ESI as wide as the guest's registers are */
    u32 connection;             /* it is made in */
};

typedef enum balloon_status (*page_fn)(struct guest_memory *memory, struct balloon_work *work, gfn_t gfn,
                                       unsigned order);

/* ---------------------------------------------------------------- the connection */

static u32 offered_capabilities(const struct vmw_balloon *balloon)
{
    static const u32 forms[] = {
        [BALLOON_BASIC] = CAPABILITY_BASIC,
        [BALLOON_BATCH] = CAPABILITY_BASIC | CAPABILITY_BATCH,
        [BALLOON_2M] = CAPABILITY_BASIC | CAPABILITY_BATCH | CAPABILITY_2M,
    };

    return forms[balloon->machine->vm->config->balloon_forms] | CAPABILITY_64_TARGET;
}

/* VM's lock held, or no vCPU runs. Who sees the new number sees that nothing is granted under it yet. */
static void connection_end(struct vmw_balloon *balloon)
{
    balloon->started = false;
    balloon->granted = 0;
    __atomic_store_n(&balloon->connection, balloon->connection + 1, __ATOMIC_RELEASE);
}

/* Take the VM's lock, as balloon_begin, for pages of a connection; false: it has ended. */
static bool connection_begin(const struct call *call, u32 connection)
{
    balloon_begin(call->memory);
    if (connection == call->balloon->connection)
        return true;
    balloon_pause(call->memory);
    return false;
}

/*
 * A driver that begins has given nothing, whatever one before it had. One that offers nothing is of the time
 * before capabilities, and gets the basic form without being told; or it has been granted more before, and
 * ends: Linux's then frees its pages of 2 MiB only if it is told what it could do, else it tries for ever.
 */
static enum status start(struct call *call)
{
    struct vmw_balloon *balloon = call->balloon;
    u32 granted = (u32)call->first & offered_capabilities(balloon);
    bool ends;

    spinlock_take(call->memory->lock);
    ends = !call->first && (balloon->granted & ~CAPABILITY_BASIC);
    if (ends)
        granted = balloon->granted;
    connection_end(balloon);
    balloon_forget(call->memory);
    if (!ends) {
        balloon->started = true;
        balloon->granted = call->first ? granted : (u32)CAPABILITY_BASIC;
    }
    balloon->asked_at = 0;
    spinlock_release(call->memory->lock);
    if (!call->first && !ends)
        return STATUS_SUCCESS;
    call->vcpu->regs.gpr[RCX] = granted;
    return STATUS_SUCCESS_WITH_CAPABILITIES;
}

/* The guest says how much it has. What was moved since it asked last tells the rate. */
static enum status get_target(struct call *call)
{
    struct vmw_balloon *balloon = call->balloon;
    struct balloon *state = &call->memory->balloon;
    u64 now = device_now();

    spinlock_take(call->memory->lock);
    state->limit = call->first;
    if (balloon->asked_at && now > balloon->asked_at)
        state->rate = (state->moved - balloon->asked_moved) * tsc_khz * 1000 / (now - balloon->asked_at);
    balloon->asked_at = now;
    balloon->asked_moved = state->moved;
    spinlock_release(call->memory->lock);
    return STATUS_SUCCESS;
}

/* Whoever the guest is, and a doorbell that is never rung since it was never granted. */
static enum status note_nothing(struct call *call)
{
    (void)call;
    return STATUS_SUCCESS;
}

/* ---------------------------------------------------------------- pages */

/* One page; its number has 32 bits in this form. */
static enum status page_single(struct call *call, page_fn function)
{
    struct balloon_work work = {0};
    enum balloon_status status;

    if (call->first >> 32)
        return STATUS_PPN_INVALID;
    if (!connection_begin(call, call->connection))
        return STATUS_RESET;
    status = function(call->memory, &work, call->first, FRAME_ORDER_4K);
    balloon_end(call->memory, &work);
    return page_statuses[status];
}

static enum status lock_single(struct call *call)
{
    return page_single(call, balloon_lock);
}

static enum status unlock_single(struct call *call)
{
    return page_single(call, balloon_unlock);
}

/* The batch that this vCPU is to go on with, or a new one. */
static struct vmw_batch *batch_of(const struct call *call)
{
    struct vmw_batch *batch = &call->balloon->batches[call->vcpu->index];

    if (batch->done && batch->command == call->command && batch->page == call->first &&
        batch->count == call->second)
        return batch;
    *batch = (struct vmw_batch){
        .command = call->command, .page = call->first, .count = call->second, .connection = call->connection};
    return batch;
}

/* Some entries, as far as the call may go; how many, or -1: the connection has ended under the batch. */
static int entries_do(struct call *call, const struct vmw_batch *batch, struct balloon_work *work,
                      u64 *entries, u32 count, page_fn function, unsigned order)
{
    u32 i;

    if (!connection_begin(call, batch->connection))
        return -1;
    for (i = 0; i < count && work->cost < COST_OF_CALL; i++) {
        enum status status = STATUS_PPN_INVALID;

        if (!(entries[i] & ENTRY_RESERVED))
            status = page_statuses[function(call->memory, work, entries[i] >> PAGE_SHIFT, order)];
        entries[i] = (entries[i] & ~ENTRY_STATUS) | (u64)status;
    }
    balloon_pause(call->memory);
    return (int)i;
}

/* One step of a batch: read, do, write back. As entries_do; 0: its page is no RAM. */
static int batch_step(struct call *call, struct vmw_batch *batch, struct balloon_work *work, page_fn function,
                      unsigned order)
{
    u64 entries[ENTRIES_AT_ONCE];
    u32 count = (u32)MIN(batch->count - batch->done, (u64)ENTRIES_AT_ONCE);
    gpa_t at = (batch->page << PAGE_SHIFT) + batch->done * sizeof(u64);
    int done;

    if (guest_memory_read(call->memory, at, entries, count * sizeof(u64)))
        return 0;
    done = entries_do(call, batch, work, entries, count, function, order);
    if (done > 0) /* a batch page that the guest has just given away keeps nothing */
        guest_memory_write(call->memory, at, entries, (u64)done * sizeof(u64));
    return done;
}

static enum status batch_do(struct call *call, page_fn function, unsigned order)
{
    struct vmw_batch *batch;
    struct balloon_work work = {0};
    enum status status = STATUS_SUCCESS;

    if (call->second > BATCH_MOST)
        return STATUS_COMMAND_INVALID;
    if (call->first >= P2M_GFN_LIMIT)
        return STATUS_PPN_INVALID;
    batch = batch_of(call);
    while (batch->done < batch->count && work.cost < COST_OF_CALL) {
        int done = batch_step(call, batch, &work, function, order);

        if (done <= 0) {
            status = done < 0 ? STATUS_RESET : STATUS_PPN_INVALID;
            break;
        }
        batch->done += (u64)done;
    }
    balloon_begin(call->memory);
    balloon_end(call->memory, &work);
    if (status == STATUS_SUCCESS && batch->done < batch->count)
        return STATUS_AGAIN;
    batch->done = 0;
    return status;
}

static enum status lock_batch(struct call *call)
{
    return batch_do(call, balloon_lock, FRAME_ORDER_4K);
}

static enum status unlock_batch(struct call *call)
{
    return batch_do(call, balloon_unlock, FRAME_ORDER_4K);
}

static enum status lock_batch_2m(struct call *call)
{
    return batch_do(call, balloon_lock, FRAME_ORDER_2M);
}

static enum status unlock_batch_2m(struct call *call)
{
    return batch_do(call, balloon_unlock, FRAME_ORDER_2M);
}

/* ---------------------------------------------------------------- the port */

static const struct {
    enum status (*run)(struct call *call);
    u32 needs;         /* capabilities */
    bool unconnected;  /* answered before START, too */
    bool tells_target; /* in EBX */
} commands[] = {
    [COMMAND_START] = {start, 0, true, false},
    [COMMAND_GET_TARGET] = {get_target, 0, false, true},
    [COMMAND_LOCK] = {lock_single, CAPABILITY_BASIC, false, true},
    [COMMAND_UNLOCK] = {unlock_single, CAPABILITY_BASIC, false, true},
    [COMMAND_GUEST_ID] = {note_nothing, 0, false, false},
    [COMMAND_BATCHED_LOCK] = {lock_batch, CAPABILITY_BATCH, false, true},
    [COMMAND_BATCHED_UNLOCK] = {unlock_batch, CAPABILITY_BATCH, false, true},
    [COMMAND_BATCHED_2M_LOCK] = {lock_batch_2m, CAPABILITY_BATCH | CAPABILITY_2M, false, true},
    [COMMAND_BATCHED_2M_UNLOCK] = {unlock_batch_2m, CAPABILITY_BATCH | CAPABILITY_2M, false, true},
    [COMMAND_DOORBELL_SET] = {note_nothing, 0, true, false},
};

/* Not under this connection, if any. A batch that an earlier one has begun is answered thereby. */
static enum status refuse(struct call *call, enum status status)
{
    call->balloon->batches[call->vcpu->index].done = 0;
    return status;
}

static enum status command_run(struct call *call)
{
    const struct vmw_balloon *balloon = call->balloon;

    if (call->command >= ARRAY_SIZE(commands) || !commands[call->command].run)
        return STATUS_COMMAND_INVALID;
    call->connection = __atomic_load_n(&balloon->connection, __ATOMIC_ACQUIRE);
    if (!commands[call->command].unconnected && !READ_ONCE(balloon->started))
        return refuse(call, STATUS_RESET);
    if (commands[call->command].needs & ~READ_ONCE(balloon->granted))
        return refuse(call, STATUS_COMMAND_INVALID);
    return commands[call->command].run(call);
}

/* Whole registers are read: all replies are zero-extended. */
static void reply(struct call *call, enum status status)
{
    u64 *gpr = call->vcpu->regs.gpr;
    u64 wanted;

    gpr[RAX] = (u32)status;
    if (call->command >= ARRAY_SIZE(commands) || !commands[call->command].tells_target)
        return;
    spinlock_take(call->memory->lock);
    wanted = balloon_wanted(call->memory);
    spinlock_release(call->memory->lock);
    gpr[RBX] = call->balloon->granted & CAPABILITY_64_TARGET ? wanted : MIN(wanted, 0xffffffffull);
}

/*
 * The kernel's alone: memory is not for a program to give away that was let at ports. Outside 64-bit code the
 * upper halves of registers mean nothing.
 */
static enum port_call balloon_call(struct vcpu *vcpu, void *device)
{
    struct call call = {.balloon = device, .vcpu = vcpu, .memory = &vcpu->vm->memory};
    struct guest_paging paging;
    enum status status;
    u64 width;

    if ((u32)vcpu->regs.gpr[RAX] != BALLOON_MAGIC)
        return PORT_CALL_NONE;
    engine->paging_get(vcpu, &paging);
    if (paging.cpl != 0)
        return PORT_CALL_NONE;
    width = paging.code_64 ? ~0ull : 0xffffffffull;
    call.command = vcpu->regs.gpr[RCX] & width;
    call.first = vcpu->regs.gpr[RBX] & width;
    call.second = vcpu->regs.gpr[RSI] & width;
    status = command_run(&call);
    if (status == STATUS_AGAIN)
        return PORT_CALL_AGAIN;
    reply(&call, status);
    return PORT_CALL_DONE;
}

int vmw_balloon_init(struct vmw_balloon *balloon, struct machine *board)
{
    const struct port_range range = {.first = BALLOON_PORT,
                                     .last = BALLOON_PORT,
                                     .device = balloon,
                                     .name = "balloon",
                                     .call = balloon_call};

    balloon->machine = board;
    return port_bus_add(board->vm->ports, &range);
}

void vmw_balloon_reset(struct vmw_balloon *balloon)
{
    connection_end(balloon);
    balloon->asked_at = balloon->asked_moved = 0;
    for (u32 i = 0; i < VM_VCPUS_MAX; i++)
        balloon->batches[i] = (struct vmw_batch){0};
}
