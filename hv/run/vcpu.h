/* SPDX-License-Identifier: MIT */
/*
 * A virtual CPU as everybody above the engine sees it. Runs on one physical CPU at a time; while it runs,
 * only that CPU touches it, except `requests`, which any CPU may set (then kick), and its power state
 * (power.h).
 */
#ifndef HV_RUN_VCPU_H
#define HV_RUN_VCPU_H

#include "hv/lib/list.h"
#include "hv/memory/fetch_cache.h"
#include "hv/run/decode.h"
#include "hv/run/power.h"
#include "hv/run/vmexit.h"

/* In the order in which instructions encode them. */
enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15, GPR_COUNT };

/*
 * Saved at each exit: all but RSP and RFLAGS, which the engine fetches on demand (engine_ops.register_get).
 */
struct vcpu_regs {
    u64 gpr[GPR_COUNT]; /* gpr[RSP] is not used: ask vcpu_gpr_get */
    u64 rip;
};

enum vcpu_register {
    REGISTER_RSP,
    REGISTER_RFLAGS,
    REGISTER_CR0,
    REGISTER_CR2,
    REGISTER_CR3,
    REGISTER_CR4,
    REGISTER_EFER,
    REGISTER_DR6,
    REGISTER_DR7,
    REGISTER_PAT,
    REGISTER_STAR,
    REGISTER_LSTAR,
    REGISTER_CSTAR,
    REGISTER_SFMASK,
    REGISTER_KERNEL_GS_BASE,
    REGISTER_SYSENTER_CS,
    REGISTER_SYSENTER_ESP,
    REGISTER_SYSENTER_EIP,
    REGISTER_COUNT
};

enum segment {
    SEGMENT_ES,
    SEGMENT_CS,
    SEGMENT_SS,
    SEGMENT_DS,
    SEGMENT_FS,
    SEGMENT_GS,
    SEGMENT_LDTR,
    SEGMENT_TR,
    SEGMENT_COUNT
};

/* attributes as in a descriptor's bytes 5 and 6: type 3:0, S 4, DPL 6:5, P 7, AVL 8, L 9, D/B 10, G 11 */
#define SEGMENT_ACCESSED   BIT(0) /* of code and data */
#define SEGMENT_BUSY       BIT(1) /* of a task segment */
#define SEGMENT_DPL        BITS(6, 5)
#define SEGMENT_DPL_SHIFT  5
#define SEGMENT_PRESENT    BIT(7)
#define SEGMENT_LONG       BIT(9)
#define SEGMENT_DEFAULT_32 BIT(10)
#define SEGMENT_PAGES      BIT(11) /* the limit's granularity */
#define SEGMENT_RESERVED   BITS(15, 12)
struct vcpu_segment {
    u16 selector;
    u16 attributes;
    u32 limit;
    u64 base;
};

struct vcpu_table {
    u64 base;
    u16 limit;
};

/* An exception or other event to deliver at the next entry. */
enum event_type { EVENT_NONE, EVENT_INTERRUPT, EVENT_NMI, EVENT_EXCEPTION, EVENT_SOFTWARE };
struct vcpu_event {
    u8 type; /* enum event_type */
    u8 vector;
    bool has_error;
    u8 length; /* of the instruction, software events */
    u32 error_code;
};

/* What holds interrupts back for one instruction. AMD's CPUs do not tell the two apart: IF = 1 is STI's. */
enum vcpu_shadow { SHADOW_NONE, SHADOW_STI, SHADOW_MOV_SS };
#define PENDING_STEP BIT(14)

/*
 * The whole architectural state that engines keep; used to create, reset and print a vCPU. What a vCPU is
 * beside it: vcpu_snapshot.h.
 */
struct vcpu_state {
    struct vcpu_regs regs;
    u64 registers[REGISTER_COUNT];
    struct vcpu_segment segments[SEGMENT_COUNT];
    struct vcpu_table gdtr, idtr;
    struct vcpu_event event; /* whose delivery an exit has interrupted: begins again at the next entry */
    u64 pending_debug; /* debug traps that are due, as Intel's VMCS has them; AMD: the step in a shadow */
    u8 shadow;         /* enum vcpu_shadow */
    bool nmi_blocked;  /* until IRET */
    bool nmi_waits;    /* one has come since. get alone: set wants REQUEST_NMI instead */
};

/* requests: why the straight way back into the guest is not allowed; one test finds any of them. */
#define REQUEST_INTERRUPT  BIT(0) /* the interrupt controller may have something to deliver */
#define REQUEST_NMI        BIT(1) /* an NMI waits */
#define REQUEST_RESCHEDULE BIT(2) /* give the CPU back (time slice, work, stop) */
#define REQUEST_FLUSH      BIT(3) /* nested translations are stale */
#define REQUEST_POWER      BIT(4) /* its power state changed, or something is due (power.h) */
#define REQUEST_DEVICE     BIT(5) /* a device has something to do in guest memory, at the turn's beginning */

/*
 * What the CPU itself may do of the local APIC's work. The engine makes the pages, guest/devices fills them
 * and says how things stand; the vCPU's own CPU, but for the interrupts that others raise in `page`.
 */
