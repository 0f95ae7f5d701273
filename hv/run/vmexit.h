/* SPDX-License-Identifier: MIT */
/*
 * Why a guest stopped running, in words that no vendor owns. The engine fills it from its own reason, once;
 * everything above the engine reads this and nothing else. Only the members that belong to the kind are
 * filled.
 */
#ifndef HV_RUN_VMEXIT_H
#define HV_RUN_VMEXIT_H

#include "hv/lib/types.h"

/* Each kind: what happened; [members]. The order is that of exit counters in `stats`. */
#define EXIT_KINDS(X)                                                                                 \
    X(UNKNOWN, "unknown reason")            /* [raw] */                                               \
    X(INTERRUPT, "physical interrupt")      /* taken by the host already */                           \
    X(CPUID, "cpuid")                       /* [length] */                                            \
    X(HYPERCALL, "hypercall")               /* the CPU's own instruction [length] */                  \
    X(PORT, "port")                         /* [io, length] */                                        \
    X(MSR_READ, "rdmsr")                    /* [length] */                                            \
    X(MSR_WRITE, "wrmsr")                   /* [length] */                                            \
    X(NESTED_FAULT, "nested page fault")    /* [fault] */                                             \
    X(HLT, "hlt")                           /* [length] */                                            \
    X(PAUSE, "pause")                       /* [length] */                                            \
    X(INTERRUPT_WINDOW, "interrupt window") /* can take an interrupt now */                           \
    X(NMI_WINDOW, "nmi window")             /* can take an NMI now */                                 \
    X(NMI, "physical nmi")                  /* */                                                     \
    X(APIC_WRITE, "local apic write")       /* done in the page: what follows from it [apic] */       \
    X(CR, "control register")               /* MOV to or from CR8 and the CRs an engine wants [cr] */ \
    X(XSETBV, "xsetbv")                     /* [length] */                                            \
    X(WBINVD, "wbinvd")                     /* or INVD [length] */                                    \
    X(EXCEPTION, "exception")               /* intercepted exception [exception] */                   \
    X(FORBIDDEN, "forbidden instruction")   /* answered by #UD or #GP(0) [exception.vector] */        \
    X(TASK_SWITCH, "task switch")           /* */                                                     \
    X(TRIPLE_FAULT, "triple fault")         /* */                                                     \
    X(INVALID_STATE, "invalid guest state") /* the CPU refused to enter [raw] */

enum exit_kind {
#define EXIT_KIND_ENUM(name, text) EXIT_##name,
    EXIT_KINDS(EXIT_KIND_ENUM)
#undef EXIT_KIND_ENUM
        EXIT_KIND_COUNT
};
extern const char *const exit_kind_names[EXIT_KIND_COUNT];

/* Port accesses. */
#define IO_IN     BIT(0) /* else OUT */
#define IO_STRING BIT(2) /* INS, OUTS */
#define IO_REP    BIT(3)

/* What a nested page fault wanted: the bits of AMD's error code, which so needs no translation. */
#define FAULT_WRITE      BIT(1) /* else it was read */
#define FAULT_FETCH      BIT(4)
#define FAULT_TABLE_WALK BIT(33) /* by the CPU, of a guest page table */

struct vmexit {
    u8 kind;   /* enum exit_kind */
    u8 length; /* of the instruction; 0 when it has none or the engine could not tell */
    union {
        struct {
            u16 port;
            u8 size;  /* 1, 2, 4 */
            u8 flags; /* IO_* */
        } io;
        struct {
            gpa_t gpa;
            u64 access; /* FAULT_* */
        } fault;
        struct {
            u16 offset; /* in the window; RIP is behind the instruction */
        } apic;
        struct {
            u8 cr, gpr;
            bool write;
        } cr;
        struct {
            u8 vector;
            u32 error_code;
            u64 address; /* #PF alone */
        } exception;
        struct {
            u64 reason, info1, info2;
        } raw;
    };
};

#endif
