/* SPDX-License-Identifier: MIT */
/*
 * What something costs, in ticks of the TSC less those of an empty pair of RDTSC: under QEMU -icount one tick
 * is one instruction of lintel and the guests together. For the guests of tests/bench; one vCPU measures.
 */
#ifndef GUESTS_LIB_MEASURE_H
#define GUESTS_LIB_MEASURE_H

#include "hv/lib/types.h"

#define MEASURE_ROUNDS 201

extern u64 measured[MEASURE_ROUNDS];

/* First of all: what nothing costs. */
void measure_setup(void);
/* Prints "bench NAME MINIMUM MEDIAN" of what is in `measured`; tests/bench/run-bench reads it. */
void measure_report(const char *name);

/* One instruction (or none) between two readings of the TSC, in one round. */
#define MEASURE_ONE(round, instruction, ...)                                                             \
    do {                                                                                                 \
        u64 before, after;                                                                               \
                                                                                                         \
        asm volatile("rdtsc\n\tshlq $32, %%rdx\n\torq %%rdx, %%rax" : "=a"(before) : : "rdx", "memory"); \
        asm volatile(instruction __VA_ARGS__);                                                           \
        asm volatile("rdtsc\n\tshlq $32, %%rdx\n\torq %%rdx, %%rax" : "=a"(after) : : "rdx", "memory");  \
        measured[round] = after - before;                                                                \
    } while (0)

/* The same in all rounds; `i` is the round. */
#define MEASURE(instruction, ...)                   \
    for (unsigned i = 0; i < MEASURE_ROUNDS; i++) { \
        MEASURE_ONE(i, instruction, __VA_ARGS__);   \
    }

#endif