#define VCPU_APIC_WINDOW 0xfee00000ull /* the one place where a CPU is asked to answer for it */
enum vcpu_apic_mode {
    VCPU_APIC_PLAIN,       /* off, or moved: every access exits */
    VCPU_APIC_WINDOW_MODE, /* xAPIC */
    VCPU_APIC_MSR_MODE,    /* x2APIC */
};
struct vcpu_apic {
    u32 *page;        /* the registers, laid out as in the window; TPR lives here. NULL: no use for it */
    void *window;     /* the page that stands for the window in nested tables, one per VM. NULL: no use */
    u8 mode;          /* enum vcpu_apic_mode; a change comes with REQUEST_INTERRUPT, or before state_set */
    u8 tpr_threshold; /* class of an interrupt that TPR alone holds back: exit when TPR falls below */
};

struct vm;
struct cpu;

struct vcpu {
    struct vcpu_regs regs; /* first: the world switch knows their offsets */
    u32 requests;          /* REQUEST_*, atomic */
    u32 index;             /* within the VM */
    struct vm *vm;
    void *engine;   /* the engine's own part */
    void *lapic;    /* guest/devices/lapic.c */
    void *clock;    /* guest/policy/kvmclock.c */
    u64 tsc_offset; /* guest TSC = the boot CPU's TSC + offset */
    struct vcpu_apic apic;
    struct {
        struct spinlock lock; /* RANK_POWER: all of `now` */
        struct power now;
    } power;
    struct {
        u32 wanted;   /* flushes others have asked for, any CPU; */
        u32 promised; /* up to which it will do them before it enters again: vm_flush.h */
    } flush;
    struct {
        struct list_node node;
        u64 ticket; /* its place in the row; 0: it never had one */
        gpa_t gpa;  /* what it touched then, and how many faults it had had */
        u64 faults;
        bool waits; /* for a frame, and gets no turn */
    } memory_wait;  /* memory_wait.h */
    u64 exits[EXIT_KIND_COUNT];

    struct fetch_cache fetch_cache;   /* for engines that must look at instructions */
    struct decode_cache decode_cache; /* for emulate.c */

    /* Switched with the vCPU, not at each exit. */
    u64 debug[4]; /* DR0 - DR3 */
    u64 xcr0, tsc_aux;
    void *fpu; /* XSAVE area */

    /* The scheduler's, under the lock of the CPU that `cpu` names (hv/run/sched.h). */
    struct {
        struct list_node node;
        u32 cpu;         /* index of the CPU it belongs to */
        u32 loaded_last; /* where its state was loaded last: its timers are there; that CPU alone */
        bool active;     /* may be queued at all */
        bool queued;
        bool held;        /* gets no turn: sched_call */
        u64 virtual_time; /* ticks of CPU it had for its weight */
        u64 started;      /* host TSC when it was last given the CPU */
        u64 ran;          /* ticks in all, but for a turn that goes on */
        u64 queued_at;    /* host TSC */
        u64 moved_at;     /* likewise: when it was handed to a lighter CPU */
        u64 waited;       /* ticks in all for which it was runnable without a CPU */
        u64 waited_told;  /* what the machine knows of it; own CPU */
    } sched;
};

static inline void vcpu_request(struct vcpu *vcpu, u32 request)
{
    __atomic_fetch_or(&vcpu->requests, request, __ATOMIC_RELEASE);
}

static inline void vcpu_request_done(struct vcpu *vcpu, u32 request)
{
    __atomic_fetch_and(&vcpu->requests, ~request, __ATOMIC_ACQUIRE);
}

/* Set a request and make sure it is looked at soon: wakes a halted vCPU, kicks a running one. Any CPU. */
void vcpu_wake(struct vcpu *vcpu, u32 request);

/*
 * Is it a state that every CPU of either vendor enters, but for what the vendors' engines add themselves? And
 * single values: PAT's memory types, XCR0's parts. vcpu_check.c; pure, any CPU.
 */
bool vcpu_state_is_possible(const struct vcpu_state *state);
bool vcpu_pat_is_possible(u64 pat);
bool vcpu_xcr0_is_possible(u64 xcr0);

static inline bool address_is_canonical(u64 address)
{
    return (u64)((s64)(address << 16) >> 16) == address;
}

/* A general register by its number, RSP included. The vCPU is not in the guest. */
u64 vcpu_gpr_get(struct vcpu *vcpu, unsigned gpr);
void vcpu_gpr_set(struct vcpu *vcpu, unsigned gpr, u64 value);

/*
 * Step over the instruction that exited. The engine sees the moved RIP at the next entry: it ends an
 * interrupt shadow and raises the single-step trap, as the CPU would have.
 */
static inline void vcpu_skip(struct vcpu *vcpu, const struct vmexit *x)
{
    vcpu->regs.rip += x->length;
}

/*
 * Deliver an exception at the next entry; combines with one in flight by the rules of double faults (APM 2,
 * 8.2.9).
 */
void vcpu_inject_exception(struct vcpu *vcpu, u8 vector);
void vcpu_inject_fault(struct vcpu *vcpu, u8 vector, u32 error_code);
void vcpu_inject_page_fault(struct vcpu *vcpu, u64 address, u32 error_code);

/* Make vCPU `index` of vm (the state is set later); -ENOMEM. */
int vcpu_create(struct vm *vm, u32 index);
/* What is switched with the vCPU and not at each exit; scheduler alone. */
void vcpu_load(struct vcpu *vcpu);
void vcpu_put(struct vcpu *vcpu);
/* What vcpu_load and vcpu_put switch, as after reset. Its state is in memory. */
void vcpu_reset_lazy(struct vcpu *vcpu);
/* The same, and pending requests and power state; the engine's state is set by the machine. */
void vcpu_reset(struct vcpu *vcpu);
void vcpu_destroy(struct vcpu *vcpu);

#endif
